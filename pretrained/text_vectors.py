"""Words as vectors: all-MiniLM-L6-v2, in which "puppy" is near "dog"."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from instructrestore.pretrained import installed


class TextEncoder:
    """Raises ValueError where the package with the weights is not installed, or they cannot be read."""

    def __init__(self) -> None:
        folder = installed.sentences().checked().parent
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
        except (OSError, ValueError, RuntimeError) as error:
            raise ValueError(f"the text vectors cannot be read from {folder}; install its package again") from error

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(texts, 384) float32 of length 1: the mean of the tokens' vectors, normalised."""
        tokens = self._tokenizer(list(texts), padding=True, truncation=True, max_length=64, return_tensors="pt")
        states = self._model(**tokens).last_hidden_state  # (B, T, 384)
        counted = tokens["attention_mask"][..., None].float()
        mean = (states * counted).sum(1) / counted.sum(1)
        return torch.nn.functional.normalize(mean, dim=1).clone()
