"""The texts of an instruction as the networks read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from instructrestore.model.instruction.instruction import Instruction, control_text, unet_text
from instructrestore.model.networks.sentence_encoder import SentenceEncoder

TextEncoderModel = CLIPTextModel | SentenceEncoder


@dataclass(frozen=True)
class Texts:
    """The texts of an instruction for both networks (see model.instruction.instruction).

    bokeh_control_text: what the checkpoint was trained with. demo: as the release's demo puts them.
    """

    instruction: Instruction
    bokeh_control_text: str
    demo: bool = False

    def control(self, region: int) -> str:
        """The ControlNet's text for a region."""
        caption, bokeh = self.instruction.captions[region], self.instruction.bokeh
        if self.demo:
            return control_text(unet_text([caption], bokeh), False)
        return control_text(caption, bokeh, self.bokeh_control_text)

    def unet(self, regions: Sequence[int]) -> str:
        """The UNet's text where these regions are; empty where there is none."""
        return unet_text([self.instruction.captions[region] for region in regions], self.instruction.bokeh)

    def all(self) -> list[str]:
        """Every text but those of tiles."""
        regions = range(len(self.instruction.regions))
        return [self.unet(regions), *(self.control(region) for region in regions)]


def cut_texts(tokenizer: PreTrainedTokenizerBase, texts: Texts) -> list[str]:
    """A sentence for every text that the text encoder does not read to its end."""
    reports, limit = [], tokenizer.model_max_length
    for text in dict.fromkeys(texts.all()):
        tokens = tokenizer(text).input_ids
        if len(tokens) > limit:
            unread = tokenizer.decode(tokens[limit - 1 : -1])
            reports.append(f"a text of {len(tokens)} tokens is cut at {limit}; not read: {unread!r}")
    return reports


def encode_texts(
    tokenizer: PreTrainedTokenizerBase,
    encoder: TextEncoderModel,
    texts: Sequence[str],
    device: torch.device | str,
) -> Tensor:
    """The last hidden states, (B, T, D), of texts that are cut at the tokenizer's T tokens (CLIP: 77)."""
    limit = tokenizer.model_max_length
    tokens = tokenizer(list(texts), padding="max_length", max_length=limit, truncation=True, return_tensors="pt")
    return encoder(tokens.input_ids.to(device))[0]


class TextStates:
    """Texts to their last hidden states after the final norm, (T, D) each (CLIP: T = 77), each encoded once."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, encoder: TextEncoderModel, device: torch.device | str
    ) -> None:
        self._tokenizer, self._encoder, self._device = tokenizer, encoder, device
        self._known: dict[str, Tensor] = {}

    def __call__(self, texts: Iterable[str]) -> dict[str, Tensor]:
        if new := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known |= zip(new, encode_texts(self._tokenizer, self._encoder, new, self._device), strict=True)
        return self._known
