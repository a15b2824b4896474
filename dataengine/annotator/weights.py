"""The trained head as one file: float16 safetensors, read and written here alone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from instructrestore.dataengine.annotator.installed import SHIPPED, shipped
from instructrestore.dataengine.annotator.naming import Calibration
from instructrestore.dataengine.annotator.network import Head
from instructrestore.dataengine.annotator.reduction import Reduction
from instructrestore.shards.files import commit
from instructrestore.shards.parsing import parse_object

FORMAT = "instructrestore-annotator-1"


@dataclass(frozen=True)
class TrainedHeads:
    """heads: one or more, of which the mean of the probabilities is taken. calibration: of that mean."""

    reduction: Reduction
    heads: tuple[Head, ...]
    calibration: Calibration


def save_weights(trained: TrainedHeads, path: Path, record: dict[str, str]) -> None:
    """record: how the weights came to be; any strings."""
    head = trained.heads[0]
    tensors = {
        f"{number}.{name}": value.half().contiguous()
        for number, each in enumerate(trained.heads)
        for name, value in each.state_dict().items()
    }
    tensors |= {
        f"reduction.{name}": value.half().contiguous() for name, value in trained.reduction.state_dict().items()
    }
    metadata = {
        **record,
        "format": FORMAT,
        "heads": str(len(trained.heads)),
        "channels": str(head.channels),
        "calibration": json.dumps(asdict(trained.calibration)),
    }
    commit(path, save(tensors, metadata))


def load_weights(path: Path = SHIPPED) -> TrainedHeads:
    """In evaluation mode, without gradients. Raises ValueError where the file is missing, damaged or something else."""
    if path == SHIPPED:
        shipped().checked()
    elif not path.is_file():
        raise ValueError(f"there are no weights of an annotator at {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is damaged: train it anew") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} does not hold an annotator's weights of this version")
    try:
        calibration = Calibration(**parse_object(metadata["calibration"], str(path)))

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}

        reduction, heads = Reduction(), []
        reduction.load_state_dict(part("reduction."))
        for number in range(int(metadata["heads"])):
            state = part(f"{number}.")
            head = Head(state["text"], int(metadata["channels"]))
            head.load_state_dict(state)
            heads.append(head.eval().requires_grad_(False))
    except (KeyError, RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(f"{path} is damaged: train it anew") from error
    return TrainedHeads(reduction, tuple(heads), calibration)
