"""The annotator against annotated photos: what each segment turned out to be, the calibration, the figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from instructrestore.dataengine.annotator.annotator import Annotator, refined
from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.annotator.naming import Calibration, fit_curve, name_segments
from instructrestore.dataengine.annotator.panoptic import UNLABELLED, PanopticPhoto
from instructrestore.dataengine.annotator.scores import dense_scores
from instructrestore.dataengine.annotator.segment_scores import Kept, SegmentScores, fits
from instructrestore.dataengine.annotator.views import ViewStore

BARS = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.75)  # confidences at which keeping is reported


@dataclass(frozen=True)
class SegmentOutcome:
    """Of one segment: its mean probabilities, its share of the photo, and whether its name, or its kind, was right
    with an intersection over union of at least 0.5. has_kind: the name has a parent."""

    name: float
    kind: float
    area: float
    name_right: bool
    kind_right: bool
    has_kind: bool


def outcomes(annotator: Annotator, photos: Iterable[PanopticPhoto], store: ViewStore) -> list[SegmentOutcome]:
    """store: where their views are; view 0 is what the annotator itself sees. Photos of at most `GUIDE_SIDE`."""
    found = []
    for photo in photos:
        annotated = photo.segments()
        for segment in annotator.found(photo.rgb(), _probabilities(annotator, photo, store)):
            name = coco_names()[segment.label]
            name_right = fits(segment.mask, name.word, annotated, photo.categories)
            kind_right = bool(name.parent) and fits(segment.mask, name.parent, annotated, photo.categories)
            found.append(
                SegmentOutcome(segment.name, segment.kind, segment.area, name_right, kind_right, bool(name.parent))
            )
    return found


def fit_calibration(found: Sequence[SegmentOutcome], wanted: float) -> Calibration:
    """The curves that make probabilities confidences, and the lowest bar at which a share of `wanted` is right.

    Segments without any probability, which show nothing, are never kept and say nothing of the others.
    """
    found = [each for each in found if each.kind > 0]
    name = _curve([(each.name, each.area, each.name_right) for each in found])
    kind = _curve([(each.kind, each.area, each.kind_right) for each in found if each.has_kind])
    curves = Calibration(*name, *kind)
    tried = [
        (curves.name(each.name, each.area), curves.kind(each.kind, each.area) if each.has_kind else 0.0, each)
        for each in found
    ]
    bar = 1.0
    for bar in np.arange(0.2, 0.96, 0.01):
        right = [
            each.name_right if name_confidence >= bar else each.kind_right
            for name_confidence, kind_confidence, each in tried
            if max(name_confidence, kind_confidence) >= bar
        ]
        if right and sum(right) >= wanted * len(right):
            break
    return Calibration(*name, *kind, bar=round(float(bar), 2))


def evaluate(
    annotator: Annotator, calibration: Calibration, photos: Sequence[PanopticPhoto], store: ViewStore
) -> dict[str, float]:
    """The figures of `dense_scores` and `SegmentScores` at the photos' own size; and how many segments are kept, and
    which share of them is right, with other bars."""
    scores = {bar: SegmentScores() for bar in (*BARS, calibration.bar)}

    def dense() -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.uint8]]]:
        for photo in photos:
            rgb, annotated = photo.rgb(), photo.segments()
            probabilities, labels = _probabilities(annotator, photo, store), photo.labels(annotated)
            found = annotator.found(rgb, probabilities)
            for bar, counts in scores.items():
                known, _ = name_segments(found, replace(calibration, bar=bar))
                kept = [Kept(each.segment.mask, each.word, each.segment.label) for each in known]
                counts.add(kept, annotated, photo.categories)
            present = np.unique(labels[labels != UNLABELLED]).tolist()
            yield *refined(rgb, probabilities, present), labels

    figures = {**dense_scores(dense()).figures(), **scores[calibration.bar].figures()}
    for bar in BARS:
        at = scores[bar].figures()
        figures |= {f"kept_at_{bar:.2f}": at["kept"], f"right_merged_at_{bar:.2f}": at["right_merged"]}
    return figures


def _probabilities(annotator: Annotator, photo: PanopticPhoto, store: ViewStore) -> Tensor:
    store.make(photo, 0)
    return annotator.of_reduced(store.read(photo, 0)[0])


def _curve(examples: list[tuple[float, float, bool]]) -> tuple[float, float, float]:
    if not examples:
        return 0.0, 1.0, 0.0
    probabilities, areas, right = (np.array(column, np.float64) for column in zip(*examples, strict=True))
    return fit_curve(probabilities, areas, right)
