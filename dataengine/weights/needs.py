"""What an annotator needs besides this program: packages, code, weights, servers; and the settings that say which.

Each annotator states its needs next to its settings (`needs`), and `instructrestore doctor` checks them. Nothing here
checks anything or imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from instructrestore.dataengine.running.identity import NO_RESULT
from instructrestore.dataengine.running.server_settings import ServerSettings
from instructrestore.pretrained.installed import InstalledFile

WeightsRevision = Annotated[
    str,
    Field(
        min_length=1,
        description="for weights on the hub, a branch or commit (a commit makes runs repeatable); for a folder, any "
        "name for its contents, changed whenever they change",
    ),
]
DeviceName = Annotated[
    str,
    Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: the GPU if there is one, otherwise the CPU"),
    NO_RESULT,
]


@dataclass(frozen=True)
class PackageNeed:
    """An installed package. name: on the package index; module: what is imported; install: the command that does it."""

    name: str
    module: str
    install: str
    licence: str = ""


@dataclass(frozen=True)
class CheckoutNeed:
    """The folder of a public repository's code.

    setting: the setting that names the folder; folder: its value; holds: a file the folder must contain.
    or_module: a module that may be installed instead; empty if there is none.
    """

    name: str
    setting: str
    folder: str
    holds: str
    source: str
    licence: str
    or_module: str = ""


@dataclass(frozen=True)
class WeightsNeed:
    """A model's weights: a hub id with its revision, a folder, or a file.

    setting: the setting that names them. files: patterns, each of which must match a file in the folder or hub
    repository; empty where `model` is itself a file. licence: as its publisher states it; "" if that is unknown.
    device: "cpu", "auto" or "cuda", whichever the model is to run on; "server" if it uses none of the stage's GPUs.
    """

    name: str
    setting: str
    model: str
    revision: str
    files: tuple[str, ...]
    licence: str
    device: str = "auto"


@dataclass(frozen=True)
class ServerNeed:
    """A language model and where it runs. setting: the setting that says so."""

    name: str
    setting: str
    server: ServerSettings


Need = PackageNeed | CheckoutNeed | WeightsNeed | InstalledFile | ServerNeed
