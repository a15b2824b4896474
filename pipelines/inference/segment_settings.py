"""Which model cuts photos up beside the embedded annotator; in a file without torch, so that the command line starts
quickly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from instructrestore.dataengine.masks.sam2_settings import Sam2Settings

KINDS = {"mask2former": "Mask2Former", "maskformer": "MaskFormer"}  # instance segmenters, by config.json's model_type


@dataclass(frozen=True)
class InstanceSettings:
    """model: a folder as transformers saves it. kind: one of KINDS. device: where it runs, or "auto". threshold: the
    score of a thing, 0..1, from where it is one."""

    model: str
    kind: str
    device: str = "auto"
    threshold: float = 0.5


SegmentModel = Sam2Settings | InstanceSettings


def shown_name(model: SegmentModel) -> str:
    """The kind of model, and its name as people know it."""
    return f"{'SAM 2.1' if isinstance(model, Sam2Settings) else model.kind} ({model_name(model)})"


def model_name(model: SegmentModel) -> str:
    """Of a folder its last name, of one in the hub's cache the repository's."""
    for part in reversed(Path(model.model).parts):
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/")
    return Path(model.model).resolve().name
