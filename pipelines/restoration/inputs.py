"""The photos and the instruction named on the command line, as a list of jobs.

Whatever can be wrong before the start is a ValueError of one sentence here; what is wrong with a single photo is that
job's problem, and the others are restored.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from instructrestore.dataengine.photos.photo_file import local_path
from instructrestore.dataengine.sources.finder import FileFinder, place_beside
from instructrestore.dataengine.sources.folder import list_folder
from instructrestore.dataengine.sources.settings import SourceSettings
from instructrestore.model.restoring.locating import Box, Point, check_places
from instructrestore.pipelines.inference.photo_job import PhotoJob, check_nothing_is_overwritten, stems
from instructrestore.pipelines.pictures.output_file import AskedFormat, endings
from instructrestore.pipelines.pictures.restored_photo import read_record
from instructrestore.pipelines.pictures.source_photo import read_photo
from instructrestore.pipelines.restoration.mask_files import NO_MASKS, AskedMasks, with_masks
from instructrestore.pipelines.terminal.arguments import MAX_SEED, checked_seed
from instructrestore.pipelines.understanding.wishes import WishReader
from instructrestore.shards.plain_text import visible_line

EXAMPLE = '"make the dog clear with 0.6 and keep other parts clear with 1"'
_COLUMNS = ("photo", "instruction", "mask", "seed")


def find_jobs(
    words: Sequence[str],
    out: Path,
    seed: int = 0,
    asked: AskedMasks = NO_MASKS,
    points: Sequence[Point] = (),
    boxes: Sequence[Box] = (),
    say: Callable[[str], None] = print,
    format: AskedFormat = "png",
    read: WishReader | None = None,
) -> list[PhotoJob]:
    """The jobs that the words of a command line name: photos, folders or one CSV, and the instruction last.

    asked: the masks of the photos. points, boxes: of the one photo. say: gets a line about what was skipped in folders.
    format: of the results. read: reads instructions; None: by the grammar alone.
    Raises ValueError, in one sentence, for words that make no sense, and what `read` raises where it cannot ask.
    """
    read = read or WishReader()
    if not words:
        raise ValueError(f"name one or more photos and, last and in quotes, the instruction, as in photo.jpg {EXAMPLE}")
    if any(_is_csv(word) for word in words):
        jobs = _csv_jobs(words, seed, read)
        files = [Path(next(word for word in words if _is_csv(word)))]
    else:
        results: list[str] = []
        jobs, files = _photo_jobs(words, out, seed, read, results), []
        if results:
            skipped = f"{len(results)} earlier results were" if results[1:] else "1 earlier result was"
            say(f"{skipped} skipped in the folders: {results[0]}{' ...' if results[1:] else ''}")
    if not jobs:
        raise ValueError(f"there is no photo in {', '.join(map(visible_line, words[:-1]))}")
    jobs = with_masks(jobs, asked)
    if points or boxes:
        jobs = [_with_places(jobs, tuple(points), tuple(boxes))]
    named = [replace(job, stem=stem) for job, stem in zip(jobs, stems(jobs), strict=True)]
    check_nothing_is_overwritten(named, out, files, endings(format))
    return named


def _photo_jobs(words: Sequence[str], out: Path, seed: int, read: WishReader, results: list[str]) -> list[PhotoJob]:
    """results: takes the names of earlier results in the folders."""
    *photos, last = words
    if os.path.exists(last):
        raise ValueError(f"the instruction is missing: after {visible_line(last)}, say what to do, as in {EXAMPLE}")
    if not photos and (re.search(r"\.\w{2,5}$", last) or " " not in last.strip()):
        raise ValueError(f"there is no photo or folder {visible_line(last)}")
    if not photos:
        raise ValueError(f"no photo is named before the instruction {last!r}")
    for word in photos:
        if not os.path.exists(word):
            hint = "" if "." in word or "/" in word else "; put quotes around an instruction"
            raise ValueError(f"there is no photo or folder {visible_line(word)}{hint}")
    wish = read(last)
    jobs: dict[str, PhotoJob] = {}
    for word in photos:
        for path, stem, problem in _listed(word, out):
            name = _name_of(path, word)
            if not problem and os.path.isdir(word) and _is_result(path):
                results.append(name)
                continue
            job = PhotoJob(path, name, stem, wish.instruction, seed, problem=problem, wish=wish)
            jobs.setdefault(os.path.abspath(path), job)
    return list(jobs.values())


def _listed(word: str, out: Path) -> Iterator[tuple[Path, str, str]]:
    """File, stem and problem of each photo that a word names: itself, or everything in a folder but earlier results."""
    if not os.path.isdir(word):
        yield Path(word), Path(word).stem, ""
        return
    results = os.path.join(os.path.realpath(out), "")
    folder = os.path.join(os.path.realpath(word), "")
    within = results.startswith(folder) and results != folder
    for found in list_folder(SourceSettings(kind="folder", path=word)):
        place = local_path(found.uri)
        assert place is not None
        if within and os.path.realpath(place).startswith(results):
            continue
        relative = os.path.relpath(place, os.path.abspath(word))
        yield Path(place), os.path.splitext(relative)[0], found.problem


def _is_result(path: Path) -> bool:
    if path.suffix.lower() not in endings("original"):
        return False
    try:
        return bool(read_record(path))
    except (OSError, ValueError):
        return False


def _name_of(path: Path, word: str) -> str:
    """A photo in a folder by its path beginning with the folder as it was named; a file as it was named."""
    if not os.path.isdir(word):
        return visible_line(word)
    return visible_line(os.path.normpath(os.path.join(word, os.path.relpath(path, os.path.abspath(word)))))


def _is_csv(word: str) -> bool:
    return word.lower().endswith(".csv") and os.path.isfile(word)


def _csv_jobs(words: Sequence[str], seed: int, read: WishReader) -> list[PhotoJob]:
    """The rows of a CSV, which comes alone or with an instruction for the rows that have none."""
    path = Path(words[0])
    if not _is_csv(words[0]) or len(words) > 2 or (len(words) == 2 and os.path.exists(words[1])):
        raise ValueError("name a CSV alone, or with one instruction after it for the rows that have none")
    common = read(words[1]) if len(words) == 2 else None
    jobs: list[PhotoJob] = []
    files = FileFinder([str(path.parent)])
    for line, row in _rows(path):
        where = f"{visible_line(path.name)} line {line}"
        text = row["instruction"]
        if not text and common is None:
            raise ValueError(
                f"{where} has no instruction: add one there, or one for all such rows after the CSV, as in {EXAMPLE}"
            )
        photo, masks = Path(os.path.join(path.parent, row["photo"])), ()
        wish, chosen, problem = common, seed, row["problem"]
        try:
            photo = Path(place_beside(files, row["photo"]))
            masks = tuple(Path(place_beside(files, name.strip())) for name in row["mask"].split(";") if name.strip())
            wish = read(text) if text else common
            chosen = _seed(row["seed"]) if row["seed"] else seed
        except ValueError as error:
            problem = problem or str(error)
        if not row["photo"]:
            problem = problem or "the row names no photo"
        name = f"{visible_line(row['photo'])} ({where})" if row["photo"] else where
        instruction = wish.instruction if wish else None
        jobs.append(PhotoJob(photo, name, photo.stem, instruction, chosen, masks, problem=problem, wish=wish))
    if not jobs:
        raise ValueError(
            f"{visible_line(str(path))} has no rows: after the line that names the columns, write one line per photo"
        )
    return jobs


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of each row, stripped, "" if empty; "problem" says what is wrong with it."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.reader(file, strict=True)
            header = [cell.strip().lower() for cell in next(table, [])]
            _check_header(path, header)
            for cells in table:
                if not any(cell.strip() for cell in cells):
                    continue
                row: dict[str, str] = dict.fromkeys((*_COLUMNS, "problem"), "")
                row.update(zip(header, (cell.strip() for cell in cells), strict=False))
                row["problem"] = ""
                if len(cells) > len(header):
                    row["problem"] = (
                        "it has more cells than columns: put quotes around an instruction that contains commas"
                    )
                yield table.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{visible_line(str(path))} cannot be read as CSV: {error}") from None


def _check_header(path: Path, header: Sequence[str]) -> None:
    begins = ",".join(header)[:80]
    other = next((mark for mark in ";\t|" if mark in begins), "")
    if len(header) == 1 and other:
        raise ValueError(f"the columns of {visible_line(str(path))} must be separated by commas, not by {other!r}")
    if "photo" not in header or len(set(header)) < len(header):
        raise ValueError(
            f"{visible_line(str(path))} must begin with a line that names its columns: photo, instruction and, "
            f"optionally, mask and seed; it begins with {begins!r}"
        )
    unknown = [name for name in header if name not in _COLUMNS]
    if unknown:
        raise ValueError(
            f"{visible_line(str(path))} has the column {unknown[0]!r}, which is unknown: "
            "the columns are photo, instruction, mask and seed"
        )


def _seed(text: str) -> int:
    if not re.fullmatch(r"\d{1,19}", text):
        raise ValueError(f"the seed must be a whole number from 0 to {MAX_SEED}, not {text!r}")
    return checked_seed(int(text), "the seed")


def _with_places(jobs: Sequence[PhotoJob], points: tuple[Point, ...], boxes: tuple[Box, ...]) -> PhotoJob:
    job, option = jobs[0], "--point" if points else "--box"
    if len(jobs) > 1:
        raise ValueError(f"{option} is for one photo, not {len(jobs)}")
    if job.masks or job.scale_map:
        raise ValueError(f"use {option}, --mask or --scale-map, not several: each says where the region is")
    if job.problem or job.instruction is None:
        return job
    try:
        width, height = read_photo(job.photo).image.size
    except (OSError, ValueError):
        return job  # the run says what is wrong with it
    check_places(points, boxes, (height, width), len(job.instruction.regions))
    return replace(job, points=points, boxes=boxes)
