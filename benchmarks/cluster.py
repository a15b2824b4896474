"""A whole build of 120,000 photos with 540,000 regions through stages that cost nothing.

python -m benchmarks.cluster

Leaves a folder as large as its data set, under TMPDIR, until it ends.
"""

from __future__ import annotations

import hashlib
import io
import resource
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.overhead import photos
from benchmarks.used import Used
from instructrestore.dataengine.noun_phrases.parser import ParserAnswer, Question
from instructrestore.dataengine.photos.encode import EncodedPhoto
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.reporting import card, report
from instructrestore.dataengine.reporting import statistics as dataset_statistics
from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.running.on_ray.runner import cluster
from instructrestore.dataengine.running.run import Run
from instructrestore.dataengine.running.stage import Drop, StageSpec, Task
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.dataengine.stages import build_stages
from instructrestore.pipelines.building.build import publish
from instructrestore.shards.index import Dataset
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import AnnotatedPhoto, Answer, Photo, Piece, key_of

CPUS = 2

WIDTH, HEIGHT = 384, 256
SUBJECTS = [f"{kind} {number:03d}" for number in range(250) for kind in ("tree", "wall", "lamp", "boat")]
COMMONNESS = list(accumulate(1 / (rank + 3) ** 1.1 for rank in range(len(SUBJECTS))))
COLOURS = ("red", "green", "blue", "white", "black", "brown", "grey", "yellow")
SIZES = ("small", "large", "tall", "round")
DOINGS = ("standing", "lying", "hanging", "left")
PLACES = tuple(f"{at} the {what}" for at in ("on", "near", "behind") for what in ("field", "road", "table", "house"))


class MadeUp:
    """Stages that cost nothing: what they say follows from the photo's name, or from the description."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        method = stage.split(",")[0].replace(" ", "_")  # "noun phrases, round 2"
        self._make: Callable[[Any, Random], Any] = getattr(self, method)
        self._masks = [self._mask(Random(number)) for number in range(64)]
        file = io.BytesIO()
        Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 150)).save(file, "PNG")
        self._photo = file.getvalue()

    def __call__(self, rows: Sequence[Any]) -> list[Any]:
        names = (row.origin.name if isinstance(row, Row) else row.description for row in rows)
        return [self._make(row, Random(f"{self._stage} {name}")) for row, name in zip(rows, names, strict=True)]

    def intake(self, row: Row, rng: Random) -> Row:
        """One photo in 100 is the copy of the one before, one nearly so."""
        number, chance = int(row.origin.name[:-4]), rng.random()
        copied, near = number - (chance < 0.01), number - (chance < 0.02)
        sha256 = hashlib.sha256(b"%d" % copied).hexdigest()
        seen = int(hashlib.sha256(b"%d" % near).hexdigest()[:16], 16) ^ (copied != near)
        photo = Photo(
            key=key_of(sha256),
            sha256=sha256,
            name=row.origin.name,
            source=row.origin.source,
            licence="",
            url="",
            width=WIDTH,
            height=HEIGHT,
            bytes=len(self._photo),
            format="png",
            perceptual_hash=f"{seen:016x}",
        )
        return replace(row, photo=photo)

    def quality_gate(self, row: Row, rng: Random) -> Row | Drop:
        assert row.photo
        score = round(rng.uniform(59.8, 80), 2)
        return replace(row, photo=replace(row.photo, quality=score)) if score > 60 else Drop("quality score")

    def masks(self, row: Row, rng: Random) -> Row:
        """4.5 pieces on average."""
        return replace(row, pieces=tuple(Piece(rng.choice(self._masks), "made up") for _ in range(rng.randint(1, 8))))

    def descriptions(self, row: Row, rng: Random) -> Row:
        said = [
            f"the {rng.choice(SIZES)} {rng.choice(COLOURS)} {subject} {rng.choice(DOINGS)} {rng.choice(PLACES)}"
            for subject in rng.choices(SUBJECTS, cum_weights=COMMONNESS, k=len(row.pieces))
        ]
        pieces = zip(row.pieces, said, strict=True)
        return replace(
            row, pieces=tuple(replace(piece, description=text, describer="made up") for piece, text in pieces)
        )

    def noun_phrases(self, asked: Question, rng: Random) -> ParserAnswer:
        """Three answers in 100 are invalid; asked again, half of them have another subject."""
        subject = " ".join(asked.description.split()[3:5])
        if asked.round > 1 and rng.random() < 0.5:
            subject = rng.choice(SUBJECTS[:20])
        fault = "sentence" if rng.random() < 0.03 else ""
        return ParserAnswer(asked, Answer("made up", "1", asked.round, asked.description, subject, fault))

    def bokeh(self, row: Row, rng: Random) -> Row:
        return replace(row, regions=tuple(replace(region, bokeh=rng.random() < 0.1) for region in row.regions))

    def png_shards(self, row: Row, rng: Random) -> EncodedPhoto:
        assert row.photo
        return EncodedPhoto(AnnotatedPhoto(row.photo, row.regions), self._photo)

    def _mask(self, rng: Random) -> Mask:
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        top, left = rng.randrange(HEIGHT // 2), rng.randrange(WIDTH // 2)
        mask[top : top + rng.randint(8, HEIGHT // 2), left : left + rng.randint(8, WIDTH // 2)] = True
        return Mask.from_array(mask)


class Phases:
    """Prints what each phase took: seconds, CPU seconds, and the driver's memory, looked at every 0.1 s."""

    def __init__(self, name: str) -> None:
        print(f"{'':<36}{'time':>10}{'driver CPU':>13}{'workers CPU':>13}{'driver at most':>16}{'at the end':>12}")
        self._name, self._begin, self._peak = name, Used.now(), 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._peak = max(self._peak, resident_mib())
            time.sleep(0.1)

    def next(self, name: str) -> None:
        """Ends the phase before."""
        begin, end, left = self._begin, Used.now(), resident_mib()
        print(
            f"{self._name:<36}{end.at - begin.at:>8.1f} s{end.driver_s - begin.driver_s:>11.2f} s"
            f"{end.workers_s - begin.workers_s:>11.1f} s{max(self._peak, left):>12,.0f} MiB{left:>8,.0f} MiB",
            flush=True,
        )
        self._name, self._begin, self._peak = name, end, 0.0


