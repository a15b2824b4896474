"""SAM 2.1 for pointing at things: its outlines are finer than the embedded annotator's, which tells their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import try_to_load_from_cache

from instructrestore.dataengine.annotator.grouping import PanopticSegment
from instructrestore.dataengine.masks.cleanup import CleanupSettings
from instructrestore.dataengine.masks.sam2 import FILES, Sam2Segmenter
from instructrestore.dataengine.masks.sam2_settings import Sam2Settings
from instructrestore.dataengine.weights.model_weights import find_folder
from instructrestore.shards.plain_text import visible_line
from instructrestore.shards.rle import BoolArray

AUTO, EMBEDDED = "auto", "embedded"
LEAST_AREA = 0.0005  # of the photo: what is smaller is hard to point at
CLEANUP = CleanupSettings(hole=LEAST_AREA, island=LEAST_AREA, smallest=LEAST_AREA, largest=1.0, most=500)


@dataclass(frozen=True)
class PhotoPart:
    """mask: (H, W) bool, of pixels that no other part has. seen: the annotator's segment that it mostly is."""

    mask: BoolArray
    seen: PanopticSegment | None


def chosen_sam2(segments: str, device: str | None) -> Sam2Settings | None:
    """The SAM 2.1 that is asked for; None: the annotator alone.

    segments: "embedded", a folder, a hub id (fetched if necessary), or "auto": SAM 2.1 where its weights are in the
    hub's cache and a GPU runs it. device: the app's. Raises ValueError, in one sentence, for weights that are nowhere.
    """
    if segments == EMBEDDED:
        return None
    on = Sam2Settings.model_validate({"device": device or "auto"})
    if segments != AUTO:
        folder, _ = find_folder(segments, on.revision, FILES, f"the SAM 2.1 weights {visible_line(segments)}")
        return on.model_copy(update={"model": str(folder)})
    gpu = torch.device(device).type == "cuda" if device else torch.cuda.is_available()
    files = [try_to_load_from_cache(on.model, name) for name in ("config.json", "model.safetensors")]
    if not gpu or not all(isinstance(file, str) for file in files):
        return None
    return on.model_copy(update={"model": str(Path(str(files[0])).parent)})


def model_name(settings: Sam2Settings) -> str:
    """As people know the model: of a folder its last name, of one in the hub's cache the repository's."""
    for part in reversed(Path(settings.model).parts):
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/")
    return Path(settings.model).resolve().name


def load_sam2(settings: Sam2Settings) -> Sam2Segmenter:
    """Raises ValueError, in one sentence, if the weights cannot be found or are incomplete."""
    return Sam2Segmenter(settings, CLEANUP)


def parts_of(masks: Iterable[BoolArray], seen: Sequence[PanopticSegment]) -> list[PhotoPart]:
    """The photo in parts: SAM's masks, a smaller one out of a larger, then what the annotator saw besides.

    masks, seen: of one size.
    """
    order = sorted(masks, key=lambda mask: -int(mask.sum()))
    left = [each.mask for each in seen]
    parts: list[PhotoPart] = []
    for number, mask in enumerate(order):
        visible = mask.copy()
        for smaller in order[number + 1 :]:
            visible &= ~smaller
        left = [each & ~mask for each in left]
        if visible.any():
            shared = [np.count_nonzero(each.mask & visible) for each in seen]
            best = int(np.argmax(shared)) if shared else 0
            parts.append(PhotoPart(visible, seen[best] if shared and 2 * shared[best] > visible.sum() else None))
    least = LEAST_AREA * (seen[0].mask.size if seen else 0)
    return parts + [PhotoPart(mask, each) for mask, each in zip(left, seen, strict=True) if mask.sum() >= max(1, least)]
