"""How often the dense predictions are right: intersection over union of the names that a photo shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def asked_for(probability: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(H, W) of one name -> where it is, given that somebody who sees the photo asks for it: the pixels that have a
    fifth of the highest probability anywhere in the photo, or more than even odds."""
    return probability > min(0.5, ASKED * float(probability.max()))


def dense_scores(
    predictions: Iterable[tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.uint8]]],
) -> DenseScores:
    """predictions, per photo: the candidates (K,), among them all names annotated; their probabilities (H, W, K); the
    annotated labels (H, W)."""
    asked: defaultdict[int, list[float]] = defaultdict(list)
    likeliest: list[float] = []
    right = pixels = 0
    for candidates, maps, labels in predictions:
        known = labels != UNLABELLED
        best = candidates[maps.argmax(-1)]
        right += int(np.count_nonzero(best[known] == labels[known]))
        pixels += int(np.count_nonzero(known))
        for position, label in enumerate(candidates.tolist()):
            truth = labels == label
            if np.count_nonzero(truth) < max(1, LEAST_AREA * np.count_nonzero(known)):
                continue
            asked[label].append(overlap(asked_for(maps[..., position]) & known, truth))
            likeliest.append(overlap((best == label) & known, truth))
    values = [value for each in asked.values() for value in each]
    names = coco_names()
    return DenseScores(
        sum(values) / max(1, len(values)),
        sum(likeliest) / max(1, len(likeliest)),
        right / max(1, pixels),
        {names[label].category: (sum(each) / len(each), len(each)) for label, each in sorted(asked.items())},
    )


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float(np.count_nonzero(one & other)) / max(1, int(np.count_nonzero(one | other)))
