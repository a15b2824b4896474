"""The settings of the agreement stage, in a file without torch, so that the command line starts quickly."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from instructrestore.dataengine.annotator.installed import shipped
from instructrestore.dataengine.merging import synonyms
from instructrestore.dataengine.running.identity import NO_RESULT
from instructrestore.dataengine.weights.needs import DeviceName, Need, WeightsNeed, WeightsRevision
from instructrestore.pretrained import installed

REVISION = "1"  # raised when the same weights and settings give other scores (agreement.py)
NAMED_REVISION = "1"  # the same for the embedded annotator, whose weights are in it (named_agreement.py)


class AgreementSettings(BaseModel):
    """Who judges how well a region's caption fits its pixels, and how well it must fit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judge: Literal["clip", "named"] = Field(
        default="clip",
        description="clip: the caption, by CLIP, to which model, revision, device and dtype belong; named: the "
        "subject, by the embedded annotator, on the CPU",
    )

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

    @model_serializer(mode="wrap")
    def _without_what_is_not_used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """So that CLIP's scores are what they were before there was another judge."""
        values = handler(self)
        if self.judge == "clip":
            values.pop("judge", None)
        return values


def identity(settings: AgreementSettings) -> tuple[Any, ...]:
    """What the scores depend on besides the rows, to be hashed."""
    if settings.judge == "named":
        return NAMED_REVISION, synonyms.REVISION, settings.judge, settings.threshold
    return REVISION, settings


def needs(settings: AgreementSettings) -> list[Need]:
    """What the agreement stage needs. OpenAI published CLIP under the MIT licence."""
    if settings.judge == "named":
        return [shipped(), installed.backbone(), installed.sentences()]
    licence = "MIT" if settings.model.startswith("openai/clip-") else ""
    files = ("config.json", "model*.safetensors", "tokenizer.json|vocab.json")
    return [WeightsNeed("CLIP", "agreement.model", settings.model, settings.revision, files, licence, settings.device)]
