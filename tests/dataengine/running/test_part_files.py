"""Parts, manifest and side tables on disk: names that tell all, contents that come back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.run_folder import Appended, RunFolder
from instructrestore.dataengine.running.part_files import (
    Outcome,
    PartFile,
    Slice,
    add_up,
    list_parts,
    read_outcomes,
    read_rows,
    write_part,
)
from instructrestore.dataengine.running.side_table import SideTable, write_side_table

rows = TypeAdapter(Row)


def row(number: int, **counts: int) -> Row:
    return Row(SourcePhoto(f"u{number}", f"n{number}", "s"), counts=counts)


def test_a_part_comes_back_and_its_name_tells_what_it_follows_from(tmp_path: Path) -> None:
    outcomes = [
        Outcome("a", "ok", row(0, island=2)),
        Outcome("b", "dropped", None, "short side", "480"),
        Outcome("c", "failed", row(2), "OSError", "gone", 2),
        Outcome("d", "ok", row(3, island=1, hole=1)),
    ]
    file, summary = write_part(tmp_path, 7, "0" * 16, 1, outcomes, rows)
    assert PartFile.parse(file.path) == file
    assert (file.part, file.input, file.attempt) == (7, "0" * 16, 1)
    assert read_outcomes(file.path, rows) == outcomes
    assert file.summary() == summary
    assert (summary.outcomes, summary.dropped, summary.failed) == ("odfo", {"short side": 1}, {"OSError": 1})
    assert summary.counts == {"island": 3, "hole": 1}
    assert list_parts(tmp_path) == {7: [file]}
    total = add_up("masks", [summary, summary])
    assert (total.input, total.ok, total.dropped) == (8, 4, {"short side": 2})


def test_equal_outcomes_are_equal_bytes(tmp_path: Path) -> None:
    first, _ = write_part(tmp_path, 1, "a" * 16, 0, [Outcome("x", "ok", row(1))], rows)
    second, _ = write_part(tmp_path, 2, "a" * 16, 0, [Outcome("x", "ok", row(1))], rows)
    third, _ = write_part(tmp_path, 3, "a" * 16, 0, [Outcome("x", "ok", row(2))], rows)
    assert first.content == second.content != third.content


def test_strangers_in_a_folder_are_no_parts(tmp_path: Path) -> None:
    for name in ("summary.json", ".partial-x", "000001-zz-0-00.parquet", "000001.parquet"):
        (tmp_path / name).touch()
    assert list_parts(tmp_path) == {}


@given(kinds=st.text("odf", min_size=1, max_size=30), cut=st.tuples(st.integers(0, 30), st.integers(0, 30)))
@settings(max_examples=30, deadline=None)
def test_a_slice_counts_ok_rows(tmp_path_factory: pytest.TempPathFactory, kinds: str, cut: tuple[int, int]) -> None:
    folder = tmp_path_factory.mktemp("parts")
    names = {"o": "ok", "d": "dropped", "f": "failed"}
    outcomes = [Outcome(str(n), names[k], None if k == "d" else row(n)) for n, k in enumerate(kinds)]
    file, _ = write_part(folder, 0, "0" * 16, 0, outcomes, rows)
    ok = [str(n) for n, kind in enumerate(kinds) if kind == "o"]
    found = [name for name, _ in read_rows([Slice(str(file.path), *cut)], rows)]
    assert found == ok[cut[0] : cut[1]]


def photos(*numbers: int) -> list[SourcePhoto]:
    return [SourcePhoto(f"u{n}", f"n{n}", "s") for n in numbers]


def test_the_manifest_fixes_photos_into_parts_and_new_ones_become_new_parts(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    assert run.append(photos(*range(10)), 4) == Appended(new=10, twice=0, gone=0)
    before = run.parts()
    assert [part.part for part in before] == [0, 1, 2]
    read = [[row.origin.uri for _, row in read_rows([part.where], rows)] for part in before]
    assert read == [["u0", "u1", "u2", "u3"], ["u4", "u5", "u6", "u7"], ["u8", "u9"]]
    assert run.append(photos(*range(12), 3), 4) == Appended(new=2, twice=1, gone=0)
    after = run.parts()
    assert after[:3] == before
    assert [row.origin.uri for _, row in read_rows([after[3].where], rows)] == ["u10", "u11"]
    assert run.append(photos(1), 4) == Appended(new=0, twice=0, gone=11)
    assert run.parts() == after


def test_a_source_that_says_other_things_of_a_known_photo_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.append(photos(1, 2), 4)
    before = run.parts()
    for change in ({"licence": "CC0-1.0"}, {"excluded": True}, {"annotations": ()}):
        with pytest.raises(ValueError, match="say other things of n2 than when it came into this run"):
            run.append([replace(photo, **change) for photo in photos(2)], 4)
    assert run.parts() == before


def test_a_large_manifest_is_read_by_row_groups(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.append(photos(*range(20_000)), 64)
    part = run.parts()[200]
    assert [row.origin.uri for _, row in read_rows([part.where], rows)] == [f"u{n}" for n in range(12_800, 12_864)]


def test_a_folder_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file; --out names a folder"):
        RunFolder(tmp_path / "file")
    with pytest.raises(ValueError, match="is not empty and was not made by a build"):
        RunFolder(tmp_path)
    with RunFolder(tmp_path / "run").lock():
        pass
    (tmp_path / "run/run.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(
        ValueError, match=r"made by another version of this program \(schema 99 of a build; this one has schema 1\)"
    ):
        RunFolder(tmp_path / "run")
    (tmp_path / "run/run.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        RunFolder(tmp_path / "run")


def test_two_builds_do_not_share_a_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with run.lock():
        (tmp_path / ".partial-other").touch()
        with pytest.raises(ValueError, match="another run is at work"), RunFolder(tmp_path).lock():
            pass
    with run.lock():
        assert not (tmp_path / ".partial-other").exists(), "what a killed build left is swept away"


def test_a_side_table_gives_each_part_its_slice(tmp_path: Path) -> None:
    values = TypeAdapter(dict[str, int])
    slices = [(part, {f"k{n}": {"v": part * n} for n in range(part % 4)}) for part in range(150)]
    write_side_table(tmp_path / "t.parquet", slices, values, {"rows": 3})
    table = SideTable(tmp_path / "t.parquet", values)
    assert table.facts == {"rows": 3}
    for part, expected in slices:
        assert table.slice(part) == expected
        assert (part in table.hashes) == bool(expected)
    changed = [(part, entries | ({"k": {"v": -1}} if part == 77 else {})) for part, entries in slices]
    write_side_table(tmp_path / "u.parquet", changed, values, {})
    other = SideTable(tmp_path / "u.parquet", values)
    assert [part for part in range(150) if other.hashes.get(part) != table.hashes.get(part)] == [77]
