"""What a run reports: lines on the terminal, metrics.jsonl, TensorBoard, pictures."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard.writer import SummaryWriter

from instructrestore.model.training.checkpoints import TrainingCheckpoint
from instructrestore.model.training.settings import TrainingSettings
from instructrestore.model.training.trainer import Progress
from instructrestore.model.training.validation import Scores, Validation
from instructrestore.pipelines.terminal.amounts import counts_text
from instructrestore.pipelines.training.pictures import validation_sheet
from instructrestore.shards.files import commit
from instructrestore.shards.parsing import parse_object

PLAIN_EVERY_S = 10.0  # between lines on the terminal
SMOOTHING = 0.05  # weight of a step in the running means that are shown


class RunLog:
    """The watcher of a run (see `model.training.trainer`). OUT/metrics.jsonl has a row per step and per validation.

    say: takes a line for the user. resumed: the checkpoint that the run goes on from; what was logged after it, before
    an interruption, is removed, and of a validation of it that did not come to its end.
    """

    def __init__(
        self, out: Path, settings: TrainingSettings, say: Callable[[str], object], resumed: TrainingCheckpoint | None
    ) -> None:
        self._out, self._settings, self._say = out, settings, say
        self._metrics = out / "metrics.jsonl"
        self._mean: dict[str, float] = {}
        self._told = 0.0
        self._rate = 0.0
        self._faults: dict[str, int] = {}
        begin = resumed.step if resumed else 0
        _take_back(self._metrics, begin, resumed is not None and resumed.judged)
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=begin + 1)

    def close(self) -> None:
        """Closes the files."""
        self._board.close()

    def noted(self, line: str) -> None:
        self._say(line)

    def logged(self, progress: Progress) -> None:
        self._append(progress.rows)
        for row in progress.rows:
            for name, value in row.items():
                if name != "step":
                    self._board.add_scalar(f"training/{name}", value, int(row["step"]))
                self._mean[name] = value + (1 - SMOOTHING) * (self._mean.get(name, value) - value)
        self._board.add_scalar("training/triplets_per_second", progress.rate, progress.step)
        self._rate = progress.rate if not self._rate else 0.8 * self._rate + 0.2 * progress.rate
        if progress.faults != self._faults:
            self._faults = dict(progress.faults)
            passed = ", ".join(f"{reason} {count}" for reason, count in sorted(self._faults.items()))
            self._say(f"unusable triplets skipped so far: {passed}")
        now = time.monotonic()
        if now - self._told >= PLAIN_EVERY_S or progress.step >= self._settings.steps:
            self._told = now
            self._say(self._line(progress))

    def validated(self, step: int, validation: Validation) -> None:
        parts = {"held_out": validation.held_out, "training": validation.training}
        row: dict[str, Any] = {"step": step}
        for name, scores in parts.items():
            if scores is None:
                continue
            row[name] = asdict(scores)
            for what, value in row[name].items():
                if value is not None:
                    self._board.add_scalar(f"{name}/{what}", value, step)
            self._say(f"step {step}, {name.replace('_', '-')} photos: {self._scores_line(scores)}")
        if validation.restored:
            for name in ("psnr_inside", "psnr_outside"):
                known = [value for each in validation.restored if math.isfinite(value := getattr(each, name))]
                row[name] = sum(known) / len(known) if known else None
                if known:
                    self._board.add_scalar(f"held_out/{name}", row[name], step)
            sheet = validation_sheet(validation.restored)
            self._board.add_image("held_out", np.asarray(sheet), step, dataformats="HWC")
            folder = self._out / "pictures"
            folder.mkdir(exist_ok=True)
            sheet.save(folder / f"step-{step:08d}.png")
        self._append([row])
        self._board.flush()

    def saved(self, folder: Path) -> None:
        self._board.flush()

    def _line(self, progress: Progress) -> str:
        left = (self._settings.steps - progress.step) * self._settings.batch / max(self._rate, 1e-9)
        shown = f"loss {self._mean['loss']:.4f}"
        if self._settings.learns_masks:
            shown += f" noise {self._mean['noise']:.4f} mask {self._mean['mask']:.4f} IoU {self._mean['iou']:.3f}"
        return (
            f"step {progress.step} of {self._settings.steps}: {shown}; {self._rate:.1f} triplets/s, "
            f"{_duration(left)} left"
        )

    def _scores_line(self, scores: Scores) -> str:
        of = f"{counts_text(region=scores.regions)} of {scores.photos}"
        if scores.iou is None:
            return f"loss {scores.loss:.4f}; {of}"
        line = f"loss {scores.loss:.4f}, noise {scores.noise:.4f}, IoU {scores.iou:.3f}"
        if scores.iou_swapped is not None:
            line += f" (captions swapped: {scores.iou_of_sharing:.3f} -> {scores.iou_swapped:.3f})"
        return f"{line}, best without text {scores.iou_without_text:.3f}; {of}"

    def _append(self, rows: Iterable[dict[str, Any]]) -> None:
        with self._metrics.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(_plain(row)) + "\n" for row in rows)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Without infinities, as of a float16 gradient, which JSON does not have."""
    broken = {name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)}
    return {name: None if name in broken else value for name, value in row.items()}


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def _take_back(metrics: Path, begin: int, judged: bool) -> None:
    """Removes rows after step `begin`, of its validation unless that is done, and a line that a kill cut short."""
    if not metrics.exists():
        return
    kept: list[bytes] = []
    for line in metrics.read_bytes().splitlines(keepends=True):
        try:
            row = parse_object(line, str(metrics), any_number=True)
            step = row.get("step")
        except ValueError:  # cut short
            break
        if not isinstance(step, int) or step > begin or (step == begin and "held_out" in row and not judged):
            break
        kept.append(line)
    commit(metrics, b"".join(kept))
