"""A job's files, read and checked, and the record of how its results are made."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from instructrestore.dataengine.masks.placing import PhotoFrame
from instructrestore.dataengine.photos.mask_file import read_map, read_mask
from instructrestore.dataengine.photos.photo_file import read_bytes
from instructrestore.dataengine.photos.picture_file import open_picture
from instructrestore.dataengine.sources.places import readable, uri_of
from instructrestore.model.instruction.instruction import MAX_SCALE, Instruction
from instructrestore.model.restoring.careful import check_careful
from instructrestore.model.restoring.keeping import check_keeping
from instructrestore.model.restoring.locating import check_places
from instructrestore.model.restoring.request import scales_of_greys
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.model.restoring.shaping import check_shaping
from instructrestore.model.restoring.sizes import MIN_SIDE
from instructrestore.pipelines.inference.photo_job import MaskFile, PhotoJob
from instructrestore.pipelines.pictures.source_photo import SourceImage, read_photo
from instructrestore.shards.rle import MAX_PIXELS

Picture = TypeVar("Picture")
SCALE_UNIT = 100  # the grey value that means scale 1 in a scale map


@dataclass(frozen=True)
class PreparedPhoto:
    """A photo that can be restored.

    masks: for each region (H, W) uint8 in [0, 255] at the photo's size; None: they are predicted.
    scale_map: (H, W) float32 scales at the photo's size; None: there is none.
    edits: by name (unite, intersect, subtract, protect) masks like those, for the pipeline's arguments of these names.
    record: how the results are made, for their PNG files. notes: what the user should know about the files.
    """

    job: PhotoJob
    instruction: Instruction
    source: SourceImage
    masks: list[NDArray[np.uint8]] | None
    scale_map: NDArray[np.float32] | None
    record: dict[str, Any]
    notes: tuple[str, ...] = ()
    edits: dict[str, list[NDArray[np.uint8]]] = field(default_factory=dict)


def prepare(job: PhotoJob, settings: SamplingSettings, weights: dict[str, Any]) -> PreparedPhoto:
    """Reads a job's photo, masks and scale map. weights: what the record says about the model.

    Raises ValueError or OSError, in one sentence each, for a photo that cannot be restored.
    """
    if job.problem:
        raise ValueError(job.problem)
    assert job.instruction
    has_map = job.scale_map is not None
    check_keeping(settings, [job.instruction], has_map, bool(job.edits.protect))
    check_shaping(settings, [job.instruction], has_map)
    check_careful(settings, [job.instruction], has_map)
    source = read_photo(job.photo)
    width, height = source.image.size
    if min(width, height) < MIN_SIDE:
        raise ValueError(f"it is too small: {width}x{height}, and the shorter side must be at least {MIN_SIDE} pixels")
    large, wide = settings.restored_size((height, width))
    if large * wide > MAX_PIXELS:
        raise ValueError(f"its result would be {wide}x{large}, over the limit of {MAX_PIXELS} pixels: lower --upscale")
    regions = len(job.instruction.regions)
    if job.masks and len(job.masks) != regions:
        raise ValueError(f"there must be one mask for each region: {len(job.masks)} for {regions}")
    read = [_mask(path, job.photo, source) for path in job.masks]
    edits = {name: [_mask(path, job.photo, source) for path in paths] for name, paths in job.edits.items()}
    scale_map = _scale_map(job.scale_map, (height, width), job.scale_range) if job.scale_map else None
    check_places(job.points, job.boxes, (height, width), regions)
    predicted = None if job.scale_map else "predicted"
    record = {
        "version": _version(),
        "photo": readable(job.photo.name),
        "photo_sha256": source.sha256,
        **({} if source.deep is None else {"bits": 16}),
        **(job.wish.record() if job.wish else {}),
        "instruction": str(job.instruction),
        "regions": [asdict(region) for region in job.instruction.regions],
        "others": job.instruction.others,
        "bokeh": job.instruction.bokeh,
        "seed": job.seed,
        "masks": [mask.named for mask in read] or predicted,
        "scale_map": _named(job.scale_map, scale_map) if job.scale_map and scale_map is not None else None,
        **{name: [mask.named for mask in masks] for name, masks in edits.items()},
        **(_places(job)),
        "settings": settings.model_dump(mode="json"),
        **weights,
    }
    every = [*read, *(mask for masks in edits.values() for mask in masks)]
    said = [note for mask in every for note in mask.notes]
    said += [f"the mask {mask.named['file']} is {fault}" for mask in read if (fault := _fault(mask.values))]
    notes = (*source.notes, *said)
    values = [mask.values for mask in read] or None
    of_edits = {name: [mask.values for mask in masks] for name, masks in edits.items()}
    return PreparedPhoto(job, job.instruction, source, values, scale_map, record, notes, of_edits)


def _places(job: PhotoJob) -> dict[str, Any]:
    """As they are read back from a record; nothing where there are none."""
    places = {"points": [list(each) for each in job.points], "boxes": [list(each) for each in job.boxes]}
    return places if job.points or job.boxes else {}


@dataclass(frozen=True)
class _Mask:
    """values: (H, W) uint8. named: for the record. notes: what the user should know of how it was read."""

    values: NDArray[np.uint8]
    named: dict[str, str]
    notes: list[str]


def _mask(path: MaskFile, photo: Path, source: SourceImage) -> _Mask:
    """A mask of the photo's size. path: None for the photo's own transparency."""
    if path is None:
        if source.alpha is None:
            raise ValueError("it is nowhere transparent, so it has no mask of its own: leave alpha out")
        values = np.asarray(source.alpha)
        return _Mask(values, _named(photo, values), [])
    size = (source.image.height, source.image.width)
    picture = _read(path, "mask", read_mask)
    name, values = readable(path.name), picture.values
    notes = [f"the mask {name} is a cut-out: what is left in it is the region"] if picture.cut_out else []
    if values.shape == (size[1], size[0]) and values.shape != tuple(size) and not picture.turned:
        # Only now does it matter how the photo is stored, which takes as long as reading it.
        orientation = open_picture(read_bytes(uri_of(os.path.abspath(photo))), MAX_PIXELS).orientation
        frame = PhotoFrame(size[0], size[1], orientation)
        fit = frame.fit(*values.shape)
        if fit and fit.turned:
            values = frame.laid(values, fit)
            notes.append(f"the mask {name} was turned with the photo, which is stored on its side")
    _check_size(path, values, size, "mask")
    values = values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8)
    return _Mask(values, _named(path, values), notes)


def _fault(mask: NDArray[np.uint8]) -> str:
    """What is strange about a region's mask; empty: nothing."""
    if not mask.any():
        return "black everywhere: its region is empty"
    return "white everywhere: its region is the whole photo" if mask.min() == 255 else ""


