"""The weights of LPIPS, CLIPIQA, MUSIQ and MANIQA: where they come from, and reading them without running any code.

pyiqa has torch.load unpickle whatever a file holds and fetches the backbones through torchvision, timm and OpenAI's
CLIP, whose file is a program (TorchScript). Here pickles go through torch's restricted unpickler, which runs no code,
CLIP is read as safetensors, and a network takes a file only where every name and shape is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.model.networks.weight_files import find_folder, fitting, read_pickled, readable

PYIQA_HUB = "chaofengc/IQA-PyTorch-Weights"
_HUB = "https://huggingface.co/"


@dataclass(frozen=True)
class Published:
    """A file of weights. name: in a folder of them. origin: where anybody gets it from: a hub id or an address."""

    name: str
    origin: str = PYIQA_HUB

    @property
    def address(self) -> str:
        return self.origin if "://" in self.origin else _HUB + self.origin


LPIPS = Published("LPIPS_v0.1_alex-df73285e.pth")  # the five linear layers
ALEXNET = Published("alexnet-owt-7be5be79.pth", "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth")
ALEXNET_SHA256 = "7be5be791159472b"  # its beginning
CLIP = Published("open_clip_model.safetensors", "timm/resnet50_clip.openai")
MUSIQ = Published("musiq_koniq_ckpt-e95806b9.pth")
MANIQA = Published("MANIQA_PIPAL-ae6d356b.pth")  # its ViT included


@dataclass(frozen=True)
class Weights:
    """What a file holds, by name, on the CPU. title: of the metric that needs it, for sentences."""

    title: str
    file: Published
    path: Path
    state: dict[str, Tensor]

    def only(self, prefix: str) -> Weights:
        """Those whose names begin so, without the beginning."""
        some = {name.removeprefix(prefix): each for name, each in self.state.items() if name.startswith(prefix)}
        return replace(self, state=some)

    def without(self, *names: str) -> Weights:
        return replace(self, state={name: each for name, each in self.state.items() if name not in names})

    def fill(self, net: nn.Module) -> None:
        """Gives the network these weights, all of them and no other; raises ValueError where they are not its own."""
        own = net.state_dict()
        common = own.keys() & self.state.keys()
        faults = {
            "lacks": own.keys() - self.state.keys(),
            f"has what {self.title} does not know:": self.state.keys() - own.keys(),
            "has in another shape or type:": {name for name in common if not _alike(own[name], self.state[name])},
            "has numbers that are not finite:": {name for name in common if not self.state[name].isfinite().all()},
        }
        for fault, names in faults.items():
            if names:
                some = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
                raise ValueError(
                    f"{self.path} does not hold the weights of {self.title}: it {fault} {some}; get {self.file.name} "
                    f"from {self.file.address}"
                )
        with fitting(self.path):
            net.load_state_dict(self.state)


def read(file: Published, title: str, settings: MetricSettings) -> Weights:
    """The file's weights, from the settings' folder or fetched. title: of the metric.

    Raises ValueError, in one sentence, where it is missing, cannot be fetched or cannot be read.
    """
    path = _find(file, title, settings)
    if path.suffix == ".safetensors":
        with readable(path):
            path.open("rb").close()  # safetensors says of what it may not read that it does not exist
            return Weights(title, file, path, load_file(path))
    state = read_pickled(path, f"get {file.name}, the weights of {title}, from {file.address}")
    if not isinstance(state, Mapping) or not all(_is_weight(name, values) for name, values in state.items()):
        raise ValueError(
            f"{path} does not hold the weights of {title}, which are tensors by name: get {file.name} from "
            f"{file.address}"
        )
    return Weights(title, file, path, {name.removeprefix("module."): values for name, values in state.items()})


def _find(file: Published, title: str, settings: MetricSettings) -> Path:
    """Where the file lies: in the folder that the settings name, or where it was fetched to. A hub id other than
    pyiqa's own stands for a copy of such a folder."""
    source, revision = settings.iqa_weights, settings.iqa_revision
    if Path(source).expanduser().is_dir():
        revision = None
    elif source == PYIQA_HUB:
        if file is ALEXNET:
            return _fetch_alexnet(title)
        if file is CLIP:
            source, revision = file.origin, "main"
    path = find_folder(f"weights of {title}", source, revision, [file.name]) / file.name
    with readable(path):
        if not path.is_file():
            raise ValueError(f"{source} has no {file.name}, which {title} needs: get it from {file.address}")
    return path


def _fetch_alexnet(title: str) -> Path:
    """torchvision's file, into the cache that torchvision itself has it in."""
    path = Path(torch.hub.get_dir(), "checkpoints", ALEXNET.name)
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(ALEXNET.address, str(path), ALEXNET_SHA256, progress=False)
    except (OSError, RuntimeError) as fault:  # a file of another sha256 is a RuntimeError
        raise ValueError(
            f"{ALEXNET.name}, which {title} needs, cannot be fetched: check the connection, or get it from "
            f"{ALEXNET.address} into a folder with the other weights and name that ({str(fault)[:200]})"
        ) from fault
    return path


def _alike(own: Tensor, given: Tensor) -> bool:
    return own.shape == given.shape and own.is_floating_point() == given.is_floating_point()


def _is_weight(name: object, values: object) -> bool:
    return isinstance(name, str) and isinstance(values, Tensor) and values.layout == torch.strided
