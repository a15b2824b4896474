"""A job's photo with its masks and maps, ready for the networks, and the files that its record and command name."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.model.restoring.sizes import MIN_SIDE
from instructrestore.pipelines.app.pictures import scaled_down
from instructrestore.pipelines.app.reproduction import SCALE_MAP, edit_name
from instructrestore.pipelines.app.work import Work
from instructrestore.pipelines.inference.photo_job import EditFiles, PhotoJob
from instructrestore.pipelines.inference.prepared_photo import PreparedPhoto, prepare
from instructrestore.pipelines.understanding.wishes import Understood
from instructrestore.shards.files import commit

PREVIEW = 512  # px, the longer side of a preview of most photos


def prepared_work(work: Work, settings: SamplingSettings, weights: dict[str, Any]) -> PreparedPhoto:
    """The photo, at a preview's size if it is one. Raises as `prepare`."""
    masks = tuple(_named(work.mask_file(number), path) for number, path in enumerate(work.masks, 1) if path)
    whole = masks if len(masks) == len(work.masks) else ()
    edits = EditFiles(**{
        name: tuple(_named(work.out / edit_name(name, number), path) for number, path in enumerate(paths, 1))
        for name, paths in work.edits.items()
    })  # fmt: skip
    scale_map = _named(work.out / SCALE_MAP, work.scale_map) if work.scale_map else None
    read = work.asked.read_from
    wish = Understood(read.typed, work.instruction, read.model) if read else None
    job = PhotoJob(
        work.file, work.file.name, "restored", work.instruction, work.asked.seed, whole, scale_map, edits=edits,
        scale_range=work.asked.scale_range, wish=wish,
    )  # fmt: skip
    photo = prepare(job, settings, weights)
    if not work.asked.preview:
        return photo
    side = _preview_side(photo.source.image.size)
    image = scaled_down(photo.source.image, side)
    alpha = photo.source.alpha
    source = replace(photo.source, image=image, alpha=alpha and scaled_down(alpha, side), deep=None)
    masks = photo.masks and [_scaled(mask, image.size) for mask in photo.masks]
    smaller = {name: [_scaled(mask, image.size) for mask in found] for name, found in photo.edits.items()}
    scales = None if photo.scale_map is None else _scaled(photo.scale_map, image.size)
    return replace(photo, source=source, masks=masks, edits=smaller, scale_map=scales)


def _scaled(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """A mask or a map at that (width, height)."""
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))


def _preview_side(size: tuple[int, int]) -> int:
    """Pixels of a preview's longer side: of a panorama more, so that its shorter side can be restored."""
    return max(PREVIEW, math.ceil(MIN_SIDE * max(size) / min(size)))


def preview_size(size: tuple[int, int]) -> tuple[int, int]:
    """A preview's size for a photo of that one, both in the same order of sides."""
    scale = min(1.0, _preview_side(size) / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def mask_values(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A mask of ours, (H, W) uint8, at that (width, height)."""
    with Image.open(path, formats=("PNG",)) as image:
        return np.asarray(image.convert("L").resize(size))


def _named(place: Path, mask: Path) -> Path:
    """A mask under the name that it has in the job's folder, as the job's record and command say."""
    if mask != place:
        commit(place, mask.read_bytes())
    return place
