"""What a run's base is, file by file: written down when the run begins, and compared when it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instructrestore.model.networks.model_folder import find_folder
from instructrestore.model.restoring.base_record import VERSION, small_version
from instructrestore.model.restoring.checkpoint import BASE_FILES, checkpoint_folder, trained_unet
from instructrestore.model.restoring.small_model import base_place
from instructrestore.model.training.checkpoints import TrainingCheckpoint
from instructrestore.shards.sums import sums_of

ENTRY = "base_files"  # of a checkpoint's record: sha256 by path


def base_record(base: str, revision: str | None, checkpoint: str | None, of_checkpoint: str | None) -> dict[str, Any]:
    """The entries of a checkpoint's record that say what the base's files are, and the small model's version.

    base, checkpoint, revisions: as `load_base` takes them; a checkpoint's UNet stands in the place of the base's.
    Raises ValueError where they are not there.
    """
    folder, files = _files(base, revision, checkpoint, of_checkpoint)
    version = small_version(folder)
    return {ENTRY: sums_of(files), **({VERSION: version} if version else {})}


def check_same_base(
    resumed: TrainingCheckpoint, record: Mapping[str, Any], base: str, revision: str | None, checkpoint: str | None,
    of_checkpoint: str | None,
) -> None:  # fmt: skip
    """Raises ValueError, naming a file, where the base is not what the run began with, as far as is known."""
    before: dict[str, str] = resumed.state.get(ENTRY, record[ENTRY])
    now: dict[str, str] = record[ENTRY]
    differing = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    if not differing:
        return
    name = differing[0]
    folder, files = _files(base, revision, checkpoint, of_checkpoint)
    raise ValueError(
        f"the run was started with another base: continue with the same --base and --init-from, or train into another "
        f"folder ({files.get(name, folder / name)} is not the file that it was; where it was damaged, bring it back)"
    )


def _files(
    base: str, revision: str | None, checkpoint: str | None, of_checkpoint: str | None
) -> tuple[Path, dict[str, Path]]:
    """The base's folder, and its files by their paths in it."""
    folder = find_folder("base", base_place(base), revision, BASE_FILES)
    files = {path.relative_to(folder).as_posix(): path for pattern in BASE_FILES for path in folder.glob(pattern)}
    unet = trained_unet(checkpoint_folder(checkpoint, of_checkpoint)) if checkpoint else None
    if unet:
        files = {name: path for name, path in files.items() if not name.startswith("unet/")}
        files |= {f"unet/{path.name}": path for path in unet.iterdir() if path.suffix in (".json", ".safetensors")}
    return folder, files
