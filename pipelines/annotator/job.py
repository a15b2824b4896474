"""Panoptic sources in, the annotator's weights and their figures out."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from rich.console import Console
from torch.utils.tensorboard.writer import SummaryWriter

from instructrestore.dataengine.annotator.panoptic import PanopticPhoto, read_panoptic
from instructrestore.dataengine.annotator.run_training import AnnotatorTraining, train_annotator
from instructrestore.dataengine.sources import parse_source

TELL_EVERY = 25  # steps
SMOOTHING = 0.05  # of the shown loss


def run(
    source: str, validation: str, out: Path, settings: AnnotatorTraining, threads: int, console: Console
) -> dict[str, float]:
    """The figures on `validation`. Raises ValueError where a source is none, or both share a photo."""
    photos, unseen = panoptic_photos(source), panoptic_photos(validation)
    shared = {photo.key for photo in photos} & {photo.key for photo in unseen}
    if shared:
        raise ValueError(f"{len(shared)} photos are to be trained on and for validation too: {min(shared)}, for one")
    torch.set_num_threads(threads)
    means: dict[str, float] = {}
    record = {"photos": str(len(photos)), "photos_sha256": _fingerprint(photos)}
    with SummaryWriter(str(out / "tensorboard")) as board:

        def report(head: str, step: int, values: dict[str, float]) -> None:
            for name, value in values.items():
                board.add_scalar(f"{head}/{name}", value, step)
            if "loss" not in values:
                console.print(", ".join(f"{name} {value:.3f}" for name, value in values.items()), highlight=False)
                return
            means[head] = means.get(head, values["loss"]) * (1 - SMOOTHING) + values["loss"] * SMOOTHING
            if step % TELL_EVERY == 0:
                total = settings.head.steps
                console.print(f"{head}: step {step} of {total}, loss {means[head]:.3f}", highlight=False)

        figures = train_annotator(photos, unseen, out, settings, record, report)
    console.print(f"{out / 'weights.safetensors'}, {out / 'figures.json'}", highlight=False)
    return figures


def panoptic_photos(text: str) -> list[PanopticPhoto]:
    """text: a local panoptic source as `build` takes it. Unless it says where, photos lie beside the JSON in a folder
    named by the end of its name (panoptic_train2017.json: train2017), PNGs in one of its whole name."""
    source = parse_source(text)
    if source.kind != "panoptic":
        raise ValueError(f"{text} is of the kind {source.kind}; the annotator learns from panoptic annotations")
    annotations = Path(source.path)
    photos = Path(source.images) if source.images else annotations.with_name(annotations.stem.rpartition("_")[2])
    pngs = Path(source.masks) if source.masks else annotations.with_suffix("")
    for folder, option in ((photos, "images"), (pngs, "masks")):
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder: name it with {text.split('?')[0]}?{option}=FOLDER")
    return read_panoptic(annotations, pngs, photos)


def _fingerprint(photos: list[PanopticPhoto]) -> str:
    return hashlib.sha256("\n".join(photo.key for photo in photos).encode()).hexdigest()
