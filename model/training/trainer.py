"""The training loop."""

from __future__ import annotations

import copy
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.adamw import AdamW
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from instructrestore.model.networks.devices import DTYPES
from instructrestore.model.networks.model_folder import quiet
from instructrestore.model.networks.region_controlnet import RegionControlNet
from instructrestore.model.restoring.checkpoint import BaseNetworks
from instructrestore.model.training.checkpoints import (
    CheckpointFolder,
    TrainingCheckpoint,
    optimizer_tensors,
    restore_optimizer,
)
from instructrestore.model.training.crops import Crop
from instructrestore.model.training.distillation import begin_student
from instructrestore.model.training.learning import networks_of, preparation_of
from instructrestore.model.training.low_rank import merged
from instructrestore.model.training.muon import Muon
from instructrestore.model.training.objective import Losses, identity
from instructrestore.model.training.settings import OptimizerSettings, TrainingSettings
from instructrestore.model.training.validation import Validation, Validator, is_due, mask_iou
from instructrestore.model.training.worker import TrainingWorker
from instructrestore.shards.reading.order import sample_seed
from instructrestore.shards.reading.stream import TripletStream

LEAST_RATE = 0.05  # of the learning rate, where a cosine ends
REMEDY = "train into another folder, from this run's last checkpoint (--init-from), with a lower learning rate"

COLUMNS = ("loss", "noise", "mask", "iou", "gradient")


@dataclass(frozen=True)
class Progress:
    """What is known after some steps.

    step: optimizer steps taken. rows: one for each step since the last log: its number ("step"), the batch's loss and
    its two parts, the mask's IoU, the gradients' norm before clipping (`COLUMNS`), the learning rate.
    rate: triplets a second since the last log. faults: unusable triplets of the run so far, by reason.
    """

    step: int
    rows: list[dict[str, float]]
    rate: float
    faults: dict[str, int]


class Watcher(Protocol):
    """Receives the progress of a run, in the leading worker."""

    def noted(self, line: str) -> None: ...

    def logged(self, progress: Progress) -> None: ...

    def validated(self, step: int, validation: Validation) -> None: ...

    def saved(self, folder: Path) -> None: ...


class LossHistory:
    """Losses of micro-batches, gathered into one row per step and kept on the device until they are logged."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []
        self._steps: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, losses: Losses, iou: Tensor) -> None:
        """A micro-batch. iou: (B,)."""
        self._parts.append(torch.stack([losses.total, losses.noise, losses.mask, iou.mean()]).detach())

    def end_step(self, gradient: Tensor) -> None:
        """gradient: the norm of all gradients, the same in every worker."""
        self._steps.append(torch.cat([torch.stack(self._parts).mean(0), gradient.detach()[None]]))
        self._parts.clear()

    def take(self, worker: TrainingWorker) -> list[dict[str, float]]:
        """A row for each step since the last call, with COLUMNS over all workers' samples."""
        if not self._steps:
            return []
        rows = worker.mean(torch.stack(self._steps)).tolist()
        self._steps.clear()
        return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


