"""Published weights for the models that annotate: where they are, what they are called, and whether they are complete.

Weights are a folder or file on this machine, or a repository on the hub. Anything wrong with them is a ValueError with
one sentence for the person who chose them.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from instructrestore.shards.errors import first_line, first_three
from instructrestore.shards.weight_files import DAMAGED, fetch_folder

_UNUSABLE = (*DAMAGED, SafetensorError, StrictDataclassError, pickle.UnpicklingError)


def choose_device(name: str, model: str, setting: str) -> torch.device:
    """The device of that name; for "auto" the GPU if there is one, otherwise the CPU.

    model, setting: what needs the device and where it is set, for the message if there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f'there is no device {name} for {model} here: set {setting} to "auto" or "cpu"')
    return device


def find_folder(model: str, revision: str, patterns: list[str], what: str) -> tuple[Path, str]:
    """The folder of the weights, fetched if necessary, and their name: `folder_name` for a folder, the resolved commit
    for a hub repository.

    model: a folder, or a repository on the hub, from which the files that match `patterns` are fetched.
    what: what the error message calls them, such as "the CLIP weights openai/clip-vit-base-patch32".
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder, folder_name(folder, revision)
    folder = fetch_folder(model, revision, patterns, f"{what} are not a local folder")
    return folder, f"{model}@{folder.name}"


def folder_name(folder: Path, revision: str) -> str:
    """The name of the weights in a folder: only the folder's own name, since paths of this machine do not belong in a
    data set, and the revision from the settings."""
    return f"{folder.resolve().name}@{revision}"


@contextmanager
def explaining(sentence: str) -> Iterator[None]:
    """Turns what torch and transformers raise on damaged or unrelated files into a ValueError: the sentence, and the
    first line of their message in brackets."""
    try:
        yield
    except _UNUSABLE as error:
        raise ValueError(f"{sentence} ({first_line(error)})") from error


def load(kind: Any, folder: Path) -> tuple[Any, list[str]]:
    """A transformers model of that class on the CPU, float32, from the folder's safetensors, and the names of the
    weights missing from them, which transformers fills in at random. To be called within `explaining`."""
    model, info = kind.from_pretrained(
        str(folder), dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    return model, list(info["missing_keys"])


def require_whole(missing: list[str], folder: Path, model: str) -> None:
    """Raises ValueError where weights of the model are missing from the folder."""
    if missing:
        raise ValueError(f"the weights in {folder} lack {first_three(missing)}: they are not a complete {model} model")
