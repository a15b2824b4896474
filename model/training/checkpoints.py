"""A run's checkpoints: whole or not there, the last few and the best; safetensors and JSON, nothing pickled.

checkpoints/step-00000500/
    controlnet/             what `restore --checkpoint` takes: the moving average if there is one
    unet/                   the same of the base's UNet, where that learns too: it takes the place of the base's
    trained.safetensors     the weights that learn on, where `controlnet/` and `unet/` hold their averages
    optimizer.safetensors   the optimizer's state by parameter name, and torch's random states
    state.json              step, order, settings, validation, and the sha256 of every other file
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from instructrestore.model.networks.checkpoint_record import (
    FILES,
    RECORD,
    check_files,
    read_record,
    record_bytes,
    sums_beside,
)
from instructrestore.model.networks.region_controlnet import WEIGHTS_NAME
from instructrestore.shards.errors import first_error
from instructrestore.shards.files import TEMPORARY, commit, sync, temporary_in
from instructrestore.shards.weight_files import read_safetensors, share_weights, write_safetensors

VERSION = 1


@dataclass(frozen=True)
class TrainingCheckpoint:
    """A checkpoint on disk. state: what `state.json` holds."""

    folder: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps taken."""
        return int(self.state["step"])

    @property
    def interrupted(self) -> bool:
        """Whether it was written because the run was stopped there, and not for its step."""
        return bool(self.state.get("interrupted"))

    @property
    def judged(self) -> bool:
        """Whether a validation of it has come to its end."""
        return self.state.get("validation") is not None

    @property
    def validation_loss(self) -> float | None:
        """Of the validation at this very step, if there was one."""
        scores = self.state.get("validation")
        return None if scores is None or not math.isfinite(scores["loss"]) else float(scores["loss"])

    def check(self) -> None:
        """Raises ValueError, naming the file, where one of it is not what was written."""
        check_files(self.folder, self.state)

    def trained(self) -> dict[str, Tensor]:
        """The weights that learn on, by parameter name."""
        own = self.folder / "trained.safetensors"
        if own.exists():
            return read_safetensors(own)
        of_unet = self.exported("unet") if (self.folder / "unet").is_dir() else {}
        return self.exported("controlnet") | {f"unet.{name}": value for name, value in of_unet.items()}

    def exported(self, model: str) -> dict[str, Tensor]:
        """The weights to restore with, of the "controlnet" or, where that learns too, the "unet"."""
        return read_safetensors(self.folder / model / WEIGHTS_NAME)

    def optimizer(self) -> dict[str, Tensor]:
        """The optimizer's state as "NAME/PARAMETER" and random states as "random/DEVICE"."""
        return read_safetensors(self.folder / "optimizer.safetensors")


