"""Builds from end to end, in one cluster: real annotated photos, and what a change, an addition or a fault redoes."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from instructrestore.dataengine.running.stage import StopStage
from instructrestore.dataengine.running.stage_summary import StageSummary
from instructrestore.dataengine.sources import parse_source
from instructrestore.pipelines.building.build import BuildResult, build, print_summary
from instructrestore.pipelines.building.plan import print_plan
from instructrestore.pipelines.building.presets import embedded, read_build_settings, sealed, to_toml, with_values
from instructrestore.shards.index import Dataset
from instructrestore.shards.verify import verify
from tests.pipelines.photos import BY_COLOUR, make_photos

pytestmark = pytest.mark.usefixtures("ray_cluster")
SMALL = {
    "photos_per_part": 4,
    "shards": {"photos_per_shard": 5},
    "quality_gate": {"short_side": 64, "score": 0.0},
    **BY_COLOUR,
}


def run(out: Path, *sources: str, retry_failed: bool = False, **changes: Any) -> BuildResult:
    values = {"sources": [parse_source(text) for text in sources], **SMALL, **changes}
    settings = with_values(embedded(), values)
    result = build(settings, out, Console(file=io.StringIO()), retry_failed)
    print_summary(result, Console(file=io.StringIO()))
    return result


def stage(result: BuildResult, name: str) -> StageSummary:
    return next(summary for summary in result.summaries if summary.name == name)


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def part_files(out: Path) -> dict[str, int]:
    """Every committed part and when it was written."""
    return {str(p.relative_to(out)): p.stat().st_mtime_ns for p in sorted((out / "stages").rglob("*-*-*.parquet"))}


def test_coco_photos_with_their_own_masks(tmp_path: Path, data_folder: Path) -> None:
    annotations = data_folder / "coco_tiny/annotations/instances_val2017.json"
    images = json.loads(annotations.read_bytes())["images"]
    result = run(
        tmp_path, str(annotations), masks={"segmenter": "annotated"}, quality_gate={"short_side": 1, "score": 0}
    )
    intake = stage(result, "intake")
    assert intake.input == len(images)
    assert intake.dropped["missing photo"] == sum(
        not (data_folder / "coco_tiny/val2017" / image["file_name"]).is_file() for image in images
    )
    assert verify(str(result.dataset)) == []
    dataset = Dataset(str(result.dataset))
    captions = {caption for row in dataset.index["captions"].to_pylist() for caption in row}
    assert captions
    assert all(caption.startswith("the ") or " " not in caption for caption in captions), captions
    phrases = stage(result, "noun phrases (distinct descriptions)")
    assert phrases.ok == phrases.input > 5
    sample, _ = dataset.read(0)
    assert sample.photo.licence
    assert sample.photo.url.startswith("http")
    assert {piece.segmenter for region in sample.regions for piece in region.pieces} == {"annotated"}
    assert all(piece.answers[-1].model == "grammar" for region in sample.regions for piece in region.pieces)


def test_panoptic_photos_with_their_own_masks(tmp_path: Path, data_folder: Path) -> None:
    folder = data_folder / "panoptic_sample"
    source = f"panoptic:{folder}/panoptic_examples.json?images={folder}/input_images"
    result = run(tmp_path, source, masks={"segmenter": "annotated"}, quality_gate={"short_side": 1, "score": 0})
    assert result.card.photos == len(json.loads((folder / "panoptic_examples.json").read_bytes())["images"])
    assert verify(str(result.dataset)) == []
    subjects = {s for row in Dataset(str(result.dataset)).index["subjects"].to_pylist() for s in row}
    assert {"person", "grass"} <= subjects or len(subjects) > 3


def test_a_data_set_is_a_source_again(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 6)
    first = run(tmp_path / "first", str(tmp_path / "photos"))
    again = run(tmp_path / "again", str(first.dataset))
    assert (again.card.photos, again.card.regions) == (first.card.photos, first.card.regions)
    one, two = Dataset(str(first.dataset)), Dataset(str(again.dataset))
    for column in ("key", "captions", "subjects", "areas"):
        assert one.index[column] == two.index[column], column


def test_photos_added_later_are_new_parts_and_nothing_else_is_redone(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    make_photos(photos, 16)
    run(tmp_path / "once", str(photos))
    out = tmp_path / "twice"
    run(out, str(photos), limit=8)
    before = part_files(out)
    run(out, str(photos))
    after = part_files(out)
    kept = {name for name in before if "shards" not in name}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert hashes(out / "dataset") == hashes(tmp_path / "once/dataset")


def test_running_again_does_nothing(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 6)
    result = run(tmp_path / "out", str(tmp_path / "photos"))
    before, data = part_files(tmp_path / "out"), hashes(result.dataset)
    again = run(tmp_path / "out", str(tmp_path / "photos"))
    assert part_files(tmp_path / "out") == before
    assert hashes(result.dataset) == data
    assert again.summaries == result.summaries


def test_the_ends_of_stages_are_told_where_that_is_asked_for_and_change_nothing(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 6)
    result = run(tmp_path / "out", str(tmp_path / "photos"))
    data, events = hashes(result.dataset), tmp_path / "events.jsonl"
    told = run(tmp_path / "out", str(tmp_path / "photos"), run={"openlineage": str(events)})
    kept = [json.loads(line)["run"]["facets"]["instructrestore_rows"]["ok"] for line in events.read_text().splitlines()]
    assert kept == [summary.ok for summary in told.summaries]
    run(tmp_path / "out", str(tmp_path / "photos"), run={"openlineage": "http://127.0.0.1:1"})
    assert hashes(result.dataset) == data


def test_a_changed_stage_is_redone_with_what_follows_and_nothing_before_it(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 6)
    out = tmp_path / "out"
    run(out, str(tmp_path / "photos"))
    before = part_files(out)
    result = run(out, str(tmp_path / "photos"), masks={"segmenter": "colour", "cleanup": {"most": 2}})
    after = part_files(out)
    for name in before:
        unchanged = any(part in name for part in ("intake", "deduplicate", "quality-gate"))
        assert (after.get(name) == before[name]) == unchanged, name
    assert len(after) == len(before), "what was superseded is gone"
    assert max(Dataset(str(result.dataset)).index["region_count"].to_pylist()) <= 2
    assert verify(str(result.dataset)) == []


@pytest.mark.slow
def test_a_lost_shard_is_written_again(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 6)
    result = run(tmp_path / "out", str(tmp_path / "photos"))
    data = hashes(result.dataset)
    (result.dataset / "jpg-000000.tar").unlink()
    (result.dataset / "png-000000.tar").write_bytes(b"cut")
    run(tmp_path / "out", str(tmp_path / "photos"))
    assert hashes(result.dataset) == data


def test_failed_rows_are_done_again_when_asked_and_alone(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    make_photos(photos, 6)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("uri\n" + "".join(f"{path}\n" for path in sorted(photos.iterdir())))
    hidden = photos / "photo 002.jpg"
    content = hidden.read_bytes()
    hidden.unlink()
    out = tmp_path / "out"
    result = run(out, str(manifest))
    assert stage(result, "intake").failed == {"FileNotFoundError: No such file or directory": 1}
    assert result.card.photos == 5
    hidden.write_bytes(content)
    assert run(out, str(manifest)).card.photos == 5, "failed rows wait until they are asked for"
    before = part_files(out)
    healed = run(out, str(manifest), retry_failed=True)
    assert healed.card.photos == 6
    assert stage(healed, "intake").failed == {}
    after = part_files(out)
    untouched = [name for name in before if "01-intake/000001" in name]
    assert untouched
    assert all(after[name] == before[name] for name in untouched)
    run(tmp_path / "whole", str(manifest))
    assert hashes(out / "dataset") == hashes(tmp_path / "whole/dataset")


def test_a_photo_that_vanishes_after_intake_is_accounted_for(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    make_photos(photos, 5)
    run(tmp_path / "out", str(photos))
    (photos / "photo 000.jpg").unlink()
    result = run(tmp_path / "out", str(photos), quality_gate={"short_side": 64, "score": 0.5})
    assert stage(result, "quality gate").failed == {"FileNotFoundError: No such file or directory": 1}
    assert verify(str(result.dataset)) == []


def test_copies_and_excluded_photos_are_left_out_and_groups_travel(tmp_path: Path) -> None:
    photos, held_out = tmp_path / "photos", tmp_path / "held out"
    make_photos(photos, 6)
    held_out.mkdir()
    (held_out / "test.png").write_bytes((photos / "photo 003.png").read_bytes())
    (photos / "zz copy.jpg").write_bytes((photos / "photo 000.jpg").read_bytes())
    result = run(tmp_path / "out", str(photos), f"folder:{held_out}?exclude=true")
    dropped = stage(result, "deduplicate").dropped
    assert dropped == {"exact duplicate": 1, "exclude list": 2}
    dataset = Dataset(str(result.dataset))
    assert result.card.photos == 5
    assert dataset.index["group"].to_pylist() == dataset.index["key"].to_pylist()


def test_settings_come_out_as_the_file_that_reproduces_the_run(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 4)
    run(tmp_path / "out", str(tmp_path / "photos"))
    settings = read_build_settings("embedded", tmp_path / "out/settings.toml", ())
    assert sealed(to_toml(settings)) == (tmp_path / "out/settings.toml").read_text()
    build(settings, tmp_path / "again", Console(file=io.StringIO()))
    assert hashes(tmp_path / "again/dataset") == hashes(tmp_path / "out/dataset")


def test_a_build_that_keeps_nothing_says_so_and_is_sound(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 3)
    result = run(tmp_path / "out", str(tmp_path / "photos"), quality_gate={"short_side": 500, "score": 0})
    assert (result.card.photos, result.card.shards) == (0, ())
    assert verify(str(result.dataset)) == []
    assert stage(result, "quality gate").dropped == {"short side": 3}
    assert "empty" in (tmp_path / "out/report.html").read_text().lower()


def test_a_source_that_is_gone_stops_the_run_with_the_cause(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("uri\n" + "".join(f"/nowhere/{n}.jpg\n" for n in range(40)))
    with pytest.raises(StopStage, match="rows in a row failed in the intake stage, the latest with 'FileNotFound"):
        run(tmp_path / "out", str(manifest), run={"max_failures_in_a_row": 10})


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 3)
    settings = with_values(embedded(), {"sources": [parse_source(str(tmp_path / "photos"))]})
    text = io.StringIO()
    print_plan(settings, tmp_path / "out", Console(file=text, width=200))
    assert not (tmp_path / "out").exists()
    assert "3  photos of photos" in text.getvalue()
    assert "intake -> near-duplicates -> deduplicate -> quality gate -> masks" in text.getvalue()
    assert "descriptions -> noun phrases -> merge -> bokeh" in text.getvalue()


@pytest.mark.slow
def test_a_setting_taken_back_after_an_interruption_leaves_no_stale_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, out = str(tmp_path / "photos"), tmp_path / "out"
    make_photos(tmp_path / "photos", 6)
    first = hashes(run(out, photos).dataset)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("instructrestore.pipelines.building.build.publish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(out, photos, masks={"segmenter": "colour", "cleanup": {"most": 2}})
    assert not (out / "dataset/dataset.json").exists(), "half a data set is none"
    result = run(out, photos)
    assert verify(str(result.dataset)) == []
    assert hashes(result.dataset) == first


def test_a_photo_on_the_exclude_list_is_excluded_even_if_another_source_lists_it(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 4)
    make_photos(tmp_path / "photos/test", 2, first=10)
    result = run(tmp_path / "out", str(tmp_path / "photos"), f"folder:{tmp_path}/photos/test?exclude=true")
    assert stage(result, "deduplicate").dropped == {"exclude list": 2}
    assert result.card.photos == 4
    run(tmp_path / "late", str(tmp_path / "photos"))
    with pytest.raises(ValueError, match="say other things of"):
        run(tmp_path / "late", str(tmp_path / "photos"), f"folder:{tmp_path}/photos/test?exclude=true")


def test_photos_added_by_naming_a_folder_above_are_new_and_the_others_known(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos/some", 4)
    run(tmp_path / "out", str(tmp_path / "photos/some"))
    before = part_files(tmp_path / "out")
    make_photos(tmp_path / "photos/more", 2, first=4)
    result = run(tmp_path / "out", str(tmp_path / "photos"))
    assert result.card.photos == 6
    assert {name: part_files(tmp_path / "out").get(name) for name in before if "shards" not in name} == {
        name: time for name, time in before.items() if "shards" not in name
    }
    recorded = read_build_settings("embedded", tmp_path / "out/settings.toml", ())
    assert [source.path for source in recorded.sources] == [str(tmp_path / "photos/some"), str(tmp_path / "photos")]


def test_an_empty_source_leaves_no_folder_behind(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no photos"):
        run(tmp_path / "out", str(tmp_path / "empty"))
    assert not (tmp_path / "out").exists()
