"""Which weights restore, as a fingerprint that is found in seconds, without loading anything."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from instructrestore.dataengine.running.integrity import digest
from instructrestore.model.restoring.checkpoint import trained_unet
from instructrestore.shards.files import file_sha256
from instructrestore.shards.parsing import parse_object

HUB_WEIGHTS = 4 << 30  # weights on the hub are assumed to be about as large as SD 2.1-base in float32
_MOST_HEADER_BYTES = 100_000_000  # as the format has it
TENSOR_SAMPLE = 4096  # bytes hashed of every tensor: training moves all of its values
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Fingerprint:
    """identity: hex digits that change with any weight or configuration. bytes: the weights' size on disk."""

    identity: str
    bytes: int


def fingerprint_of(
    base: str, checkpoint: str | None, base_revision: str | None = None, checkpoint_revision: str | None = None
) -> Fingerprint:
    """The fingerprint of a base and a checkpoint, named as for `model.restoring.checkpoint.load_pipeline`.

    For a folder it hashes the configurations and the head of every tensor, not the path, so that a folder trained
    further differs and a copy does not; for a hub id, its name and revision.
    Raises ValueError, in one sentence, for anything else, and for a folder that is clearly no base or checkpoint.
    """
    folder = _folder("base", base, base_revision)
    if folder and not (folder / "model_index.json").is_file():
        raise ValueError(f"{base} is not a saved pipeline: there is no {folder / 'model_index.json'}")
    if folder and checkpoint is None and not (folder / "controlnet").is_dir():
        raise ValueError(f"{base} has no controlnet folder of its own: name a checkpoint as well")
    both = [_of_folder(folder) if folder else _of_hub(base, base_revision)]
    if checkpoint is not None:
        folder = _folder("checkpoint", checkpoint, checkpoint_revision)
        if folder and not any((place / "config.json").is_file() for place in (folder, folder / "controlnet")):
            raise ValueError(f"{checkpoint} is no checkpoint: neither it nor its controlnet folder has a config.json")
        both.append(_of_folder(folder) if folder else _of_hub(checkpoint, checkpoint_revision))
        # A folder `controlnet` is loaded with the UNet beside it.
        beside = trained_unet(folder) if folder else None
        if beside and beside != Path(os.path.abspath(Path(base).expanduser())) / "unet":
            both.append(_of_folder(beside))
    return Fingerprint(digest([each.identity for each in both]), sum(each.bytes for each in both))


def _folder(what: str, place: str, revision: str | None) -> Path | None:
    """The folder; None for a hub id."""
    path = Path(place).expanduser()
    if path.is_dir():
        if revision is not None:
            raise ValueError(f"{place} is a folder, which has no revision {revision}: leave the revision out")
        return path
    if path.exists():
        raise ValueError(f"the {what} {place} is a file: name the folder that holds it")
    if not _HUB_ID.fullmatch(place):
        raise ValueError(f"there is no folder {place}: the {what} is a folder or a hub id (owner/name)")
    return None


def _of_hub(name: str, revision: str | None) -> Fingerprint:
    return Fingerprint(digest(name, revision), HUB_WEIGHTS)


def _of_folder(folder: Path) -> Fingerprint:
    known: list[tuple[str, str]] = []
    size = 0
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".safetensors":
            known.append((str(path.relative_to(folder)), _tensors_hash(path)))
            size += path.stat().st_size
        elif path.suffix in (".json", ".txt"):
            known.append((str(path.relative_to(folder)), file_sha256(path)))
    return Fingerprint(digest(known), size)


def _tensors_hash(path: Path) -> str:
    """Hash of a safetensors file's size and header, and of the first bytes of each of its tensors."""
    size = path.stat().st_size
    known = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        begin = 8 + int.from_bytes(file.read(8), "little")
        try:
            header = file.read(begin - 8 if begin <= min(size, _MOST_HEADER_BYTES) else 0)
            tensors = parse_object(header, str(path))
            places = [entry["data_offsets"] for name, entry in tensors.items() if name != "__metadata__"]
            known.update(header)
            for start, stop in places:
                if not 0 <= start <= stop <= size - begin:
                    raise ValueError(f"a tensor of {path} lies outside of it")
                file.seek(begin + start)
                known.update(file.read(min(TENSOR_SAMPLE, stop - start)))
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} is no safetensors file, or a damaged one") from None
    return known.hexdigest()
