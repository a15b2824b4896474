"""SAM 2.1 (Ravi et al., arXiv 2408.00714) through transformers: a grid of points, the masks they give, the coarse ones.

It replaces Semantic-SAM, which the paper asks for whole things and stuff at a coarse level. SAM 2 has no levels: every
point gives three masks, from a part to the whole, and of nested masks the largest is kept (`cleanup.py`).

The photo is encoded once. Masks are filtered and compared with each other at the decoder's own size, 256x256 for the
released weights; only the remaining ones are enlarged to the photo's size, one at a time. Until then the logits of the
masks that pass the thresholds are held, 256 KiB each: at most 0.8 GB for 32 points a side and three masks a point.

Inputs and outputs match those of transformers' processor, which is not used because it needs torchvision: the pixels
follow `Sam2ImageProcessor` (models/sam2/image_processing_sam2.py, image_processing_backends.py), the points
`Sam2Processor._normalize_coordinates` (models/sam2/processing_sam2.py), the upscaling its `post_process_masks`. Its
`generate_crop_boxes` is not followed: it scales points by the photo's longer side, as for SAM 1, although the photo is
stretched to a square, and so leaves a strip of every photo that is not square without points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import Sam2Model

from instructrestore.dataengine.masks.cleanup import CleanupSettings, clean
from instructrestore.dataengine.masks.sam2_settings import REVISION, Sam2Settings
from instructrestore.dataengine.weights.model_weights import choose_device, explaining, find_folder, load, require_whole
from instructrestore.shards.rle import BoolArray

FILES = ["config.json", "model*.safetensors*"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB
STABILITY_OFFSET = 1.0  # in logits

LOW_PREDICTED_IOU = "low predicted IoU"
UNSTABLE = "unstable"
DUPLICATE = "duplicate"


class Sam2Segmenter:
    """Maps a photo, (H, W, 3) uint8 RGB upright sRGB, to its coarse masks, (H, W) bool each, enlarged one at a time,
    and the number of the points' masks that were removed, by reason.

    name: model, its revision and that of this file, for the record of every mask.
    cleanup: decides at low resolution which masks are too small, too large, duplicates or parts of another.

    Raises ValueError, in one sentence, if the weights cannot be found or are incomplete, or the device is missing.
    """

    def __init__(self, settings: Sam2Settings, cleanup: CleanupSettings) -> None:
        self.settings = settings
        self.cleanup = cleanup
        self.device = choose_device(settings.device, "SAM 2", "masks.sam2.device")
        what = f"the SAM 2 weights {settings.model}"
        folder, weights = find_folder(settings.model, settings.revision, FILES, what)
        self.name = f"sam2 {REVISION} {weights}"
        self.model = _load(folder, self.device)
        side = self.model.prompt_encoder.input_image_size
        assert isinstance(side, int), side
        self.side = side

    @torch.inference_mode()
    def __call__(self, rgb: NDArray[np.uint8]) -> tuple[Iterator[BoolArray], Counter[str]]:
        assert rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.dtype == np.uint8, (rgb.shape, rgb.dtype)
        logits, scores, counts = self._candidates(rgb)
        order = torch.sort(scores, descending=True, stable=True).indices
        best = order[unlike((logits > 0)[order], self.settings.duplicate_iou)]
        counts[DUPLICATE] += len(order) - len(best)
        coarse = clean(((logits[index] > 0).cpu().numpy() for index in best), self.cleanup)
        counts.update(coarse.masks_removed)
        kept = logits[best[coarse.indices]]
        return (upscale(each, rgb.shape[0], rgb.shape[1]) for each in kept), +counts

    def _candidates(self, rgb: NDArray[np.uint8]) -> tuple[Tensor, Tensor, Counter[str]]:
        """The masks that are good and stable enough: logits (M, h, w), predicted IoU (M,) float32."""
        counts: Counter[str] = Counter()
        logits, scores = [], []
        for masks, ious in self._predictions(rgb):
            good = ious > self.settings.predicted_iou
            masks, ious = masks[good], ious[good]
            stable = stability(masks) >= self.settings.stability
            counts[LOW_PREDICTED_IOU] += int((~good).sum())
            counts[UNSTABLE] += int((~stable).sum())
            logits.append(masks[stable])
            scores.append(ious[stable])
        return torch.cat(logits), torch.cat(scores), counts

    def _predictions(self, rgb: NDArray[np.uint8]) -> Iterator[tuple[Tensor, Tensor]]:
        """By batches of P points: mask logits (3 P, h, w) and predicted IoU (3 P,), float32."""
        pixels = preprocess(rgb, self.side, self.device)
        # Autocast would round the points' positions to 8 bits as well, so only the image is encoded in it.
        reduced = self.settings.dtype == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=reduced):
            encoded = self.model.get_image_embeddings(pixels)
        encoded = [level.float() for level in encoded]
        points = grid(self.settings.points_per_side, self.side).to(self.device)
        for batch in points.split(self.settings.points_per_batch):
            answer = self.model(image_embeddings=encoded, input_points=batch[None, :, None])  # (1, P, 1, 2)
            yield answer.pred_masks.flatten(0, 2), answer.iou_scores.flatten()


def preprocess(rgb: NDArray[np.uint8], side: int, device: torch.device) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, side, side) float32: stretched to a square, bilinear with antialiasing, rounded to
    whole levels as the processor does on a CPU, and normalised by ImageNet's mean and deviation."""
    photo = torch.from_numpy(np.array(rgb.transpose(2, 0, 1), order="C"))[None]  # (1, 3, H, W)
    if photo.shape[-2:] != (side, side):
        photo = F.interpolate(photo, (side, side), mode="bilinear", align_corners=False, antialias=True)
    mean, std = (255 * torch.tensor(values, device=device).view(3, 1, 1) for values in (MEAN, STD))
    return (photo.to(device).float() - mean) / std


