"""AdamW and Muon from the same weights over the same crops: what each learns in so many steps.

python -m benchmarks.optimizers DATASET --base BASE --init-from CHECKPOINT --photos FOLDER [--mix DATASET:SHARE]

Trains the preset small-base at the last timestep alone, STEPS steps with each of KINDS, and says the mean loss of the
last quarter, the gain in PSNR of crops that were not trained on (as `benchmarks.restoring`: the first ten photos of
each folder), and the seconds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from rich.console import Console

from benchmarks.restoring import crops_of, psnr
from instructrestore.model.degradation.chain import Degradation
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.training.checkpoints import last_of_run
from instructrestore.model.training.settings import small_base
from instructrestore.pipelines.building.presets import with_values
from instructrestore.pipelines.training.command import TrainingOptions, run

STEPS, PHOTOS, SIZE = 100, 10, 256
KINDS = (("adamw", 1e-3), ("muon", 2e-3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--base", required=True)
    parser.add_argument("--init-from", required=True)
    parser.add_argument("--photos", action="append", required=True)
    parser.add_argument("--mix", action="append", default=[])
    given = parser.parse_args()
    hq = crops_of(given.photos, PHOTOS, SIZE)
    lq = Degradation()(hq, list(range(len(hq))))
    print("| optimizer, learning rate | loss | PSNR over LQ | s |\n|---|---|---|---|")
    for kind, rate in KINDS:
        values = {
            "steps": STEPS, "last_timestep": 1.0, "dtype": "float32", "checkpoint_every": STEPS,
            "validation": {"share": 0}, "optimizer": {"kind": kind, "learning_rate": rate, "ema": 0.97},
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            options = TrainingOptions(
                given.dataset, Path(folder), with_values(small_base(), values), given.mix, given.base,
                init_from=given.init_from, device="cpu",
            )  # fmt: skip
            begin = time.perf_counter()
            run(options, Console(stderr=True))
            seconds = time.perf_counter() - begin
            rows = [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]
            pipe = load_pipeline(given.base, last_of_run(folder), device="cpu")
            pipe.set_progress_bar_config(disable=True)
            ones = [np.ones((SIZE, SIZE), np.float32)] * len(hq)
            restored = pipe(
                lq,
                "make the photo clear",
                scale_maps=ones,
                generator=torch.Generator().manual_seed(0),
                output_type="pt",
            ).images
        gain = float((psnr(torch.as_tensor(restored).clamp(0, 1), hq) - psnr(lq, hq)).mean())
        loss = mean(row["loss"] for row in rows[-STEPS // 4 :])
        print(f"| {kind}, {rate:g} | {loss:.4f} | {gain:+.3f} dB | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
