"""What the rounds, the table of phrases and the statistics take of the driver, on made rows.

python -m benchmarks.rounds rounds PHOTOS        distinct descriptions, what three rounds ask, ranks
python -m benchmarks.rounds table PHOTOS         the same, and the table of phrases
python -m benchmarks.rounds statistics PHOTOS    statistics of an index of made rows
python -m benchmarks.rounds engines ROWS         counts distinct texts by DuckDB and by Ray Data's shuffle

python -m benchmarks.rounds answers QUESTIONS    questions to files, and answers from files, of one round

A photo has 4.5 regions and 6 of 10 descriptions are distinct, as in benchmarks.cluster. Answers are made up. Under
TMPDIR lies as much as a run would keep, until it ends.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
from pydantic import TypeAdapter

from benchmarks.cluster import CPUS
from benchmarks.used import Used, shared_out_mib
from instructrestore.dataengine.noun_phrases.answers import ANSWERS, ASKED, AnswerCache
from instructrestore.dataengine.noun_phrases.parser import ParserAnswer, ParserSettings, PhraseResult, Question
from instructrestore.dataengine.noun_phrases.rounds import PIECES, NounPhraseSettings, Rounds
from instructrestore.dataengine.reporting import statistics
from instructrestore.dataengine.running.on_ray.runner import cluster
from instructrestore.dataengine.running.scratch import add, fill, scratch
from instructrestore.dataengine.running.side_table import write_side_table
from instructrestore.dataengine.running.stage import StageSpec, Task
from instructrestore.dataengine.running.worker import StageWorker
from instructrestore.shards.index import INDEX_SCHEMA
from instructrestore.shards.sample import Answer

PER_PHOTO = 4.5
DISTINCT = 0.6
PER_PART = 1024  # photos


class Steps:
    """Prints what each step took: seconds, CPU seconds, the process's most memory so far, what lies on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        print(f"{'':<44}{'time':>10}{'CPU':>10}{'most memory':>14}{'disk':>12}   load")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        begin, cpu = time.monotonic(), time.process_time()
        yield
        disk = sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file()) / 2**20
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name:<44}{time.monotonic() - begin:>8.1f} s{time.process_time() - cpu:>8.1f} s{memory:>10,.0f} MiB"
            f"{disk:>8,.0f} MiB   {os.getloadavg()[0]:.0f}",
            flush=True,
        )


def table(options: Namespace) -> None:
    """The descriptions, three rounds and the table of phrases, as `PhraseTable` has them made."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = Steps(folder)
        with scratch(folder) as database:
            with steps.step(f"descriptions of {options.count:,} photos"):
                for pieces in _pieces(options.count):
                    add(database, "pieces", pieces)
            with steps.step("distinct ones, sorted"):
                rounds = Rounds(database, NounPhraseSettings())
            (texts,) = database.execute("SELECT count(*) FROM texts").fetchall()[0]
            print(f"{texts:,} distinct descriptions", flush=True)

            def ask(number: int) -> None:
                (asked,) = database.execute("SELECT count(*) FROM asked").fetchall()[0]
                with steps.step(f"  round {number}, {asked:,} answers made"):
                    database.execute(_ANSWERS, [number])

            with steps.step("three rounds: what is asked again, ranks"):
                rounds.run(ask)
            with steps.step("summary"):
                print(rounds.summary())
            if options.what == "table":
                with steps.step("table of phrases"):
                    values = TypeAdapter(PhraseResult)
                    write_side_table(folder / "phrases.parquet", rounds.phrases(), values, {})


def answers(options: Namespace) -> None:
    """A round through the answer cache; what makes the answers up writes them as workers do, and is told apart."""
    with tempfile.TemporaryDirectory() as name:
        steps = Steps(Path(name))
        made = 0.0

        def execute(spec: StageSpec, tasks: Sequence[Task]) -> None:
            nonlocal made
            begin = time.process_time()
            worker = StageWorker()
            worker.start(replace(spec, build=lambda: _made_up))
            for task in tasks:
                worker.do_part(task)
            made = time.process_time() - begin

        with scratch(Path(name)) as database:
            texts = ((n, f"the {n:x} thing that is standing on the field") for n in range(options.count))
            fill(database, "asked", texts, ASKED)
            fill(database, "answers", (), ANSWERS)
            cache = AnswerCache(Path(name), execute, False, {})
            begin = time.process_time()
            with steps.step(f"{options.count:,} questions and answers"):
                cache.ask(ParserSettings(), 1, database)
            print(f"CPU of the driver {time.process_time() - begin - made:.1f} s, of who answered {made:.1f} s")


def _made_up(questions: Sequence[Question]) -> list[ParserAnswer]:
    return [ParserAnswer(each, Answer("made up", "1", each.round, each.description, "thing", "")) for each in questions]


# 1,000 subjects as common as in benchmarks.cluster; 3 in 100 answers are invalid; asked again, half become common.
_ANSWERS = """
INSERT INTO answers SELECT id, $1::INTEGER, 'made up', '1', description,
    'thing ' || if($1 > 1 AND hash(id, $1) % 2 = 0, hash(id) % 20,
        (1000 * pow((hash(id) % 100000) / 100000, 3))::INTEGER),
    if(hash(id, $1) % 100 < 3, 'sentence', '') FROM asked