def _scale_map(path: Path, size: Sequence[int], scale_range: tuple[float, float] | None) -> NDArray[np.float32]:
    values = _read(path, "scale map", read_map)
    _check_size(path, values, size, "scale map")
    if scale_range:
        greys = torch.from_numpy(values.astype(np.float32) / np.float32(255 if values.dtype == np.uint8 else 65535))
        return scales_of_greys(greys, scale_range).numpy()
    scales = values / SCALE_UNIT
    if scales.max() > MAX_SCALE:
        raise ValueError(
            f"the scale map {readable(path.name)} has scales up to {scales.max():g}, over the limit of {MAX_SCALE:g}: "
            f"grey {SCALE_UNIT} is scale 1"
        )
    return scales.astype(np.float32)


def _read(path: Path, what: str, reader: Callable[[bytes], Picture]) -> Picture:
    name = readable(path.name)
    try:
        return reader(read_bytes(uri_of(os.path.abspath(path))))
    except OSError as error:
        raise ValueError(f"the {what} {name} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"the {what} {name} cannot be used: {error}") from None


def _check_size(path: Path, values: NDArray[Any], size: Sequence[int], what: str) -> None:
    if values.shape != tuple(size):
        found, expected = f"{values.shape[1]}x{values.shape[0]}", f"{size[1]}x{size[0]}"
        raise ValueError(
            f"the {what} {readable(path.name)} is {found} but its photo is {expected}: they must have the same size"
        )


def _named(path: Path, values: NDArray[Any]) -> dict[str, str]:
    return {"file": readable(path.name), "sha256": hashlib.sha256(values.tobytes()).hexdigest()}


def _version() -> str:
    try:
        return metadata.version("instructrestore")
    except metadata.PackageNotFoundError:
        return "not installed"  # run from its source folder
