"""What regions look like: the embedded annotator's backbone, an ImageNet classifier, averaged over each region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from instructrestore.dataengine.annotator.features import working_size
from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.search.space import Vectors, of_length_1
from instructrestore.pretrained import installed
from instructrestore.pretrained.backbone import HEAD, STRIDE, Backbone, load_backbone, normalise
from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import AnnotatedPhoto

REVISION = "1"  # raised when the same photo gives other vectors
SIDE = 576  # px, the long side that photos are seen at


class PictureSpace:
    """Raises ValueError where the backbone's weights are needed and missing or damaged."""

    kind = "pictures"
    model = "efficientnet-lite2"
    revision = f"{REVISION}-{installed.BACKBONE_SHA256[:12]}"
    dimension = HEAD

    @cached_property
    def _backbone(self) -> Backbone:
        return load_backbone().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def photos(self, dataset: Dataset, rows: Sequence[int], lost: list[str]) -> list[tuple[int, Vectors]]:
        return [(row, self._seen(sample, rgb)) for row, sample, rgb in decoded(dataset, rows, lost)]

    def text(self, query: str) -> Vectors:
        raise ValueError(
            f"{self.model} knows pictures and no texts: search by captions, or by a model of both (--model, such as "
            "google/siglip-base-patch16-256)"
        )

    @torch.inference_mode()
    def _seen(self, sample: AnnotatedPhoto, rgb: NDArray[np.uint8]) -> Vectors:
        height, width = working_size(rgb.shape[0], rgb.shape[1], SIDE)
        shrinks = height < rgb.shape[0]
        small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        pixels = normalise(torch.from_numpy(np.ascontiguousarray(small)).permute(2, 0, 1)[None])
        last = self._backbone(pixels.contiguous(memory_format=torch.channels_last))[STRIDE]
        cells = self._backbone.head(last)[0].flatten(1).T.numpy()  # (h w, 1280)
        size = (width // STRIDE, height // STRIDE)
        weights = [np.ones(len(cells), np.float32)]
        for region in sample.regions:
            covered = region.mask.array().view(np.uint8).astype(np.float32)
            share = np.asarray(cv2.resize(covered, size, interpolation=cv2.INTER_AREA), np.float32).ravel()
            weights.append(share if share.any() else weights[0])
        return of_length_1(np.stack(weights) @ cells)


def decoded(
    dataset: Dataset, rows: Sequence[int], lost: list[str]
) -> Iterator[tuple[int, AnnotatedPhoto, NDArray[np.uint8]]]:
    """The photos of rows of the index, decoded: (row, record, (H, W, 3) uint8 sRGB); those that are damaged are told of
    in `lost`."""
    for row in rows:
        try:
            sample, encoded = dataset.read(row)
            rgb = photo_file.decode(encoded, sample.photo.width * sample.photo.height).rgb
        except ValueError as damage:
            lost.append(str(damage))
            continue
        if rgb.shape[:2] == (sample.photo.height, sample.photo.width):
            yield row, sample, rgb
        else:
            lost.append(f"{sample.photo.key} is not of the size that its record states")
