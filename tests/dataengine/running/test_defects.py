"""Faults of the program are not data: some stop the run at once, others fail the row, and the third from one place
stops the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from instructrestore.dataengine.running.executor import Executor
from instructrestore.dataengine.running.on_ray.runner import Cluster
from instructrestore.dataengine.running.outcomes import DEFECT, MAX_TRACEBACK, apply, defects
from instructrestore.dataengine.running.part_files import PartSummary, list_parts, read_outcomes
from instructrestore.dataengine.running.stage import Defect, StageSpec
from tests.dataengine.running.test_runner import items, spec, tasks
from tests.dataengine.running.trial_stages import Item


class Faulty:
    """Raises what each row's act says, from the same place for rows of the same act."""

    def __call__(self, rows: Sequence[Item]) -> list[Item]:
        return [self._one(row) for row in rows]

    def _one(self, row: Item) -> Item:
        if row.act == "name":
            return undefined  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
        if row.act == "import":
            import absent_package  # noqa: F401  # pyright: ignore[reportMissingImports]
        if row.act == "unfinished":
            raise NotImplementedError("later")
        if row.act == "assert":
            assert row.number < 0, "never"
        if row.act == "key":
            return {}[row.act]
        if row.act == "type":
            return len(row.number)  # pyright: ignore
        if row.act == "attribute":
            return row.nothing  # pyright: ignore
        if row.act == "index":
            return [][row.number]
        if row.act == "bad data":
            raise ValueError("the file is cut short")
        return row


class OnlyTogether:
    """Meets its defect with several rows alone, never with one."""

    def __call__(self, rows: Sequence[Item]) -> list[Item]:
        return list(rows) if len(rows) == 1 else [undefined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]


def named(*acts: str) -> list[tuple[str, Item]]:
    return [(f"row {number}", Item(number, act)) for number, act in enumerate(acts)]


@pytest.mark.parametrize("act", ["name", "import", "unfinished"])
def test_what_every_row_would_meet_stops_the_run_with_row_and_traceback(act: str) -> None:
    with pytest.raises(Defect, match=r"^row row 1: Traceback") as stopped:
        apply(Faulty(), named("ok", act, "ok"), None)
    assert "test_defects.py" in str(stopped.value)


def test_also_where_no_single_row_meets_it() -> None:
    with pytest.raises(Defect, match=r"^rows row 0 to row 1: Traceback(.|\n)*undefined"):
        apply(OnlyTogether(), named("ok", "ok"), None)


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        ("assert", "AssertionError"),
        ("key", "KeyError"),
        ("type", "TypeError"),
        ("attribute", "AttributeError"),
        ("index", "IndexError"),
    ],
)
def test_one_odd_row_fails_with_its_traceback_kept(act: str, kind: str) -> None:
    before, odd, after = apply(Faulty(), named("ok", act, "ok"), None)
    assert (before.kind, odd.kind, after.kind) == ("ok", "failed", "ok")
    assert odd.reason.startswith(f"{DEFECT}{kind} at test_defects.py:")
    assert odd.reason.endswith(" in _one")
    assert odd.detail.startswith("Traceback")
    assert kind in odd.detail
    assert odd.row == Item(1, act), "its input is kept, to be done again"
    assert list(defects({odd.reason: 1, "unreadable": 2})) == [odd.reason.removeprefix(DEFECT)]


def test_a_place_in_this_program_is_told_before_one_in_a_package_it_calls() -> None:
    def stage(rows: Sequence[Item]) -> list[Item]:
        list(list_parts(rows))  # pyright: ignore[reportArgumentType]
        return list(rows)

    (outcome,) = apply(stage, named("ok"), None)
    assert outcome.reason.startswith(f"{DEFECT}AttributeError at shards/paths.py:")


def test_a_long_traceback_keeps_its_end() -> None:
    def deep(depth: int) -> None:
        if depth == 0:
            raise KeyError("the end")
        if depth % 2:
            deep(depth - 1)
        else:
            deep(depth - 1)  # a second line, or Python would fold the repetition

    def stage(rows: Sequence[Item]) -> list[Item]:
        deep(90)
        return list(rows)

    (outcome,) = apply(stage, named("ok"), None)
    assert len(outcome.detail) <= MAX_TRACEBACK
    assert outcome.detail.endswith("KeyError: 'the end'")


def test_bad_data_is_the_rows_failure_and_no_defect() -> None:
    (outcome,) = apply(Faulty(), named("bad data"), None)
    assert (outcome.kind, outcome.reason, outcome.detail) == ("failed", "ValueError", "the file is cut short")
    assert not defects({outcome.reason: 1})


@contextmanager
def silent(name: str, parts: int) -> Iterator[Callable[[PartSummary], None]]:
    yield lambda summary: None


@pytest.fixture(params=["here", "on Ray"])
def execute(request: pytest.FixtureRequest) -> Executor:
    if request.param == "here":
        return Executor(None, silent, 100)
    cluster: Cluster = request.getfixturevalue("ray_cluster")

    @contextmanager
    def opened() -> Iterator[Cluster]:
        yield cluster

    return Executor(opened, silent, 100)


def faulty(folder: Path) -> StageSpec:
    return spec(folder, build=Faulty, workers=1)


def test_the_third_from_the_same_place_stops_the_run(tmp_path: Path, execute: Executor) -> None:
    planned = tasks(tmp_path, [["key", "ok"], ["assert", "key"], ["ok"], ["key"], ["ok"]])
    with pytest.raises(Defect, match=r"3 rows of the trial stage met the same defect .*KeyError at (.|\n)*row 5: Tr"):
        execute(faulty(tmp_path), planned)
    done = list_parts(tmp_path / "out")
    assert sorted(done) == [0, 1, 2, 3], "what was committed stays"


def test_two_from_one_place_and_two_from_another_do_not(tmp_path: Path, execute: Executor) -> None:
    execute(faulty(tmp_path), tasks(tmp_path, [["key", "assert"], ["key", "ok", "assert"]]))
    outcomes = [
        outcome
        for _, (file,) in sorted(list_parts(tmp_path / "out").items())
        for outcome in read_outcomes(file.path, items)
    ]
    assert [outcome.kind for outcome in outcomes] == ["failed", "failed", "failed", "ok", "failed"]


def test_a_defect_that_stops_names_stage_and_row(tmp_path: Path, execute: Executor) -> None:
    with pytest.raises(Defect, match=r"stopped the trial stage at row row 1: Traceback(.|\n)*NameError"):
        execute(faulty(tmp_path), tasks(tmp_path, [["ok", "name"]]))


def test_a_stage_that_cannot_be_built_for_a_defect_says_so(tmp_path: Path, execute: Executor) -> None:
    broken = spec(tmp_path, build=partial(_unbuilt), workers=1)
    with pytest.raises((Defect, NameError), match="undefined"):
        execute(broken, tasks(tmp_path, [["ok"]]))


def _unbuilt() -> Faulty:
    return undefined  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
