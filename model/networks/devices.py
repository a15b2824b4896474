"""Where and in which precision the networks compute."""

from __future__ import annotations

from collections.abc import Sequence

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def find_dtype(name: str) -> torch.dtype:
    """The dtype of one of the names in `DTYPES`. Raises ValueError for another name."""
    if name not in DTYPES:
        raise ValueError(f"unknown dtype {name!r}: choose one of {', '.join(DTYPES)}")
    return DTYPES[name]


def find_device(name: str | None, automatic: Sequence[str] = ("cuda", "mps")) -> torch.device:
    """The device of that name, as torch spells it; for None the first available one of `automatic`, else the CPU.

    Raises ValueError for a name that torch does not know and for a device that this machine does not have.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name is None:
        name = next((kind for kind in automatic if available[kind]), "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}: name one such as cpu, cuda, cuda:1 or mps") from error
    if (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not available["mps"]
    ):
        raise ValueError(f"there is no device {name} here: leave it out, or take cpu")
    return device
