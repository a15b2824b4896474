"""BRISQUE: a no-reference score that was fitted to people's judgement (Mittal, Moorthy and Bovik, IEEE TIP 2012).

A support vector regression from the 36 features of natural_scenes.py to how much worse than the original people found
photos of the LIVE database that were blurred, noisy, or compressed by JPEG and JPEG 2000: 0 (as good as the original)
to 100, lower is better, a little beyond at both ends. The model is the one of the authors' C++ code, in the form in
which the package `brisque` 0.2.0 has it (`svm.txt` and the features' ranges), as safetensors: NOTICE.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from instructrestore.pretrained.installed import InstalledFile
from instructrestore.pretrained.natural_scenes import FEATURES, LEAST_SIDE, brightness, features

__all__ = ["LEAST_SIDE", "brisque", "brisque_of"]

REVISION = "2"  # raised when the same photo gets another value, here or in natural_scenes.py

MODEL = Path(__file__).parent / "brisque.safetensors"
SHA256 = "f4188351eb22bb492c1787a265fc80522e32a57f407d2ed126d92e7c82334026"
GAMMA = 0.05
RHO = -155.845


class _Model(NamedTuple):
    """support: (S, 36) scaled features of the support vectors; coefficients: (S,); lowest, highest: (36,), the ranges
    of the features, which are scaled to -1..1. All float64."""

    support: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]


def shipped() -> InstalledFile:
    """The model's file."""
    return InstalledFile("BRISQUE", MODEL, SHA256, "install instructrestore again", "LIVE's own (NOTICE)")


def brisque(rgb: NDArray[np.uint8]) -> float:
    """rgb: (H, W, 3) uint8 sRGB, sides at least 32, judged whole, as published. Lower is better, 0 to about 100."""
    return brisque_of([brightness(rgb)])


def brisque_of(planes: Iterable[NDArray[Any]]) -> float:
    """The same of parts of a photo that stand for it together: brightness (h, w) float32 in [0, 1], sides at least 32.

    Raises ValueError where the model's file is missing or damaged.
    """
    model = _model()
    x = 2 * (features(planes) - model.lowest) / (model.highest - model.lowest) - 1
    return float(np.exp(-GAMMA * np.square(model.support - x).sum(1)) @ model.coefficients - RHO)


def read_model(path: Path = MODEL) -> _Model:
    """Raises ValueError, in one sentence, where the file is not the one that ships."""
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != SHA256:
            raise ValueError(f"{path} is damaged: install the package again")
        model = _Model(**{name: values.astype(np.float64) for name, values in load(data).items()})
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): install the package again") from error
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: install the package again") from error
    assert model.support.shape == (len(model.coefficients), FEATURES)
    return model


@cache
def _model() -> _Model:
    return read_model()
