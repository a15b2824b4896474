"""What is measured of a test set, apart from the code that imports torch: a command line starts without that."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from instructrestore.model.metrics.metric import BY_NAME, EMBEDDED

REVISION = "1"  # raised when the same photos and settings give other values


class MetricSettings(BaseModel):
    """Which metrics, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metrics: tuple[str, ...] = Field(default=EMBEDDED, min_length=1, description=f"of {', '.join(BY_NAME)}")
    regions: Literal["pixels", "zeroed"] = Field(
        default="pixels",
        description="PSNR and SSIM of a region: over its pixels alone, or over the whole photo with all that lies "
        "outside it black in both, which makes them higher the smaller the region is",
    )
    iqa_weights: str = Field(
        default="chaofengc/IQA-PyTorch-Weights",
        min_length=1,
        description="the weights of LPIPS, CLIPIQA, MUSIQ and MANIQA: a folder of pyiqa's files, or a hub id",
    )
    iqa_revision: str = Field(default="main", min_length=1, description="branch, tag or commit of a hub id")
    blur_detector: Literal["sharpness", "d-dffnet"] = Field(
        default="sharpness", description="what finds the blurred pixels for the bokeh IoU"
    )
    d_dffnet_code: str = Field(default="", description="a checkout of yuxinjin-whu/D-DFFNet")
    d_dffnet_weights: str = Field(default="", description="its trained weights, a file")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="of the networks that measure; auto: the GPU where there is one, else the CPU",
    )

    @field_validator("metrics")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in BY_NAME]
        if unknown:
            raise ValueError(f"there is no metric {unknown[0]!r}; there are {', '.join(BY_NAME)}")
        return tuple(name for name in BY_NAME if name in names)  # in one order, each once
