"""`instructrestore degrade`: photos in, training pairs as PNGs out, with a sheet that shows the random choices."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from instructrestore.dataengine.photos.photo_file import decode, local_path, read_bytes
from instructrestore.dataengine.reporting.drawing import RGB
from instructrestore.dataengine.sources.folder import list_folder
from instructrestore.dataengine.sources.places import uri_of
from instructrestore.dataengine.sources.settings import SourceSettings
from instructrestore.model.degradation.chain import LEAST_SIDE, SHRINK, Degradation
from instructrestore.model.degradation.filtering import sharpen
from instructrestore.model.degradation.kernels import Kernel
from instructrestore.model.degradation.recipe import DegradationStage, Recipe, draw_recipe
from instructrestore.model.degradation.settings import PRESETS
from instructrestore.pipelines.inference.photo_job import PhotoJob, stems
from instructrestore.pipelines.pictures.contact_sheet import MAX_CELL, LabelledPicture, sheet
from instructrestore.pipelines.terminal.arguments import checked_seed
from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.shards.files import commit
from instructrestore.shards.plain_text import visible_line

MAX_PIXELS = 24_000_000  # degraded at once: about 4 GB of memory
LABEL_WIDTH = 480  # px; smaller pictures are shown at whole multiples of their size, so that labels are readable


@dataclass
class DegradeSummary:
    """written: the number of photos. failed: name and reason of each photo that gave no pairs."""

    written: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def degrade(
    photos: Sequence[str],
    out: Path,
    seed: int = 0,
    preset: str = "release",
    count: int = 1,
    crop: int = 512,
    console: Console | None = None,
) -> DegradeSummary:
    """Writes, for every photo, NAME-hq.png, NAME-lq-SEED.png and NAME-sheet.png into the folder `out`.

    The HQ photo is sharpened, as the target of training is; the LQ photos, with seeds `seed` .. `seed + count - 1`, are
    enlarged to its size. photos: files and folders. crop: the side in px of the middle square that is used, or of as
    much of it as a smaller photo has; 0: the whole photo, less the last pixels that make no multiple of 4.
    Raises ValueError, in one sentence, for options that make no sense, and OSError if `out` cannot be written to;
    whatever is wrong with a single photo is in the summary.
    """
    if preset not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}: choose {' or '.join(PRESETS)}")
    if crop != 0 and (crop < LEAST_SIDE or crop % SHRINK):
        raise ValueError(
            f"--crop must be 0, for the whole photo, or a multiple of {SHRINK} and at least {LEAST_SIDE} px"
        )
    if count < 1:
        raise ValueError("--count must be at least 1")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{visible_line(str(out))} is a file: --out names the folder for the results")
    seeds = range(checked_seed(seed, "--seed"), checked_seed(seed + count - 1, "the last seed") + 1)
    jobs = list(_jobs(photos, out))
    if not jobs:
        raise ValueError(f"there is no photo in {', '.join(map(visible_line, photos))}")
    jobs = [replace(job, stem=stem) for job, stem in zip(jobs, stems(jobs), strict=True)]
    read = {os.path.realpath(job.photo) for job in jobs}
    for job in jobs:
        for ending in ("hq", "sheet", *(f"lq-{number}" for number in seeds)):
            if os.path.realpath(path := out / f"{job.stem}-{ending}.png") in read:
                raise ValueError(f"{visible_line(str(path))} would overwrite an input photo: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    console = console or PlainConsole()
    summary, degradation = DegradeSummary(), Degradation(PRESETS[preset])
    for job in jobs:
        try:
            if job.problem:
                raise ValueError(job.problem)
            photo = decode(read_bytes(uri_of(os.path.abspath(job.photo))))
            hq = _cropped(photo.rgb, crop)
        except (OSError, ValueError, MemoryError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            summary.failed.append((job.name, reason))
            console.print(f"{job.name}: failed: {visible_line(reason)}", highlight=False, markup=False)
            continue
        _write_pairs(hq, seeds, degradation, out / job.stem)
        summary.written += 1
        noted = f" ({', '.join(photo.notes)})" if photo.notes else ""
        console.print(
            f"{job.name}: {visible_line(str(out / job.stem))}-sheet.png{noted}", highlight=False, markup=False
        )
    return summary


def _jobs(words: Sequence[str], out: Path) -> Iterator[PhotoJob]:
    """One job per photo; what an earlier run wrote into a folder is left out."""
    seen: set[str] = set()
    results = os.path.join(os.path.realpath(out), "")
    for word in words:
        if not os.path.exists(word):
            raise ValueError(f"there is no photo or folder {visible_line(word)}")
        folder = os.path.join(os.path.realpath(word), "")
        found = [(word, Path(word).stem, "")]
        if os.path.isdir(word):
            found = []
            for photo in list_folder(SourceSettings(kind="folder", path=word)):
                place = local_path(photo.uri)
                assert place is not None
                relative = os.path.relpath(place, os.path.abspath(word))
                if folder == results or not os.path.realpath(place).startswith(results):
                    found.append((place, os.path.splitext(relative)[0], photo.problem))
        for place, stem, problem in found:
            if (absolute := os.path.abspath(place)) not in seen:
                seen.add(absolute)
                name = visible_line(place if place == word else os.path.relpath(place))
                yield PhotoJob(Path(place), name, stem, None, seed=0, problem=problem)


def _cropped(rgb: NDArray[np.uint8], crop: int) -> NDArray[np.uint8]:
    """The middle of a photo (H, W, 3), its sides cut to `crop` (0: not) and to multiples of 4."""
    height, width = ((min(side, crop) if crop else side) // SHRINK * SHRINK for side in rgb.shape[:2])
    if min(height, width) < LEAST_SIDE:
        raise ValueError(f"{rgb.shape[1]}x{rgb.shape[0]} is too small: {LEAST_SIDE} px is the least")
    if height * width > MAX_PIXELS:
        raise ValueError(f"{width}x{height} is over {MAX_PIXELS} pixels: set --crop")
    top, left = (rgb.shape[0] - height) // 2, (rgb.shape[1] - width) // 2
    return rgb[top : top + height, left : left + width]


def _write_pairs(rgb: NDArray[np.uint8], seeds: range, degradation: Degradation, place: Path) -> None:
    hq = sharpen(torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None] / 255)
    place.parent.mkdir(parents=True, exist_ok=True)
    height, width = rgb.shape[:2]
    shown = _shown(width, height)
    sharp = _image(hq)
    commit(place.with_name(f"{place.name}-hq.png"), _png(sharp))
    cells = [LabelledPicture(_at(sharp, shown), [(f"HQ, sharpened, {width}x{height}", None)])]
    for seed in seeds:  # one at a time: a whole photo is large
        lq = _image(degradation(hq, [seed]))
        commit(place.with_name(f"{place.name}-lq-{seed}.png"), _png(lq))
        cells.append(LabelledPicture(_at(lq, shown), label(seed, draw_recipe(degradation.settings, seed))))
    columns = len(cells) if len(cells) <= 4 else 4
    commit(place.with_name(f"{place.name}-sheet.png"), _png(sheet(cells, columns)))


def label(seed: int, recipe: Recipe) -> list[tuple[str, RGB | None]]:
    """A recipe as the lines of a label."""
    end = f"{recipe.last_mode} to 1/{SHRINK}, {_kernel(recipe.last_filter)}"
    quality = f"JPEG {recipe.second.quality:.0f}"
    lines = [
        f"seed {seed}",
        f"{_kernel(recipe.first.blur)}; x{recipe.first.resize.factor:.2f} {recipe.first.resize.mode}",
        f"{_noise(recipe.first)}; JPEG {recipe.first.quality:.0f}",
        f"{_kernel(recipe.second.blur)}; x{recipe.second.resize.factor:.2f}/{SHRINK} {recipe.second.resize.mode}",
        f"{_noise(recipe.second)}",
        f"{end}; {quality}" if recipe.jpeg_last else f"{quality}; {end}",
    ]
    return [(line, None) for line in lines]


def _kernel(kernel: Kernel | None) -> str:
    if kernel is None:
        return "no filter"
    if kernel.family == "sinc":
        return f"sinc {kernel.size} px at {kernel.omega:.2f}"
    sigma = f"{kernel.sigma_x:.1f}" + (f" x {kernel.sigma_y:.1f}" if kernel.family.endswith("aniso") else "")
    return f"{kernel.family.replace('_', ' ')} {kernel.size} px, {sigma}"


def _noise(stage: DegradationStage) -> str:
    noise = stage.noise
    return f"{noise.kind.capitalize()} noise {noise.strength:.1f}{' grey' if noise.grey else ''}"


def _image(photo: torch.Tensor) -> Image.Image:
    """(1, 3, H, W) in [0, 1] -> mode RGB."""
    return Image.fromarray((photo[0].permute(1, 2, 0) * 255).round().byte().numpy())


def _png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _shown(width: int, height: int) -> tuple[int, int]:
    if max(width, height) > MAX_CELL:
        scale = MAX_CELL / max(width, height)
        return max(1, round(width * scale)), max(1, round(height * scale))
    times = max(1, min(-(-LABEL_WIDTH // width), MAX_CELL // max(width, height)))
    return width * times, height * times


def _at(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.NEAREST if size > image.size else Image.Resampling.LANCZOS)
