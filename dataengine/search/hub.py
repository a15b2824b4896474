"""Vectors of pictures by a model from the hub: SigLIP or CLIP, which know texts too, or DINOv2.

A region is shown as it is to CLIP in `merging/agreement.py`: a square around it with some of its surroundings, which
are blurred. A photo is shown whole. Pixels are prepared here and not by the model's own processor, which may need
torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoTokenizer, CLIPModel, Dinov2Model, SiglipModel

from instructrestore.dataengine.merging.agreement import MEAN, STD, picture
from instructrestore.dataengine.search.pictures import decoded
from instructrestore.dataengine.search.quiet import quiet
from instructrestore.dataengine.search.space import Vectors, checked_query, of_length_1
from instructrestore.dataengine.weights.model_weights import choose_device, explaining, find_folder, load, require_whole
from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import AnnotatedPhoto

REVISION = "1"  # raised when the same photo and weights give other vectors
BATCH = 16  # pictures that go through the network together
FILES = ("config.json", "model*.safetensors*", "tokenizer*", "special_tokens_map.json", "vocab.json", "merges.txt")
HALF = (0.5, 0.5, 0.5)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DINO_SIDE = 224  # px; a multiple of its patches of 14
# By config.json's model_type: the class, mean and deviation of its pixels, and what its texts are padded to.
KNOWN: dict[str, tuple[Any, tuple[Any, Any], str]] = {
    "siglip": (SiglipModel, (HALF, HALF), "max_length"),
    "clip": (CLIPModel, (MEAN, STD), "longest"),
    "dinov2": (Dinov2Model, IMAGENET, ""),
}


class HubSpace:
    """model: a hub id or a folder. Raises ValueError, in one sentence, for weights that are missing, incomplete or of a
    model that is not known here."""

    kind = "pictures"

    def __init__(self, model: str, revision: str = "main", device: str = "auto") -> None:
        self._device = choose_device(device, model, "the device")
        folder, self.model = find_folder(model, revision, list(FILES), f"the weights {model}")
        self.revision = REVISION
        with quiet(), explaining(f"{folder} does not hold a model as its config.json describes it, as safetensors"):
            config: Any = AutoConfig.from_pretrained(str(folder), local_files_only=True)
            if config.model_type not in KNOWN:
                raise ValueError(f"it is a {config.model_type}; those known are {', '.join(KNOWN)}")
            kind, (mean, std), self._padding = KNOWN[config.model_type]
            self._model, missing = load(kind, folder)
            self._tokenizer = (
                AutoTokenizer.from_pretrained(str(folder), local_files_only=True) if self._padding else None
            )
        require_whole(missing, folder, config.model_type)
        self._model = self._model.to(self._device).eval()
        self._mean, self._std = (torch.tensor(each).view(3, 1, 1) for each in (mean, std))
        self._side = config.vision_config.image_size if self._padding else DINO_SIDE
        self._tokens = config.text_config.max_position_embeddings if self._padding else 0
        self.dimension = int(self._pictures(np.zeros((1, self._side, self._side, 3), np.uint8)).shape[1])

    def photos(self, dataset: Dataset, rows: Sequence[int], lost: list[str]) -> list[tuple[int, Vectors]]:
        return [(row, self._seen(sample, rgb)) for row, sample, rgb in decoded(dataset, rows, lost)]

    @torch.inference_mode()
    def text(self, query: str) -> Vectors:
        if self._tokenizer is None:
            raise ValueError(f"{self.model} knows pictures and no texts: search by captions, or by a SigLIP or CLIP")
        tokens = self._tokenizer(
            [checked_query(query)],
            padding=self._padding,
            truncation=True,
            max_length=self._tokens,
            return_tensors="pt",
        ).to(self._device)
        return self._vectors(self._model.get_text_features(input_ids=tokens["input_ids"]))[0]

    def _seen(self, sample: AnnotatedPhoto, rgb: NDArray[np.uint8]) -> Vectors:
        whole = np.ones(rgb.shape[:2], bool)
        masks = (whole, *(region.mask.array() for region in sample.regions))
        shown = np.stack([picture(rgb, mask if mask.any() else whole, self._side) for mask in masks])
        return np.concatenate([self._pictures(shown[start : start + BATCH]) for start in range(0, len(shown), BATCH)])

    @torch.inference_mode()
    def _pictures(self, shown: NDArray[np.uint8]) -> Vectors:
        """(N, side, side, 3) uint8 -> (N, D) float32 of length 1."""
        pixels = (torch.from_numpy(shown.transpose(0, 3, 1, 2).copy()).float() / 255 - self._mean) / self._std
        pixels = pixels.to(self._device)
        if self._tokenizer is None:
            return self._vectors(self._model(pixel_values=pixels).pooler_output)
        return self._vectors(self._model.get_image_features(pixel_values=pixels))

    def _vectors(self, features: Any) -> Vectors:
        # transformers 5 gives the whole output of the encoder, whose pooled part is the features.
        tensor = features if isinstance(features, torch.Tensor) else features.pooler_output
        return of_length_1(tensor.float().cpu().numpy())
