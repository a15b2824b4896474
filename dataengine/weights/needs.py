"""What an annotator needs besides this program: packages, code, weights, servers. Stated beside each annotator's
settings (`needs`), looked for by `instructrestore doctor`; nothing here looks for anything."""

from __future__ import annotations

from dataclasses import dataclass

from instructrestore.dataengine.running.server_settings import ServerSettings


@dataclass(frozen=True)
class PackageNeed:
    """An installed package. name: on the package index; module: what is imported; install: the command."""

    name: str
    module: str
    install: str
    licence: str = ""


@dataclass(frozen=True)
class CheckoutNeed:
    """The folder of a public repository's code.

    setting: where the folder is named; folder: what is named there; holds: a file that lies in it.
    or_module: a module that may be installed instead; empty: none.
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

    setting: where they are named. files: patterns, each of which some file of the folder or the hub's id must match;
    where `model` is a file itself, there are none. licence: as its publisher states it; "" where that is not known.
    device: "cpu", "auto" or "cuda": what the model is to run on; "server" where it runs on none of the stage's GPUs.
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
    """A language model and where it runs. setting: where that is set."""

    name: str
    setting: str
    server: ServerSettings


Need = PackageNeed | CheckoutNeed | WeightsNeed | ServerNeed
