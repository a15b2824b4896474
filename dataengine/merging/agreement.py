"""How well a region's caption fits its pixels: CLIP (Radford et al., arXiv 2103.00020) through transformers.

The score is the CLIPScore of Hessel et al. (arXiv 2104.08718, equation 1) with the weight 100 that torchmetrics gives
it instead of the paper's 2.5: 100 max(cos(image, text), 0), the text being "A photo depicts" and the caption, as there.
So it is in 0..100, although even the pairs that CLIP was trained on rarely reach 40.

A region is shown as a square around it with some of its surroundings, everything outside its mask blurred. Of the
ways to point a CLIP that was not trained for it at a part of a photo, Yang et al. (Fine-Grained Visual Prompting,
arXiv 2306.04356) found this the best, ahead of boxes, circles (Shtedritski et al., arXiv 2304.06712) and masked or
plain crops: the surroundings of a thing help to tell what it is, but their details distract. A uniform colour around
the region is something CLIP has never seen (Liang et al., arXiv 2210.04150, had to train it on such pictures), and
Alpha-CLIP (Sun et al., arXiv 2312.03818) needs weights of its own. They show the whole photo; here the box is cut out
first, because a region of one percent of the photo would be only 22 of CLIP's 224 pixels wide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from instructrestore.dataengine.merging.agreement_settings import REVISION, AgreementSettings
from instructrestore.dataengine.merging.scored_regions import judged
from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.running.stage import Drop
from instructrestore.dataengine.weights.model_weights import choose_device, explaining, find_folder, load, require_whole
from instructrestore.shards.rle import BoolArray

FILES = ("config.json", "model*.safetensors*")
TOKENIZER = ("tokenizer*.json", "vocab.json", "merges.txt", "special_tokens_map.json")

PROMPT = "A photo depicts {}"
MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training pictures, RGB
STD = (0.26862954, 0.26130258, 0.27577711)
MARGIN = 0.15  # around the region's box, as a share of its longer side
BLUR = 1 / 16  # sigma of the blur outside the region, as a share of the side: shapes and colours stay visible

RGB = NDArray[np.uint8]


class CaptionAgreement:
    """The stage: scores every region and drops those below the threshold, and photos with no region left.

    name: model, its revision and that of this file, for the record of every region.

    Raises ValueError, in one sentence, if the weights cannot be found or are incomplete, or the device is missing.
    """

    def __init__(self, settings: AgreementSettings) -> None:
        self.settings = settings
        self.device = choose_device(settings.device, "CLIP", "agreement.device")
        what = f"the CLIP weights {settings.model}"
        folder, weights = find_folder(settings.model, settings.revision, [*FILES, *TOKENIZER], what)
        self.name = f"clip {REVISION} {weights}"
        self.model, self.tokenizer = _load(folder, self.device)
        config: Any = self.model.config
        self.side: int = config.vision_config.image_size
        self.tokens: int = config.text_config.max_position_embeddings

    def __call__(self, rows: Sequence[Row]) -> list[Row | Drop]:
        return [self._judge(row) for row in rows]

    def _judge(self, row: Row) -> Row | Drop:
        masks = (region.mask.array() for region in row.regions)  # one at a time: each is as large as the photo
        scores = self.scores(photo_file.load(row), zip(masks, (region.caption for region in row.regions), strict=True))
        return judged(row, scores, self.name, self.settings.threshold)

    @torch.inference_mode()
    def scores(self, rgb: RGB, regions: Iterable[tuple[BoolArray, str]]) -> list[float]:
        """Scores, 0..100, of a photo's regions. rgb: (H, W, 3) uint8 sRGB. regions: (H, W) bool, none empty, and the
        caption of each; iterated once."""
        found: list[float] = []
        waiting = iter(regions)
        while batch := list(islice(waiting, self.settings.regions_per_batch)):
            pictures = np.stack([picture(rgb, mask, self.side) for mask, _ in batch])
            images = self.image_embeddings(pictures)
            texts = self.text_embeddings([caption for _, caption in batch])
            found += (100 * (images * texts).sum(dim=1)).clamp(0, 100).tolist()
        return found

    def image_embeddings(self, pictures: RGB) -> Tensor:
        """(N, side, side, 3) uint8 -> (N, D) float32 of length 1."""
        pixels = preprocess(pictures).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.dtype == "bfloat16"):
            features = self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)
        return F.normalize(features.float(), dim=1)

    def text_embeddings(self, captions: Sequence[str]) -> Tensor:
        """Captions -> (N, D) float32 of length 1. Padding has no effect: the text encoder is causal."""
        encoded = self.tokenizer(
            [PROMPT.format(caption) for caption in captions],
            padding="longest",
            truncation=True,
            max_length=self.tokens,
            return_tensors="pt",
        ).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.dtype == "bfloat16"):
            output = self.model.text_model(input_ids=encoded.input_ids, attention_mask=encoded.attention_mask)
            features = self.model.text_projection(output.pooler_output)
        return F.normalize(features.float(), dim=1)


def picture(rgb: RGB, mask: BoolArray, side: int) -> RGB:
    """What the model is shown of a region: (side, side, 3) uint8.

    A square around the mask with its margin, scaled to `side` pixels. If the photo is too narrow for that, it is in the
    middle and the rest has CLIP's mean colour, which the model sees as zeros.
    """
    assert mask.shape == rgb.shape[:2] and mask.any(), (mask.shape, rgb.shape)
    left, top, right, bottom = _box(mask)
    near = Image.fromarray(np.ascontiguousarray(rgb[top:bottom, left:right]))
    scale = side / max(near.size)
    width, height = (max(1, round(edge * scale)) for edge in near.size)
    shown = np.asarray(near.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    covered = np.ascontiguousarray(mask[top:bottom, left:right]).view(np.uint8) * np.uint8(255)
    inside = np.asarray(cv2.resize(covered, (width, height), interpolation=cv2.INTER_AREA), np.float32)[..., None] / 255
    blurred = np.asarray(cv2.GaussianBlur(shown, (0, 0), BLUR * side), np.float32)
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[:] = np.round(255 * np.array(MEAN))
    row, column = (side - height) // 2, (side - width) // 2
    canvas[row : row + height, column : column + width] = np.round(inside * shown + (1 - inside) * blurred)
    return canvas


def preprocess(pictures: RGB) -> Tensor:
    """(N, side, side, 3) uint8 -> (N, 3, side, side) float32: what transformers' CLIPImageProcessor does after
    resizing, which it and `picture` do by Pillow's bicubic filter."""
    pixels = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (pixels - mean) / std