class Trainer:
    """Trains a RegionControlNet on a stream of crops (paper section 4.1), one of `worker.ranks` equal processes.

    The base is on the worker's device, frozen, or its UNet learns too (`train_base`); what learns is in float32.
    Everything random is seeded by position, so a run's losses depend on neither workers nor interruptions.
    """

    def __init__(
        self,
        *,
        base: BaseNetworks,
        controlnet: RegionControlNet,
        stream: TripletStream[Crop],
        validator: Validator | None,
        settings: TrainingSettings,
        started_from: tuple[str | None, str | None],
        base_record: Mapping[str, Any],
        checkpoints: CheckpointFolder,
        worker: TrainingWorker,
        watcher: Watcher | None,
    ) -> None:
        """started_from, base_record: for the record; a checkpoint with its revision, and what the base's files are."""
        self.base, self.controlnet, self.stream, self.validator = base, controlnet, stream, validator
        self.settings, self.checkpoints, self.worker, self.watcher = settings, checkpoints, worker, watcher
        self.started_from, self.base_record = started_from, base_record
        self.prepare = preparation_of(base, controlnet, settings)
        self.base_identity = identity(base.unet)
        self.models: dict[str, Any] = {"controlnet": controlnet}
        if settings.learns == "student":
            begin_student(base, controlnet, settings)
        if settings.changes_base:
            self.models["unet"] = base.unet
        self.parameters = named_parameters(self.models)
        chosen = settings.optimizer
        self.optimizer = optimizer(self.parameters.values(), chosen)
        self.scaler = torch.amp.GradScaler(worker.device.type, enabled=settings.dtype == "float16")
        self.averages: dict[str, AveragedModel] = {}
        if chosen.ema:  # in every worker, the same: each validates its share of the photos
            keep = get_ema_multi_avg_fn(chosen.ema)
            self.averages = {name: AveragedModel(model, multi_avg_fn=keep) for name, model in self.models.items()}
        networks = networks_of(controlnet, base.unet, self.prepare)
        if settings.compile:
            networks.compile()
        self.networks = worker.joined(networks)
        self.unjudged = False  # the checkpoint that it goes on from lacks its validation
        self.faults: Counter[str] = Counter()  # of all workers, as far as they were logged

    def run(self, should_stop: Callable[[], bool] = lambda: False) -> int:
        """Trains from `stream.step` to the settings' last step, or until `should_stop`, and leaves a checkpoint.

        should_stop: asked before every step; for a run of one worker, since all must stop at the same step.
        Returns the steps taken in all. Raises ValueError, in one sentence, where the data cannot be read on or the
        loss is no longer a number.
        """
        settings, parameters = self.settings, list(self.parameters.values())
        micro_batches = self.stream.micro_batches(min(settings.loader_workers, len(os.sched_getaffinity(0))))
        history, faults = LossHistory(), Counter[str]()
        step = self.stream.step
        if self.unjudged:
            self._validate(step)
        begin, saved = time.perf_counter(), step
        while step < settings.steps and not should_stop():
            rate = learning_rate(step, settings.steps, settings.optimizer)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            for part in range(1, self.stream.accumulation + 1):
                crops = next(micro_batches)
                faults.update(fault.partition(":")[0] for crop in crops for fault in crop.faults)
                batch = self.prepare(crops)
                torch.manual_seed(sample_seed(settings.seed, crops[0].position, "dropout"))
                with self.worker.apart(self.networks, part < self.stream.accumulation), self._autocast():
                    losses, logits = self.networks(batch)
                self.scaler.scale(losses.total / self.stream.accumulation).backward()
                history.add(losses, mask_iou(logits > 0, batch.mask > 0.5))
            self.scaler.unscale_(self.optimizer)
            history.end_step(torch.nn.utils.clip_grad_norm_(parameters, settings.optimizer.clip))
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            for name, average in self.averages.items():
                average.update_parameters(self.models[name])
            step += 1

            ends = step == settings.steps
            validates = self.validator is not None and is_due(step, settings)
            saves = validates or ends or step % settings.checkpoint_every == 0
            if saves or step % settings.log_every == 0:
                self._log(step, history, faults, time.perf_counter() - begin)
                begin = time.perf_counter()
            if saves:
                self.save(step)
                if validates:
                    self._validate(step)
                saved, begin = step, time.perf_counter()
        if step > saved:  # stopped on the way
            self._log(step, history, faults, time.perf_counter() - begin)
            self.save(step, interrupted=True)
        return step

    def load(self, checkpoint: TrainingCheckpoint) -> None:
        """Goes on from a checkpoint, at whose step the stream stands. Raises ValueError where the base is another."""
        if checkpoint.state["base"] != self.base_identity:
            raise ValueError(
                "the run was started with another base: continue with the same --base and --init-from, or train into "
                "another folder"
            )
        assert self.stream.step == checkpoint.step
        self.controlnet.load_state_dict(checkpoint.exported("controlnet"))  # what does not learn is in it too
        trained = checkpoint.trained()
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(trained[name])
        restore_optimizer(self.optimizer, self.parameters, checkpoint.optimizer())
        self.scaler.load_state_dict(checkpoint.state["scaler"])
        self.faults = Counter(checkpoint.state["faults"])
        for name, average in self.averages.items():
            average.module.load_state_dict(checkpoint.exported(name))
            average.n_averaged.fill_(checkpoint.step)
        self.unjudged = self.validator is not None and is_due(checkpoint.step, self.settings) and not checkpoint.judged

    def save(self, step: int, interrupted: bool = False) -> None:
        """Writes a checkpoint of the state after `step` steps, in the leading worker."""
        if not self.worker.leads:
            return
        if not all(bool(parameter.isfinite().all()) for parameter in self.parameters.values()):
            raise ValueError(f"the weights are no longer numbers at step {step}: {REMEDY}")
        names = {parameter: name for name, parameter in self.parameters.items()}
        state = {
            "step": step,
            "order": self.stream.state_dict()["order"],
            "base": self.base_identity,
            **self.base_record,
            "started_from": self.started_from,
            "settings": self.settings.model_dump(mode="json"),
            "scaler": self.scaler.state_dict(),
            "faults": dict(self.faults),
            **({"interrupted": True} if interrupted else {}),
        }
        exported = self.exported()
        own = None if exported == self.models else self.parameters
        folder = self.checkpoints.save(exported, own, optimizer_tensors(self.optimizer, names), state)
        self.checkpoints.prune()
        if self.watcher:
            self.watcher.saved(folder)

    def exported(self) -> dict[str, Any]:
        """What photos are restored with, "controlnet" and where it learns "unet": moving averages if there are any, and
        low-rank updates merged."""
        models = {name: average.module for name, average in self.averages.items()} or self.models
        return {name: merged(model) for name, model in models.items()}

    def _validate(self, step: int) -> None:
        """Of the checkpoint that was just written."""
        assert self.validator is not None
        # A copy in the precision that it will be used in: the trained weights stay as they are.
        with quiet(), self._autocast():
            copies = {name: copy.deepcopy(model) for name, model in self.exported().items()}
            for network in copies.values():
                network.requires_grad_(False).eval().to(DTYPES[self.settings.dtype])
            validation = self.validator(copies["controlnet"], self.prepare.with_unet(copies.get("unet")), self.worker)
        if not self.worker.leads:
            return
        if self.watcher:
            self.watcher.validated(step, validation)
        self.checkpoints.judge(step, asdict(validation.held_out))  # from here on it is not done again
        self.checkpoints.prune()

    def _log(self, step: int, history: LossHistory, faults: Counter[str], seconds: float) -> None:
        """Logs the steps since the last log, with one transfer from the device. faults: this worker's; emptied."""
        first, settings = step - len(history), self.settings
        rows = [{"step": first + number, **row} for number, row in enumerate(history.take(self.worker), 1)]
        for row in rows:
            row["learning_rate"] = learning_rate(int(row["step"]) - 1, settings.steps, settings.optimizer)
            # With float16 a gradient may overflow: the scaler leaves such a step out.
            if not math.isfinite(row["loss"] if self.scaler.is_enabled() else row["loss"] + row["gradient"]):
                raise ValueError(f"the loss or its gradient is no longer a number at step {row['step']}: {REMEDY}")
        self.faults += self.worker.added(faults)
        faults.clear()
        if self.watcher and self.worker.leads:
            done = len(rows) * self.stream.batch / max(seconds, 1e-9)
            self.watcher.logged(Progress(step, rows, done, dict(self.faults)))

    def _autocast(self) -> Any:
        dtype = DTYPES[self.settings.dtype]
        return torch.autocast(self.worker.device.type, dtype, enabled=dtype != torch.float32)


def named_parameters(models: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """What learns: the ControlNet's parameters under their own names, the others' after their model's."""
    return {
        name if model == "controlnet" else f"{model}.{name}": parameter
        for model, network in models.items()
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }


def optimizer(parameters: Iterable[Tensor], settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Of the settings' kind; `learning_rate` is set before every step."""
    shared: dict[str, Any] = {"betas": settings.betas, "weight_decay": settings.weight_decay}
    return Muon(parameters, **shared) if settings.kind == "muon" else AdamW(parameters, fused=True, **shared)


def learning_rate(step: int, steps: int, settings: OptimizerSettings) -> float:
    """The learning rate of the step that follows `step` others."""
    share = 1.0
    if settings.schedule == "cosine":
        share = LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * step / steps)) / 2
    return settings.learning_rate * share * min(1, (step + 1) / max(1, settings.warmup))
