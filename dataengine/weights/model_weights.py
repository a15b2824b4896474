"""Published weights for the models that annotate: where they lie, what they are called, and whether they are whole.

Weights are a folder or file of this machine, or a repository on the hub. Whatever is not as it must be is a ValueError
of one sentence, for whoever set it to read.
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

_UNFETCHED = (OSError, HFValidationError, RevisionResolutionError)
# struct.error, LookupError and AssertionError: what the restricted unpickler meets in damaged files.
_OF_FILES = (
    OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AssertionError, struct.error,
)  # fmt: skip
_OF_FORMATS = (SafetensorError, StrictDataclassError, pickle.UnpicklingError)


def choose_device(name: str, model: str, setting: str) -> torch.device:
    """The device of that name; for "auto" the GPU where there is one, and else the CPU.

    model, setting: what needs the device and where it is set, for the sentence that says that it is missing.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f'there is no device {name} for {model} here: set {setting} to "auto" or "cpu"')
    return device


def find_folder(model: str, revision: str, patterns: list[str], what: str) -> tuple[Path, str]:
    """The folder of the weights, fetched where need be, and what they are called: of a folder what `folder_name` says,
    of the hub's the commit that the revision stands for.

    model: a folder, or a repository on the hub, of which the files that match `patterns` are fetched.
    what: what the sentence calls them, such as "the CLIP weights openai/clip-vit-base-patch32".
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
    """What the weights in a folder are called: no more than its own name, for paths of this machine do not belong in a
    data set, and the revision that the settings give them."""
    return f"{folder.resolve().name}@{revision}"


def fetch_file(model: str, file: str, revision: str, what: str, kind: str) -> Path:
    """A file of a repository on the hub, in the hub's cache, where its folder is named after the commit.

    what, kind: for the sentence, as in `find_folder`, and "folder" or "file", which `model` might have been here.
    """
    try:
        return Path(hf_hub_download(model, file, revision=revision))
    except _UNFETCHED as error:
        raise _not_fetched(what, kind, revision, error) from error


def _not_fetched(what: str, kind: str, revision: str, error: Exception) -> ValueError:
    return ValueError(
        f"{what} are no {kind} here and cannot be fetched from the hub at revision {revision}: check the name, the "
        f"revision, the connection and HF_HUB_OFFLINE ({first_line(error)})"
    )


@contextmanager
def explaining(sentence: str) -> Iterator[None]:
    """Within this, what torch and transformers raise over damaged or foreign files becomes a ValueError: the sentence,
    and their first line in brackets."""
    try:
        yield
    except (*_OF_FILES, *_OF_FORMATS) as error:
        raise ValueError(f"{sentence} ({first_line(error)})") from error


def load(kind: Any, folder: Path) -> tuple[Any, list[str]]:
    """A transformers model of that class on the CPU, float32, from the folder's safetensors, and the names of the
    weights that are not in there: transformers goes on with random ones. Raises what `explaining` is for."""
    model, info = kind.from_pretrained(
        str(folder), dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    return model, list(info["missing_keys"])


def require_whole(missing: list[str], folder: Path, model: str) -> None:
    """Raises ValueError where weights of the model are missing from the folder."""
    if missing:
        raise ValueError(
            f"the weights in {folder} lack {named(sorted(missing))}: they are not those of a whole {model} model"
        )


def named(names: list[str]) -> str:
    """The first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def first_line(error: Exception) -> str:
    """The first line of what an error says, at most 200 characters; where it says nothing, its class."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
