"""The settings of MUSIQ, apart from its code, which imports torch: a command line starts without that."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from instructrestore.dataengine.weights.needs import Need, PackageNeed, WeightsNeed

REVISION = "1"  # raised when the same weights give other scores (musiq.py)
WEIGHTS = "musiq_koniq_ckpt-e95806b9.pth"  # KonIQ-10k: pyiqa's own choice for "musiq", and the scale of 0 to 100


class MusiqSettings(BaseModel):
    """Where MUSIQ's weights are and where it runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str = Field(
        default="chaofengc/IQA-PyTorch-Weights",
        min_length=1,
        description=f"a hub id, or a folder, that holds pyiqa's {WEIGHTS}",
    )
    revision: str = Field(
        default="main",
        min_length=1,
        description="of the hub's weights: a commit where a run must be repeatable; of a folder: any name for what is "
        "in it, changed whenever that changes",
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto: the GPU where there is one, else the CPU",
    )


def needs(settings: MusiqSettings) -> list[Need]:
    """What MUSIQ needs. pyiqa's licence is the one in its package's metadata (0.1.16), the weights' that of the hub's
    card: both allow no commercial use."""
    install = 'pip install "instructrestore[iqa]"'
    return [
        PackageNeed("pyiqa", "pyiqa", install, "PolyForm-Noncommercial-1.0.0"),
        PackageNeed("torchvision", "torchvision", install + ", in the build for the torch that is installed"),
        WeightsNeed(
            "MUSIQ", "quality_gate.musiq.weights", settings.weights, settings.revision, (WEIGHTS,), "CC-BY-NC-SA-4.0",
            settings.device,
        ),
    ]  # fmt: skip
