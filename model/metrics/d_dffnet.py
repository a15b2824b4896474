"""D-DFFNet (Jin et al., Depth and DOF Cues Make A Better Defocus Blur Detector, ICME 2023), by its own code.

It is no package: its code is a git checkout that the settings name, which runs here: that the user configured it is the
consent. Its modules are called `model.ours...`, a name that anybody's module may have: they are imported under it from
the checkout alone, and taken out of `sys.modules` again.

All is done as its test.py and test_iou.py do it: the photo in 8 bits is scaled to 320x320 pixels (bilinear,
antialiased) and normalised as for ImageNet; where the sigmoid of the answer, brought to the photo's size by nearest
neighbours, is above a half, the photo is in focus, and the rest is blurred. The network is that of test.py, for the one
that test_iou.py builds lacks layers that the trained weights have. The depth model that it learnt from is not needed,
and what its constructor would download, the trained weights replace.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.model.networks.weight_files import read_pickled
from instructrestore.shards.errors import first_line

PROJECT = "yuxinjin-whu/D-DFFNet"
PACKAGE = "model.ours"  # the name under which the checkout's modules import one another
NETWORK = "PDnet_ResNest_4F_SL_LA"
SIDE = 320
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DDFFNet:
    """Called with photos, it tells where they are blurred; see `model.metrics.blur.BlurDetector`.

    Raises ValueError, in one sentence, where the checkout, the weights, a package or the device is not as it must be.
    """

    def __init__(self, settings: MetricSettings) -> None:
        self.device = _device(settings.device)
        checkout = _checkout(settings.d_dffnet_code)
        weights = _weights(settings.d_dffnet_weights)
        self.network = build(checkout)
        load(self.network, weights)
        self.network.to(self.device)

    @torch.no_grad()
    def __call__(self, photos: Tensor) -> Tensor:
        """(B, 3, H, W) float32 in [0, 1] -> (B, H, W) bool, True where blurred."""
        assert photos.ndim == 4 and photos.shape[1] == 3 and photos.dtype == torch.float32, (photos.shape, photos.dtype)
        found = [self._one(photo) for photo in photos]
        return torch.stack(found) if found else torch.zeros(0, *photos.shape[2:], dtype=torch.bool)

    def _one(self, photo: Tensor) -> Tensor:
        # One at a time, so that no photo's answer depends on its batch.
        logits = self.network(prepare(photo).to(self.device)[None])[0]
        in_focus = F.interpolate(torch.sigmoid(logits), size=photo.shape[1:], mode="nearest")[0, 0] > 0.5
        return (~in_focus).to(photo.device)


def prepare(photo: Tensor) -> Tensor:
    """(3, H, W) float32 in [0, 1] -> (3, 320, 320) float32 as the network takes it."""
    rgb = (photo.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    small = np.array(Image.fromarray(rgb).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    values = torch.from_numpy(small).permute(2, 0, 1).float() / 255
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (MEAN, DEVIATION))
    return (values - mean) / deviation


def build(checkout: Path) -> nn.Module:
    """The network with random weights, in evaluation mode, on the CPU."""
    with _modules_of(checkout), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of a code of 2023 on packages of today
        try:
            kind: Any = getattr(importlib.import_module(f"{PACKAGE}.PDNet_resnest"), NETWORK)
            # Its own constructor downloads a backbone that the trained weights then replace.
            without_download = type(NETWORK, (kind,), {"initialize_weights": lambda self: None})
            network: nn.Module = without_download()
        except ModuleNotFoundError as error:
            raise ValueError(
                f"D-DFFNet's code needs the package {str(error.name).partition('.')[0]}, which is not installed here: "
                "install it, or set blur_detector to sharpness"
            ) from error
        except (ImportError, AttributeError, TypeError, SyntaxError) as error:
            raise ValueError(
                "the checkout of D-DFFNet is of another version than this was written for: git checkout d75c1da there "
                f"({first_line(error)})"
            ) from error
    return network.eval()


def load(network: nn.Module, path: Path) -> None:
    """Fills in every weight, from a file of the released layout: the state of the network, {name: tensor}."""
    state = read_pickled(path, f"fetch D-DFFNet's weights again, from the README of {PROJECT}")
    expected = {name: value.shape for name, value in network.state_dict().items()}
    given = {name: value.shape for name, value in state.items() if isinstance(value, Tensor)} if _named(state) else {}
    wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
    if wrong:
        raise ValueError(
            f"{path} does not fit D-DFFNet, for {len(wrong)} weights are missing, unknown or of another shape, among "
            f"them {', '.join(wrong[:3])}: take a D-DFFNet or DFFNet file of {PROJECT}'s README"
        )
    network.load_state_dict({name: state[name] for name in expected})


def _named(state: Any) -> bool:
    return isinstance(state, dict) and all(isinstance(name, str) for name in state)


@contextmanager
def _modules_of(checkout: Path) -> Iterator[None]:
    """Within, `model` and `model.ours` are the checkout's; after it, all modules of these names are what they were."""
    before = _named_model()
    for name in before:
        del sys.modules[name]
    for name in ("model", PACKAGE):
        package = ModuleType(name)
        package.__path__ = [str(checkout.joinpath(*name.split(".")))]
        sys.modules[name] = package
    try:
        yield
    finally:
        for name in _named_model():
            del sys.modules[name]
        sys.modules.update(before)


def _named_model() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "model"}


def _checkout(value: str) -> Path:
    folder = Path(value).expanduser().resolve()
    if not value or not (folder / "model/ours/PDNet_resnest.py").is_file():
        what = f"{value} is no checkout of {PROJECT}" if value else f"D-DFFNet needs a checkout of {PROJECT}"
        raise ValueError(f"{what}: git clone https://github.com/{PROJECT}, and name it with --d-dffnet-code")
    return folder


def _weights(value: str) -> Path:
    path = Path(value).expanduser()
    if not value or not path.is_file():
        what = f"there is no file {value}" if value else "D-DFFNet needs its trained weights"
        raise ValueError(f"{what}: fetch one from the README of {PROJECT}, and name it with --d-dffnet-weights")
    return path


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f'there is no device {name} for D-DFFNet here: set device to "auto" or "cpu"')
    return device