def resident_mib() -> float:
    """This process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def dataset(options: Namespace) -> None:
    """A whole build with stages that cost nothing; prints what each step takes, and what it leaves on disk."""
    settings = BuildSettings(photos_per_part=options.parts)
    with tempfile.TemporaryDirectory() as name, cluster(None, CPUS) as connected:
        where = Path(name) / "run"
        folder = RunFolder(where)
        phases = Phases("list the photos")

        def run(spec: StageSpec, tasks: Sequence[Task]) -> None:
            phases.next(f"{spec.name}, {len(tasks):,} parts")
            made_up = spec if spec.side_type else replace(spec, build=partial(MadeUp, spec.name))
            connected.run_stage(made_up, tasks, 100, lambda _: None)
            phases.next("  the driver alone")

        folder.append(photos(options.photos), settings.photos_per_part)
        phases.next("  the driver alone")
        stages = build_stages(settings, folder)
        first = Run(folder.stages, folder.tables, run, retry_failed=False)
        shards = first.through(stages, folder.parts())
        phases.next("index and dataset.json")
        made = publish(folder, settings, shards)
        phases.next("statistics, card and report")
        opened = Dataset(str(where / "dataset"))
        stats = dataset_statistics.of_dataset(opened)
        card.write_card(where / "dataset", made, stats)
        report.write_report(where / "report.html", opened, stats, first.summaries, "")
        phases.next("plan again, all done")
        again = RunFolder(where)
        Run(again.stages, again.tables, run, retry_failed=False).through(build_stages(settings, again), again.parts())
        phases.next("")
        for summary in first.summaries:
            print(f"{summary.name}: {summary.input:,} in, {summary.ok:,} ok, {summary.counts}")
        print(f"{made.photos:,} photos, {made.regions:,} regions, {len(stats.subjects):,} subjects")
        index = [where / "dataset" / file for file in ("index.parquet", "dataset.json", "README.md", "croissant.json")]
        for path in [*sorted([*where.iterdir(), *where.glob("stages/*"), *where.glob("tables/*")]), *index]:
            files = [file for file in (path, *path.rglob("*")) if file.is_file()]
            size = sum(file.stat().st_size for file in files) / 2**20
            print(f"{path.relative_to(where)!s:<44}{len(files):>7,} files {size:>9,.1f} MiB")


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=120_000)
    parser.add_argument("--parts", type=int, default=64, help="photos in a part")
    dataset(parser.parse_args())


if __name__ == "__main__":
    main()
