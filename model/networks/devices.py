"""Where and in which precision the networks compute."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import torch
import torch.nn.functional as F

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# A convolution as in the small model's training, and how often it is timed.
CHANNELS, CELLS, CROPS, TIMES = 64, 32, 4, 3


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


def gain_of_bfloat16(device: torch.device) -> float:
    """How many times as fast as in float32 a convolution and its gradients are on a device in bfloat16.

    A processor without instructions for bfloat16 emulates it, many times slower; with them it is 2 and more.
    """
    seconds = {dtype: _seconds_of_a_convolution(device, dtype) for dtype in (torch.float32, torch.bfloat16)}
    return seconds[torch.float32] / seconds[torch.bfloat16]


def _seconds_of_a_convolution(device: torch.device, dtype: torch.dtype) -> float:
    maps = torch.ones(CROPS, CHANNELS, CELLS, CELLS, device=device, requires_grad=True)
    kernels = torch.ones(CHANNELS, CHANNELS, 3, 3, device=device, requires_grad=True)
    taken = []
    for _ in range(TIMES + 1):
        begin = time.perf_counter()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            result = F.conv2d(maps, kernels, padding=1)
        result.float().sum().backward()
        if device.type != "cpu":
            kernels.grad.sum().item()  # pyright: ignore[reportOptionalMemberAccess]  # waits for the device
        taken.append(time.perf_counter() - begin)
    return median(taken[1:])  # the first prepares
