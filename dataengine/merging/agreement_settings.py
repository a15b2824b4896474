"""The settings of the agreement stage, in a file without torch, so that the command line starts quickly."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from instructrestore.dataengine.running.identity import NO_RESULT
from instructrestore.dataengine.weights.needs import DeviceName, Need, WeightsNeed, WeightsRevision

REVISION = "1"  # raised when the same weights and settings give other scores (agreement.py)


class AgreementSettings(BaseModel):
    """Which CLIP judges how well a region's caption fits its pixels, and how well it must fit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        default="openai/clip-vit-large-patch14",
        min_length=1,
        description="a hub id, or a folder as transformers saves it: a CLIPModel with its tokenizer",
    )
    revision: WeightsRevision = "main"
    threshold: float = Field(
        default=0,
        ge=0,
        le=100,
        description="regions that score lower are dropped; 0 drops none. Scores depend on the model: look at the "
        "scores of a few hundred photos first",
    )
    regions_per_batch: Annotated[int, NO_RESULT] = Field(
        default=32, ge=1, description="regions per call of the model; bounds its memory"
    )
    device: DeviceName = "auto"
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="what both encoders compute in")


def needs(settings: AgreementSettings) -> list[Need]:
    """What the agreement stage needs. OpenAI published CLIP under the MIT licence."""
    licence = "MIT" if settings.model.startswith("openai/clip-") else ""
    files = ("config.json", "model*.safetensors", "tokenizer.json|vocab.json")
    return [WeightsNeed("CLIP", "agreement.model", settings.model, settings.revision, files, licence, settings.device)]
