"""A model's folder as it may be shared: safetensors and configurations, never a pickle, never a path of this machine.

Of a training, or one of its checkpoints, that is what restores: the weights that only go on learning stay here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from instructrestore.model.networks.checkpoint_record import FILES, RECORD, check_files, read_record, record_bytes
from instructrestore.model.networks.model_folder import PICKLES
from instructrestore.model.training.checkpoints import last_of_run
from instructrestore.pipelines.publishing.model_card import model_card
from instructrestore.pipelines.publishing.plan import Plan, PlannedFile
from instructrestore.shards.checksums import CHECKSUMS, sha256
from instructrestore.shards.files import file_sha256
from instructrestore.shards.weight_files import readable

WEIGHTS = ".safetensors"
SUFFIXES = (WEIGHTS, ".json", ".txt", ".md")
_CARD = "README.md"
_RESTORES = ("controlnet/", "unet/")
# What the record says without naming a place of this machine.
_TOLD = ("version", "step", "settings", "validation", "base_files", "small")


def plan_model(folder: Path) -> Plan:
    """What of a model is shared: of a training's folder its last checkpoint, of any other folder its weights and
    configurations. Raises ValueError, in one sentence, where it holds a pickle, no safetensors or damaged ones."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: push takes a training's folder, a checkpoint or a model")
    place = Path(last_of_run(str(folder)))
    known: dict[str, Path | bytes] = {}
    record: dict[str, Any] = {}
    if (place / RECORD).is_file():
        record = read_record(place)
        sums: Mapping[str, str] = record.get(FILES, {})
        for part in _RESTORES:
            check_files(place, record, part)
        wanted = {name for name in sums if name.startswith(_RESTORES)}
        told = {name: record[name] for name in _TOLD if name in record}
        known[RECORD] = record_bytes({**told, FILES: {name: sums[name] for name in sorted(wanted)}})
    else:
        wanted = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    left_out: list[tuple[str, str]] = []
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if path.is_dir() or name in (RECORD, CHECKSUMS):
            continue
        if path.suffix in PICKLES:
            raise ValueError(
                f"{path} is a pickle, which can run code where it is loaded, and nothing was uploaded: convert it to "
                "safetensors, or take it out of the folder"
            )
        if name.startswith(".") or "/." in name or path.is_symlink() or path.suffix not in SUFFIXES:
            left_out.append((name, "it is neither weights nor a configuration"))
        elif name not in wanted and name != _CARD:
            left_out.append((name, "it is needed to go on training, not to restore"))
        else:
            known[name] = path
    if not any(name.endswith(WEIGHTS) for name in known):
        raise ValueError(f"{place} holds no safetensors: push takes a training's folder, a checkpoint or a model")
    for name, path in known.items():
        if name.endswith(WEIGHTS) and isinstance(path, Path):
            with readable(path), safe_open(path, "np"):
                pass
    if _CARD not in known:
        known[_CARD] = model_card(folder.resolve().name, record).encode()
    files = [_planned(name, known[name]) for name in sorted(known)]
    listed = "".join(f"{file.sha256}  {file.name}\n" for file in files).encode()
    return Plan("model", [*files, _planned(CHECKSUMS, listed)], left_out=left_out)


def _planned(name: str, content: Path | bytes) -> PlannedFile:
    if isinstance(content, bytes):
        return PlannedFile(name, content, len(content), sha256(content))
    return PlannedFile(name, content, content.stat().st_size, file_sha256(content))
