"""The settings of SAM 2.1, in a file without torch, so that the command line starts quickly."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from instructrestore.dataengine.running.identity import NO_RESULT
from instructrestore.dataengine.weights.needs import DeviceName, Need, WeightsNeed, WeightsRevision

REVISION = "1"  # raised when the same weights and settings give other masks (sam2.py)


class Sam2Settings(BaseModel):
    """Which weights are used, and which of their masks are kept.

    The default points and thresholds are those of SAM 2's own automatic mask generator
    (facebookresearch/sam2, sam2/automatic_mask_generator.py, seen at 0c5f8c5).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        default="facebook/sam2.1-hiera-large",
        min_length=1,
        description="a hub id, or a folder as transformers saves it",
    )
    revision: WeightsRevision = "main"
    points_per_side: int = Field(
        default=32, ge=1, le=64, description="masks are asked for at a grid of this many points across and down"
    )
    points_per_batch: Annotated[int, NO_RESULT] = Field(
        default=64, ge=1, description="points per call of the mask decoder; bounds its memory"
    )
    predicted_iou: float = Field(
        default=0.8, ge=0, le=1, description="masks whose predicted quality is above this are kept"
    )
    stability: float = Field(
        default=0.95,
        ge=0,
        le=1,
        description="masks are kept if the IoU between their logits thresholded at +1 and at -1 is at least this",
    )
    duplicate_iou: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="of two masks with an IoU above this, the one of lower predicted IoU is dropped",
    )
    device: DeviceName = "auto"
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="what the image encoder computes in; the rest is float32"
    )


def needs(settings: Sam2Settings) -> list[Need]:
    """What SAM 2.1 needs. The licence is from its card on the hub."""
    licence = "Apache-2.0" if settings.model.startswith("facebook/sam2") else ""
    files = ("config.json", "model*.safetensors")
    return [
        WeightsNeed("SAM 2.1", "masks.sam2.model", settings.model, settings.revision, files, licence, settings.device)
    ]
