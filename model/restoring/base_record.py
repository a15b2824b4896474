"""What a base's files are: beside it where this program made it, and in the record of whatever is trained on it.

A base from elsewhere has no record. What it is is written down when a training begins, and compared when it goes on.
"""

from __future__ import annotations

import json
from pathlib import Path

from instructrestore.model.networks.model_folder import read_json
from instructrestore.model.restoring.small_model import SMALL, SUMS
from instructrestore.shards.files import commit
from instructrestore.shards.sums import check_sums, sums_of

VERSION = "small"  # the entry of a checkpoint's record that names the small model that it was trained on


def write_record(folder: Path) -> None:
    """Writes beside a base's weights what they are; a base that has the record is whole."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.safetensors")}
    commit(folder / SUMS, (json.dumps(sums_of(files), indent=2) + "\n").encode())


def check_recorded(folder: Path) -> None:
    """Raises ValueError, naming the file, where weights of a base are not what its record says, if it has one."""
    if (folder / SUMS).is_file():
        sums = read_json(folder / SUMS, f"{folder} is not whole")
        names = [name for name in sums if name.endswith(".safetensors")]
        check_sums(folder, sums, f"copy or make the folder {folder} again", names)


def small_version(folder: Path) -> str | None:
    """Which small model a base's folder holds, as "small-1a2b3c4d"; None for any other base."""
    return folder.name if folder.name.startswith(f"{SMALL}-") and (folder / SUMS).is_file() else None


def check_version(checkpoint: str, trained_on: str | None, base: Path) -> None:
    """Raises ValueError where a checkpoint was trained on another version of the small model than the base is.

    trained_on: as `small_version` says it, from the checkpoint's record; None: on another base, or not known.
    """
    version = small_version(base)
    if version and trained_on and version != trained_on:
        raise ValueError(
            f"{checkpoint} was trained on another version of the small model, {trained_on}, and this one is {version}: "
            f"name that one's folder, {base.parent / trained_on}, with --base if it is still there, or train again"
        )
