"""`instructrestore restore`: jobs in, restored photo files out; one bad photo never ends the run."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console

from instructrestore.model.restoring.careful import check_careful
from instructrestore.model.restoring.keeping import check_keeping
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.model.restoring.shaping import check_shaping
from instructrestore.pipelines.inference.best_scales import check_asked
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.inference.photo_job import PhotoJob
from instructrestore.pipelines.inference.photo_parts import PhotoParts
from instructrestore.pipelines.inference.prepared_photo import PreparedPhoto, prepare
from instructrestore.pipelines.inference.restorer import (
    OutputSettings,
    PhotoRestorer,
    Restoration,
    as_asked,
    free_memory,
    out_of_memory,
)
from instructrestore.pipelines.inference.segment_settings import SegmentModel, model_name
from instructrestore.pipelines.pictures.output_file import (
    LOSSY,
    Format,
    article,
    check_fits,
    encode,
    format_for,
    is_deep,
    left_out,
)
from instructrestore.pipelines.pictures.restored_photo import read_record, to_png
from instructrestore.pipelines.restoration.progress import RestoreProgress
from instructrestore.pipelines.terminal.arguments import checked_seed
from instructrestore.shards.files import commit
from instructrestore.shards.plain_text import visible_line

# Trouble with the disk that is written to: the next photo would fail as well.
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
# What a photo may cause; `_Run._blame` picks out the errors that are not its fault.
_PHOTO_ERRORS = (OSError, ValueError, RuntimeError, MemoryError)
_MODEL_LOGGER = "instructrestore.model"


@dataclass
class RestoreSummary:
    """What became of the photos. failed: name and reason of each photo that could not be restored."""

    restored: int = 0
    skipped: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class RestoreOptions:
    """How photos are restored, with which model, and what is written of each.

    batch: up to this many consecutive photos of one size are restored together.
    segments: of what cuts photos up in which something is singled out; None: the embedded annotator.
    """

    source: ModelSource
    settings: SamplingSettings
    outputs: OutputSettings = field(default_factory=OutputSettings)
    batch: int = 1
    segments: SegmentModel | None = None

    def check(self, jobs: Sequence[PhotoJob]) -> None:
        """Raises ValueError for options that do not go together."""
        assert self.batch >= 1
        outputs = self.outputs
        if outputs.mask_only and (outputs.compare or outputs.sweep):
            raise ValueError("--mask-only restores nothing, so there is nothing for --compare or --sweep to show")
        if outputs.mask_only and any(job.masks or job.scale_map for job in jobs):
            raise ValueError("--mask-only shows where the model finds the regions: leave out the mask or scale map")
        protects = any(job.edits.protect for job in jobs)
        if outputs.mask_only and protects:
            raise ValueError("--mask-only restores nothing, so there is nothing to change: leave out --protect")
        if outputs.sweep and any(job.scale_map for job in jobs):
            raise ValueError("--sweep varies the scale of a region, but a scale map already sets that of every pixel")
        if outputs.mask_only and self.settings.rest == "keep":
            raise ValueError("--mask-only restores nothing, so there is no rest to keep: leave out --rest")
        if outputs.mask_only and self.settings.careful:
            raise ValueError("--mask-only restores nothing, so there is nothing to hold closer: leave out --careful")
        if outputs.auto is not None:
            self._check_auto(jobs)
        asked = [job.instruction for job in jobs if job.instruction]
        if asked and all(each.bokeh for each in asked):  # of a few, it is those photos' failure
            check_keeping(self.settings, asked, False)
            check_careful(self.settings, asked, False)
        if asked and all(len(each.regions) > 1 for each in asked):
            check_shaping(self.settings, asked, False)
        has_maps = any(job.scale_map for job in jobs)
        check_keeping(self.settings, (), has_maps, protects)
        check_shaping(self.settings, (), has_maps)
        check_careful(self.settings, (), has_maps)

    def _check_auto(self, jobs: Sequence[PhotoJob]) -> None:
        outputs = self.outputs
        assert outputs.auto is not None
        if outputs.mask_only or outputs.sweep:
            raise ValueError("--auto finds the scales of a restoration: leave out --mask-only and --sweep")
        if any(job.scale_map for job in jobs):
            raise ValueError("--auto finds the scales, and a scale map gives them: leave out one of them")
        if any(job.points or job.boxes or any(paths for _, paths in job.edits.items()) for job in jobs):
            raise ValueError("--auto takes masks as they are: leave out points, boxes and what changes or protects")
        if self.settings.locate != "decoder" or self.settings.grow or self.settings.invert:
            raise ValueError("--auto takes masks as they are: leave out --locate, --grow and --invert")
        for job in jobs:
            if job.instruction:
                check_asked(job.instruction, outputs.auto, outputs.seeds, "--auto")
            checked_seed(job.seed + outputs.seeds - 1, "the last of --seeds")


def restore(jobs: Sequence[PhotoJob], out: Path, options: RestoreOptions, console: Console) -> RestoreSummary:
    """Restores each job's photo into the folder `out`, and reports photo by photo what became of it.

    Raises ValueError if options do not go together or the model cannot be loaded, and OSError once `out` cannot be
    written to; whatever is wrong with a single photo is in the summary.
    """
    options.check(jobs)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{visible_line(str(out))} is a file: --out names the folder for the results")
    model = {**options.source.record(), "weights": options.source.fingerprint().identity}
    if options.segments:
        model["segments"] = model_name(options.segments)
    options = replace(options, settings=options.source.sampling(options.settings))
    out.mkdir(parents=True, exist_ok=True)
    reported_anyway = logging.NullHandler()  # the pipeline logs its reports; here they are printed with each photo
    logging.getLogger(_MODEL_LOGGER).addHandler(reported_anyway)
    run = _Run(out, options, model, console, len(jobs))
    try:
        with run.progress:
            for group in run.groups(jobs):
                run.do(group)
    finally:
        logging.getLogger(_MODEL_LOGGER).removeHandler(reported_anyway)
        run.print_summary()
    return run.summary


class _Run:
    """One run: the model once it is needed, and what became of the photos so far.

    model: what the records of the results say of it. photos: how many there are.
    """

    def __init__(
        self, out: Path, options: RestoreOptions, model: dict[str, Any], console: Console, photos: int
    ) -> None:
        self._out, self._options, self._model = out, options, model
        self._outputs, self._console, self._photos = options.outputs, console, photos
        self.summary = RestoreSummary()
        self.progress = RestoreProgress(console, photos, options.settings.num_inference_steps)
        self._restorer: PhotoRestorer | None = None

    def groups(self, jobs: Sequence[PhotoJob]) -> Iterator[list[PreparedPhoto]]:
        """Consecutive photos of one size, at most `batch` of them; photos that cannot be read are reported here."""
        group: list[PreparedPhoto] = []
        for job in jobs:
            try:
                photo = prepare(job, self._options.settings, self._model)
                photo = replace(photo, record={**photo.record, **self._outputs.asked(job)})
                self._check_format(photo)
                done = self._outputs.skip_existing and self._is_done(photo)
            except _PHOTO_ERRORS as error:
                self._blame(job, error)
                continue
            if done:
                self.summary.skipped += 1
                self._say(job, "is already there")
                continue
            size = photo.source.image.size
            if group and (len(group) == self._options.batch or group[0].source.image.size != size):
                yield group
                group = []
            group.append(photo)
        if group:
            yield group

    def do(self, group: Sequence[PreparedPhoto]) -> None:
        """Restores the photos of a group together, or one by one if that fails, and writes the results."""
        restorer = self._loaded()  # outside of what a photo can be blamed for
        self.progress.begin(len(group))
        results: list[Restoration] = []
        try:
            results = restorer.results(group, [photo.instruction for photo in group])
        except _PHOTO_ERRORS as error:
            if len(group) == 1:
                self._blame(group[0].job, error)
                return
        if not results:  # after the except clause, whose error keeps the batch's memory alive
            free_memory()
            for photo in group:
                self.do([photo])
            return
        for photo, result in zip(group, results, strict=True):
            try:
                self._write(photo, result, restorer.pictures(photo, result))
            except _PHOTO_ERRORS as error:
                if isinstance(error, OSError) and error.errno in _DISK_FAULTS:
                    raise
                self._blame(photo.job, error)
            else:
                self.summary.restored += 1
                notes = dict.fromkeys((*photo.notes, *result.reports, *self._notes(photo)))
                first, *others = self._names(photo)
                self._say(photo.job, f"-> {', '.join([str(self._out / first), *others])}", *notes)

    def print_summary(self) -> None:
        """How many photos were restored, and each that was not, with its reason; nothing if none was started."""
        done = self.summary
        if not (self._restorer or done.skipped or done.failed):
            return
        what = f"{done.restored} restored"
        if self._outputs.mask_only:
            what = f"masks of {done.restored} photo{'' if done.restored == 1 else 's'} predicted"
        skipped = f", {done.skipped} already there" if done.skipped else ""
        left = self._photos - done.restored - done.skipped - len(done.failed)
        unreached = f", {left} not reached" if left else ""
        self._print(f"{what}{skipped}, {len(done.failed)} failed{unreached}")
        for name, reason in done.failed:
            self._print(f"  {name}: {reason}")

    def _loaded(self) -> PhotoRestorer:
        if self._restorer is None:
            self.progress.doing("loading the model")
            pipe = self._options.source.load()
            self._restorer = PhotoRestorer(
                pipe,
                self._options.settings,
                self._outputs,
                self._options.batch,
                self.progress.step,
                PhotoParts(self._options.segments),
            )
        return self._restorer

    def _write(self, photo: PreparedPhoto, result: Restoration, pictures: Sequence[tuple[str, Image.Image]]) -> None:
        for name, (shows, picture) in zip(self._names(photo), pictures, strict=True):
            path = self._out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            record = {"shows": shows, **photo.record, **result.found}
            if picture is result.image:
                deep = result.deep if is_deep(self._outputs.format, photo.source) else None
                alike = self._outputs.format == "original"
                data = encode(self._format(photo), picture, record, photo.source, deep, alike)
            else:
                data = to_png(picture, record, None if picture.mode == "L" else photo.source.icc_profile)
            commit(path, data)

    def _format(self, photo: PreparedPhoto) -> Format:
        return format_for(self._outputs.format, photo.source)

    def _names(self, photo: PreparedPhoto) -> list[str]:
        return self._outputs.names(photo.job, self._format(photo))

    def _check_format(self, photo: PreparedPhoto) -> None:
        """Raises ValueError where the result does not fit its format, before it takes time."""
        if not self._outputs.mask_only:
            height, width = self._options.settings.restored_size(photo.source.image.size[::-1])
            check_fits(self._format(photo), photo.source, (width, height))

    def _notes(self, photo: PreparedPhoto) -> list[str]:
        kept = self._options.settings.rest == "keep" or bool(photo.job.edits.protect)
        format = self._format(photo)
        if self._outputs.mask_only:
            return []
        said = left_out(format, photo.source)
        if kept and format in LOSSY:
            said.append(
                f"{article(format)} changes every pixel a little, those that were kept too: another --format is exact"
            )
        return said

    def _is_done(self, photo: PreparedPhoto) -> bool:
        for name in self._names(photo):
            try:
                record = read_record(self._out / name)
            except (OSError, ValueError):
                return False
            if as_asked(record) != as_asked(photo.record):
                return False
        return True

    def _blame(self, job: PhotoJob, error: Exception) -> None:
        """Records a photo's failure; raises the error again if the photo is not to blame."""
        if out_of_memory(error):
            free_memory()
            reason = f"out of {'GPU ' if isinstance(error, torch.OutOfMemoryError) else ''}memory: try a smaller "
            reason += "--tile (or --set tile_batch=1), --batch 1, --dtype bfloat16 or a smaller --upscale"
            reason += ", or on a GPU --memory 4" if isinstance(error, torch.OutOfMemoryError) else ""
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
        self._console.print(visible_line(line), markup=False, highlight=False, soft_wrap=True)
