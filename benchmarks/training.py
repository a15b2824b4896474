"""Time, memory and work of a training step, degradation included, on made-up crops.

python -m benchmarks.training tiny                   the tiny preset on this machine's CPU
python -m benchmarks.training small                  the preset small-base, with what a step's seconds go to
python -m benchmarks.training full --device cuda     SD 2.1's sizes with random weights at 512x512, on a GPU
python -m benchmarks.training count                  only counts a full-size sample's operations, on the meta device

Every case runs in a process of its own: WARM steps, then STEPS timed ones. Prints a Markdown table: the median step
with minimum and maximum, triplets a second, peak memory (of torch's allocator on a GPU, of the process on a CPU), the
step's operations counted by torch, and on a GPU the share of PEAK_FLOPS that they are.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.full_size import full_size_pipeline
from benchmarks.own_process import measured
from instructrestore.model.networks.devices import DTYPES
from instructrestore.model.restoring.checkpoint import BaseNetworks, load_pipeline
from instructrestore.model.restoring.small_base import build_small_base
from instructrestore.model.restoring.tiny_base import build_tiny_base
from instructrestore.model.training.batch import TrainingBatch
from instructrestore.model.training.crops import Crop
from instructrestore.model.training.objective import TrainedNetworks, freeze, trained
from instructrestore.model.training.settings import TrainingSettings, small_base, stage1, tiny
from instructrestore.model.training.trainer import Progress, Trainer
from instructrestore.model.training.worker import TrainingWorker
from instructrestore.pipelines.building.presets import with_values

WARM, STEPS = 2, 5
PARTS = ("degradation", "texts", "forward", "optimizer")  # the rest is mostly the gradients
PRESETS = {"tiny": tiny, "small": small_base, "full": stage1}
PEAK_FLOPS = 989e12  # an H200's, bfloat16 without sparsity


@dataclass(frozen=True)
class Case:
    """batch: samples a step; micro_batch: of these that go through the networks together."""

    batch: int
    micro_batch: int
    dtype: str = "bfloat16"
    compile: bool = False
    gradient_checkpointing: bool = False
    optimizer: str = "adamw"
    channels_last: bool = False

    def settings(self, begin: TrainingSettings) -> TrainingSettings:
        values = {name: value for name, value in asdict(self).items() if name != "channels_last"}
        values |= {"optimizer": {"kind": self.optimizer}}
        return with_values(begin, {**values, "steps": WARM + STEPS, "log_every": 1, "checkpoint_every": 1000})


SMALL = [
    Case(16, 16, "float32", optimizer="muon"),
    Case(16, 16, "float32"),
    Case(16, 16, "float32", optimizer="muon", channels_last=True),
    Case(16, 16, "bfloat16", optimizer="muon"),
]
TINY = [Case(16, 16, "float32"), Case(16, 8, "float32"), Case(16, 16, "bfloat16")]
FULL = [
    Case(32, 32),
    Case(64, 32),
    Case(64, 64),
    Case(64, 64, gradient_checkpointing=True),
    Case(64, 32, compile=True),
    Case(64, 64, compile=True),
]


class MadeUp:
    """Stands in for a stream: the same crops again and again, so that nothing is waited for."""

    def __init__(self, settings: TrainingSettings) -> None:
        self.step, self.batch = 0, settings.batch
        micro_batch = settings.micro_batch or settings.batch
        self.accumulation = settings.batch // micro_batch
        rng = np.random.default_rng(0)
        side = settings.crop.size
        photo = np.kron(rng.integers(0, 256, (side // 8, side // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        mask = np.zeros((side, side), np.bool_)
        mask[side // 4 : side // 2, side // 4 :] = True
        self._crops = [
            Crop(photo, mask, "the dog", "dog", False, number, 0, "key", 0, 0, ()) for number in range(micro_batch)
        ]

    def micro_batches(self, workers: int = 0) -> Iterator[list[Crop]]:
        while True:
            yield self._crops

    def state_dict(self) -> dict[str, Any]:
        return {"order": {}}


class Unsaved:
    """Stands in for the checkpoints' folder."""

    def prune(self) -> None: ...

    def save(self, *_: object) -> Path:
        return Path()


class Clock:
    """Watches the steps go by."""

    def __init__(self) -> None:
        self.ends = [time.perf_counter()]

    def noted(self, line: str) -> None: ...

    def logged(self, progress: Progress) -> None:
        self.ends.append(time.perf_counter())

    def validated(self, step: int, validation: object) -> None: ...

    def saved(self, folder: Path) -> None: ...


