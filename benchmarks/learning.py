"""What a training run has learnt, as two pictures: its curve, and the masks that it finds.

python -m benchmarks.learning RUN DATASET --out docs/pictures

Reads RUN/metrics.jsonl and RUN's last checkpoint. curve.png: losses and mask IoU over the steps. masks.png: for regions
that share their photo the true mask, the predicted one, and the one predicted with the photo's next caption.
"""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch

from instructrestore.model.training.batch import Preparation
from instructrestore.model.training.checkpoints import last_of_run
from instructrestore.model.training.objective import TrainedNetworks
from instructrestore.model.training.settings import PRESETS, TrainingSettings
from instructrestore.model.training.validation import ValidationCrops
from instructrestore.model.training.worker import TrainingWorker
from instructrestore.pipelines.building.presets import read_settings
from instructrestore.pipelines.training.training_run import TrainingRun, open_data, open_networks

SHOWN = 12
TIMESTEP = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("dataset")
    parser.add_argument("--out", type=Path, default=Path())
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in (arguments.run / "metrics.jsonl").read_text().splitlines()]
    curve(rows, arguments.out / "curve.png")
    settings = read_settings(PRESETS, "tiny", arguments.run / "settings.toml", ())
    masks(arguments.run, arguments.dataset, settings, arguments.out / "masks.png")


def curve(rows: list[dict[str, Any]], out: Path) -> None:
    """Losses of every step, and the mask IoU of every validation."""
    steps = [row for row in rows if "loss" in row]
    judged = [row for row in rows if "held_out" in row]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, label in (("noise", "noise error"), ("mask", "mask cross-entropy")):
        values = torch.tensor([row[name] for row in steps])
        smooth = values.unfold(0, 50, 1).mean(1) if len(values) > 50 else values
        left.plot([row["step"] for row in steps][-len(smooth) :], smooth, label=f"{label}, mean of 50 steps")
    left.set(xlabel="step", yscale="log")
    left.legend()
    lines = [
        ("training", "iou", "photos trained on", "-"),
        ("training", "iou_swapped", "the same, captions swapped within the photo", ":"),
        ("training", "iou_without_text", "best mask that ignores the text", "--"),
        ("held_out", "iou", "held-out photos", "-"),
    ]
    for part, name, label, style in lines:
        points = [(row["step"], row[part][name]) for row in judged if row.get(part) and row[part][name] is not None]
        if points:
            right.plot(*zip(*points, strict=True), style, label=label)
    right.set(xlabel="step", ylabel="mask IoU, mean over t = 50, 500, 999", ylim=(0, 1))
    right.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1, 0.24))
    figure.savefig(out, dpi=100)
    plt.close(figure)


@torch.no_grad()
def masks(run: Path, dataset: str, settings: TrainingSettings, out: Path) -> None:
    """True and predicted masks of regions that share their photo."""
    base = str(run / "tiny-base")
    job = TrainingRun(
        datasets=((dataset, Fraction(1)),),
        out=run,
        base=base,
        base_revision=None,
        init_from=last_of_run(str(run)),
        init_revision=None,
        settings=settings,
        cache=run / "cache",
        cache_bytes=1 << 30,
    )
    worker = TrainingWorker(torch.device("cpu"))
    _, validator, _ = open_data(job, worker)
    assert validator and validator.training, "the run has validation.training_photos"
    network_base, controlnet = open_networks(job, worker)
    prepare = Preparation(network_base, settings, controlnet.config)
    networks = TrainedNetworks(controlnet.eval(), network_base.unet, settings.mask_weight)
    judged: ValidationCrops = validator.training
    # Two regions of each photo, the first photos of the run.
    shared = [number for number, sharing in enumerate(judged.sharing) if sharing]
    by_photo = groupby(shared, key=lambda number: judged.crops[number].position)
    shown = [number for _, own in by_photo for number in list(own)[:2]][:SHOWN]
    batch = prepare([judged.crops[number] for number in shown], TIMESTEP)
    right = networks.mask_logits(batch).sigmoid()
    wrong = networks.mask_logits(prepare([judged.swapped[number] for number in shown], TIMESTEP)).sigmoid()
    figure, axes = plt.subplots(3, len(shown), figsize=(1.3 * len(shown), 4.6), layout="constrained")
    for column, number in enumerate(shown):
        parts = (batch.mask[column, 0], right[column, 0], wrong[column, 0])
        labels = (judged.crops[number].caption, "predicted", judged.swapped[number].caption)
        for axis, part, label in zip(axes[:, column], parts, labels, strict=True):
            axis.imshow(part, cmap="gray", vmin=0, vmax=1)
            axis.set_title(label, fontsize=7)
            axis.set_axis_off()
    figure.savefig(out, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
