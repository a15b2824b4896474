"""A sentence encoder in the place of CLIP's text encoder: words that mean the same have states that are alike."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedModel,  # noqa: F401 (diffusers' loading looks for it in this module)
)


class SentenceEncoder(BertModel):
    """A BERT, such as all-MiniLM-L6-v2, called as CLIP's text encoder is."""

    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"pooler\."]

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, add_pooling_layer=False)

    def forward(self, input_ids: Tensor) -> tuple[Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """input_ids (B, T), padded -> the last hidden states (B, T, D), 0 for the padding."""
        read = (input_ids != self.config.pad_token_id).long()
        output: Any = super().forward(input_ids=input_ids, attention_mask=read)
        states: Tensor = output.last_hidden_state
        return (states * read[..., None].to(states.dtype),)
