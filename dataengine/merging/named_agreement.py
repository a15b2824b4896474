"""How well a region's subject fits its pixels, by the embedded annotator: for captions of whatever describer.

The annotator says of every place of a photo how likely each of its 133 names is there. A subject that it finds in the
region more than anywhere else fits; one that is elsewhere in the photo, or nowhere, does not:

    score = 100 inside / (inside + outside + FAINT)

where inside and outside are the mean probability of the subject in the region and in the rest of the photo.

A subject stands for the names that it means (synonyms.py) or that are of its kind ("vehicle"); the others of a name's
kind count half, since they are easily taken for each other. A word that is none of those stands for the names near its
text vector; one that is near none cannot be judged, and its region stays without a score.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.annotator.annotator import Annotator, load_annotator
from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.merging.agreement_settings import NAMED_REVISION, AgreementSettings
from instructrestore.dataengine.merging.scored_regions import judged
from instructrestore.dataengine.merging.synonyms import meanings
from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.running.stage import Drop
from instructrestore.pretrained.text_vectors import TextEncoder
from instructrestore.shards.rle import BoolArray

FAINT = 0.003  # mean probability under which a name is as good as absent
FOUND = 42.0  # under it a subject is called not found: 5% of right ones score less (docs/annotators.md)
NOT_FOUND = "subject not found in the region"
NOT_JUDGED = "subject that the annotator has no word for"
SIBLING = 0.5
NEAR, SAME = 0.4, 1.0  # cosines of text vectors, from where a name counts, and where it counts wholly
LEAST_NEAR = 0.55  # of the nearest name's vector

Weights = NDArray[np.float32]


class NamedAgreement:
    """The stage: scores every region whose subject it can judge, drops those below the threshold, and counts those that
    score under `FOUND` as not found.

    Raises ValueError, in one sentence, where the annotator's packages are not installed or weights are damaged.
    """

    name = f"named {NAMED_REVISION}"

    def __init__(self, settings: AgreementSettings) -> None:
        self.settings = settings
        self._scorer = SubjectScorer(load_annotator()[0], TextEncoder())

    def __call__(self, rows: Sequence[Row]) -> list[Row | Drop]:
        return [self._judge(row) for row in rows]

    def _judge(self, row: Row) -> Row | Drop:
        regions = ((region.mask.array(), region.subject) for region in row.regions)  # one mask at a time
        scores = self._scorer(photo_file.load(row), regions)
        scored = judged(row, scores, self.name, self.settings.threshold)
        if isinstance(scored, Drop):
            return scored
        counts = {
            NOT_FOUND: sum(1 for region in scored.regions if region.agreement and region.agreement.score < FOUND),
            NOT_JUDGED: sum(1 for region in scored.regions if not region.agreement),
        }
        return replace(scored, counts=scored.counts | {what: count for what, count in counts.items() if count})


class SubjectScorer:
    """What the annotator says of regions and their subjects."""

    def __init__(self, annotator: Annotator, encoder: TextEncoder) -> None:
        self._annotator = annotator
        self._encoder = encoder
        self._vectors = encoder([name.word for name in coco_names()]).numpy()  # (names, 384)
        self._weights = lru_cache(maxsize=65536)(self._weights_of)

    def __call__(self, rgb: NDArray[np.uint8], regions: Iterable[tuple[BoolArray, str]]) -> list[float | None]:
        """0..100 of a photo's regions, None where the subject cannot be judged. rgb: (H, W, 3) uint8 sRGB. regions:
        (H, W) bool, none empty, and the subject of each."""
        maps = self._annotator.probabilities(rgb).numpy()  # (names, h, w)
        found = []
        for mask, subject in regions:
            weights = self._weights(fold(subject))
            found.append(None if weights is None else contrast(np.tensordot(weights, maps, 1), mask))
        return found

    def _weights_of(self, subject: str) -> Weights | None:
        """(names,) float32 in 0..1: how far each name is what the subject means; None where none is."""
        for said in dict.fromkeys((subject, subject.split()[-1])):  # "police car", and its head
            for word in meanings(said):
                if (weights := _by_name(word)) is not None:
                    return weights
        [vector] = self._encoder([subject]).numpy()
        cosines = self._vectors @ vector
        if float(cosines.max()) < LEAST_NEAR:
            return None
        return np.clip((cosines - NEAR) / (SAME - NEAR), 0, 1).astype(np.float32)


def _by_name(word: str) -> Weights | None:
    """Of a name, or of a kind of names, both folded."""
    names = coco_names()
    own = np.array([word in (fold(name.word), fold(name.parent)) for name in names])
    if not own.any():
        return None
    kinds = {name.parent for name, is_own in zip(names, own, strict=True) if is_own and name.parent}
    siblings = np.array([name.parent in kinds for name in names])
    return np.where(own, 1.0, SIBLING * siblings).astype(np.float32)


def contrast(probability: NDArray[Any], mask: BoolArray) -> float:
    """How much more of it is inside than outside, 0..100. probability: (h, w), 0..1, of any size. mask: (H, W)."""
    height, width = probability.shape
    inside = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)  # share of each place
    outside = 1 - inside
    within = float((probability * inside).sum()) / max(float(inside.sum()), 1e-6)
    beyond = float((probability * outside).sum()) / max(float(outside.sum()), 1e-6)
    return min(100.0, max(0.0, 100 * within / (within + beyond + FAINT)))
