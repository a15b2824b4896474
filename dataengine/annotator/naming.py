"""What a segment is called, if anything: the most special word that is sure enough, or nothing.

A segment's two mean probabilities, of its likeliest name and of that name's kind, are not yet how often such a segment
is right. A logistic curve, fitted on photos that the heads had not seen, makes them so: the confidence is the
probability that the word is right and the outline holds. First the name is tried, then its kind ("vehicle"); under
the bar a segment is not known, and dropped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from instructrestore.dataengine.annotator.grouping import PanopticSegment
from instructrestore.dataengine.annotator.names import coco_names


@dataclass(frozen=True)
class Calibration:
    """confidence = 1 / (1 + exp(-(offset + slope logit(p) + size log(area)))), for names and for kinds.

    bar: the confidence that a segment must have.
    """

    name_offset: float = 0.0
    name_slope: float = 1.0
    name_size: float = 0.0
    kind_offset: float = 0.0
    kind_slope: float = 1.0
    kind_size: float = 0.0
    bar: float = 0.6

    def name(self, probability: float, area: float) -> float:
        """area: share of the photo."""
        return _confidence(self.name_offset, self.name_slope, self.name_size, probability, area)

    def kind(self, probability: float, area: float) -> float:
        return _confidence(self.kind_offset, self.kind_slope, self.kind_size, probability, area)


@dataclass(frozen=True)
class NamedSegment:
    """word: what the segment is called, a name or its kind. confidence: that this is right, 0..1."""

    segment: PanopticSegment
    word: str
    confidence: float


def name_segments(segments: Iterable[PanopticSegment], calibration: Calibration) -> tuple[list[NamedSegment], int]:
    """Those that are known, in their order, and how many are not."""
    known, unknown = [], 0
    for segment in segments:
        name = coco_names()[segment.label]
        sure = calibration.name(segment.name, segment.area), calibration.kind(segment.kind, segment.area)
        for word, confidence in zip((name.word, name.parent), sure, strict=True):
            if word and confidence >= calibration.bar:
                known.append(NamedSegment(segment, word, confidence))
                break
        else:
            unknown += 1
    return known, unknown


def fit_curve(probabilities: np.ndarray, areas: np.ndarray, right: np.ndarray) -> tuple[float, float, float]:
    """(N,) each: mean probabilities, areas as shares, and whether it was right -> offset, slope and size.

    Newton's method on the penalised likelihood; the penalty keeps a curve finite where few examples say all.
    """
    design = np.stack([np.ones(len(right)), _logit(probabilities), np.log(areas)], 1)
    penalty = np.diag([0.01, 0.1, 0.1])
    weights = np.array([0.0, 1.0, 0.0])
    centre = weights.copy()
    for _ in range(50):
        chance = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (right - chance) - penalty @ (weights - centre)
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + penalty
        change = np.linalg.solve(curvature, gradient)
        weights = weights + change
        if float(np.abs(change).max()) < 1e-8:
            break
    return float(weights[0]), float(weights[1]), float(weights[2])


def _logit(probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(probability, 1e-3, 1 - 1e-3)
    return np.log(clipped) - np.log1p(-clipped)


def _confidence(offset: float, slope: float, size: float, probability: float, area: float) -> float:
    odds = float(_logit(np.array(probability)))
    return 1 / (1 + math.exp(-(offset + slope * odds + size * math.log(max(area, 1e-6)))))
