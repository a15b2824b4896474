"""The LQ photo itself, unrestored: the row that every other is to be read against."""

from __future__ import annotations

from collections.abc import Sequence

from instructrestore.pipelines.evaluation.runners.photos import Photo, checked


class LQ:
    """Gives every photo back as it is."""

    def __call__(self, lq: Sequence[Photo], seeds: Sequence[int]) -> list[Photo]:
        assert len(lq) == len(seeds)
        return [checked(photo).copy() for photo in lq]