"""


def _pieces(photos: int) -> Iterator[pa.Table]:
    """Rows of rounds.PIECES, a part of PER_PART photos at a time."""
    random = np.random.default_rng(0)
    distinct = int(photos * PER_PHOTO * DISTINCT)
    for part, first in enumerate(range(0, photos, PER_PART)):
        count = int(min(PER_PART, photos - first) * PER_PHOTO)
        # Each distinct description once on its way through the parts; the others are those of any photo.
        own = np.arange(int(first * PER_PHOTO * DISTINCT), int((first + count / PER_PHOTO) * PER_PHOTO * DISTINCT))
        texts = np.unique(np.concatenate([own, random.integers(0, distinct, count - len(own))]))
        said = [f"the {n * 2654435761 % 4294967296:x} thing that is standing on the field {n}" for n in texts.tolist()]
        yield pa.table([[part] * len(said), said, [None] * len(said), [1] * len(said)], schema=PIECES)


def statistics_of(options: Namespace) -> None:
    """`statistics.of_index` of made rows, of which one piece at a time is there."""
    with tempfile.TemporaryDirectory() as name:
        steps = Steps(Path(name))
        with steps.step(f"statistics of {options.count:,} photos, rows made"):
            found = statistics.of_index(_index(options.count), "made", ["brisque"], Path(name))
        print(f"{found.photos:,} photos, {found.regions:,} regions, {found.near_duplicates}")


def _index(photos: int) -> Iterator[pa.Table]:
    """An index of photos with 4 and 5 regions, one in 50 with a near-duplicate."""
    random = np.random.default_rng(0)
    for first in range(0, photos, statistics.PIECE):
        count = min(statistics.PIECE, photos - first)
        regions = 4 + np.arange(count) % 2
        ends = np.concatenate([[0], np.cumsum(regions)]).astype(np.int32)
        subjects = (1000 * random.random(int(ends[-1])) ** 3).astype(int)
        numbers = np.arange(first, first + count)
        numbers -= numbers % 50 == 1
        columns = {
            "format": ["jpg"] * count, "width": np.full(count, 1024), "height": 768 + np.arange(count) % 512,
            "quality": random.random(count) * 100, "source": ["made"] * count, "licence": ["CC0"] * count,
            "group": [f"{n * 2654435761 % (1 << 64):020x}" for n in numbers.tolist()], "region_count": regions,
            "captions": pa.ListArray.from_arrays(ends, pa.array([f"the red thing {n}" for n in subjects.tolist()])),
            "subjects": pa.ListArray.from_arrays(ends, pa.array([f"thing {n}" for n in subjects.tolist()])),
            "areas": pa.ListArray.from_arrays(ends, random.random(int(ends[-1]))),
            "bokeh": pa.ListArray.from_arrays(ends, random.random(int(ends[-1])) < 0.1),
        }  # fmt: skip
        nothing = pa.nulls(count)
        yield pa.table([pa.array(columns.get(name, nothing)).cast(INDEX_SCHEMA.field(name).type)
                        for name in INDEX_SCHEMA.names], schema=INDEX_SCHEMA)  # fmt: skip


def engines(options: Namespace) -> None:
    """How often each distinct text occurs in Parquet parts, the rounds' one shuffle, by both engines."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "parts").mkdir()
        photos = int(options.count / PER_PHOTO)
        for number, pieces in enumerate(_pieces(photos)):
            pq.write_table(pieces.select(["description", "count"]), folder / "parts" / f"{number:06d}.parquet")
        steps = Steps(folder)
        with steps.step(f"DuckDB, {options.count:,} rows"), scratch(folder) as database:
            database.execute(
                "CREATE TABLE counted AS SELECT description, sum(count) AS count FROM read_parquet($1) GROUP BY 1",
                [str(folder / "parts" / "*.parquet")],
            )
            print(database.execute("SELECT count(*) FROM counted").fetchall())
        with cluster(None, CPUS, 1024):
            begin, used = time.monotonic(), Used.now()
            counted = ray.data.read_parquet(str(folder / "parts")).groupby("description").sum("count")
            counted.write_parquet(str(folder / "counted"))
            end = Used.now()
            processes = sum(shared_out_mib(process) for process in end.processes)
        rows = sum(pq.read_metadata(path).num_rows for path in (folder / "counted").glob("*.parquet"))
        print(
            f"Ray Data: {rows:,} rows, {end.at - begin:.1f} s, CPU of the driver {end.driver_s - used.driver_s:.1f} s, "
            f"of the others {end.workers_s - used.workers_s:.1f} s, {processes:,.0f} MiB in all the others"
        )


COMMANDS: dict[str, Callable[[Namespace], None]] = {
    "rounds": table,
    "table": table,
    "statistics": statistics_of,
    "engines": engines,
    "answers": answers,
}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=COMMANDS)
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    COMMANDS[options.what](options)


if __name__ == "__main__":
    main()
