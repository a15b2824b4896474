"""A part, a table and a manifest with a bit flipped, here and there: the file is named, or what is read is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.running.part_files import Outcome, PartFile, Slice, read_outcomes, read_rows, write_part
from instructrestore.dataengine.running.run import Run
from instructrestore.dataengine.running.side_table import SideTable, write_side_table
from instructrestore.dataengine.running.stage import StageSpec, Task
from instructrestore.dataengine.running.stage_kinds import Part, PartStage, TableStage
from instructrestore.dataengine.running.worker import StageWorker, Stopped
from instructrestore.shards.errors import DamagedFile

rows = TypeAdapter(Row)
texts = TypeAdapter(str)


def row(number: int, **counts: int) -> Row:
    return Row(SourcePhoto(f"u{number}", f"n{number}", "s", licence=f"a licence of {number}"), counts=counts)


def flips(path: Path) -> Iterator[None]:
    """The file with a bit flipped in every eleventh of its bytes in turn; as it was in the end."""
    data = path.read_bytes()
    for place in range(0, len(data), 11):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        yield
    path.write_bytes(data)


def told(read: Callable[[], Any]) -> Any:
    """What was read, or the error that says that it cannot be."""
    try:
        return read()
    except DamagedFile as damage:
        return damage


def is_named_or_the_same(path: Path, read: Callable[[], Any]) -> None:
    expected, named = read(), 0
    for _ in flips(path):
        found = told(read)
        named += isinstance(found, DamagedFile)
        assert found == expected or (isinstance(found, DamagedFile) and str(found).startswith(f"{path} is damaged: "))
    assert named > 10
    assert read() == expected


def test_a_part_is_compared_with_its_hashes(tmp_path: Path) -> None:
    outcomes = [
        Outcome("a", "ok", row(0, island=2)),
        Outcome("b", "dropped", None, "short side", "480"),
        Outcome("c", "failed", row(2), "OSError", "gone", 2),
        Outcome("d", "ok", row(3, island=1, hole=1)),
    ]
    file, _ = write_part(tmp_path, 7, "0" * 16, 1, outcomes, rows)
    assert isinstance(file.path, Path)
    is_named_or_the_same(file.path, lambda: read_outcomes(file.path, rows))
    is_named_or_the_same(file.path, lambda: list(read_rows([Slice(str(file.path), 1)], rows)))
    is_named_or_the_same(file.path, file.summary)


def test_a_part_whose_footer_takes_texts_for_bytes(tmp_path: Path) -> None:
    file, _ = write_part(tmp_path, 7, "0" * 16, 1, [Outcome("a", "ok", row(0))], rows)
    assert isinstance(file.path, Path)
    table = pq.read_table(file.path)
    as_bytes = table.set_column(0, "name", table["name"].cast(pa.binary()))
    pq.write_table(as_bytes.replace_schema_metadata(pq.read_metadata(file.path).metadata), file.path)
    with pytest.raises(DamagedFile, match=f"^{file.path} is damaged: "):
        list(read_rows([Slice(str(file.path), 1)], rows))


def test_a_table_is_compared_with_its_hashes(tmp_path: Path) -> None:
    values, path = TypeAdapter(dict[str, int]), tmp_path / "t.parquet"
    write_side_table(path, [(n, {f"k{n}": {"v": n}}) for n in range(3)], values, {"rows": 3})

    def read() -> Any:
        table = SideTable(path, values)
        return [table.slice(n) for n in range(4)], table.facts, table.hashes

    is_named_or_the_same(path, read)


def test_the_manifest_is_compared_with_its_hashes(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.append([SourcePhoto(f"u{n}", f"n{n}", "s") for n in range(5)], 2)
    (path,) = run.manifest.iterdir()
    assert isinstance(path, Path)
    is_named_or_the_same(path, lambda: (list(run.known()), run.parts()))
    parts = run.parts()
    is_named_or_the_same(path, lambda: [[row for _, row in read_rows([part.where], rows)] for part in parts])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        DamagedFile, match=r"put a copy of it back, or remove its folder and build again with all sourc"
    ):
        run.append([], 2)


class Shout:
    """A stage that adds to each photo's name."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __call__(self, given: list[Row], side: dict[str, str] | None = None) -> list[Row]:
        said = [(side or {}).get(each.origin.uri, "") for each in given]
        return [
            Row(SourcePhoto(each.origin.uri, each.origin.name + self.mark + word, "s"))
            for each, word in zip(given, said, strict=True)
        ]


