"""The record that travels through an evaluation: a photo of the test set by one method, from asked for to measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from instructrestore.dataengine.running.integrity import digest
from instructrestore.shards.pairs import TestSet

# What `asked` leaves out: a batch decides the last bits of its photos at most, and what is done stays done.
_BATCH = ("slot", "together")


@dataclass(frozen=True)
class EvaluationRow:
    """Filled in on its way: what is asked for, then where the result lies, then how good it is.

    place: the photo's row in the test set's index. key, caption, width, height: the photo's and its region's.
    s1, s2: the scales of the region and of the rest; None for all methods but the model.
    slot, together: its place in a batch of so many photos of one size.
    file: the result, relative to the evaluation's folder, or an absolute path for somebody else's; "": the LQ photo
        itself. sha256: of its bytes. bytes: its size. mask, mask_sha256: the predicted mask's file and
        its bytes' hash, "" where there is none.
    reports: what the method had to say. photo: the original name. figures: (scope, metric, value).
    """

    place: int
    key: str
    caption: str
    width: int
    height: int
    s1: float | None = None
    s2: float | None = None
    slot: int = 0
    together: int = 1
    file: str = ""
    sha256: str = ""
    bytes: int = 0
    mask: str = ""
    mask_sha256: str = ""
    reports: list[str] = field(default_factory=list)
    photo: str = ""
    figures: list[tuple[str, str, float]] = field(default_factory=list)

    def asked(self) -> dict[str, Any]:
        """What its result follows from, as plain JSON."""
        return {name: value for name, value in asdict(self).items() if name not in _BATCH}


def rows_of(testset: TestSet, limit: int | None = None) -> list[EvaluationRow]:
    """A row for each photo, or for the first `limit`, those of one size together so that batches are full.

    Raises ValueError where the index cannot be used.
    """
    columns = (testset.index[name].to_pylist()[:limit] for name in ("key", "captions", "width", "height"))
    rows: list[EvaluationRow] = []
    for place, (key, captions, width, height) in enumerate(zip(*columns, strict=True)):
        if not captions or len(captions) != 1:
            raise ValueError(f"{testset.path} has {len(captions or ())} regions for {key}: `verify` tells more")
        rows.append(EvaluationRow(place, key, captions[0], width, height))
    if not rows:
        raise ValueError(f"{testset.path} holds no photos")
    if len({row.key for row in rows}) < len(rows):
        raise ValueError(f"{testset.path}/index.parquet lists a photo twice: `verify` tells more")
    return sorted(rows, key=lambda row: (row.height, row.width, row.place))


def photo_seed(seed: int, key: str) -> int:
    """The seed of a photo's own noise, 63 bits: the same at every scale, so that a sweep differs by the scale alone."""
    return int(digest("evaluate", seed, key), 16) >> 1
