"""One photo to restore, and a name for its result that no other result has."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.restoring.locating import Box, Point
from instructrestore.pipelines.understanding.wishes import Understood
from instructrestore.shards.plain_text import visible_line

MaskFile = Path | None  # None: the photo's own transparency
_COMPANION = re.compile(r"-(mask(-\d+)?|compare|sweep)$")


@dataclass(frozen=True)
class EditFiles:
    """Files of masks that change those of all regions, and of what must not change (InstructRestorePipeline)."""

    unite: tuple[MaskFile, ...] = ()
    intersect: tuple[MaskFile, ...] = ()
    subtract: tuple[MaskFile, ...] = ()
    protect: tuple[MaskFile, ...] = ()

    def items(self) -> list[tuple[str, tuple[MaskFile, ...]]]:
        """Name and files of each that has any."""
        named = [(each.name, getattr(self, each.name)) for each in fields(self)]
        return [(name, files) for name, files in named if files]


@dataclass(frozen=True)
class PhotoJob:
    """One photo to restore.

    photo: the file. name: what the photo is called in messages. stem: the result's path within the output folder,
    without extension; no two jobs share it, and no result takes the name of another job's mask or sheet.
    masks: one file per region; empty: they are predicted. scale_map: a file of scales, in place of masks; scale_range:
    the scales of black and white in it, None: grey 100 is scale 1. edits: what changes the masks, or must not change.
    points, boxes: where its one region is, in pixels of the upright photo.
    instruction: None only if there is a problem. problem: why this photo cannot be restored; empty: nothing known.
    wish: what the instruction was read from, by a language model; None: nothing but itself.
    """

    photo: Path
    name: str
    stem: str
    instruction: Instruction | None
    seed: int
    masks: tuple[MaskFile, ...] = ()
    scale_map: Path | None = None
    points: tuple[Point, ...] = ()
    boxes: tuple[Box, ...] = ()
    problem: str = ""
    edits: EditFiles = EditFiles()
    scale_range: tuple[float, float] | None = None
    wish: Understood | None = None

    def files(self) -> list[Path]:
        """All that is read for it."""
        edits = [path for _, paths in self.edits.items() for path in paths]
        return [path for path in (self.photo, *self.masks, self.scale_map, *edits) if path]

    def mask_names(self) -> list[str]:
        """File names of the masks, relative to the output folder, in the order of the regions."""
        assert self.instruction
        if len(self.instruction.regions) == 1:
            return [f"{self.stem}-mask.png"]
        return [f"{self.stem}-mask-{number}.png" for number, _ in enumerate(self.instruction.regions, 1)]


def stems(jobs: Sequence[PhotoJob]) -> list[str]:
    """A stem for each job, all different, even on a disk that ignores case.

    Photos with the same stem are told apart by their folders; if that is not enough, later ones get a number.
    """
    chosen = [job.stem for job in jobs]
    counts = Counter(map(folded, chosen))
    for shared in (key for key, number in counts.items() if number > 1):
        group = [index for index, stem in enumerate(chosen) if folded(stem) == shared]
        paths = [os.path.abspath(jobs[index].photo) for index in group]
        common = os.path.commonpath([os.path.dirname(path) for path in paths])
        for index, path in zip(group, paths, strict=True):
            chosen[index] = os.path.splitext(os.path.relpath(path, common))[0]
    everyone = {folded(stem) for stem in chosen}
    # The result of "dog_2-mask.jpg" is named as the mask of a "dog_2" would be, so no photo may be called "dog_2".
    reserved = everyone | {_COMPANION.sub("", key) for key in everyone}
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    for index, stem in enumerate(chosen):
        key, named = folded(stem), stem
        # "dog-mask.jpg" beside "dog.jpg": its result would be named like dog's mask.
        companion = _COMPANION.search(key) and _COMPANION.sub("", key) in everyone
        if companion or key in taken:
            number = numbers.get(key, 2)
            while folded(f"{stem}_{number}") in reserved or folded(f"{stem}_{number}") in taken:
                number += 1
            named = f"{stem}_{number}"
            numbers[key] = number + 1
        chosen[index] = named
        taken.add(folded(named))
    return chosen


def folded(stem: str) -> str:
    """A path as disks that ignore case compare it."""
    return unicodedata.normalize("NFC", os.path.normpath(stem)).casefold()


def check_nothing_is_overwritten(
    jobs: Sequence[PhotoJob], out: Path, files: Sequence[Path], endings: Sequence[str] = (".png",)
) -> None:
    """Raises ValueError if a result would overwrite a photo, a mask, a map or one of `files`.

    endings: those that restored photos may have.
    """
    root = os.path.join(os.path.realpath(out), "")
    read = [*files, *(path for job in jobs for path in job.files())]
    inside = {place: path for path in read if (place := os.path.realpath(path)).startswith(root)}
    if not inside:
        return
    for job in jobs:
        companions = [f"{job.stem}{ending}" for ending in (*endings, "-compare.png", "-sweep.png")]
        for name in companions + (job.mask_names() if job.instruction else []):
            if (place := os.path.realpath(os.path.join(root, name))) in inside:
                raise ValueError(
                    f"{visible_line(str(out / name))} would overwrite {visible_line(str(inside[place]))}, an input: "
                    "choose another --out"
                )
