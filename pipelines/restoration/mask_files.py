"""Which mask belongs to which photo: one for all of them, a folder of masks by name, or its transparency."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from instructrestore.dataengine.photos.photo_file import local_path
from instructrestore.dataengine.sources.folder import list_folder
from instructrestore.dataengine.sources.settings import SourceSettings
from instructrestore.pipelines.inference.photo_job import EditFiles, MaskFile, PhotoJob, folded
from instructrestore.shards.plain_text import visible_line

ALPHA = Path("alpha")  # in a mask's place: the photo's own transparency


@dataclass(frozen=True)
class AskedMasks:
    """The masks and maps of a command line: files, folders of files by name, or `ALPHA`.

    masks: one for each region, or one folder. scale_map, scale_range: in their place; the scales of black and white.
    """

    masks: tuple[Path, ...] = ()
    unite: tuple[Path, ...] = ()
    intersect: tuple[Path, ...] = ()
    subtract: tuple[Path, ...] = ()
    protect: tuple[Path, ...] = ()
    scale_map: Path | None = None
    scale_range: tuple[float, float] | None = None

    def check(self) -> None:
        """Raises ValueError, in one sentence, for what does not go together or is not there."""
        if self.masks and self.scale_map:
            raise ValueError("use --mask or --scale-map, not both: a scale map sets the scale of every pixel")
        if self.scale_range and not self.scale_map:
            raise ValueError("--scale-range says what black and white mean in a scale map: name one with --scale-map")
        for name in ("unite", "intersect", "subtract"):
            if self.scale_map and getattr(self, name):
                raise ValueError(f"--{name} is for masks, and with --scale-map there are none")
        named = {"--mask": self.masks, "--scale-map": (self.scale_map,) if self.scale_map else ()}
        named |= {f"--{each.name}": getattr(self, each.name) for each in fields(EditFiles)}
        for option, paths in named.items():
            for path in paths:
                if not path.exists() and (path != ALPHA or option == "--scale-map"):
                    raise ValueError(f"there is no file {visible_line(str(path))} for {option}")


NO_MASKS = AskedMasks()


def with_masks(jobs: Sequence[PhotoJob], asked: AskedMasks) -> list[PhotoJob]:
    """The jobs with their masks and maps; those of masks that lie among the photos are left out.

    A job that names its own masks, as a CSV's row does, keeps them. Raises ValueError, in one sentence, for what can be
    of no photo; where it is missing for some, it is their problem.
    """
    asked.check()
    if asked == NO_MASKS:
        return list(jobs)
    found = _Files()
    done = [_with_masks(job, asked, found) for job in jobs]
    problems = {job.problem for job in done}
    if len(problems) == 1 and (problem := problems.pop()) and not any(job.problem for job in jobs):
        raise ValueError(problem)
    used = {os.path.realpath(path) for job in done for path in job.files() if path != job.photo}
    return [job for job in done if os.path.realpath(job.photo) not in used]


def _with_masks(job: PhotoJob, asked: AskedMasks, found: _Files) -> PhotoJob:
    if job.problem or job.instruction is None:
        return job
    try:
        edits = EditFiles(**{
            each.name: tuple(found.of(path, job) for path in getattr(asked, each.name)) for each in fields(EditFiles)
        })  # fmt: skip
        masks = job.masks or _masks(job, asked.masks, found)
        scale_map = found.of(asked.scale_map, job) if asked.scale_map else None
    except ValueError as error:
        return replace(job, problem=str(error))
    return replace(job, masks=masks, edits=edits, scale_map=scale_map, scale_range=asked.scale_range)


def _masks(job: PhotoJob, asked: Sequence[Path], found: _Files) -> tuple[MaskFile, ...]:
    assert job.instruction
    regions = len(job.instruction.regions)
    if len(asked) == 1 < regions and asked[0].is_dir():
        return tuple(found.of(asked[0], job, number) for number in range(1, regions + 1))
    if asked and len(asked) != regions:
        raise ValueError(
            f"there must be one --mask for each region: {len(asked)} given, and the instruction names {regions}"
        )
    return tuple(found.of(path, job) for path in asked)


class _Files:
    """Folders of masks, each listed once."""

    def __init__(self) -> None:
        self._listed: dict[Path, dict[str, list[Path]]] = {}

    def of(self, named: Path, job: PhotoJob, number: int | None = None) -> MaskFile:
        """The file for a job, None for its photo's transparency. number: of the region, from 1, where it has several.

        Raises ValueError, in one sentence, where a folder has none or more than one.
        """
        if named == ALPHA and not named.exists():
            return None
        if not named.is_dir():
            return named
        ending = "" if number is None else f"-{number}"
        for stem in (f"{job.stem}-mask{ending}", f"{job.stem}{ending}"):
            files = [path for path in self._in(named).get(folded(stem), ()) if not _same(path, job.photo)]
            if len(files) > 1:
                names = " and ".join(visible_line(path.name) for path in files[:2])
                raise ValueError(f"there are several masks of its name in {visible_line(str(named))}: {names}")
            if files:
                return files[0]
        wanted = f"{Path(job.stem).name}{ending or '-mask'}.png"
        raise ValueError(f"there is no mask of its name in {visible_line(str(named))}, such as {visible_line(wanted)}")

    def _in(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self._listed:
            listed: dict[str, list[Path]] = {}
            for found in list_folder(SourceSettings(kind="folder", path=str(folder))):
                place = local_path(found.uri)
                assert place is not None
                relative = os.path.relpath(place, os.path.abspath(folder))
                listed.setdefault(folded(os.path.splitext(relative)[0]), []).append(Path(place))
            self._listed[folder] = listed
        return self._listed[folder]


def _same(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)
