"""A photo's regions with their scores: written into the record, those below a threshold dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.running.stage import Drop
from instructrestore.shards.sample import Agreement

LOW = "low agreement"


def judged(row: Row, scores: Sequence[float | None], model: str, threshold: float) -> Row | Drop:
    """scores: 0..100, one a region; None: it was not judged, keeps no score and stays. model: for the record."""
    # Rounded before the comparison, so that the record shows why a region was kept.
    scored = [
        region if score is None else replace(region, agreement=Agreement(round(score, 2), model))
        for region, score in zip(row.regions, scores, strict=True)
    ]
    kept = tuple(region for region in scored if not region.agreement or region.agreement.score >= threshold)
    low = len(scored) - len(kept)
    gone = row.held - replace(row, regions=kept).held
    lost = {LOW: gone} if gone else {}
    if not kept:
        return Drop("no valid region", LOW, lost)
    return replace(row, regions=kept, counts={LOW: low} if low else {}, lost=lost)
