"""The settings of MUSIQ, in a file without torch, so that the command line starts quickly."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from instructrestore.dataengine.weights.needs import DeviceName, Need, PackageNeed, WeightsNeed, WeightsRevision

REVISION = "1"  # raised when the same weights give other scores (musiq.py)
WEIGHTS = "musiq_koniq_ckpt-e95806b9.pth"  # KonIQ-10k: pyiqa's own choice for "musiq", and the scale of 0 to 100


class MusiqSettings(BaseModel):
    """Where MUSIQ's weights are and what it runs on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str = Field(
        default="chaofengc/IQA-PyTorch-Weights",
        min_length=1,
        description=f"a hub id, or a folder, that holds pyiqa's {WEIGHTS}",
    )
    revision: WeightsRevision = "main"
    device: DeviceName = "auto"


def needs(settings: MusiqSettings) -> list[Need]:
    """What MUSIQ needs. pyiqa's licence is from its package's metadata (0.1.16), that of the weights from their card on
    the hub. Neither allows commercial use."""
    install = 'pip install "instructrestore[iqa]"'
    return [
        PackageNeed("pyiqa", "pyiqa", install, "PolyForm-Noncommercial-1.0.0"),
        PackageNeed("torchvision", "torchvision", install + ", in the build for the torch that is installed"),
        WeightsNeed(
            "MUSIQ", "quality_gate.musiq.weights", settings.weights, settings.revision, (WEIGHTS,), "CC-BY-NC-SA-4.0",
            settings.device,
        ),
    ]  # fmt: skip
