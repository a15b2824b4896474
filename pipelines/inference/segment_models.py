"""What else than the embedded annotator may cut photos up: SAM 2.1, or an instance segmenter; chosen by its weights."""

from __future__ import annotations

from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache

from instructrestore.dataengine.masks.sam2_settings import Sam2Settings
from instructrestore.dataengine.weights.model_weights import find_folder
from instructrestore.pipelines.inference.segment_settings import KINDS, InstanceSettings, SegmentModel
from instructrestore.shards.parsing import parse_object, read_bounded
from instructrestore.shards.plain_text import visible_line

AUTO, EMBEDDED = "auto", "embedded"
FILES = ["config.json", "preprocessor_config.json", "model*.safetensors*"]


def chosen_segments(segments: str, device: str | None) -> SegmentModel | None:
    """The model that is asked for; None: the annotator alone.

    segments: "embedded", a folder, a hub id (fetched if necessary), or "auto": SAM 2.1 where its weights are in the
    hub's cache and a GPU runs it. device: where the restoring model runs. Raises ValueError, in one sentence, for
    weights that are nowhere or of another kind.
    """
    if segments == EMBEDDED:
        return None
    on = Sam2Settings.model_validate({"device": device or "auto"})
    if segments != AUTO:
        folder, _ = find_folder(segments, on.revision, FILES, f"the weights {visible_line(segments)} for --segments")
        kind = _kind(folder)
        if kind in KINDS:
            return InstanceSettings(str(folder), KINDS[kind], on.device)
        if kind.startswith("sam2"):
            return on.model_copy(update={"model": str(folder)})
        known = "SAM 2.1, Mask2Former or MaskFormer"
        raise ValueError(f"{visible_line(segments)} is a model of the kind {visible_line(kind)!r}: take {known}")
    gpu = torch.device(device).type == "cuda" if device else torch.cuda.is_available()
    files = [try_to_load_from_cache(on.model, name) for name in ("config.json", "model.safetensors")]
    if not gpu or not all(isinstance(file, str) for file in files):
        return None
    return on.model_copy(update={"model": str(Path(str(files[0])).parent)})


def _kind(folder: Path) -> str:
    """The model_type of a folder's config.json, "" where it has none."""
    file = folder / "config.json"
    try:
        return str(parse_object(read_bounded(file), visible_line(str(file))).get("model_type", ""))
    except FileNotFoundError:
        raise ValueError(f"there is no {visible_line(str(file))}: name the folder of a model of transformers") from None
