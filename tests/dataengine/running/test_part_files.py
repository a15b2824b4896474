"""Parts, manifest and side tables on disk: names that tell all, contents that come back."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from instructrestore.dataengine.photos.row import Annotation, PolygonMask, Row, SourcePhoto
from instructrestore.dataengine.run_folder import Appended, RunFolder
from instructrestore.dataengine.running.held import Held
from instructrestore.dataengine.running.part_files import (
    Outcome,
    PartFile,
    Slice,
    list_parts,
    read_outcomes,
    read_rows,
    write_part,
)
from instructrestore.dataengine.running.side_table import SideTable, write_side_table
from instructrestore.dataengine.running.stage_summary import add_up
from instructrestore.dataengine.sources.settings import SourceSettings

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


def test_what_rows_held_is_kept_or_lost(tmp_path: Path) -> None:
    outcomes = [
        Outcome("a", "ok", row(0), held=Held(3, {"crowd": 1})),
        Outcome("b", "dropped", None, "short side", "480", held=Held(2, {"dropped: short side": 2})),
        Outcome("c", "ok", row(1)),
    ]
    file, summary = write_part(tmp_path, 7, "0" * 16, 1, outcomes, rows)
    assert read_outcomes(file.path, rows) == outcomes
    assert file.summary() == summary
    assert (summary.held, summary.lost) == (5, {"crowd": 1, "dropped: short side": 2})
    total = add_up("masks", [summary, summary])
    assert (total.held, total.kept, total.lost) == (10, 4, {"crowd": 2, "dropped: short side": 4})
    # It is told beside the rows: what later stages see, and so the name, is the same without it.
    plain = [replace(outcome, held=None) for outcome in outcomes]
    assert write_part(tmp_path, 8, "0" * 16, 1, plain, rows)[0].content == file.content


def test_parts_that_do_not_say_what_rows_held_are_read(tmp_path: Path) -> None:
    file, _ = write_part(tmp_path, 7, "0" * 16, 1, [Outcome("a", "ok", row(0))], rows)
    table = pq.read_table(file.path).drop_columns(["held"])
    old = {"outcomes": "o", "dropped": {}, "failed": {}, "counts": {}, "families": {"": 1}}
    table = table.replace_schema_metadata({b"instructrestore.summary": json.dumps(old).encode()})
    pq.write_table(table, file.path)
    assert read_outcomes(file.path, rows) == [Outcome("a", "ok", row(0))]
    assert (file.summary().held, file.summary().lost) == (0, {})


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


SQUARE, OTHER = (Annotation(PolygonMask([[0, 0, side, 0, side, side]]), "cat") for side in (9, 8))


@pytest.mark.parametrize(
    ("first", "second", "complaint"),
    [
        ({"annotations": (SQUARE,)}, {"annotations": (OTHER,)}, "with different annotations"),
        ({"annotations": (SQUARE,)}, {"annotations": (SQUARE, OTHER)}, "with different annotations"),
        ({}, {"annotations": (SQUARE,)}, "only the second has annotations of it: name that source first"),
        ({"annotations": ()}, {"annotations": (SQUARE,)}, "only the second has annotations"),
        ({"licence": "CC0"}, {"licence": "CC BY 4.0"}, "under different licences"),
        ({"bokeh": True}, {"bokeh": False}, "once as bokeh and once not"),
        ({"annotations": (SQUARE,)}, {"annotations": (SQUARE,)}, ""),
        ({"annotations": (SQUARE,), "licence": "CC0"}, {}, ""),
        ({"excluded": True}, {"annotations": (SQUARE,), "licence": "CC0"}, ""),
    ],
)
def test_two_listings_of_a_photo_do_not_contradict_each_other(
    tmp_path: Path, first: dict, second: dict, complaint: str
) -> None:
    listings = [SourcePhoto("u", "a.jpg", "one", **first), SourcePhoto("u", "a.jpg", "two", **second)]
    run = RunFolder(tmp_path / "run")
    if not complaint:
        assert run.append(listings, 4) == Appended(new=1, twice=1, gone=0)
        return
    with pytest.raises(ValueError, match=f"a.jpg is listed twice, by one and by two, .*{complaint}"):
        run.append(listings, 4)
    assert run.parts() == []


def test_what_belongs_to_no_photo_is_kept_for_each_source(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.create()
    a, b = (SourceSettings(kind="coco", path=f"http://host/{name}.json?token=secret") for name in "ab")
    assert run.note_left_out({a: Counter({"crowd": 2, "annotation of no photo": 0})}) == {"crowd": 2}
    assert run.note_left_out({b: Counter({"crowd": 1})}) == {"crowd": 3}  # of an earlier build too
    assert run.note_left_out({a: Counter({"annotation of no photo": 5})}) == {"annotation of no photo": 5, "crowd": 1}
    assert run.parts() == []  # it is no part of the manifest
    [path] = run.manifest.iterdir()
    assert "secret" not in path.read_text()
    for damaged in ("{", "[1]", '{"a": 1}', '{"a": {"crowd": "many"}}'):
        path.write_text(damaged)
        with pytest.raises(ValueError, match=rf"{path} is damaged: remove it"):
            run.note_left_out({a: Counter()})


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


def test_a_manifest_from_before_sources_said_sizes_is_gone_on_with(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.append(photos(1), 4)
    sized = [replace(photo, annotated_size=(48, 80)) for photo in photos(1, 2)]
    assert run.append(sized, 4) == Appended(new=1, twice=0, gone=0)
    assert run.append(sized, 4) == Appended(new=0, twice=0, gone=0)
    for other in ((80, 48), None):
        with pytest.raises(ValueError, match="say other things of n2"):
            run.append([replace(sized[1], annotated_size=other)], 4)
    for record in (Row(photos(1)[0]), photos(1)[0]):
        stored = TypeAdapter(type(record)).dump_json(record)
        assert b"orientation" not in stored and b"annotated_size" not in stored, "as manifests always were"


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
    for damaged in ("{", "[1]", "1", '{"schema": 1, "schema": 1}', "[" * 200_000):
        (tmp_path / "run/run.json").write_text(damaged)
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
