"""Osprey (Yuan et al., arXiv 2312.10032), the paper's describer, on current torch and transformers.

A region reaches its language model as two vectors, one for what the mask covers and one for where it is, in the middle
of a fixed prompt that also holds the photo's features:

    text | photo (1024 vectors) | text | region | place | text

The vectors come from Osprey's own code (CircleRadon/Osprey, seen at deb0e57), the description from transformers' plain
Llama over the same weights: Osprey's own `generate` was written for transformers 4.31 and fails on 5, and its `forward`
converts the model to bfloat16. All prompts have the same length, so that any regions of a photo can be processed
together without padding, and the photo is encoded once, where Osprey's code encodes it once per region.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig, LlamaForCausalLM

from instructrestore.dataengine.descriptions.osprey_settings import PROMPT, REVISION, STOP, OspreySettings
from instructrestore.dataengine.descriptions.osprey_weights import (
    find_tower,
    find_weights,
    import_code,
    load_model,
    load_tokenizer,
)
from instructrestore.dataengine.weights.model_weights import choose_device
from instructrestore.shards.rle import BoolArray

Levels = dict[str, Tensor]

SIDE = 512
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of CLIP, RGB


class OspreyDescriber:
    """Maps a photo, (H, W, 3) uint8 RGB upright sRGB, and masks, (H, W) bool each and iterated once, to Osprey's
    description of each region, in order; "" if it gives none.

    name: model, its revision and that of this file, for the record of every description.

    Raises ValueError, in one sentence, if Osprey's code or weights cannot be found or are incomplete, or the device is
    missing.
    """

    def __init__(self, settings: OspreySettings) -> None:
        self.settings = settings
        self.device = choose_device(settings.device, "Osprey", "descriptions.osprey.device")
        self.dtype = _dtype(settings.dtype, self.device)
        llama, texts, constants = import_code(settings.checkout)
        folder, weights = find_weights(settings.model, settings.revision)
        tower = find_tower(settings)
        self.name = f"osprey {REVISION} {weights}"
        self.model = load_model(llama, folder, tower, self.dtype).to(self.device)
        self.tokenizer = load_tokenizer(folder)
        self.text = _text(self.model, self.tokenizer, texts, constants)
        self.language_model: Any = _plain(self.model)  # the type of its `generate` does not fit
        # Greedy decoding; the model's own defaults (temperature and the like) are not used.
        self.generation = GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=settings.max_new_tokens,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.unk_token_id,  # as Osprey's demo sets it
        )

    @torch.inference_mode()
    def __call__(self, rgb: NDArray[np.uint8], masks: Iterable[BoolArray]) -> list[str]:
        assert rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.dtype == np.uint8, (rgb.shape, rgb.dtype)
        photo, levels = self.encode(rgb)
        said: list[str] = []
        for batch in _batches(masks, self.settings.batch):
            regions = torch.from_numpy(np.stack(batch)).to(self.device).float()
            said += [self.decode(tokens) for tokens in self.generate(self.embeddings(photo, levels, regions)).tolist()]
        return said

    def encode(self, rgb: NDArray[np.uint8]) -> tuple[Tensor, Levels]:
        """The photo's features for the language model, (1, 1024, D), and those of the tower's levels, from which the
        features of regions are taken: "res2" (1, 192, 128, 128) to "res5" (1, 1536, 16, 16)."""
        return self.model.encode_images(preprocess(rgb).to(self.device, self.dtype))

    def embeddings(self, photo: Tensor, levels: Levels, masks: Tensor) -> Tensor:
        """The prompts about some regions of a photo. masks: (n, H, W) float32, 0 or 1. Returns (n, L, D).

        The same as `prepare_inputs_labels_for_multimodal` (osprey/model/osprey_arch.py) for n samples of the photo,
        which would encode the photo n times.
        """
        (regions,), (places,) = self.model.mask_extractor(levels, [masks])  # (n, D) each
        before, between, after = self.text
        pieces = [before, photo, between, regions[:, None], places[:, None], after]
        return torch.cat([piece.to(self.dtype).expand(len(masks), -1, -1) for piece in pieces], dim=1)

    def generate(self, embeddings: Tensor) -> Tensor:
        """(n, L, D) -> the answers' tokens, (n, at most max_new_tokens) int64, padded after their end."""
        seen = torch.ones(embeddings.shape[:2], dtype=torch.int64, device=embeddings.device)
        return self.language_model.generate(
            inputs_embeds=embeddings, attention_mask=seen, generation_config=self.generation
        )

    def decode(self, tokens: list[int]) -> str:
        """An answer's tokens up to its end, as text."""
        ended = itertools.takewhile(lambda token: token != self.tokenizer.eos_token_id, tokens)
        return read_answer(str(self.tokenizer.decode(list(ended), skip_special_tokens=True)))


def read_answer(text: str) -> str:
    """The description in an answer, as Osprey's demo (demo/osprey_inference.py) extracts it: without the stop string
    and anything before a colon, and up to the first repeated sentence.

    A colon or full stop counts if a space follows it ("10:30" and "3.3" stay whole).
    """
    text = " ".join(text.split()).removesuffix(STOP).strip()
    before, colon, after = text.partition(": ")
    sentences: list[str] = []
    for sentence in (after if colon else before).split(". "):
        if sentence.removesuffix(".") in sentences:
            return ". ".join(sentences) + "."
        sentences.append(sentence)
    return ". ".join(sentences)


def preprocess(rgb: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, 512, 512) float32: the shorter side to 512 (bicubic, rounded to whole levels, as Pillow
    does), normalised by CLIP's mean and deviation, then stretched to a square (bilinear).

    This is what the demo does with transformers 4.31, whose processor used Pillow; that of 5 does not.
    """
    height, width = rgb.shape[:2]
    short, long = min(height, width), max(height, width)
    long = int(SIDE * long / short)
    size = (SIDE, long) if width <= height else (long, SIDE)
    resized = np.array(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))
    photo = torch.from_numpy(resized).permute(2, 0, 1).to(torch.float32) / 255  # (3, h, w)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return F.interpolate(((photo - mean) / std)[None], (SIDE, SIDE), mode="bilinear", align_corners=False)


def _batches(masks: Iterable[BoolArray], size: int) -> Iterator[list[BoolArray]]:
    left = iter(masks)
    while batch := list(itertools.islice(left, size)):
        yield batch


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return getattr(torch, name)


def _text(model: Any, tokenizer: Any, texts: ModuleType, constants: ModuleType) -> tuple[Tensor, Tensor, Tensor]:
    """The embedded text of the prompt before the photo, between photo and region, and after it: (1, l, D) each."""
    tokens = torch.tensor(texts.tokenizer_image_token(PROMPT, tokenizer))
    photo = int(torch.argwhere(tokens == constants.IMAGE_TOKEN_INDEX).item())
    region = int(torch.argwhere(tokens == tokenizer.convert_tokens_to_ids("<mask>")).item())
    assert tokens[region + 1] == tokenizer.convert_tokens_to_ids("<pos>"), tokens
    embed = model.get_input_embeddings()
    with torch.inference_mode():
        before, between, after = (
            embed(part[None].to(model.device))
            for part in (tokens[:photo], tokens[photo + 1 : region], tokens[region + 2 :])
        )
    return before, between, after


def _plain(model: Any) -> LlamaForCausalLM:
    """transformers' own Llama with the same layers."""
    with torch.device("meta"):
        plain = LlamaForCausalLM(model.config)
    plain.model, plain.lm_head = model.model, model.lm_head
    return plain.eval()
