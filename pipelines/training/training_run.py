"""One training run: the data it reads, the weights it starts from, and how it is begun or resumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from instructrestore.model.networks.devices import DTYPES
from instructrestore.model.networks.region_controlnet import RegionControlNet
from instructrestore.model.restoring.checkpoint import BaseNetworks, load_base, load_controlnet
from instructrestore.model.training.checkpoints import CheckpointFolder, TrainingCheckpoint
from instructrestore.model.training.crops import Crop, Cropper
from instructrestore.model.training.fixed_crops import fixed_crops
from instructrestore.model.training.masks import begin_mask_decoder
from instructrestore.model.training.objective import begin_controlnet, freeze, trained
from instructrestore.model.training.settings import TrainingSettings
from instructrestore.model.training.trainer import Trainer, Watcher
from instructrestore.model.training.validation import ValidationCrops, Validator, is_due
from instructrestore.model.training.worker import TrainingWorker
from instructrestore.pipelines.building.presets import to_toml
from instructrestore.pipelines.training.base_files import base_record, check_same_base
from instructrestore.shards.files import commit
from instructrestore.shards.index import Dataset
from instructrestore.shards.reading.cache import ShardCache
from instructrestore.shards.reading.order import Order, OrderSettings
from instructrestore.shards.reading.reader import PhotoReader
from instructrestore.shards.reading.split import validation_photos
from instructrestore.shards.reading.stream import TripletStream
from instructrestore.shards.reading.triplets import Triplets

# Settings that may change when a run is resumed: they affect its speed or its reports, not what it learns.
FREE = {
    "preset", "micro_batch", "validation", "gradient_checkpointing", "compile", "loader_workers", "checkpoint_every",
    "keep", "log_every",
}  # fmt: skip


MOST_NAMES = 1000  # that a mask decoder is to tell apart


@dataclass(frozen=True)
class TrainingRun:
    """What defines a run, in plain values, since it is sent to every worker.

    datasets: folders or fsspec URIs, each with its share of the run.
    base: a Stable Diffusion 2.1 base, folder or hub id. init_from: the checkpoint to start from; None: the base's UNet.
    cache, cache_bytes: where shards of remote data sets are kept, and how much of them.
    """

    datasets: tuple[tuple[str, Fraction], ...]
    out: Path
    base: str
    base_revision: str | None
    init_from: str | None
    init_revision: str | None
    settings: TrainingSettings
    cache: Path
    cache_bytes: int

    @property
    def checkpoints(self) -> CheckpointFolder:
        """Where the run's checkpoints are."""
        return CheckpointFolder(self.out / "checkpoints", self.settings.keep)

    def settle(self) -> None:
        """Ends what killed processes left undone among the checkpoints. Before workers start, in the one process that
        holds the folder."""
        self.checkpoints.sweep()
        self.checkpoints.prune()


def train(
    run: TrainingRun, worker: TrainingWorker, watcher: Watcher | None, should_stop: Callable[[], bool] = lambda: False
) -> int:
    """Trains, or resumes, as one of `worker.ranks` workers; returns the number of steps taken in all.

    Raises ValueError, in one sentence, for a user's mistake and for data that cannot be read any further.
    """
    settings = run.settings
    resumed = run.checkpoints.latest()
    if resumed:
        check_resumable(resumed, settings)
        if resumed.step >= settings.steps and not _awaits_validation(resumed, settings):
            return resumed.step
        resumed.check()
        run = _started_from(run, resumed)
    if worker.leads:
        run.checkpoints.sweep()
    stream, validator, notes = open_data(run, worker)
    if resumed:  # before the networks are loaded: checks that the data is the same
        stream.load_state_dict({"step": resumed.step, "order": resumed.state["order"]})
    if watcher:
        commit(run.out / "settings.toml", to_toml(settings).encode())
        for note in notes:
            watcher.noted(note)
    weights = (run.base, run.base_revision, run.init_from, run.init_revision)
    record = base_record(*weights)
    if resumed:
        check_same_base(resumed, record, *weights)
    base, controlnet = open_networks(run, worker)
    trainer = Trainer(
        base=base,
        controlnet=controlnet,
        stream=stream,
        validator=validator,
        settings=settings,
        started_from=(run.init_from, run.init_revision),
        base_record=record,
        checkpoints=run.checkpoints,
        worker=worker,
        watcher=watcher,
    )
    if resumed:
        trainer.load(resumed)
    return trainer.run(should_stop)


def _awaits_validation(checkpoint: TrainingCheckpoint, settings: TrainingSettings) -> bool:
    """Whether a kill came between the checkpoint and its validation."""
    return not checkpoint.judged and settings.validation.share > 0 and is_due(checkpoint.step, settings)


def check_resumable(checkpoint: TrainingCheckpoint, settings: TrainingSettings) -> None:
    """Raises ValueError if the checkpoint was trained with settings that learn something else."""
    # A setting that the run's program did not know yet had what is now its default.
    before = _completed(checkpoint.state["settings"], TrainingSettings().model_dump(mode="json"))
    now = settings.model_dump(mode="json")
    fixed = now.keys() - FREE - ({"steps"} if settings.optimizer.schedule == "constant" else set())
    if differing := sorted(name for name in fixed if before.get(name) != now[name]):
        raise ValueError(
            f"the run was started with another {' and '.join(differing)}: use the same settings (they are in "
            "settings.toml), or train into another folder"
        )


