"""The model at work on one job after the other: the preparation, pipeline and files of `instructrestore restore`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from instructrestore.model.instruction.instruction import Instruction, checked_scale
from instructrestore.model.restoring.careful import check_careful
from instructrestore.model.restoring.keeping import check_keeping
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.settings import SamplingSettings, resolve
from instructrestore.model.restoring.shaping import check_shaping
from instructrestore.model.restoring.sizes import MIN_SIDE
from instructrestore.pipelines.app.preparation import mask_values, prepared_work, preview_size
from instructrestore.pipelines.app.records import Asked
from instructrestore.pipelines.app.shelf import check_room
from instructrestore.pipelines.app.speed import Speed
from instructrestore.pipelines.app.work import Done, Work, written
from instructrestore.pipelines.inference.loading import ONE_AT_A_TIME
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.inference.options import sampling_settings
from instructrestore.pipelines.inference.prepared_photo import PreparedPhoto
from instructrestore.pipelines.inference.restorer import (
    OutputSettings,
    PhotoRestorer,
    Restoration,
    free_memory,
    out_of_memory,
)
from instructrestore.pipelines.pictures.contact_sheet import mask_image
from instructrestore.shards.checksums import sha256
from instructrestore.shards.rle import MAX_PIXELS

LEAST_TILE = 256  # the smallest tile that is tried where memory runs out


class Cancelled(Exception):
    """Raised out of the networks, between two passes."""


@dataclass
class PassCounter:
    """What the networks report to. on_pass: after every pass; cancelled: asked before each."""

    on_pass: Callable[[int], None]
    cancelled: Callable[[], bool]
    passes: int = 0

    def before(self, *_: object) -> None:
        if self.cancelled():
            raise Cancelled

    def after(self, *_: object) -> None:
        self.passes += 1
        self.on_pass(self.passes)


def settings_of(asked: dict[str, Any]) -> SamplingSettings:
    """Sampling settings by name. Raises ValueError, in one sentence."""
    for name, value in asked.items():
        if not isinstance(value, (str, int, float, bool, type(None))):
            raise ValueError(f"the setting {name!r} is a word or a number, not {type(value).__name__}")
    return sampling_settings(dict(asked), (), {})


class Workbench:
    """source: the model, loaded by the first who needs it. speeds: a file in which measured speeds are kept."""

    def __init__(self, source: ModelSource, speeds: Path, room: int) -> None:
        self.source = source
        self._room = room
        self._pipe: InstructRestorePipeline | None = None
        self._loading = threading.Lock()
        self._threads = torch.get_num_threads()
        self.state, self.error = "loading", ""
        self._of_model = source.model_sampling()  # reads, and hashes, the small model's files
        self.own = resolve(SamplingSettings(), {}, self._of_model)
        self.weights = {**source.record(), "weights": source.fingerprint().identity}
        self.speed = Speed(speeds, f"{self.weights['weights']} {source.device} {source.dtype}")

    def load(self) -> InstructRestorePipeline:
        """Raises ValueError, in one sentence, if the model cannot be loaded, every time."""
        with self._loading:
            if self._pipe is None:
                try:
                    with ONE_AT_A_TIME:
                        self._pipe = self.source.load()
                except ValueError as error:
                    self.state, self.error = "failed", str(error)
                    raise
                self.state = "ready"
        return self._pipe

    def sampling(self, asked: Asked) -> SamplingSettings:
        """The settings of a job. Raises ValueError, in one sentence, for what is not valid."""
        given = asked.sampling()
        if asked.preview:
            given |= {"num_inference_steps": 1, "upscale": 1.0}
        return resolve(settings_of(given), {}, self._of_model)

    def check(self, asked: Asked, instruction: Instruction, size: tuple[int, int]) -> None:
        """Raises ValueError, in one sentence, for what cannot be done with a photo of this (height, width)."""
        settings = self.sampling(asked)
        check_keeping(settings, [instruction], bool(asked.scale_map), bool(asked.protect))
        check_shaping(settings, [instruction], bool(asked.scale_map))
        check_careful(settings, [instruction], bool(asked.scale_map))
        for scale in asked.scale_range or ():
            checked_scale(scale, "a scale of scale_range")
        large, wide = settings.restored_size(size)
        if large * wide > MAX_PIXELS:
            raise ValueError(
                f"the result would be {wide}x{large}, over the limit of {MAX_PIXELS} pixels: lower upscale"
            )
        if min(large, wide) < MIN_SIDE:
            raise ValueError(f"the result would be {wide}x{large}: the shorter side must be at least {MIN_SIDE} pixels")
        for scale in asked.sweep:
            checked_scale(scale, "a scale of the sweep")
        if len(set(asked.sweep)) < len(asked.sweep):
            raise ValueError("a scale is in the sweep twice")

    def passes(self, asked: Asked, size: tuple[int, int]) -> int:
        """How often the networks run for a job on a photo of this (height, width)."""
        settings = self.sampling(asked)
        if asked.kind == "mask":
            return 1
        pipe = self._pipe
        one = pipe.passes(preview_size(size) if asked.preview else size, settings) if pipe else 1
        return one * (len(asked.sweep) if asked.kind == "sweep" else 1)

    def expected(self, asked: Asked, size: tuple[int, int]) -> float | None:
        """Seconds, from what was measured; None before anything was."""
        rate = self.speed.seconds
        return None if rate is None else rate * self._amount(asked, size)

    def measured(self, asked: Asked, size: tuple[int, int], seconds: float) -> None:
        """Learns from a job that was done."""
        if asked.kind != "mask":
            self.speed.learn(seconds / self._amount(asked, size))

    def do(self, works: Sequence[Work], progress: PassCounter, doing: Callable[[str], None]) -> list[Done]:
        """Restores photos of one size by one kind of wish, together.

        Raises Cancelled; ValueError or OSError, in one sentence each, for a photo, mask or disk that cannot be used.
        """
        torch.set_num_threads(self._threads)  # of this thread; what finds segments may just have changed the default
        if self._pipe is None:
            doing("loading the model")
        pipe = self.load()
        asked = works[0].asked
        settings = self.sampling(asked)
        check_room(works[0].out.parent, 0, self._room)
        photos = [prepared_work(work, settings, self.weights) for work in works]
        with _watched(pipe, progress):
            photos = [
                self._with_all_masks(work, photo, settings, doing) for work, photo in zip(works, photos, strict=True)
            ]
            doing("finding the regions" if asked.kind == "mask" else "restoring")
            try:
                found = self._results(works, photos, settings, progress)
                return [written(work, photo, each, []) for work, photo, each in zip(works, photos, found, strict=True)]
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or (settings.tile <= LEAST_TILE and len(works) == 1):
                    raise _explained(error) from None
        free_memory()  # after the except clause, whose error keeps the memory alive
        doing("restoring in smaller tiles: memory ran out")
        return [
            done
            for work, photo in zip(works, photos, strict=True)
            for done in self._in_tiles(work, photo, settings, progress)
        ]

    def _in_tiles(
        self, work: Work, photo: PreparedPhoto, settings: SamplingSettings, progress: PassCounter
    ) -> list[Done]:
        while settings.tile > LEAST_TILE:
            tile = max(LEAST_TILE, settings.tile // 2 // 64 * 64)
            settings = settings.model_copy(
                update={"tile": tile, "overlap": min(settings.overlap, tile // 4 // 32 * 32)}
            )
            smaller = replace(photo, record={**photo.record, "settings": settings.model_dump(mode="json")})
            try:
                with _watched(self.load(), progress):
                    (found,) = self._results([work], [smaller], settings, progress)
                note = f"memory ran out: it was restored in tiles of {tile} pixels"
                return [written(work, smaller, found, [note])]
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise _explained(error) from None
            free_memory()
        raise ValueError("memory ran out, even in small tiles: close other programs, or choose a smaller upscale")

    def _results(
        self, works: Sequence[Work], photos: Sequence[PreparedPhoto], settings: SamplingSettings, progress: PassCounter
    ) -> list[list[tuple[float, Restoration]]]:
        """Per photo its results, each with the scale of the first region."""
        asked = works[0].asked
        deep = asked.kind == "restore" and not asked.preview and bool(asked.deep)
        wanted = OutputSettings(mask_only=asked.kind == "mask", deep=deep)
        restorer = PhotoRestorer(self.load(), settings, wanted, 1, lambda *_: {})
        if asked.kind != "sweep":
            made = restorer.results(photos, [photo.instruction for photo in photos])
            return [[(photo.instruction.regions[0].scale, each)] for photo, each in zip(photos, made, strict=True)]
        found = []
        for photo in photos:
            first, *others = photo.instruction.regions
            asked_for = [replace(photo.instruction, regions=(replace(first, scale=s), *others)) for s in asked.sweep]
            found.append([(each.regions[0].scale, restorer.results([photo], [each])[0]) for each in asked_for])
        return found

    def _with_all_masks(
        self, work: Work, photo: PreparedPhoto, settings: SamplingSettings, doing: Callable[[str], None]
    ) -> PreparedPhoto:
        """With the masks of the regions that have none found, where others have some."""
        if None not in work.masks or not any(work.masks) or work.asked.kind == "mask":
            return photo
        doing("finding the regions")
        as_found = settings.model_copy(update={"grow": 0, "invert": False, "feather": 0})  # that comes afterwards
        finder = PhotoRestorer(self.load(), as_found, OutputSettings(mask_only=True), 1, lambda *_: {})
        (found,) = finder.results([replace(photo, edits={})], [photo.instruction])
        size = photo.source.image.size
        masks, said = [], []
        for number, (path, own) in enumerate(zip(work.masks, found.masks, strict=True), 1):
            given = mask_values(path, size) if path else None
            masks.append(np.asarray(mask_image(own, size)) if given is None else given)
            name = work.mask_file(number).name
            said.append("predicted" if given is None else {"file": name, "sha256": sha256(given.tobytes())})
        return replace(photo, masks=masks, record={**photo.record, "masks": said})

    def _amount(self, asked: Asked, size: tuple[int, int]) -> float:
        """Megapixels times steps."""
        settings = self.sampling(asked)
        height, width = settings.restored_size(preview_size(size) if asked.preview else size)
        steps = 1 if asked.kind == "mask" else settings.num_inference_steps * max(1, len(asked.sweep))
        return max(height * width / 1e6, 0.05) * steps


@contextmanager
def _watched(pipe: InstructRestorePipeline, progress: PassCounter) -> Iterator[None]:
    """While it lasts, every pass of the networks is reported, and may be the last."""
    hooks = [
        pipe.controlnet.register_forward_pre_hook(progress.before),
        pipe.unet.register_forward_pre_hook(progress.before),
        pipe.unet.register_forward_hook(progress.after),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _explained(error: Exception) -> Exception:
    if out_of_memory(error):
        return ValueError("memory ran out: close other programs, or choose a smaller upscale or tile")
    return error
