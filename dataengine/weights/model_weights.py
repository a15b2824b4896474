"""Published weights for the models that annotate: where they are, what they are called, and whether they are complete.

Weights are a folder or file on this machine, or a repository on the hub. Anything wrong with them is a ValueError with
one sentence for the person who chose them.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import HFValidationError, RevisionResolutionError, StrictDataclassError
from safetensors import SafetensorError

from instructrestore.shards.errors import first_line

_UNFETCHED = (OSError, HFValidationError, RevisionResolutionError)
# struct.error, LookupError and AssertionError come from the restricted unpickler on damaged files.
_OF_FILES = (
    OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AssertionError, struct.error,
)  # fmt: skip
_OF_FORMATS = (SafetensorError, StrictDataclassError, pickle.UnpicklingError)


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
    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except _UNFETCHED as error:
        raise _not_fetched(what, "folder", revision, error) from error
    return folder, f"{model}@{folder.name}"


def folder_name(folder: Path, revision: str) -> str:
    """The name of the weights in a folder: only the folder's own name, since paths of this machine do not belong in a
    data set, and the revision from the settings."""
    return f"{folder.resolve().name}@{revision}"


def fetch_file(model: str, file: str, revision: str, what: str, kind: str) -> Path:
    """A file of a repository on the hub, in the hub's cache, where its folder is named after the commit.

    what: as in `find_folder`. kind: "folder" or "file", whichever `model` could also have been.
    """
    try:
        return Path(hf_hub_download(model, file, revision=revision))
    except _UNFETCHED as error:
        raise _not_fetched(what, kind, revision, error) from error


def _not_fetched(what: str, kind: str, revision: str, error: Exception) -> ValueError:
    return ValueError(
        f"{what} are not a local {kind} and cannot be fetched from the hub at revision {revision}: check the name, the "
        f"revision, the connection and HF_HUB_OFFLINE ({first_line(error)})"
    )


@contextmanager
def explaining(sentence: str) -> Iterator[None]:
    """Turns what torch and transformers raise on damaged or unrelated files into a ValueError: the sentence, and the
    first line of their message in brackets."""
    try:
        yield
    except (*_OF_FILES, *_OF_FORMATS) as error:
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
        raise ValueError(
            f"the weights in {folder} lack {named(sorted(missing))}: they are not a complete {model} model"
        )


def named(names: list[str]) -> str:
    """The first three names and the number of the others."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
