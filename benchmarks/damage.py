"""Flips one bit after the other in the files of runs, data sets, test sets, trainings, evaluations and restorations,
finished and half finished, and runs the command that reads them again.

Either the same bytes come out as from undamaged files, or the damaged file is named, in a sentence and no traceback.

python -m benchmarks.damage [FLIPS A FILE] [SEED] [SECONDS] [WORD OF A CASE ...]
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructrestore.dataengine.running.executor import Executor
from instructrestore.pipelines import cli
from instructrestore.pipelines.building import build as building
from instructrestore.pipelines.restoration import dataset as restoration
from tests.pipelines.photos import BY_COLOUR_SET, make_photos

PHOTOS = 6
SMALL = ("photos_per_part=3", "shards.photos_per_shard=2", "quality_gate.short_side=64", "quality_gate.score=0")
QUIET = (".lock", ".unfinished")  # held while a run is at work, and of no meaning afterwards


@dataclass(frozen=True)
class Case:
    """Files that a command reads again.

    folder: what is damaged. command: its words, or several commands'. made: what it leaves that must be the same,
    relative to the working folder. prints: whether what it prints must be, too. finds: whether every flip must be
    noticed.
    """

    name: str
    folder: str
    command: tuple[str, ...]
    made: tuple[str, ...] = ()
    prints: bool = False
    finds: bool = False


@dataclass(frozen=True)
class Ending:
    status: int
    said: str
    made: dict[str, str]


def run(words: tuple[str, ...]) -> tuple[int, str]:
    """A command's exit status and what it printed; a traceback is printed too."""
    said, status = io.StringIO(), 1
    sys.argv = ["instructrestore", *words]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            cli.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:  # noqa: BLE001  (whatever it is, it is what is looked for)
            traceback.print_exc(file=said)
    return status, said.getvalue()


def in_this_process() -> None:
    """Stages run in this process, without Ray: starting it takes longer than all else."""
    alone: Any = lambda ray, *rest: Executor(None, *rest)  # noqa: E731
    building.Executor = restoration.Executor = alone


def build_words(source: str, out: str = "run") -> tuple[str, ...]:
    settings = [word for setting in SMALL for word in ("--set", setting)]
    return ("build", source, "--preset", "demo", "--out", out, *settings, *BY_COLOUR_SET)


def prepare() -> None:
    """Photos, a run, a test set, an evaluation, restorations, and half of them, in the working folder."""
    make_photos(Path("photos"), PHOTOS)
    steps = [
        build_words("photos"),
        ("tiny-base", "base"),
        ("testset", "run/dataset", "--size", "64", "--files", "--out", "testset"),
        EVALUATE,
        TRAIN,
        RESTORE_FILES,
        RESTORE_SHARDS,
    ]
    for words in steps:
        status, said = run(words)
        assert status == 0, (words, said)
    for last in (0, 2, 5, 7):
        half = Path(f"half-{last}")
        shutil.copytree("run", half)
        for stage in (half / "stages").iterdir():
            if int(stage.name[:2]) > last:
                shutil.rmtree(stage)
        for table in (half / "tables").iterdir():
            if last < (2 if "duplicates" in table.name else 6):
                table.unlink()
        shutil.rmtree(half / "dataset")
        (half / "report.html").unlink()
    for name in ("training", "evaluation", "files", "shards"):
        shutil.copytree(name, f"half-{name}")
    shutil.rmtree("half-training/checkpoints/step-00000004")
    for folder in Path("half-evaluation/parts").glob("*/scored"):
        shutil.rmtree(folder)
    for name in ("files", "shards"):
        for part in sorted(Path(f"half-{name}/parts/{name}").glob("*.parquet"))[::2]:
            part.unlink()
    for file in (*Path("half-evaluation").glob("*.*"), Path("half-files/results.parquet")):
        file.unlink()
    for file in Path("half-shards/dataset").glob("*.[jpcs]*"):
        if not file.name.endswith(".tar"):
            file.unlink()


BASE = ("--base", "base", "--device", "cpu", "--steps", "1")
EVALUATE = ("evaluate", "testset", "--metrics", "psnr", "--table", "3", "--out", "evaluation", *BASE)
_TRAINED = (
    "steps=4", "batch=2", "checkpoint_every=2", "loader_workers=0", "crop.size=64", "crop.largest_side=64",
    "validation.share=0",
)  # fmt: skip
TRAIN = ("train", "run/dataset", "--preset", "tiny", "--base", "base", "--out", "training", "--device", "cpu")
TRAIN += tuple(word for setting in _TRAINED for word in ("--set", setting))
RESTORE = ("restore", "--shards", "run/dataset", *BASE, "--upscale", "1")
RESTORE_FILES = (*RESTORE, "--out", "files")
RESTORE_SHARDS = (*RESTORE, "--as", "shards", "--out", "shards")
OF_EVALUATION = ("evaluation.json", "scores.parquet", "report.html", "results")