class Words(TableStage):
    """A table of a word for each photo."""

    name = file = "words"
    follows_from = ()
    values = str

    def make(self, parts: Any, execute: Any, retry_failed: bool, database: Any) -> Any:
        photos = ((part.part, dict.fromkeys(dict(read_rows([part.where], rows)), "x")) for part in parts)
        return photos, {}


class Trial:
    """Three stages and a table over two parts, in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = RunFolder(folder)
        self.run.append([SourcePhoto(f"u{n}", "n", "s") for n in range(4)], 2)
        self.said: list[str] = []
        self.done: list[str] = []

    def execute(self, spec: StageSpec, tasks: Any) -> None:
        worker = StageWorker()
        worker.start(spec)
        for task in tasks:
            done = worker.do_part(task)
            if isinstance(done, Stopped):
                raise done.error()
            self.done.append(f"{spec.name} {task.part}")

    def through(self, stages: int = 3) -> list[list[str]]:
        """The names that the last of the stages gave, part by part."""
        self.said, self.done = [], []
        listed = [
            PartStage(_spec("!"), "1"),
            Words(),
            PartStage(_spec("?", str), "2", "words"),
            PartStage(_spec("."), "3"),
        ]
        run = Run(self.run.stages, self.run.tables, self.execute, False, [], self.said.append)
        run.through(listed[: stages + (stages > 1)], self.run.parts())
        found = sorted((self.run.stages / str(stages)).glob("*.parquet"))
        return [[each.row.origin.name for each in read_outcomes(file, rows) if each.row] for file in found]


def _spec(mark: str, side: type | None = None) -> StageSpec:
    return StageSpec(mark, lambda: Shout(mark), mark, Row, Row, side_type=side)


def damage(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:200] + bytes([data[200] ^ 4]) + data[201:])


@pytest.mark.parametrize("which", ["1/000001-*", "1/*", "2/000000-*", "../tables/words-*"])
def test_what_is_damaged_is_made_again_and_nothing_after_it(tmp_path: Path, which: str) -> None:
    expected = Trial(tmp_path / "sound").through()
    trial = Trial(tmp_path / "run")
    trial.through(1 if which[0] == "1" else 2)
    damaged = sorted(trial.run.stages.glob(which))
    for path in damaged:
        if path.suffix == ".parquet":
            damage(path)
    if which[0] == ".":
        for path in (trial.run.stages / "2").glob("*.parquet"):
            path.unlink()
    assert trial.through() == expected == [["n!?x.", "n!?x."]] * 2
    files = [path for path in damaged if path.suffix == ".parquet"]
    assert [line.removesuffix(" was damaged: it is made again") for line in trial.said] == [
        str(path.resolve()) for path in files
    ]
    again = [step for step in trial.done if step[0] == "!"]
    assert again == ([f"! {int(path.name[:6])}" for path in files] if which[0] == "1" else [])
    assert trial.through() == expected and not trial.said and not trial.done


def test_what_is_damaged_again_when_it_was_made_anew_stops_the_run(tmp_path: Path) -> None:
    trial = Trial(tmp_path / "run")
    trial.through(1)
    (first, _) = sorted((trial.run.stages / "1").glob("*.parquet"))
    done = trial.execute

    def spoiling(spec: StageSpec, tasks: list[Task]) -> None:
        if first.exists():
            damage(first)
        done(spec, tasks)

    damage(first)
    trial.execute = spoiling
    with pytest.raises(DamagedFile, match=f"{first.name} is damaged: remove it and run the same command again"):
        trial.through()
    assert len(trial.said) == 1


def test_a_stage_s_counts_are_made_again_where_they_are_damaged(tmp_path: Path) -> None:
    trial = Trial(tmp_path / "run")
    expected = trial.through()
    path = trial.run.stages / "1/summary.json"
    assert isinstance(path, Path)
    for _ in flips(path):
        assert trial.through() == expected


def test_parts_of_version_0_1_have_no_hashes_in_their_footers(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    file, summary = write_part(tmp_path, 0, "0" * 16, 0, [Outcome("a", "ok", row(1))], rows)
    table = pq.read_table(file.path)
    known = {key: value for key, value in (table.schema.metadata or {}).items() if not key.endswith(b"hashes")}
    pq.write_table(table.replace_schema_metadata(known), file.path)
    assert read_outcomes(file.path, rows)[0].row == row(1)
    assert PartFile.summary(file) == summary
    pq.write_table(table.set_column(0, "name", [["b"]]), file.path)
    with pytest.raises(DamagedFile):
        read_outcomes(file.path, rows)
    assert Part(0, Slice(str(file.path)), file.content).where.content == ""
