"""The settings of the agreement stage, apart from its code, which imports torch: a command line starts without that."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from instructrestore.dataengine.weights.needs import Need, WeightsNeed

REVISION = "1"  # raised when the same weights and settings give other scores (agreement.py)


class AgreementSettings(BaseModel):
    """Which CLIP says how well a region's caption fits its pixels, and how well it must."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        default="openai/clip-vit-large-patch14",
        min_length=1,
        description="a hub id, or a folder as transformers saves it: a CLIPModel with its tokenizer",
    )
    revision: str = Field(
        default="main",
        min_length=1,
        description="of the hub's weights: a commit where a run must be repeatable; of a folder: any name for what is "
        "in it, changed whenever that changes",
    )
    threshold: float = Field(
        default=0,
        ge=0,
        le=100,
        description="regions that score lower are dropped; 0 drops none. Scores depend on the model: look at those of "
        "a few hundred photos first",
    )
    regions_per_batch: int = Field(default=32, ge=1, description="regions a call of the model; bounds its memory")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto: the GPU where there is one, else the CPU",
    )
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="what both encoders compute in")


def needs(settings: AgreementSettings) -> list[Need]:
    """What the agreement stage needs. OpenAI published CLIP under the MIT licence."""
    licence = "MIT" if settings.model.startswith("openai/clip-") else ""
    files = ("config.json", "model*.safetensors", "tokenizer.json|vocab.json")
    return [WeightsNeed("CLIP", "agreement.model", settings.model, settings.revision, files, licence, settings.device)]
