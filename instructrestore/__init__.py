"""InstructRestore: region-customized photo restoration by instruction.

The names in `__all__` are the public interface; docs/api.md shows each at work. They are imported when they are first
used, so that `import instructrestore` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instructrestore.jobs import build, evaluate, make_testset, open_dataset, restore, train, understand
    from instructrestore.model.instruction.instruction import Instruction, RegionScale
    from instructrestore.model.instruction.parser import parse as parse_instruction
    from instructrestore.model.restoring.checkpoint import load_pipeline
    from instructrestore.model.restoring.pipeline import InstructRestorePipeline
    from instructrestore.model.restoring.tiny_base import build_tiny_base
    from instructrestore.pipelines.inference.best_scales import find_scales
    from instructrestore.shards.index import Dataset
    from instructrestore.shards.sample import AnnotatedPhoto, Region

__version__ = "0.2.0"

__all__ = [
    "AnnotatedPhoto",
    "Dataset",
    "InstructRestorePipeline",
    "Instruction",
    "Region",
    "RegionScale",
    "__version__",
    "build",
    "build_tiny_base",
    "evaluate",
    "find_scales",
    "load_pipeline",
    "make_testset",
    "open_dataset",
    "parse_instruction",
    "restore",
    "train",
    "understand",
]

# Where each public name is defined, as MODULE:NAME below this package.
_DEFINED_IN = {
    "AnnotatedPhoto": "shards.sample:AnnotatedPhoto",
    "Dataset": "shards.index:Dataset",
    "InstructRestorePipeline": "model.restoring.pipeline:InstructRestorePipeline",
    "Instruction": "model.instruction.instruction:Instruction",
    "Region": "shards.sample:Region",
    "RegionScale": "model.instruction.instruction:RegionScale",
    "build": "jobs:build",
    "build_tiny_base": "model.restoring.tiny_base:build_tiny_base",
    "evaluate": "jobs:evaluate",
    "find_scales": "pipelines.inference.best_scales:find_scales",
    "load_pipeline": "model.restoring.checkpoint:load_pipeline",
    "make_testset": "jobs:make_testset",
    "open_dataset": "jobs:open_dataset",
    "parse_instruction": "model.instruction.parser:parse",
    "restore": "jobs:restore",
    "train": "jobs:train",
    "understand": "jobs:understand",
}


def __getattr__(name: str) -> Any:
    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _DEFINED_IN[name].partition(":")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return value


def __dir__() -> list[str]:
    return list(__all__)
