"""The record of a training's checkpoint, `state.json`: all but tensors, and the sha256 of every file beside it.

The record has a sha256 of its own too. Checkpoints of earlier programs have neither, and are read as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instructrestore.shards.parsing import parse_object, read_bounded
from instructrestore.shards.sums import check_sums, sums_of

RECORD = "state.json"
FILES, OWN = "files", "sha256"  # entries of the record
_REMEDY = "copy it again, or remove the folder {folder}, and the checkpoint before it is used"


def record_bytes(state: Mapping[str, Any]) -> bytes:
    """The record of that content, with its own sha256."""
    content = {name: value for name, value in state.items() if name != OWN}
    return json.dumps({**content, OWN: _sha256(content)}, indent=2).encode() + b"\n"


def read_record(folder: Path) -> dict[str, Any]:
    """What `record_bytes` wrote into the checkpoint's folder. Raises ValueError, naming the file."""
    remedy = _REMEDY.format(folder=folder)
    path = folder / RECORD
    try:
        state = parse_object(read_bounded(path), str(path), any_number=True)  # a loss may be none
    except (OSError, ValueError) as error:
        raise ValueError(f"the checkpoint {folder} cannot be read: {error}; {remedy}") from None
    known = state.pop(OWN, None)
    if known is not None and known != _sha256(state):
        raise ValueError(f"{folder / RECORD} is damaged: its content is not what was written there; {remedy}")
    return state


def sums_beside(folder: Path) -> dict[str, str]:
    """The sha256 of every file of a checkpoint, by its path in the folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sums_of({path.relative_to(folder).as_posix(): path for path in files})


def check_files(folder: Path, state: Mapping[str, Any], part: str = "") -> None:
    """Raises ValueError where a file of the checkpoint is not what was written. part: of these alone, as "unet/"."""
    sums: dict[str, str] = state.get(FILES, {})
    check_sums(folder, sums, _REMEDY.format(folder=folder), [name for name in sums if name.startswith(part)])


def check_model(model_folder: Path) -> dict[str, Any]:
    """That a model's folder, if it is a checkpoint's ("controlnet" or "unet"), holds what was written.

    Returns the checkpoint's record, empty where the folder is in none.
    """
    folder = Path(os.path.abspath(model_folder))
    if folder.name not in ("controlnet", "unet") or not (folder.parent / RECORD).is_file():
        return {}
    state = read_record(folder.parent)
    check_files(folder.parent, state, f"{folder.name}/")
    return state


def _sha256(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