def grid(points_per_side: int, side: int) -> Tensor:
    """The centres of equal cells, row by row, as (x, y) in pixels of the square that the photo is stretched to:
    (points_per_side^2, 2) float32. The grid is stretched with the photo."""
    middles = (torch.arange(points_per_side) + 0.5) / points_per_side * side
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def stability(logits: Tensor) -> Tensor:
    """(M, h, w) -> (M,) float32: the area at the threshold +1 over that at -1, which contains it; 0 for no area."""
    core = (logits > STABILITY_OFFSET).flatten(1).sum(dim=1)
    reach = (logits > -STABILITY_OFFSET).flatten(1).sum(dim=1)
    return core / reach.clamp(min=1)


def unlike(masks: Tensor, most_iou: float) -> Tensor:
    """Mask-IoU suppression: the indices of the masks that have no IoU above `most_iou` with one kept before them.

    masks: (M, h, w) bool, the best first. Returns ascending int64 indices on the same device.
    """
    flat = masks.flatten(1)
    areas = flat.sum(dim=1)
    alive = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    for index in range(len(flat)):
        if not alive[index]:
            continue
        # The IoU of two masks is at most the ratio of their areas, so most pairs need not be compared.
        near = torch.minimum(areas, areas[index]) > most_iou * torch.maximum(areas, areas[index])
        near[: index + 1] = False
        others = (near & alive).nonzero().flatten()
        common = (flat[others] & flat[index]).sum(dim=1)
        alive[others[common / (areas[others] + areas[index] - common) > most_iou]] = False
    return alive.nonzero().flatten()


@torch.inference_mode()
def upscale(logits: Tensor, height: int, width: int) -> BoolArray:
    """(h, w) logits over the stretched photo -> the mask at the photo's own size, (height, width) bool."""
    large = F.interpolate(logits[None, None], (height, width), mode="bilinear", align_corners=False)
    return (large[0, 0] > 0).cpu().numpy()


def _load(folder: Path, device: torch.device) -> Sam2Model:
    """The model, with every weight from the folder."""
    with explaining(
        f"{folder} does not hold the SAM 2 weights that its config.json describes, as safetensors: fetch or save them "
        "again"
    ):
        model, missing = load(Sam2Model, folder)
    require_whole(missing, folder, "SAM 2")
    return model.to(device).eval()
