"""Osprey's settings and prompt, in a file without torch, so that the command line starts quickly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from instructrestore.dataengine.running.identity import NO_RESULT, marked
from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.weights.needs import (
    CheckoutNeed,
    DeviceName,
    Need,
    PackageNeed,
    WeightsNeed,
    WeightsRevision,
)

REVISION = "1"  # raised when the same weights, settings and prompt give other descriptions (osprey.py)

# What CircleRadon/Osprey, seen at deb0e57, makes from its template "osprey_v1" (osprey/conversation.py) and the
# question for short descriptions (demo/osprey_inference.py). <image> is replaced by the photo's features, <mask> and
# <pos> by those of the region and of its place.
PROMPT = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the human's questions. USER: <image>\n\nThis provides an overview of the picture.\nPlease "
    "give me a short description of <mask><pos>. Using a short phrase. ASSISTANT:"
)
STOP = "</s>"


class OspreySettings(BaseModel):
    """Which weights describe the regions, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        default="sunshine-lwt/Osprey-7b", min_length=1, description="a hub id, or a folder as transformers saves it"
    )
    revision: WeightsRevision = "main"
    vision_tower: str = Field(
        default="laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup",
        min_length=1,
        description="the hub id of the vision tower's weights, or their file",
    )
    vision_tower_file: str = Field(
        default="open_clip_pytorch_model.bin", min_length=1, description="which file of that hub id"
    )
    vision_tower_revision: str = Field(default="main", min_length=1, description="like revision, for the vision tower")
    checkout: Annotated[str | None, NO_RESULT] = Field(
        default=None, min_length=1, description="a folder with Osprey's code; unset: the installed package"
    )
    batch: Annotated[int, NO_RESULT] = Field(
        default=8, ge=1, description="regions of a photo described at once; bounds the memory"
    )
    max_new_tokens: int = Field(default=128, ge=8, le=1024, description="longest description, in tokens")
    device: DeviceName = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="what the model computes in; auto: bfloat16 on a GPU, float32 on a CPU"
    )


def identity(settings: OspreySettings) -> str:
    """16 hex digits of everything besides photo and mask that a description depends on. Where the code is, the device
    and the batch size are not part of it."""
    return digest(REVISION, PROMPT, settings.model_dump(exclude=marked(OspreySettings)))


def needs(settings: OspreySettings) -> list[Need]:
    """What Osprey needs. Its code is Apache-2.0; its weights derive from Vicuna's, and those from LLaMA's."""
    s, of = settings, "descriptions.osprey."
    code, holds = "https://github.com/CircleRadon/Osprey", "osprey/model/language_model/osprey_llama.py"
    files = ("config.json", "model*.safetensors|pytorch_model*.bin", "tokenizer*")
    licence = "its code Apache-2.0; its weights derive from Vicuna and LLaMA: theirs"
    tower = () if Path(s.vision_tower).expanduser().is_file() else (s.vision_tower_file,)
    return [
        CheckoutNeed("Osprey", of + "checkout", s.checkout or "", holds, code, "Apache-2.0", "osprey"),
        PackageNeed(
            "torchvision", "torchvision", "pip install torchvision, in the build for the torch that is installed"
        ),
        WeightsNeed("Osprey", of + "model", s.model, s.revision, files, licence, s.device),
        WeightsNeed("vision tower", of + "vision_tower", s.vision_tower, s.vision_tower_revision, tower, "", s.device),
    ]
