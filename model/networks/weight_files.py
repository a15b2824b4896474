"""Reading what a folder of weights holds, from this machine or the hub: safetensors, every fault one sentence.

diffusers and transformers warn where weights are missing or left over and go on with random ones; here that is an
error. What they raise is turned into sentences in one place, `readable` and `fitting`. Other projects' weights that are
published as pickles alone are read by `read_pickled`, which runs no code of theirs.
"""

from __future__ import annotations

import json
import pickle
import re
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, RevisionResolutionError, StrictDataclassError
from safetensors import SafetensorError, safe_open

from instructrestore.shards.errors import first_line

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
# What torch.load raises of pickles that are damaged or foreign.
_DAMAGED = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    OverflowError,
    struct.error,
)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def find_folder(what: str, source: str, revision: str | None, files: Sequence[str]) -> Path:
    """The folder itself, or the one that the hub's files were fetched into.

    what: what it is called in sentences. source: a folder or a hub id. revision: of the hub's. files: patterns of what
    to fetch. Raises ValueError.
    """
    path = Path(source).expanduser()
    with readable(path):
        if path.is_dir():
            if revision is not None:
                raise ValueError(f"{source} is a folder, which has no revision {revision}: leave the revision out")
            next(path.iterdir(), None)
            return path
        if path.exists():
            raise ValueError(f"the {what} {source} is a file: name the folder that it is in")
    if not _HUB_ID.fullmatch(source):
        raise ValueError(f"there is no folder {source}: the {what} is a folder or a hub id (owner/name)")
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(files)))
    except (OSError, HFValidationError, RevisionResolutionError) as fault:
        at = f" at revision {revision}" if revision else ""
        raise ValueError(
            f"the {what} {source} is no folder here and cannot be fetched from the hub{at}: check the name, the "
            f"revision, the connection and HF_HUB_OFFLINE ({first_line(fault)})"
        ) from fault


def read_json(path: Path, otherwise: str) -> dict[str, Any]:
    """The object in a JSON file; raises ValueError, where there is no such file beginning with `otherwise`."""
    with readable(path):
        if not path.is_file():
            raise ValueError(f"{otherwise}: there is no {path}")
        content = path.read_bytes()
    try:
        values = json.loads(content)
    except ValueError as fault:
        raise ValueError(f"{path} is not valid JSON: fetch or save it again ({first_line(fault)})") from fault
    if not isinstance(values, dict):
        raise ValueError(f"{path} does not hold a configuration: fetch or save it again")
    return values


def check_weights(folder: Path, name: str) -> None:
    """Raises ValueError unless there are safetensors of the name, or its shards, whole as far as their headers tell."""
    with readable(folder):
        files = sorted(folder.iterdir())
        if not any(path.name in (name, f"{name}.index.json") for path in files):
            pickles = [path.name for path in files if path.suffix in PICKLES]
            if pickles:
                raise ValueError(
                    f"{folder} holds its weights as a pickle ({pickles[0]}), which is never loaded since it can run "
                    f"code: convert it to {name}"
                )
            raise ValueError(f"there are no weights in {folder}: {name} is missing")
        for path in files:
            if path.suffix == ".safetensors":
                path.open("rb").close()  # safetensors says of what it may not read that it does not exist
                with safe_open(path, "pt"):
                    pass


def load_model(kind: Any, folder: Path, options: Mapping[str, Any]) -> Any:
    """A model of the class with every weight from its folder, and no other; raises ValueError.

    kind: a class with diffusers' or transformers' `from_pretrained`, which the options go to.
    """
    with fitting(folder):
        model, info = kind.from_pretrained(
            str(folder), use_safetensors=True, local_files_only=True, output_loading_info=True, **options
        )
    # Old CLIP files hold the token positions, 0 to 76, which are no weights.
    surplus = [key for key in info["unexpected_keys"] if not key.endswith("position_ids")]
    for keys, fault in ((info["missing_keys"], "lack"), (surplus, "have what the configuration does not know:")):
        if keys:
            names = ", ".join(sorted(keys)[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            raise ValueError(f"the weights in {folder} {fault} {names}: they belong to another config.json")
    return model


def read_pickled(path: Path, remedy: str) -> Any:
    """What torch.save wrote into a file, on the CPU, by torch's restricted unpickler: tensors and plain containers.

    remedy: what to do about a file that is no such thing, the end of the sentence. Raises ValueError, which says the
    kind of torch's exception and never its text: that tells how to load such a file unsafely.
    """
    with readable(path), path.open("rb") as file:
        beginning = file.read(2)
    if beginning != b"PK" and beginning[:1] != pickle.PROTO:  # a page that a download ended in, as a rule
        raise ValueError(f"{path} holds no weights as torch saves them: {remedy}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of protocols and TorchScript, with advice on loading unsafely too
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as fault:
        raise ValueError(
            f"{path} holds more than weights (a pickle with code, which is never run) or is damaged "
            f"({type(fault).__name__}): {remedy}"
        ) from None
    except _DAMAGED as fault:
        raise ValueError(f"{path} is damaged, or no file of weights ({type(fault).__name__}): {remedy}") from None


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What reading files may raise, as one sentence."""
    try:
        yield
    except PermissionError as fault:
        raise ValueError(f"{fault.filename or path} may not be read: check its permissions") from fault
    except SafetensorError as fault:
        raise ValueError(
            f"the weights in {path} are truncated or corrupt: fetch or save them again ({first_line(fault)})"
        ) from fault
    except OSError as fault:
        raise ValueError(f"{path} cannot be read: {first_line(fault)}") from fault


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """What diffusers and transformers raise where a configuration is impossible or the weights have other shapes."""
    with readable(path):
        try:
            yield
        except (ValueError, TypeError, KeyError, RuntimeError, StrictDataclassError) as fault:
            raise ValueError(
                f"what {path} holds is not of one piece: fetch or save it again ({first_line(fault)})"
            ) from fault


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars and warnings of diffusers and transformers, which are set back afterwards."""
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    before = [(library, library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, verbosity, bars in before:
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()
