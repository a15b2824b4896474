"""Augmented views of annotated photos, with their features computed once and kept on disk.

The backbone is frozen, so what it sees of a view never changes: a view costs one pass of it, and then any number of
training steps read it. View 0 is the whole photo as inference sees it; the others are drawn from (seed, photo, view):
a crop, a size, a flip, brightness, contrast, colour, now and then blur.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from instructrestore.dataengine.annotator.features import working_size
from instructrestore.dataengine.annotator.panoptic import PanopticPhoto
from instructrestore.dataengine.annotator.reduction import Reduced, Sight
from instructrestore.shards.weight_files import write_safetensors

SIDE = 576  # the long side that inference works at
SIDES = (448, 512, 576, 640)  # of views
LEAST_CROP = 0.6  # of each side
LABEL_STRIDE = 8


class ViewStore:
    """Views of photos in a folder, one safetensors file each; made where they are not there yet."""

    def __init__(self, folder: Path, seed: int, sight: Sight) -> None:
        self.folder, self.seed, self.sight = folder, seed, sight
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, photo: PanopticPhoto, view: int) -> Path:
        return self.folder / f"{photo.key}-{view:03d}.safetensors"

    def make(self, photo: PanopticPhoto, view: int) -> None:
        """Computes and writes one view, unless it is there; a kill leaves no half file."""
        path = self.path(photo, view)
        if path.exists():
            return
        segments = photo.segments()
        random = (self.seed, int.from_bytes(photo.key.encode(), "big") % 2**31, view)
        rgb, segments = augmented(photo.rgb(), segments, random)
        tensors = {name: tensor.half().contiguous() for name, tensor in self.sight(rgb).tensors().items()}
        tensors["labels"] = torch.from_numpy(photo.labels(segments))
        tensors["segments"] = torch.from_numpy(segments)
        temporary = path.with_suffix(f".{os.getpid()}.part")
        write_safetensors(tensors, temporary)
        os.replace(temporary, path)

    def read(self, photo: PanopticPhoto, view: int) -> tuple[Reduced, Tensor, Tensor]:
        """Features in float32, labels (h/8, w/8) uint8 and segment numbers (h/8, w/8) int32."""
        tensors = load_file(self.path(photo, view))
        labels, segments = tensors.pop("labels"), tensors.pop("segments")
        return Reduced(**{name: tensor.float() for name, tensor in tensors.items()}), labels, segments


def augmented(
    rgb: NDArray[np.uint8], segments: NDArray[np.int32], seed: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """View `seed[2]` of a photo: its pixels at a working size, and the segment numbers at every eighth of them."""
    height, width = rgb.shape[:2]
    if seed[2] == 0:
        return _resized(rgb, segments, SIDE)
    random = np.random.default_rng(seed)
    tall, wide = (max(1, round(length * random.uniform(LEAST_CROP, 1))) for length in (height, width))
    top, left = int(random.integers(height - tall + 1)), int(random.integers(width - wide + 1))
    window = np.s_[top : top + tall, left : left + wide]
    pixels, numbers = _resized(rgb[window], segments[window], int(random.choice(SIDES)))
    if random.random() < 0.5:
        pixels, numbers = pixels[:, ::-1], numbers[:, ::-1]
    return _recoloured(pixels, random), np.ascontiguousarray(numbers)


def _resized(
    rgb: NDArray[np.uint8], segments: NDArray[np.int32], side: int
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    height, width = working_size(rgb.shape[0], rgb.shape[1], side)
    shrinks = height < rgb.shape[0]
    pixels = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    rows = ((np.arange(height // LABEL_STRIDE) + 0.5) * rgb.shape[0] * LABEL_STRIDE / height).astype(int)
    columns = ((np.arange(width // LABEL_STRIDE) + 0.5) * rgb.shape[1] * LABEL_STRIDE / width).astype(int)
    return np.asarray(pixels, np.uint8), np.ascontiguousarray(segments[rows][:, columns])


def _recoloured(rgb: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    pixels = rgb.astype(np.float32)
    if random.random() < 0.2:
        pixels = np.asarray(cv2.GaussianBlur(np.ascontiguousarray(pixels), (0, 0), random.uniform(0.5, 1.5)))
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + (pixels - grey) * random.uniform(0.5, 1.4)
    pixels = 127 + (pixels - 127) * random.uniform(0.75, 1.25) + random.uniform(-25, 25)
    pixels *= random.uniform(0.92, 1.08, size=3)  # white balance
    return np.ascontiguousarray(np.clip(pixels, 0, 255).astype(np.uint8))
