"""What captions and subjects mean: all-MiniLM-L6-v2, which installs. Needs the index alone, and no photo."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from instructrestore.dataengine.search.quiet import quiet
from instructrestore.dataengine.search.space import Vectors, checked_query, of_length_1
from instructrestore.pretrained import installed
from instructrestore.pretrained.text_vectors import TextEncoder
from instructrestore.shards.index import Dataset

REVISION = "1"  # raised when the same captions give other vectors
CONTEXT = 0.25  # share of all that its photo shows in a region's vector
BATCH = 64  # texts that go through the network together
MOST_CHARACTERS = 600  # of a text; the network reads 64 tokens


class CaptionSpace:
    """Raises ValueError where the text vectors are needed and not installed."""

    kind = "captions"
    model = "all-MiniLM-L6-v2"
    revision = f"{REVISION}-{installed.SENTENCES_SHA256[:12]}"
    dimension = 384

    @cached_property
    def _encode(self) -> TextEncoder:
        with quiet():
            return TextEncoder()

    def photos(self, dataset: Dataset, rows: Sequence[int], lost: list[str]) -> list[tuple[int, Vectors]]:
        """No photo is ever lost: the index has all that is read."""
        table = dataset.index.select(["captions", "subjects"]).take(list(rows))
        texts = [
            _texts(captions, subjects)
            for captions, subjects in zip(table["captions"].to_pylist(), table["subjects"].to_pylist(), strict=True)
        ]
        known = self._encoded({text for of_photo in texts for text in of_photo})
        return [
            (row, _within(np.stack([known[text] for text in of_photo])))
            for row, of_photo in zip(rows, texts, strict=True)
        ]

    def text(self, query: str) -> Vectors:
        return of_length_1(self._encode([checked_query(query)]).numpy())[0]

    def _encoded(self, texts: set[str]) -> dict[str, Vectors]:
        """Nothing is kept from call to call: which texts go through the network together changes their last bits, and
        must not depend on where an interrupted run went on."""
        known: dict[str, Vectors] = {}
        ordered = sorted(texts, key=lambda text: (len(text), text))  # equal lengths need little padding
        for start in range(0, len(ordered), BATCH):
            some = ordered[start : start + BATCH]
            known.update(zip(some, of_length_1(self._encode(some).numpy()), strict=True))
        return known


def _within(vectors: Vectors) -> Vectors:
    """(1 + R, D): the photo's, then its regions', which lean a little towards it: of a hundred "the boat" that is first
    whose photo has the dusk too."""
    return of_length_1(vectors + CONTEXT * vectors[:1])


def _texts(captions: Sequence[str], subjects: Sequence[str]) -> list[str]:
    """What is encoded of a photo: all of its captions, then each region's own."""
    regions = [
        caption if subject.casefold() in caption.casefold() else f"{caption} ({subject})"
        for caption, subject in zip(captions, subjects, strict=True)
    ]
    return [text[:MOST_CHARACTERS] for text in ("; ".join(captions) or "a photo", *regions)]
