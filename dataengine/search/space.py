"""What makes vectors of photos and regions, and what the vectors it made are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.running.integrity import digest
from instructrestore.shards.index import Dataset
from instructrestore.shards.plain_text import visible_line

Vectors = NDArray[np.float32]
WHOLE = -1  # in the place of a region's number: the photo as a whole


class Space(Protocol):
    """An encoder of one data set's photos.

    kind: "captions" or "pictures". model, revision: what gave the vectors. dimension: numbers of a vector.
    """

    kind: str
    model: str
    revision: str
    dimension: int

    def photos(self, dataset: Dataset, rows: Sequence[int], lost: list[str]) -> list[tuple[int, Vectors]]:
        """Of rows of the index: (row, (1 + R, dimension) float32 of length 1: the photo, then its R regions).

        Photos that cannot be used are left out, and why is appended to `lost`, a sentence each.
        """
        ...

    def text(self, query: str) -> Vectors:
        """(dimension,) float32 of length 1: what a text lies near. Raises ValueError where the space knows no texts."""
        ...


def folder_name(space: Any) -> str:
    """The folder of a space's vectors, such as "pictures-efficientnet-lite2-0123456789abcdef": the model in words, and
    a hash of it and its revision."""
    words = "".join(c if c.isascii() and c.isalnum() else "-" for c in space.model.rsplit("/", 1)[-1].lower())
    return f"{space.kind}-{words.strip('-')[:40]}-{digest(space.kind, space.model, space.revision)}"


def checked_query(text: str) -> str:
    """A text to search for. Raises ValueError for one that is empty or longer than any caption."""
    query = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    if not query:
        raise ValueError('there is nothing to search for: write what it shows, as in "a red boat at dusk"')
    if len(query) > 1000:
        raise ValueError(f"what to search for has {len(query)} characters, {visible_line(query[:30])}...: 1000 is most")
    return query


def of_length_1(vectors: NDArray[np.floating]) -> Vectors:
    """(N, D) -> float32 of length 1 each; all zeros stay."""
    rows = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)
