"""Where a photo's crop lies: around the region, as far as the photo's edges allow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

REGION_SHARE = 0.75  # of the crop's side, taken by a region that was too large for the crop before scaling


@dataclass(frozen=True)
class CropBox:
    """A square in a photo that is scaled first.

    scale: of the photo; 1: unscaled. width, height: of the whole photo at that scale, px.
    left, top: the square's corner in it. size: the square's side.
    """

    scale: float
    width: int
    height: int
    left: int
    top: int
    size: int

    def cut(self, pixels: NDArray[np.uint8], resample: Image.Resampling) -> NDArray[np.uint8]:
        """The square of a photo (H, W, 3) or of a mask (H, W), uint8."""
        if (pixels.shape[1], pixels.shape[0]) != (self.width, self.height):
            pixels = np.asarray(Image.fromarray(pixels).resize((self.width, self.height), resample))
        return np.ascontiguousarray(pixels[self.top : self.top + self.size, self.left : self.left + self.size])

    def cut_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The square of a mask (H, W). In a scaled mask a pixel is set if at least half of it was."""
        return self.cut(mask.astype(np.uint8) * 255, Image.Resampling.BOX) >= 128


def place_crop(
    box: tuple[int, int, int, int], width: int, height: int, size: int, scalable: bool = True, step: int = 1
) -> CropBox | None:
    """The crop around a region of a photo; None if the photo is smaller than the crop.

    box: the region's bounding box, XYWH in px. scalable: a photo whose region is larger than the crop is shrunk until
    the region takes three quarters of the crop's side, or as far as the photo's shorter side allows.
    step: left and top are multiples of it, so that a smaller LQ photo is cut between pixels.
    """
    if min(width, height) < size:
        return None
    scale = 1.0
    if scalable and max(box[2:]) > size:
        scale = max(REGION_SHARE * size / max(box[2:]), size / min(width, height))
    scaled = [max(size, round(side * scale)) for side in (width, height)]
    corner = []
    for start, extent, before, side in zip(box[:2], box[2:], (width, height), scaled, strict=True):
        middle = (start + extent / 2) * side / before
        corner.append(min(max(round(middle - size / 2), 0), side - size) // step * step)
    return CropBox(scale, scaled[0], scaled[1], corner[0], corner[1], size)
