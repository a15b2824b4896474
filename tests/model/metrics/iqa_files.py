"""Files of weights for the learned metrics, the settings that name their folder, and faults of one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from instructrestore.model.metrics.settings import MetricSettings


def settings(weights: Path | str, **others: Any) -> MetricSettings:
    return MetricSettings(iqa_weights=str(weights), **{"device": "cpu", **others})


def save(file: Path, state: Any) -> None:
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)


def sentence(error: pytest.ExceptionInfo[ValueError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)