def _completed(known: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the defaults of those that they do not name, group by group."""
    groups = {name: inner for name, inner in defaults.items() if isinstance(inner, dict)}
    return {**defaults, **known, **{name: _completed(known.get(name, {}), inner) for name, inner in groups.items()}}


def _started_from(run: TrainingRun, resumed: TrainingCheckpoint) -> TrainingRun:
    """The run with the checkpoint that it was started from, where none is named now or a later one of that run.

    Its UNet may be what the run's ControlNet is trained for.
    """
    place, revision = resumed.state.get("started_from") or (None, None)
    if place is None or (Path(place).is_absolute() and not Path(place).is_dir()):
        return run
    runs_own = Path(place).parent.name == "checkpoints"
    if run.init_from is None or (runs_own and Path(run.init_from).parent == Path(place).parent):
        return replace(run, init_from=place, init_revision=revision)
    return run


def open_data(run: TrainingRun, worker: TrainingWorker) -> tuple[TripletStream[Crop], Validator | None, list[str]]:
    """The run's stream of crops, its validator (None if nothing is held out), and notes for the user."""
    settings = run.settings
    cache = ShardCache(run.cache, run.cache_bytes)
    datasets = [Dataset(path) for path, _ in run.datasets]
    readers = [PhotoReader(dataset, cache) for dataset in datasets]
    chosen = settings.validation
    held_out = [validation_photos(dataset.index, chosen.share, settings.seed) for dataset in datasets]
    tables = [Triplets.of(dataset.index, ~apart) for dataset, apart in zip(datasets, held_out, strict=True)]
    for (path, _), dataset, table in zip(run.datasets, datasets, tables, strict=True):
        if not len(dataset.index):
            raise ValueError(f"{path} is empty: no photo came through its build, which says why")
        if not len(table):
            raise ValueError(f"{path} has no regions left to train on: lower validation.share")
    order = Order(
        tables,
        [share for _, share in run.datasets],
        OrderSettings(seed=settings.seed, window_shards=settings.window_shards, weighting=settings.weighting),
    )
    stream = TripletStream(
        readers,
        order,
        Cropper(settings.crop, neighbours=settings.learns == "mask_decoder", instances=settings.instances),
        batch=settings.batch,
        micro_batch=settings.micro_batch,
        rank=worker.rank,
        ranks=worker.ranks,
    )
    notes: list[str] = []
    unseen = _judged(readers, datasets, held_out, chosen.photos, settings, notes)
    seen = None
    if chosen.training_photos:
        seen = _judged(readers, datasets, [~apart for apart in held_out], chosen.training_photos, settings, notes)
    if unseen is None:
        notes.append("nothing is held out: there is no validation and no best checkpoint (see validation.share)")
    return stream, Validator(unseen, seen, settings) if unseen else None, notes


def _judged(
    readers: Sequence[PhotoReader],
    datasets: Sequence[Dataset],
    chosen: Sequence[NDArray[np.bool_]],
    limit: int,
    settings: TrainingSettings,
    notes: list[str],
) -> ValidationCrops | None:
    """Fixed crops of at most `limit` of the chosen photos; a fair draw, because keys are hashes."""
    photos: list[tuple[str, int, int, int]] = []
    for number, (dataset, rows) in enumerate(zip(datasets, chosen, strict=True)):
        kept = np.flatnonzero(rows)
        columns = dataset.index.select(["key", "region_count"]).take(pa.array(kept))
        own = zip(columns["key"].to_pylist(), kept.tolist(), columns["region_count"].to_pylist(), strict=True)
        photos += [(key, number, row, regions) for key, row, regions in own]
    wanted = [(dataset, row, regions) for _, dataset, row, regions in sorted(photos)[:limit]]
    crops, faults = fixed_crops(readers, wanted, settings.crop, settings.seed)
    notes += [f"left out of validation: {fault}" for fault in faults]
    return ValidationCrops(crops) if crops else None


def _names(run: TrainingRun) -> list[str]:
    """The subjects of the data sets, the most frequent first."""
    counted = Counter(
        subject
        for path, _ in run.datasets
        for subjects in Dataset(path).index["subjects"].to_pylist()
        for subject in subjects
    )
    return [subject for subject, _ in sorted(counted.items(), key=lambda each: (-each[1], each[0]))][:MOST_NAMES]


def open_networks(run: TrainingRun, worker: TrainingWorker) -> tuple[BaseNetworks, RegionControlNet]:
    """The base, of which nothing or the UNet learns, and the ControlNet to train, on the worker's device."""
    settings, device = run.settings, str(worker.device)
    base = load_base(
        run.base,
        dtype="float32",
        device=device,
        revision=run.base_revision,
        checkpoint=run.init_from,
        checkpoint_revision=run.init_revision,
    )
    if run.init_from:
        controlnet = load_controlnet(run.init_from, base, dtype="float32", device=device, revision=run.init_revision)
    else:
        controlnet = begin_controlnet(base, settings).to(worker.device)  # pyright: ignore[reportArgumentType]
    if settings.mask_decoder == "TextMaskDecoder" and controlnet.config["mask_decoder_type"] != "TextMaskDecoder":
        controlnet = begin_mask_decoder(controlnet, base, _names(run), settings)
    freeze(base, settings)
    assert base.unet.dtype == (torch.float32 if settings.changes_base else DTYPES[settings.dtype])
    assert controlnet.dtype == torch.float32
    return base, trained(controlnet, settings)
