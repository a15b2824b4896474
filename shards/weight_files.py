"""Files of weights, from this machine or the hub, read without running any code that they hold.

Safetensors hold tensors alone. Pickles, as torch.save writes them, go through torch's restricted unpickler. Whatever
cannot be found, fetched or read is a ValueError of one sentence.
"""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import HFValidationError, RevisionResolutionError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from instructrestore.shards.errors import first_line
from instructrestore.shards.files import follow_umask

# What torch.load raises for damaged or foreign pickles.
DAMAGED = (
    OSError, RuntimeError, EOFError, ValueError, TypeError, LookupError, AttributeError, AssertionError, OverflowError,
    struct.error,
)  # fmt: skip
_NOT_FETCHED = (OSError, HFValidationError, RevisionResolutionError)


def fetch_folder(repository: str, revision: str | None, patterns: Sequence[str], otherwise: str) -> Path:
    """The folder in the hub's cache that holds a repository's files, downloaded where they are not there yet.

    repository: OWNER/NAME. revision: a branch, tag or commit; None: the main branch. patterns: of the files' names.
    otherwise: how the error begins, such as "the base OWNER/NAME is not a folder here". Raises ValueError.
    """
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))
    except _NOT_FETCHED as error:
        raise _not_fetched(otherwise, revision, error) from error


def fetch_file(repository: str, name: str, revision: str | None, otherwise: str) -> Path:
    """One file of a repository in the hub's cache, in a folder named for the commit; the rest as in `fetch_folder`."""
    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except _NOT_FETCHED as error:
        raise _not_fetched(otherwise, revision, error) from error


def _not_fetched(otherwise: str, revision: str | None, error: Exception) -> ValueError:
    at = f" at revision {revision}" if revision else ""
    return ValueError(
        f"{otherwise} and cannot be fetched from the hub{at}: check the name, the revision, the connection and "
        f"HF_HUB_OFFLINE ({first_line(error)})"
    )


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file by name, on the CPU. Raises ValueError."""
    with readable(path):
        path.open("rb").close()  # safetensors says of a file without read permission that it does not exist
        return load_file(path)


def write_safetensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Writes a .safetensors file as `share_weights` leaves it. Raises OSError where the disk is full."""
    try:
        save_file(dict(tensors), path, metadata)
    except SafetensorError as error:  # safetensors' own word for a full disk
        raise OSError(f"{path} cannot be written: {error}") from None
    follow_umask([path])


def share_weights(folder: Path) -> None:
    """Lets those read the .safetensors below a folder whom the umask lets read any new file: safetensors, and with it
    all that diffusers and transformers save, writes for its owner alone."""
    follow_umask(sorted(folder.rglob("*.safetensors")))


def read_pickled(path: Path, remedy: str) -> Any:
    """What torch.save wrote, on the CPU: tensors, numbers, text and plain containers of them.

    remedy: the end of the sentence about a file that holds anything else. Raises ValueError with the class of torch's
    exception, never its message, which explains how to load such a file unsafely.
    """
    if not path.exists():
        raise ValueError(f"there is no file {path}: {remedy}")
    with readable(path), path.open("rb") as file:
        beginning = file.read(2)
    if beginning != b"PK" and beginning[:1] != pickle.PROTO:  # usually a web page saved in place of the download
        raise ValueError(f"{path} holds no weights as torch saves them: {remedy}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about protocols and TorchScript, with advice on loading unsafely too
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than weights (a pickle with code, which is never run) or is damaged "
            f"({type(error).__name__}): {remedy}"
        ) from None
    except DAMAGED as error:
        raise ValueError(f"{path} is damaged or not a file of weights ({type(error).__name__}): {remedy}") from None


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what reading files and safetensors raises in the block into a ValueError of one sentence about `path`."""
    try:
        yield
    except PermissionError as error:
        raise ValueError(f"{error.filename or path} may not be read: check its permissions") from error
    except SafetensorError as error:
        raise ValueError(
            f"the weights in {path} are truncated or corrupt: fetch or save them again ({first_line(error)})"
        ) from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {first_line(error)}") from error
