"""Super-resolution networks that take one pass, above all Real-ESRGAN's, through spandrel (extra `compare`).

spandrel knows the published networks by the names of their weights: ESRGAN and Real-ESRGAN (RRDBNet), BSRGAN, SwinIR,
HAT and others. Real-ESRGAN: Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic
Data", 2021; code and weights BSD-3-Clause, https://github.com/xinntao/Real-ESRGAN.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from instructrestore.model.networks.weight_files import read_pickled, readable
from instructrestore.pipelines.evaluation.methods.photos import PhotoArray, restored, shrunk
from instructrestore.pipelines.evaluation.methods.spec import COMPARE_EXTRA, MethodSpec
from instructrestore.shards.errors import first_line

# spandrel's names of RRDBNet and of the smaller network of realesr-general-x4v3.
REAL_ESRGAN = ("ESRGAN", "Compact")
MAX_SCALE = 4  # a network for x8 would see less than what the degradation left


class OnePassNetwork:
    """A network that restores a photo in one pass; nothing in it is random, so seeds have no effect.

    The photo is shrunk by the network's scale (`photos.shrunk`) and enlarged by it, in float32, to its size.
    """

    def __init__(self, run: MethodSpec, device: torch.device) -> None:
        """run: its place is a .safetensors file, or a .pth that holds nothing but tensors; under the name real-esrgan,
        no other network is accepted.

        Raises ValueError, in one sentence, if spandrel is not installed or the file does not hold such a network.
        """
        run.check()
        spandrel = _spandrel(run.name)
        file = Path(run.place or "").expanduser()
        state = read_state(file)
        try:
            found = spandrel.ModelLoader().load_from_state_dict(spandrel.canonicalize_state_dict(state))
        except spandrel.UnsupportedModelError:
            raise ValueError(
                f"{file} does not hold the weights of a network that spandrel {spandrel.__version__} knows"
            ) from None
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError, AssertionError) as fault:
            raise ValueError(f"the weights in {file} are incomplete: fetch them again ({first_line(fault)})") from fault
        _check(found, spandrel, file, run.name == "real-esrgan")
        self.scale: int = found.scale
        self._network = found.to(device).eval()
        self._device = device

    def __call__(self, lq: Sequence[PhotoArray], seeds: Sequence[int]) -> list[PhotoArray]:
        assert len(lq) == len(seeds)
        # One at a time: spandrel takes single photos, and results do not depend on the batch.
        return [self._restore(photo) for photo in lq]

    def _restore(self, photo: PhotoArray) -> PhotoArray:
        small = shrunk(photo, self.scale)
        return restored(self._network(small.to(self._device)).cpu(), photo)


def _spandrel(name: str) -> Any:
    try:
        import spandrel  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch is a RuntimeError
        raise ValueError(
            f"--run {name} needs spandrel: {COMPARE_EXTRA}, and torchvision in the build for the torch that is "
            f"installed ({type(error).__name__}: {first_line(error)})"
        ) from None
    return spandrel


def read_state(file: Path) -> dict[str, Any]:
    """The tensors of a file by name, possibly nested under one key as training code saves them.

    A .pth is a pickle, read so that none of its code runs (`weight_files.read_pickled`). Raises ValueError, in one
    sentence, if the file holds no tensors.
    """
    if file.suffix not in (".safetensors", ".pth"):
        raise ValueError(f"{file} is neither .safetensors nor .pth: name a network's weights in one of these formats")
    if file.suffix == ".pth":
        state = read_pickled(file, "fetch it again, or name a file with a network's weights alone")
    else:
        with readable(file):
            state = load_file(file)
    if not isinstance(state, dict) or not _tensors(state):
        raise ValueError(f"there are no named tensors in {file}: name a network's weights")
    return state


def _tensors(state: dict[Any, Any]) -> bool:
    """Whether it, or a dictionary in it, holds named tensors."""
    inner = (value for value in state.values() if isinstance(value, dict))
    return any(
        each and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in each.items())
        for each in (state, *inner)
    )


def _check(found: Any, spandrel: Any, file: Path, real_esrgan: bool) -> None:
    """Raises ValueError, in one sentence, unless the network can restore these photos."""
    name = found.architecture.name
    if real_esrgan and found.architecture.id not in REAL_ESRGAN:
        raise ValueError(f"{file} holds {name} and not Real-ESRGAN: name it with --run network={file.name}")
    if not isinstance(found, spandrel.ImageModelDescriptor) or found.purpose == "FaceSR":
        raise ValueError(f"{file} holds {name}, which does not restore whole photos: name another network")
    if (found.input_channels, found.output_channels) != (3, 3):
        raise ValueError(f"{file} holds a network for photos that are not RGB: name another network")
    if found.scale > MAX_SCALE:
        raise ValueError(f"{file} holds a network for x{found.scale}; LQ photos are enlarged by x{MAX_SCALE} at most")
