"""What it takes to plan a run, to resume it, and to find its near-duplicates, on made rows.

python -m benchmarks.planning plan PHOTOS           a manifest of so many photos, then again with eight stages done
python -m benchmarks.planning plan PHOTOS --out s3://bucket/empty-folder      the same in a store, and the requests
python -m benchmarks.planning duplicates PHOTOS     which are near or equal, and the table of it

--part N: photos of a part. 4 of 100 photos are near another one, 1 of 100 has the bytes of another one. Under TMPDIR
lies as much as a run would keep, until it ends.
"""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import TypeAdapter

from benchmarks.overhead import Nothing, photos, spec
from benchmarks.rounds import Steps
from instructrestore.dataengine.photos.near_duplicates import PHOTOS, Assignment, assign
from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.running.checkpoints import complete
from instructrestore.dataengine.running.scratch import fill, scratch
from instructrestore.dataengine.running.side_table import SideTable, write_side_table
from instructrestore.dataengine.running.stage import StageSpec, Task
from instructrestore.dataengine.running.stage_kinds import Part, PartStage
from instructrestore.shards.paths import ObjectPath, Place, make_folder, parse_place

STAGES = 8


def plan(options: Namespace) -> None:
    """The driver's work before the first task, and where nothing is left to do."""
    with tempfile.TemporaryDirectory() as name:
        folder = parse_place(options.out or f"{name}/run")
        steps, requests = Steps(Path(name)), _requests(folder)
        with steps.step(f"{options.count:,} photos listed"):
            new = RunFolder(folder).append(photos(options.count), options.part).new
        with steps.step("parts read"):
            parts = RunFolder(folder).parts()
        print(f"{new:,} new photos, {len(parts):,} parts{_said(requests)}")
        stages = [PartStage(spec(f"stage {n}", Nothing), f"{n:02d}-stage") for n in range(STAGES)]
        for stage in stages:
            _pretend_done(stage, parts, folder / "stages" / stage.folder)
        del parts
        requests.clear()
        with steps.step("listed again"):
            again = RunFolder(folder).append(photos(options.count), options.part)
        with steps.step("parts read again"):
            parts = RunFolder(folder).parts()
        with steps.step(f"{STAGES} stages found done"):
            for stage in stages:
                tasks = stage.tasks(parts, None, folder / "stages" / stage.folder)
                done = complete(stage.spec, tasks, _none_left)
                assert len(done) == len(parts)
        print(f"{again.new:,} new photos, {again.gone:,} gone{_said(requests)}")


def _none_left(spec: StageSpec, tasks: Sequence[Task]) -> None:
    raise AssertionError(f"{len(tasks):,} tasks of {spec.name} are not done")


def _pretend_done(stage: PartStage, parts: Sequence[Part], folder: Place) -> None:
    """The part files of a finished stage, empty: planning reads their names alone."""
    make_folder(folder)
    tasks = zip(parts, stage.tasks(parts, None, folder), strict=True)
    names = [f"{part.part:06d}-{task.input}-0-{part.content}.parquet" for part, task in tasks]
    if isinstance(folder, Path):
        for name in names:
            (folder / name).touch()
    else:
        files, key = folder.opened()
        files.pipe({f"{key}/{name}": b"" for name in names})


def _requests(place: Place) -> Counter[str]:
    """Counts what this process asks of an S3 store from now on, by operation; stays empty for a local folder."""
    counted: Counter[str] = Counter()
    if isinstance(place, ObjectPath):
        files, _ = place.opened()
        cast(Any, files).connect()
        events = cast(Any, files).s3.meta.events
        events.register("before-call.s3", lambda model, **_: counted.update([model.name]))
    return counted


def _said(requests: Counter[str]) -> str:
    listed = ", ".join(f"{name} {count:,}" for name, count in sorted(requests.items()))
    return f"; {sum(requests.values()):,} requests ({listed})" if listed else ""


def duplicates(options: Namespace) -> None:
    """The table of duplicates, as `DuplicateTable` makes it of the rows of its parts."""
    with tempfile.TemporaryDirectory() as name:
        folder, values = Path(name), TypeAdapter(Assignment)
        steps = Steps(folder)
        with scratch(folder) as database:
            with steps.step(f"{options.count:,} photos made and taken in"):
                fill(database, "photos", _made(options.count, options.part), PHOTOS)
            found = assign(database)
            counts = Counter[str]()

            def slices() -> Iterator[tuple[int, dict[str, Any]]]:
                for part, of_part in groupby(found, key=itemgetter(0)):
                    entries = {uri: assigned for _, uri, assigned in of_part}
                    counts.update(each.drop or "kept" for each in entries.values())
                    yield part, entries

            with steps.step("near and equal ones"):
                first = next(found)
            counts[first[2].drop or "kept"] += 1
            with steps.step("table written"):
                write_side_table(folder / "duplicates.parquet", slices(), values, {})
        with steps.step("table opened"):
            SideTable(folder / "duplicates.parquet", values)
        print(", ".join(f"{count:,} {what}" for what, count in sorted(counts.items())))


def _made(count: int, per_part: int) -> Iterator[tuple[object, ...]]:
    """Rows of `PHOTOS`."""
    random = np.random.default_rng(0)
    for first in range(0, count, 10_000):
        hashes = random.integers(1, 1 << 64, 10_000, dtype=np.uint64)
        hashes[:200] = hashes[200:400] ^ np.uint64(0b1011 << 40)
        for place, hashed in enumerate(hashes[: count - first].tolist()):
            number = first + place
            distinct = number - 5000 if place >= 9900 else number
            name = f"{number:09d}.jpg"
            sha256 = f"{distinct * 0x9E3779B97F4A7C15 % (1 << 64):016x}" * 4
            uri = f"/data/photos/of/this/source/{number // 1000:06d}/{name}"
            yield number, number // per_part, name, uri, sha256, hashed, number % 1000 == 999, ""


COMMANDS: dict[str, Callable[[Namespace], None]] = {"plan": plan, "duplicates": duplicates}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=COMMANDS)
    parser.add_argument("count", type=int)
    parser.add_argument("--part", type=int, default=64)
    parser.add_argument("--out", default=None)
    options = parser.parse_args()
    COMMANDS[options.what](options)


if __name__ == "__main__":
    main()