class Parts:
    """Seconds that parts of a trainer's steps take: name -> one figure a step."""

    def __init__(self, trainer: Trainer) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._time(trainer.prepare, "pairs", "degradation")
        self._time(trainer.prepare, "text_states", "texts")
        self._time(trainer.networks, "forward", "forward")
        self._time(trainer.optimizer, "step", "optimizer")

    def _time(self, owner: Any, method: str, name: str) -> None:
        call = getattr(owner, method)

        def timed(*arguments: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            result = call(*arguments, **named)
            self.seconds[name].append(time.perf_counter() - begin)
            return result

        setattr(owner, method, timed)


def measure(kind: str, case: Case, device: str) -> dict[str, float]:
    """Seconds a step (median, least, most), peak memory in MiB, operations of a step in TFLOPs."""
    settings = case.settings(PRESETS[kind]())
    with tempfile.TemporaryDirectory() as folder:
        (build_small_base if kind == "small" else build_tiny_base)(Path(folder) / "base")
        pipe = load_pipeline(f"{folder}/base", device=device)
    if kind == "full":
        pipe = full_size_pipeline(pipe.tokenizer, device, DTYPES["float32"])
    base = BaseNetworks(pipe.vae, pipe.text_encoder, pipe.tokenizer, pipe.unet, pipe.scheduler)
    freeze(base, settings)
    clock = Clock()
    options: dict[str, Any] = {"stream": MadeUp(settings), "checkpoints": Unsaved(), "watcher": clock}
    trainer = Trainer(
        started_from=(None, None),
        base=base,
        controlnet=trained(pipe.controlnet, settings),
        validator=None,
        settings=settings,
        worker=TrainingWorker(torch.device(device)),
        **options,
    )
    if case.channels_last:
        for network in (pipe.controlnet, pipe.unet):
            network.to(memory_format=torch.channels_last)
    parts = Parts(trainer)
    if case.compile:
        operations = 0
        trainer.run()
    else:
        with FlopCounterMode(display=False) as counter:
            trainer.run(should_stop=lambda: len(clock.ends) > 1)
        operations = counter.get_total_flops()
        clock.ends = [time.perf_counter()]
        parts.seconds.clear()
        trainer.run()
    seconds = np.diff(clock.ends)[WARM:].tolist()
    gpu = device.startswith("cuda")
    peak = torch.cuda.max_memory_allocated() >> 20 if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return {
        "median": statistics.median(seconds), "least": min(seconds), "most": max(seconds), "peak": peak,
        "operations": operations / 1e12, **{name: statistics.median(every) for name, every in parts.seconds.items()},
    }  # fmt: skip


def count() -> dict[str, float]:
    """Operations for one sample of 512x512 at SD 2.1's sizes, in TFLOPs: the VAE, then all that eq. 1 needs."""
    with tempfile.TemporaryDirectory() as folder:
        build_tiny_base(Path(folder) / "base")
        tokenizer = load_pipeline(f"{folder}/base").tokenizer
    pipe = full_size_pipeline(tokenizer, "meta", torch.float32)
    for network in (pipe.vae, pipe.unet):
        network.requires_grad_(False)
    networks = TrainedNetworks(pipe.controlnet.train().requires_grad_(True), pipe.unet, 0.01)
    on_meta = partial(torch.empty, device="meta")
    photo, latent, states = on_meta(1, 3, 512, 512), on_meta(1, 4, 64, 64), on_meta(1, 77, 1024)
    timesteps = on_meta(1, dtype=torch.long)
    batch = TrainingBatch(
        photo, latent, latent, latent, latent, timesteps, states, states, on_meta(1, 1, 64, 64), on_meta(1, 1, 64, 64)
    )
    found = {}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        pipe.vae.encode(photo)
    found["vae"] = counter.get_total_flops() / 1e12
    with FlopCounterMode(display=False) as counter:
        networks(batch)[0].total.backward()
    found["forward and backward"] = counter.get_total_flops() / 1e12
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["tiny", "small", "full", "count"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--case", type=int, help="one case alone, by number")
    arguments = parser.parse_args()
    if arguments.kind == "count":
        print(json.dumps(count()))
        return
    cases = {"tiny": TINY, "small": SMALL, "full": FULL}[arguments.kind]
    if arguments.case is not None:
        print(json.dumps(measure(arguments.kind, cases[arguments.case], arguments.device)))
        return
    gpu = arguments.device.startswith("cuda")
    place = torch.cuda.get_device_name() if gpu else f"{torch.get_num_threads()} threads"
    print(f"{arguments.kind} networks on {arguments.device} ({place}), torch {torch.__version__}\n")
    print(
        "| batch | micro-batch | dtype | compile | checkpointing | optimizer | channels last | s a step (min-max) | "
        "triplets/s | peak MiB | TFLOP | parts, s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for number, case in enumerate(cases):
        found = measured("benchmarks.training", arguments.kind, "--device", arguments.device, "--case", str(number))
        shown = " | ".join(str(value) for value in asdict(case).values())
        if found is None:
            print(f"| {shown} | failed | | | | |", flush=True)
            continue
        step = f"{found['median']:.3f} ({found['least']:.3f}-{found['most']:.3f})"
        work = f"{found['operations']:.2f}" if found["operations"] else ""
        if gpu and work:
            work += f" ({found['operations'] * 1e12 / found['median'] / PEAK_FLOPS:.0%} of the peak)"
        parts = ", ".join(f"{name} {found[name]:.3f}" for name in PARTS if name in found)
        rate, peak = case.batch / found["median"], found["peak"]
        print(f"| {shown} | {step} | {rate:.1f} | {peak:.0f} | {work} | {parts} |", flush=True)


if __name__ == "__main__":
    main()