class CheckpointFolder:
    """The folder of a run's checkpoints."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def all(self) -> list[TrainingCheckpoint]:
        """Every whole checkpoint, the oldest first. Raises ValueError for one that cannot be read."""
        return [_open(path) for path in sorted(self.folder.glob("step-*")) if (path / RECORD).exists()]

    def latest(self) -> TrainingCheckpoint | None:
        """The last one written, or None."""
        known = self.all()
        return known[-1] if known else None

    def best(self) -> TrainingCheckpoint | None:
        """The one with the lowest validation loss, or None before the first validation."""
        judged = [each for each in self.all() if each.validation_loss is not None]
        return min(judged, key=lambda each: each.validation_loss or 0.0, default=None)

    def save(
        self,
        exported: Mapping[str, ModelMixin],
        trained: Mapping[str, Tensor] | None,
        optimizer: Mapping[str, Tensor],
        state: Mapping[str, Any],
    ) -> Path:
        """Writes a checkpoint.

        exported: models by the name of their folder. trained: the learning weights where `exported` are their averages;
        None: they are the same.
        Raises OSError where the disk is full; what was there before then still is.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        final = self._place(state["step"])
        partial = temporary_in(self.folder)
        partial.mkdir()
        try:
            for name, model in exported.items():
                model.save_pretrained(partial / name, safe_serialization=True)
            if trained is not None:
                write_safetensors(_plain(trained), partial / "trained.safetensors")
            write_safetensors(_plain(optimizer), partial / "optimizer.safetensors")
            share_weights(partial)
            content = {"version": VERSION, **state, FILES: sums_beside(partial)}
            (partial / RECORD).write_bytes(record_bytes(content))
            for path in partial.rglob("*"):
                sync(path)
            sync(partial)
            if final.exists():
                self._remove(final)
            partial.rename(final)
        except SafetensorError as error:  # safetensors' own word for a full disk
            raise OSError(f"the checkpoint {final.name} cannot be written: {error}") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        sync(self.folder)
        return final

    def judge(self, step: int, validation: Mapping[str, Any]) -> None:
        """Adds the scores of a validation to the checkpoint of that step."""
        folder = self._place(step)
        state = {**_open(folder).state, "validation": dict(validation)}
        commit(folder / RECORD, record_bytes(state))

    def prune(self) -> None:
        """Removes the checkpoints that are neither among the last `keep` nor the best, nor where the run stands.

        An interrupted run's goes with the next one, so that the end is the same as without the interruption.
        """
        known, best = self.all(), self.best()
        passed = [each for each in known[:-1] if each.interrupted]
        regular = [each for each in known if not each.interrupted]
        for old in passed + regular[: -self.keep]:
            if best is None or old.folder != best.folder:
                self._remove(old.folder)

    def sweep(self) -> None:
        """Removes what killed writers left. For the one process that owns the folder."""
        for left in self.folder.glob(f"{TEMPORARY}*"):
            shutil.rmtree(left, ignore_errors=True)

    def _place(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def _remove(self, folder: Path) -> None:
        """As a whole: what a kill leaves of it has a name that `sweep` knows."""
        doomed = folder.with_name(f"{TEMPORARY}{folder.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
        shutil.rmtree(doomed)


def last_of_run(place: str) -> str:
    """The last checkpoint where `place` is a run's folder, any other place as it is; ValueError where it has none."""
    folder = Path(place) / "checkpoints"
    if not folder.is_dir():
        return place
    if (last := CheckpointFolder(folder, keep=1).latest()) is None:
        raise ValueError(f"{place} is a training run without a checkpoint yet: let it train, or name another")
    return str(last.folder)


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[Any, str]) -> dict[str, Tensor]:
    """The optimizer's state and torch's random states as `TrainingCheckpoint.optimizer` gives them back."""
    tensors = {f"{key}/{names[p]}": value for p, state in optimizer.state.items() for key, value in state.items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_initialized():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    return tensors


def restore_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """Gives the optimizer and torch's random states back what `optimizer_tensors` took."""
    numbers = {name: number for number, name in enumerate(parameters)}
    state: dict[int, dict[str, Tensor]] = {number: {} for number in numbers.values()}
    for label, value in tensors.items():
        key, _, name = label.partition("/")
        if key != "random":
            state[numbers[name]][key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["random/cpu"].cpu())
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"].cpu())


def _open(folder: Path) -> TrainingCheckpoint:
    state = read_record(folder)
    version = state.get("version")
    if version != VERSION:
        raise ValueError(f"the checkpoint {folder} is of version {version!r}; this program reads {VERSION}")
    try:
        _State.model_validate(state, strict=True)
    except ValidationError as error:
        raise ValueError(f"the checkpoint {folder} cannot be read: state.json has {first_error(error)}") from None
    return TrainingCheckpoint(folder, state)


class _Scores(BaseModel):
    loss: float


class _State(BaseModel):
    """What a `state.json` must hold to be gone on from; it may hold more."""

    step: Annotated[int, Field(ge=0)]
    base: str
    settings: dict[str, Any]
    scaler: dict[str, Any]
    faults: dict[str, int]
    started_from: tuple[str | None, str | None] | list[str | None] | None = None
    validation: _Scores | None = None


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
