"""The small model that ships: what was trained here lies beside this file, the rest installs with packages.

`small/` is a saved InstructRestorePipeline in float16 without what others trained: the sentence encoder, its tokenizer
and the image classifier in the mask decoder. Put together it is a folder like any other model's, in the user's cache.
docs/models/small.md is its card.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import BertTokenizer

from instructrestore.model.networks.checkpoint_record import check_model
from instructrestore.model.networks.region_controlnet import WEIGHTS_NAME
from instructrestore.model.restoring.small_base import TOKENS
from instructrestore.pretrained import installed
from instructrestore.pretrained.backbone import load_backbone
from instructrestore.shards.files import TEMPORARY, file_sha256
from instructrestore.shards.parsing import parse_object, read_bounded
from instructrestore.shards.weight_files import write_safetensors

SMALL = "small"  # its name where a base is asked for
SHIPPED = Path(__file__).parent / "small"
BACKBONE = "mask_decoder.backbone."
SUMS = "sha256.json"  # of what was put together: file -> hex digits
_CACHE = Path("~/.cache/instructrestore/models")


def base_place(base: str) -> str:
    """Where a base is that may be named `small`; any other name is its own place. A folder of that name is `./small`.

    Raises ValueError, in one sentence, where the small model's packages are not installed, or damaged.
    """
    return str(small_model()) if base == SMALL else base


def small_model(cache: Path | None = None) -> Path:
    """The small model's folder, put together if it is not there yet, and anew where a file of it is damaged or gone.

    cache: in place of the user's. Raises ValueError, in one sentence, where its packages are not installed, or
    damaged, or there is no room for it.
    """
    known = hashlib.sha256()
    for path in sorted(path for path in SHIPPED.rglob("*") if path.is_file()):
        known.update(str(path.relative_to(SHIPPED)).encode() + path.read_bytes())
    for file in (installed.sentences(), installed.backbone()):
        known.update(file.sha256.encode())
    try:
        folder = (cache or _CACHE.expanduser()) / f"{SMALL}-{known.hexdigest()[:8]}"
    except RuntimeError:
        raise ValueError("the small model has no place: this user has no home folder; set HOME") from None
    if _is_whole(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=folder.parent))
        try:
            _assemble(partial / SMALL)
            if folder.exists() and not _is_whole(folder):
                os.rename(folder, partial / "damaged")
            os.rename(partial / SMALL, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        if _is_whole(folder):  # another process was quicker
            return folder
        raise ValueError(
            f"the small model cannot be put together in {folder.parent}, which must be a folder with 120 MB of room "
            f"that you may write to: {getattr(error, 'strerror', None) or error}"
        ) from error
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether every file that was put together is there, byte for byte."""
    try:
        sums = parse_object(read_bounded(folder / SUMS), SUMS)
        return all(file_sha256(folder / name) == known for name, known in sums.items())
    except (OSError, ValueError):
        return False


def _assemble(folder: Path) -> None:
    sentences = installed.sentences().checked()
    shutil.copytree(SHIPPED, folder, copy_function=shutil.copyfile)
    shutil.copyfile(sentences, folder / "text_encoder" / "model.safetensors")
    tokenizer = BertTokenizer.from_pretrained(str(sentences.parent), local_files_only=True, model_max_length=TOKENS)
    tokenizer.save_pretrained(folder / "tokenizer")
    controlnet = folder / "controlnet" / WEIGHTS_NAME
    backbone = {f"{BACKBONE}{name}": value.half() for name, value in load_backbone().state_dict().items()}
    write_safetensors({**load_file(controlnet), **backbone}, controlnet, {"format": "pt"})
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    (folder / SUMS).write_text(json.dumps(sums, indent=2) + "\n", "utf-8")


def ship(pipeline: Path, masks: Path, folder: Path = SHIPPED) -> None:
    """Writes what is to ship of a saved pipeline, with the mask decoder of another checkpoint's ControlNet.

    pipeline: a saved InstructRestorePipeline. masks: the folder of a ControlNet with a TextMaskDecoder.
    """
    check_model(masks)
    with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
        _select(pipeline, masks, Path(partial, SMALL))
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(Path(partial, SMALL), folder)


def _select(pipeline: Path, masks: Path, folder: Path) -> None:
    leave = shutil.ignore_patterns("tokenizer", "model.safetensors")
    shutil.copytree(pipeline, folder, ignore=leave, copy_function=shutil.copyfile)
    of_masks = parse_object((masks / "config.json").read_bytes(), str(masks / "config.json"))
    for path in folder.rglob("*.json"):
        values = parse_object(path.read_bytes(), str(path))
        values.pop("_name_or_path", None)  # diffusers writes where a model was read
        if path.parent.name == "controlnet":
            values |= {name: value for name, value in of_masks.items() if name.startswith("mask_")}
        path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", "utf-8")
    decoder = {name: value for name, value in load_file(masks / WEIGHTS_NAME).items() if _of_decoder(name)}
    controlnet = load_file(folder / "controlnet" / WEIGHTS_NAME)
    controlnet = {name: value for name, value in controlnet.items() if not name.startswith("mask_decoder.")} | decoder
    unet = load_file(folder / "unet" / WEIGHTS_NAME)
    for name, tensors in (("controlnet", controlnet), ("unet", unet)):
        halves = {key: value.to(torch.float16).contiguous() for key, value in tensors.items()}
        write_safetensors(halves, folder / name / WEIGHTS_NAME, {"format": "pt"})


def _of_decoder(name: str) -> bool:
    return name.startswith("mask_decoder.") and not name.startswith(BACKBONE)
