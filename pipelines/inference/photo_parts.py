"""A photo in parts, for people and captions to choose among: the embedded annotator's segments, SAM 2.1's masks, or the
things of an instance segmenter.

All parts, also those whose names are not sure.
"""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.annotator.annotator import Annotator, load_annotator
from instructrestore.dataengine.annotator.grouping import PanopticSegment
from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.annotator.naming import Calibration
from instructrestore.dataengine.masks.sam2 import Sam2Segmenter
from instructrestore.dataengine.merging.synonyms import meanings, table
from instructrestore.model.restoring.locating import PhotoSegment
from instructrestore.pipelines.inference.instance_segments import InstanceSegmenter
from instructrestore.pipelines.inference.loading import ONE_AT_A_TIME
from instructrestore.pipelines.inference.sam2_segments import LEAST_AREA, PhotoPart, load_sam2, parts_of
from instructrestore.pipelines.inference.segment_settings import InstanceSettings, SegmentModel


class PhotoParts:
    """The annotator, and the model that is asked for beside it, loaded when they are first needed.

    Their use raises ValueError, in one sentence, where weights are missing or damaged.
    """

    def __init__(self, model: SegmentModel | None = None) -> None:
        self.model = model

    @cached_property
    def annotator(self) -> tuple[Annotator, Calibration]:
        with ONE_AT_A_TIME:
            return load_annotator()

    @cached_property
    def segmenter(self) -> Sam2Segmenter | InstanceSegmenter | None:
        with ONE_AT_A_TIME:
            if isinstance(self.model, InstanceSettings):
                return InstanceSegmenter(self.model)
            return load_sam2(self.model) if self.model else None

    def parts(self, rgb: NDArray[np.uint8]) -> list[PhotoPart]:
        """rgb: (H, W, 3) uint8. Parts of its size, without overlap."""
        seen = [piece for segment in self.annotator[0](rgb) for piece in _pieces(segment)]
        match self.segmenter:
            case InstanceSegmenter() as segmenter:
                return parts_of(((thing.mask, thing) for thing in segmenter(rgb)), seen)
            case Sam2Segmenter() as segmenter:
                return parts_of(((mask, None) for mask in segmenter(rgb)[0]), seen)
            case None:
                return [PhotoPart(each.mask, each) for each in seen]

    def __call__(self, rgb: NDArray[np.uint8]) -> list[PhotoSegment]:
        """The same as a `PhotoCutter` of the restoring pipeline, with every word that a name may be called by."""
        return [PhotoSegment(part.mask, _words(part)) for part in self.parts(rgb)]


def _pieces(segment: PanopticSegment) -> list[PanopticSegment]:
    """A segment's connected pieces, the largest first: one clicks on a thing, not on all of its kind."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(segment.mask.astype(np.uint8), connectivity=8)
    order = sorted(range(1, count), key=lambda label: -int(stats[label, cv2.CC_STAT_AREA]))
    least = max(1, round(LEAST_AREA * segment.mask.size))
    large = [label for label in order if stats[label, cv2.CC_STAT_AREA] >= least] or order[:1]
    return [PanopticSegment(labels == label, segment.label, segment.name, segment.kind) for label in large]


def _words(part: PhotoPart) -> frozenset[str]:
    """Its name, its kind, and what is another word for the name, or a kind of it."""
    if not part.seen:
        return frozenset()
    name = coco_names()[part.seen.label]
    meant = {line.word for line in table() if name.word in meanings(line.word)}
    return frozenset({name.word, *meanings(name.word), *meant, *filter(None, [name.parent])})
