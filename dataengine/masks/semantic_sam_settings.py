"""The settings of Semantic-SAM, in a file without torch, so that the command line starts quickly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from instructrestore.dataengine.running.identity import NO_RESULT, Counts
from instructrestore.dataengine.weights.needs import CheckoutNeed, DeviceName, Need, PackageNeed, WeightsNeed

REVISION = "1"  # raised when the same weights and settings give other masks (semantic_sam.py)


class SemanticSamSettings(BaseModel):
    """Which checkout and weights are used, and which of their masks are kept.

    The default points, thresholds and smallest area are those of Semantic-SAM's own automatic mask generator
    (UX-Decoder/Semantic-SAM, tasks/automatic_mask_generator.py, seen at e11f8b5).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkout: Annotated[str, NO_RESULT] = Field(
        default="", description="the folder of a git clone of UX-Decoder/Semantic-SAM; its code runs"
    )
    detectron2: Annotated[str, NO_RESULT] = Field(
        default="",
        description="the folder of a git clone of facebookresearch/detectron2, uncompiled; unset: the installed one",
    )
    checkpoint: Annotated[str, Counts(lambda path: Path(path).name)] = Field(
        default="", description="the file of the released weights: swinl_only_sam_many2many.pth"
    )
    model_type: Literal["T", "L"] = Field(default="L", description="Swin-T or Swin-L, as the checkpoint is")
    revision: str = Field(
        default="main",
        min_length=1,
        description="any name for the contents of the checkpoint and the checkouts; when it changes, the photos are "
        "segmented again",
    )
    levels: tuple[Literal[1, 2, 3, 4, 5, 6], ...] = Field(
        default=(1, 2),
        min_length=1,
        description="granularities: 1 and 2 are whole things and stuff, 3 instances, 4 to 6 parts",
    )
    points_per_side: int = Field(
        default=32, ge=1, le=64, description="masks are asked for at a grid of this many points across and down"
    )
    points_per_batch: int = Field(
        default=200,
        ge=1,
        description="points per call of the mask decoder, which attend to each other: affects results and memory",
    )
    predicted_iou: float = Field(
        default=0.88, ge=0, le=1, description="masks whose predicted quality is above this are kept"
    )
    stability: float = Field(
        default=0.92,
        ge=0,
        le=1,
        description="masks are kept if the IoU between their logits thresholded at +1 and at -1 is at least this",
    )
    duplicate_iou: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="of two masks whose boxes have an IoU above this, the one of lower predicted IoU is dropped",
    )
    smallest_area: int = Field(
        default=10,
        ge=0,
        description="holes and islands of fewer pixels than this, at the model's size, are removed from every mask",
    )
    short_side: int = Field(
        default=640, ge=64, le=2048, description="pixels to which the photo's shorter side is scaled for the model"
    )
    device: DeviceName = "auto"


def needs(settings: SemanticSamSettings) -> list[Need]:
    """What Semantic-SAM needs."""
    unclear = "unclear: headers of its files say MIT, and there is no LICENSE file"
    of = "masks.semantic_sam."
    code, engine = "https://github.com/UX-Decoder/Semantic-SAM", "https://github.com/facebookresearch/detectron2"
    holds = "semantic_sam/build_semantic_sam.py", "detectron2/modeling/__init__.py"
    weights = settings.checkpoint
    return [
        CheckoutNeed("Semantic-SAM", of + "checkout", settings.checkout, holds[0], code, unclear),
        CheckoutNeed(
            "detectron2", of + "detectron2", settings.detectron2, holds[1], engine, "Apache-2.0", "detectron2"
        ),
        PackageNeed(
            "torchvision", "torchvision", "pip install torchvision, in the build for the torch that is installed"
        ),
        WeightsNeed("Semantic-SAM", of + "checkpoint", weights, settings.revision, (), unclear, settings.device),
    ]
