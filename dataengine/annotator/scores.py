"""How often the dense predictions are right: intersection over union of the names that a photo shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.annotator.panoptic import UNLABELLED

LEAST_AREA = 0.02  # of the photo's annotated pixels, for a name to be asked for
ASKED = 0.2  # found best among 0.05 to 0.7 on a fold of the training photos
REPORTED = ("person", "sky-other-merged", "tree-merged", "grass-merged")


@dataclass(frozen=True)
class DenseScores:
    """asked: mean IoU over all (photo, name) with the name's area >= 2%, each name asked for alone. by_name: the same
    per name, with the number of photos. argmax: mean IoU of the same pairs when every pixel gets its likeliest name.
    accuracy: of that, share of annotated pixels with the right name."""

    asked: float
    argmax: float
    accuracy: float
    by_name: dict[str, tuple[float, int]]

    def figures(self) -> dict[str, float]:
        named = {name: self.by_name[name][0] for name in REPORTED if name in self.by_name}
        return {"asked": self.asked, "argmax": self.argmax, "accuracy": self.accuracy, **named}


def asked_for(logits: Tensor, label: int) -> Tensor:
    """(names, h, w) -> (h, w) bool: where the name is, given that somebody who sees the photo asks for it.

    A pixel belongs to it that has a fifth of the highest probability anywhere in the photo, or more than even odds.
    """
    probability = logits.softmax(0)[label]
    return probability > min(0.5, ASKED * float(probability.max()))


def dense_scores(predictions: Iterable[tuple[Tensor, Tensor]]) -> DenseScores:
    """predictions: (logits (names, h, w), labels (h, w) uint8) per photo."""
    asked: defaultdict[int, list[float]] = defaultdict(list)
    likeliest: list[float] = []
    right = pixels = 0
    for logits, labels in predictions:
        known = labels != UNLABELLED
        best = logits.argmax(0)
        right += int((best[known] == labels[known]).sum())
        pixels += int(known.sum())
        for label in labels[known].unique().tolist():
            truth = labels == label
            if float(truth.sum()) < LEAST_AREA * float(known.sum()):
                continue
            asked[label].append(_iou(asked_for(logits, label) & known, truth))
            likeliest.append(_iou((best == label) & known, truth))
    values = [value for each in asked.values() for value in each]
    names = coco_names()
    return DenseScores(
        sum(values) / max(1, len(values)),
        sum(likeliest) / max(1, len(likeliest)),
        right / max(1, pixels),
        {names[label].category: (sum(each) / len(each), len(each)) for label, each in sorted(asked.items())},
    )


def _iou(one: Tensor, other: Tensor) -> float:
    return float((one & other).sum()) / max(1.0, float(torch.logical_or(one, other).sum()))
