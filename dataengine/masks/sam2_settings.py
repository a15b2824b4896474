"""The settings of SAM 2.1, apart from its code, which imports torch: a command line starts without that."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from instructrestore.dataengine.weights.needs import Need, WeightsNeed

REVISION = "1"  # raised when the same weights and settings give other masks (sam2.py)


class Sam2Settings(BaseModel):
    """Which weights, and which of the masks they give are used.

    Points and thresholds are by default those of SAM 2's own automatic mask generator
    (facebookresearch/sam2, sam2/automatic_mask_generator.py, seen at 0c5f8c5).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        default="facebook/sam2.1-hiera-large",
        min_length=1,
        description="a hub id, or a folder as transformers saves it",
    )
    revision: str = Field(
        default="main",
        min_length=1,
        description="of the hub's weights: a commit where a run must be repeatable; of a folder: any name for what is "
        "in it, changed whenever that changes",
    )
    points_per_side: int = Field(
        default=32, ge=1, le=64, description="a grid of so many points across and down asks for masks"
    )
    points_per_batch: int = Field(default=64, ge=1, description="points a call of the mask decoder; bounds its memory")
    predicted_iou: float = Field(
        default=0.8, ge=0, le=1, description="masks whose quality the model puts higher than this are kept"
    )
    stability: float = Field(
        default=0.95,
        ge=0,
        le=1,
        description="masks are kept whose IoU between the thresholds +1 and -1 on their logits is at least this",
    )
    duplicate_iou: float = Field(
        default=0.7, gt=0, le=1, description="of two masks with an IoU above this the one of lower predicted IoU goes"
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto: the GPU where there is one, else the CPU",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="what the image encoder computes in; the rest is float32"
    )


def needs(settings: Sam2Settings) -> list[Need]:
    """What SAM 2.1 needs. Its licence is that of its card."""
    licence = "Apache-2.0" if settings.model.startswith("facebook/sam2") else ""
    files = ("config.json", "model*.safetensors")
    return [
        WeightsNeed("SAM 2.1", "masks.sam2.model", settings.model, settings.revision, files, licence, settings.device)
    ]