def cases() -> Iterator[Case]:
    yield Case("finished run", "run", build_words("photos"), ("run/dataset", "run/report.html", "run/settings.toml"))
    for last in (0, 2, 5, 7):
        words = build_words("photos", out=f"half-{last}")
        yield Case(
            f"run up to stage {last}", f"half-{last}", words, (f"half-{last}/dataset", f"half-{last}/report.html")
        )
    yield Case("data set, verified", "run/dataset", ("verify", "run/dataset"), finds=True)
    yield Case("data set, counted", "run/dataset", ("stats", "run/dataset"), prints=True)
    words = build_words("run/dataset", out="fresh")
    yield Case("data set, built from", "run/dataset", words, ("fresh/dataset",))
    words = (*RESTORE, "--as", "shards", "--out", "fresh")
    yield Case("data set, restored", "run/dataset", words, ("fresh/dataset",))
    yield Case("test set, verified", "testset", ("verify", "testset"), finds=True)
    fresh = tuple("fresh" if word == "evaluation" else word for word in EVALUATE)
    yield Case("test set, evaluated", "testset", fresh, tuple(f"fresh/{name}" for name in OF_EVALUATION))
    words = tuple("half-training" if word == "training" else word for word in TRAIN)
    yield Case("half-training", "half-training/checkpoints", words, ("half-training/checkpoints",))
    words = ("restore", "photos", "make the square clear", "--checkpoint", "training", "--out", "fresh", *BASE)
    yield Case("checkpoint, restored with", "training/checkpoints", words, ("fresh",))
    for name in ("evaluation", "half-evaluation"):
        words = tuple(name if word == "evaluation" else word for word in EVALUATE)
        yield Case(name, name, words, tuple(f"{name}/{each}" for each in OF_EVALUATION))
    for kind, made in (("files", ("restored", "results.parquet")), ("shards", ("dataset", "results.parquet"))):
        for name in (kind, f"half-{kind}"):
            words = (*RESTORE, "--as", kind, "--out", name)
            yield Case(f"restoration to {name}", name, words, tuple(f"{name}/{each}" for each in made))


def made_by(case: Case) -> dict[str, str]:
    """The sha256 of all that the case's command leaves."""
    files = [path for name in case.made for path in ([Path(name)] if Path(name).is_file() else Path(name).rglob("*"))]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files) if path.is_file()}


def outcome(case: Case, file: Path, sound: Ending) -> str:
    """What became of a flip: one of the good endings, or what is wrong, in capitals."""
    status, said = run(case.command)
    if "Traceback" in said:
        return f"TRACEBACK: {said.strip().splitlines()[-1][:200]}"
    named = file.name in said
    if status == 2:
        return "named, status 2" if named else f"UNNAMED: {said.strip().splitlines()[-1][:300]}"
    if case.finds:
        return f"named by verify, status {status}" if status == 1 and named else f"NOT FOUND ({status}): {said[-200:]}"
    same = made_by(case) == sound.made and (not case.prints or said == sound.said)
    if status == sound.status and same:
        return "made again, said" if named else "the same bytes"
    if named:
        return f"named, went on without it, status {status}"
    differ = [name for name, known in made_by(case).items() if sound.made.get(name) != known]
    return f"SILENT, status {status}: {differ[:3]} {said.strip().splitlines()[-1:]}"


def main(flips: int, seed: int, seconds: float, wanted: list[str]) -> int:
    """Exit status 1 where anything came out wrong."""
    os.environ["COLUMNS"] = "10000"
    in_this_process()
    rng, totals, wrong = random.Random(seed), Counter[str](), 0
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        prepare()
        kept = Path(name).with_name(f"{Path(name).name}-kept")
        shutil.copytree(".", kept)
        try:
            chosen = [case for case in cases() if not wanted or any(word in case.name for word in wanted)]
            for case in chosen:
                end = time.monotonic() + seconds / len(chosen)
                wrong += _flip_all(case, kept, flips, rng, end, totals)
        finally:
            os.chdir(before)
            shutil.rmtree(kept)
    print(f"{sum(totals.values()):,} flips: " + ", ".join(f"{count:,} {what}" for what, count in totals.most_common()))
    return 1 if wrong else 0


def _restore(kept: Path) -> None:
    for path in Path().iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(kept, ".", dirs_exist_ok=True)


def _flip_all(case: Case, kept: Path, flips: int, rng: random.Random, end: float, totals: Counter[str]) -> int:
    _restore(kept)
    status, said = run(case.command)
    sound = Ending(status, said, made_by(case))
    files = sorted(path for path in (kept / case.folder).rglob("*") if path.is_file() and path.name not in QUIET)
    todo = [file for file in files for _ in range(flips)]
    rng.shuffle(todo)  # the time may be too short for all
    found: Counter[str] = Counter()
    for file in todo:
        here = file.relative_to(kept)
        data = file.read_bytes()
        if data and time.monotonic() < end:
            place, bit = rng.randrange(len(data)), 1 << rng.randrange(8)
            _restore(kept)
            here.write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
            what = outcome(case, here, sound)
            found[what.split(":")[0]] += 1
            if what[0].isupper() and what[1].isupper():
                print(f"  {here}, byte {place} of {len(data)}, bit {bit}: {what}", flush=True)
    listed = ", ".join(f"{count} {what}" for what, count in found.most_common())
    print(f"{case.name}: {len(files)} files, {found.total()} flips: {listed}", flush=True)
    totals += found
    return sum(count for what, count in found.items() if what[0].isupper() and what[1].isupper())


if __name__ == "__main__":
    numbers = [float(word) for word in sys.argv[1:4]] + [1, 0, 3600][len(sys.argv[1:4]) :]
    sys.exit(main(int(numbers[0]), int(numbers[1]), numbers[2], sys.argv[4:]))
