"""The annotator's own file of weights, which ships with the package. No torch."""

from __future__ import annotations

from pathlib import Path

from instructrestore.pretrained.installed import InstalledFile

SHIPPED = Path(__file__).parent / "weights.safetensors"
SHIPPED_SHA256 = "27935a4c7b76f079c08c14290c6444ab5bffe6e6d39d458738da8393cd46561c"


def shipped() -> InstalledFile:
    return InstalledFile("the annotator", SHIPPED, SHIPPED_SHA256, "install instructrestore again", "Apache-2.0")
