"""A model's folder, here or on the hub: its configuration and its safetensors, loaded whole or not at all.

diffusers and transformers warn about missing and unexpected weights and carry on with random ones; here both are
errors, and what the two libraries raise becomes a ValueError of one sentence (`fitting`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import safe_open

from instructrestore.shards.errors import first_line, first_three
from instructrestore.shards.parsing import parse_json, read_bounded
from instructrestore.shards.weight_files import fetch_folder, readable

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
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
    return fetch_folder(source, revision, files, f"the {what} {source} is not a folder here")


def read_json(path: Path, otherwise: str) -> dict[str, Any]:
    """The object in a JSON file; raises ValueError, where there is no such file beginning with `otherwise`."""
    with readable(path):
        if not path.is_file():
            raise ValueError(f"{otherwise}: there is no {path}")
        content = read_bounded(path)
    try:
        values = parse_json(content, str(path), any_number=True)  # diffusers writes infinities
    except ValueError as fault:
        raise ValueError(f"{fault}: fetch or save it again") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} is not a configuration: fetch or save it again")
    return values


def check_weights(folder: Path, name: str) -> None:
    """Raises ValueError unless there are safetensors of the name, or its shards, whole as far as their headers tell."""
    with readable(folder):
        files = sorted(folder.iterdir())
        if not any(path.name in (name, f"{name}.index.json") for path in files):
            pickles = [path.name for path in files if path.suffix in PICKLES]
            if pickles:
                raise ValueError(
                    f"{folder} holds its weights as a pickle ({pickles[0]}), which is never loaded because it can run "
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
            raise ValueError(f"the weights in {folder} {fault} {first_three(keys)}: they belong to another config.json")
    return model


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """What diffusers and transformers raise where a configuration is impossible or the weights have other shapes."""
    with readable(path):
        try:
            yield
        except (ValueError, TypeError, KeyError, RuntimeError, StrictDataclassError) as fault:
            raise ValueError(
                f"the files in {path} do not fit together: fetch or save them again ({first_line(fault)})"
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