def _box(mask: BoolArray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom (excluded) of a square around the mask with its margin, clipped to the photo."""
    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    side = max(width, height) + 2 * round(MARGIN * max(width, height))
    first, last = _span(left, width, side, mask.shape[1])
    above, below = _span(top, height, side, mask.shape[0])
    return first, above, last, below


def _span(start: int, length: int, wanted: int, whole: int) -> tuple[int, int]:
    """The interval of the wanted length within 0..whole, or all of it, that has the given one nearest its middle."""
    reach = min(wanted, whole)
    first = min(max(0, start + (length - reach) // 2), whole - reach)
    return first, first + reach


def _load(folder: Path, device: torch.device) -> tuple[CLIPModel, CLIPTokenizer]:
    """The model, with every weight from the folder, and its tokenizer."""
    with explaining(
        f"{folder} does not hold a CLIP model as its config.json describes it, as safetensors with its tokenizer: "
        "fetch or save it again"
    ):
        model, missing = load(CLIPModel, folder)
        tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    require_whole(missing, folder, "CLIP")
    known = model.config.text_config.vocab_size
    if len(tokenizer) != known:  # without its files, transformers makes an almost empty one
        raise ValueError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens and its model {known}: they do not belong together"
        )
    return model.to(device).eval(), tokenizer
