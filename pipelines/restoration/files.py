"""`instructrestore restore`: jobs in, restored photo files out; one bad photo never ends the run."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console

from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.inference.photo_job import PhotoJob
from instructrestore.pipelines.inference.prepared_photo import PreparedPhoto, prepare
from instructrestore.pipelines.inference.restorer import (
    OutputSettings,
    PhotoRestorer,
    Restoration,
    free_memory,
    out_of_memory,
)
from instructrestore.pipelines.pictures.restored_photo import read_record, to_png
from instructrestore.pipelines.restoration.progress import RestoreProgress
from instructrestore.pipelines.terminal.ending import escaped
from instructrestore.shards.files import commit

# Faults of the disk that is written to: the next photo would have them too.
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
# What a photo may cause; `_Run._blame` tells the faults that are not the photo's.
_PHOTO_ERRORS = (OSError, ValueError, RuntimeError, MemoryError)


@dataclass
class RestoreSummary:
    """What became of the photos. failed: name and reason of each photo that could not be restored."""

    restored: int = 0
    skipped: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def restore(
    jobs: Sequence[PhotoJob],
    out: Path,
    loading: ModelSource,
    settings: SamplingSettings,
    wanted: OutputSettings,
    batch: int,
    console: Console,
) -> RestoreSummary:
    """Restores each job's photo into the folder `out`, and says photo by photo what became of it.

    batch: so many consecutive photos of one size are restored together.
    Raises ValueError where the wishes do not go together or the model cannot be loaded, and OSError where `out` cannot
    be written to any more; whatever is wrong with a single photo is in the summary.
    """
    assert batch >= 1
    _check(jobs, wanted)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{escaped(str(out))} is a file: --out names the folder for the results")
    weights = loading.fingerprint()
    out.mkdir(parents=True, exist_ok=True)
    said_anyway = logging.NullHandler()  # the pipeline logs what it reports; here each photo's own lines say it
    logging.getLogger("instructrestore.model").addHandler(said_anyway)
    model = {**loading.record(), "weights": weights.identity}
    run = _Run(out, loading, model, settings, wanted, batch, console, len(jobs))
    try:
        with run.progress:
            for group in run.groups(jobs):
                run.do(group)
    finally:
        logging.getLogger("instructrestore.model").removeHandler(said_anyway)
        run.say_summary()
    return run.summary


def _check(jobs: Sequence[PhotoJob], wanted: OutputSettings) -> None:
    if wanted.mask_only and (wanted.compare or wanted.sweep):
        raise ValueError("--mask-only restores nothing, so there is nothing for --compare or --sweep to show")
    if wanted.mask_only and any(job.masks or job.scale_map for job in jobs):
        raise ValueError("--mask-only shows where the model finds the regions, so it goes with no mask or scale map")
    if wanted.sweep and any(job.scale_map for job in jobs):
        raise ValueError("--sweep goes through scales of a region, but a scale map gives the scale of every pixel")


class _Run:
    """One run: the model once it is needed, and what became of the photos so far."""

    def __init__(
        self,
        out: Path,
        loading: ModelSource,
        model: dict[str, Any],
        settings: SamplingSettings,
        wanted: OutputSettings,
        batch: int,
        console: Console,
        photos: int,
    ) -> None:
        self.out, self.loading, self.settings, self.wanted = out, loading, settings, wanted
        self.model, self.console, self.photos = model, console, photos  # model: what the records say of it
        self.summary = RestoreSummary()
        self.progress = RestoreProgress(console, photos, settings.num_inference_steps)
        self._batch = batch
        self._restorer: PhotoRestorer | None = None

    def groups(self, jobs: Sequence[PhotoJob]) -> Iterator[list[PreparedPhoto]]:
        """Consecutive photos of one size, at most `batch` of them; those that cannot be read end here."""
        group: list[PreparedPhoto] = []
        for job in jobs:
            try:
                photo = prepare(job, self.settings, self.model)
                done = self.wanted.skip_existing and self._is_done(photo)
            except _PHOTO_ERRORS as error:
                self._blame(job, error)
                continue
            if done:
                self.summary.skipped += 1
                self._say(job, "is there already")
                continue
            size = photo.source.image.size
            if group and (len(group) == self._batch or group[0].source.image.size != size):
                yield group
                group = []
            group.append(photo)
        if group:
            yield group

    def do(self, group: Sequence[PreparedPhoto]) -> None:
        """Restores the photos of a group together, or one by one where that fails, and writes what comes out."""
        restorer = self._loaded()  # out of the reach of what a photo can be blamed for
        self.progress.begin(len(group))
        results: list[Restoration] = []
        try:
            results = restorer.results(group, [photo.instruction for photo in group])
        except _PHOTO_ERRORS as error:
            if len(group) == 1:
                self._blame(group[0].job, error)
                return
        if not results:  # past the except clause, whose error holds on to the batch's memory
            free_memory()
            for photo in group:
                self.do([photo])
            return
        for photo, result in zip(group, results, strict=True):
            try:
                self._write(photo, restorer.pictures(photo, result))
            except _PHOTO_ERRORS as error:
                if isinstance(error, OSError) and error.errno in _DISK_FAULTS:
                    raise
                self._blame(photo.job, error)
            else:
                self.summary.restored += 1
                notes = dict.fromkeys((*photo.notes, *result.reports))
                first, *others = self.wanted.names(photo.job)
                self._say(photo.job, f"-> {', '.join([str(self.out / first), *others])}", *notes)

    def say_summary(self) -> None:
        """How many photos were restored, and each that was not, with its reason; nothing where none was begun."""
        done = self.summary
        if not (self._restorer or done.skipped or done.failed):
            return
        what = f"{done.restored} restored"
        if self.wanted.mask_only:
            what = f"masks of {done.restored} photo{'' if done.restored == 1 else 's'} predicted"
        skipped = f", {done.skipped} there already" if done.skipped else ""
        left = self.photos - done.restored - done.skipped - len(done.failed)
        unreached = f", {left} not reached" if left else ""
        self._print(f"{what}{skipped}, {len(done.failed)} failed{unreached}")
        for name, reason in done.failed:
            self._print(f"  {name}: {reason}")

    def _loaded(self) -> PhotoRestorer:
        if self._restorer is None:
            self.progress.doing("loading the model")
            pipe = self.loading.load()
            self._restorer = PhotoRestorer(pipe, self.settings, self.wanted, self._batch, self.progress.step)
        return self._restorer

    def _write(self, photo: PreparedPhoto, pictures: Sequence[tuple[str, Image.Image]]) -> None:
        for name, (shows, picture) in zip(self.wanted.names(photo.job), pictures, strict=True):
            path = self.out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            grey, whole = picture.mode == "L", name == f"{photo.job.stem}.png"
            source = photo.source
            profile = None if grey else source.icc_profile
            record = {"shows": shows, **photo.record}
            if whole:
                png = to_png(picture, record, profile, source.exif, source.alpha, source.xmp, source.dpi)
            else:
                png = to_png(picture, record, profile)
            commit(path, png)

    def _is_done(self, photo: PreparedPhoto) -> bool:
        for name in self.wanted.names(photo.job):
            try:
                record = read_record(self.out / name)
            except (OSError, ValueError):
                return False
            if {key: value for key, value in record.items() if key != "shows"} != photo.record:
                return False
        return True

    def _blame(self, job: PhotoJob, error: Exception) -> None:
        """Takes a photo's fault down; raises it again where it is none of the photo's."""
        if out_of_memory(error):
            free_memory()
            reason = f"out of {'GPU ' if isinstance(error, torch.OutOfMemoryError) else ''}memory: try a smaller "
            reason += "--tile (or --set tile_batch=1), --batch 1, --dtype bfloat16 or a smaller --upscale"
        elif isinstance(error, RuntimeError):
            raise error
        elif isinstance(error, OSError):
            reason = error.strerror or str(error)
        else:
            reason = str(error)
        self.summary.failed.append((job.name, reason))
        self._say(job, f"failed: {reason}")

    def _say(self, job: PhotoJob, outcome: str, *notes: str) -> None:
        self.progress.photo_done()
        self._print(f"{job.name} {outcome}")
        for note in notes:
            self._print(f"  {note}")

    def _print(self, line: str) -> None:
        self.console.print(escaped(line), markup=False, highlight=False, soft_wrap=True)
