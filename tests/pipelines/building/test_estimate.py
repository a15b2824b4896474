"""What a build will take: from a few photos through the real stages, and what is made of their figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from rich.console import Console
from typer.testing import CliRunner

from instructrestore.dataengine.noun_phrases.parser import PhraseResult
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.running.side_table import write_side_table
from instructrestore.dataengine.running.stage import StageSpec
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.pipelines.building.build import listed
from instructrestore.pipelines.building.estimate import estimate, print_estimate
from instructrestore.pipelines.building.measure import Measured, StageTime, draw, measure
from instructrestore.pipelines.building.presets import build_settings, with_values
from instructrestore.pipelines.building.rounds_ahead import rounds_ahead, tokens
from instructrestore.pipelines.cli import app
from instructrestore.shards.sample import Answer
from tests.pipelines.photos import make_photos

SPEC = StageSpec("masks", lambda: list, "", Row, Row)


def described_photos(folder: Path, count: int) -> str:
    """Photos of which a COCO JSON describes a region each; the source."""
    make_photos(folder / "photos", count)
    names = sorted(path.name for path in (folder / "photos").iterdir())
    box = [10, 10, 60, 10, 60, 60, 10, 60]
    content = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "categories": [{"id": number, "name": f"the dog of house {number} is red"} for number in range(count)],
        "annotations": [{"image_id": number, "category_id": number, "segmentation": [box]} for number in range(count)],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return f"coco:{folder}/instances.json?images={folder}/photos"


def settings_of(source: str, **values: object) -> BuildSettings:
    gate = {"quality_gate": {"short_side": 64, "score": 0}, "masks": {"segmenter": "annotated"}}
    return with_values(build_settings([source], (), "embedded"), {**gate, **values})


def text_of(settings: BuildSettings, measured: Measured, photos: int, out: Path, price: float | None = None) -> str:
    console = Console(width=300)
    with console.capture() as captured:
        print_estimate(estimate(settings, measured, photos, out), measured, out, price, console)
    return captured.get()


def test_a_few_photos_go_through_every_stage_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    settings = settings_of(described_photos(tmp_path, 6))
    said: list[str] = []
    measured = measure(settings, draw(listed(settings, {}), 4), said.append)
    assert measured.problem == "" and measured.photos == 4
    names = list(measured.stages)
    assert names[:5] == ["intake", "deduplicate", "quality gate", "masks", "descriptions"]
    assert "noun phrases, round 1" in names and names[-1].endswith(" shards")
    assert said == [f"measuring {name}" for name in names]
    assert measured.stages["intake"].rows == 4 and all(stage.work_s > 0 for stage in measured.stages.values())
    assert len(measured.questions[0]) == len({text for one in measured.described for text in one}) > 0
    assert measured.pieces == 0  # this source describes its regions itself
    assert measured.bytes["dataset"] > 1000 and measured.bytes["run"] > 1000
    assert list((tmp_path / "temporary").iterdir()) == []
    text = text_of(settings, measured, 400, tmp_path / "run", 2.5)
    assert "in all for 400 photos" in text and "at 2.5 an hour" in text and "assumed: " in text
    assert not (tmp_path / "run").exists()


def test_the_sample_does_not_depend_on_the_order_of_the_sources(tmp_path: Path) -> None:
    photos = list(listed(settings_of(described_photos(tmp_path, 9)), {}))
    assert draw(photos, 3) == draw(reversed(photos), 3)
    assert len(draw(photos, 100)) == 9


def test_time_follows_from_rows_workers_and_parts(tmp_path: Path) -> None:
    settings = with_values(BuildSettings(), {"run": {"cpus": 4}, "photos_per_part": 64})
    measured = Measured(10, {"masks": StageTime(SPEC, start_s=3.0, work_s=5.0, processor_s=8.0, rows=8)}, others_s=1.0)
    found = estimate(settings, measured, 1000, tmp_path)
    stage = found.stages[0]
    assert (stage.rows, stage.workers, stage.row_s) == (800, 4, 0.625)
    assert stage.wall_s == pytest.approx(3 + 4 * 64 * 0.625)  # 13 parts are four rounds of four workers
    assert found.wall_s == pytest.approx(stage.wall_s + 100)
    one = estimate(settings, measured, 40, tmp_path).stages[0]
    assert (one.rows, one.workers, one.wall_s) == (32, 1, pytest.approx(3 + 32 * 0.625))


def test_gpu_hours_are_those_of_all_workers(tmp_path: Path) -> None:
    spec = StageSpec("masks", lambda: list, "", Row, Row, gpus=0.5, cpus=1)
    measured = Measured(10, {"masks": StageTime(spec, start_s=36.0, work_s=36.0, rows=10)})
    found = estimate(with_values(BuildSettings(), {"run": {"cpus": 2}}), measured, 10_000, tmp_path)
    assert found.stages[0].gpu_hours == pytest.approx(0.5 * (2 * 36 + 36_000) / 3600)


def test_what_cannot_be_measured_here_is_said(tmp_path: Path) -> None:
    served = {"kind": "server", "server": {"where": "started", "model": "some/model", "revision": "0" * 40}}
    settings = settings_of(described_photos(tmp_path, 3), noun_phrases={"small": served})
    measured = measure(settings, draw(listed(settings, {}), 3), lambda line: None)
    assert measured.problem == "the noun phrases, round 1 stage asks a model that only a build starts"
    text = text_of(settings, measured, 300, tmp_path)
    assert "not measured, and not in the time: the stages from here on: the noun phrases, round 1 stage asks" in text
    assert "tokens, if a language model answers them:" in text


def described(*photos: list[str]) -> Measured:
    return Measured(len(photos), described=list(photos), questions=[sorted({text for one in photos for text in one})])


def test_distinct_descriptions_grow_as_they_do_in_the_sample(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    same = rounds_ahead(described(*[["the sky"]] * 8), 8000, 3, 200, folder)
    new = rounds_ahead(described(*[[f"thing {number}"] for number in range(8)]), 8000, 3, 200, folder)
    assert same and same.asked == (1, 0, 0)
    assert new and new.asked == (8000, 0, 0)
    assert rounds_ahead(Measured(8, described=[[]] * 8), 8000, 3, 200, folder) is None


def test_what_is_asked_again_is_the_samples_share_and_rare_subjects(tmp_path: Path) -> None:
    measured = described(*[[f"thing {number}"] for number in range(8)])
    measured.questions += [["thing 1", "thing 2"], ["thing 1"]]
    words = ("cat", "dog", "hat", "car", "bus", "tie", "cup", "box")
    measured.answers = [Answer("m", "1", 1, f"a {word}", word) for word in words]
    found = rounds_ahead(measured, 800, 3, 200, RunFolder(tmp_path))
    assert found and found.rare == 600  # 800 subjects are expected, and ranks end at 200
    assert found.asked == (800, 800, 700)
    assert found.shares_from == "the sample"
    assert found.tokens_in > 300 > found.tokens_out > 5


def test_an_earlier_builds_own_shares_come_first(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    counts = {"asked in round 1": 200, "asked in round 2": 50, "asked in round 3": 20}
    facts = {"counts": counts}
    write_side_table(folder.tables / "phrases-00.parquet", [], TypeAdapter(PhraseResult), facts)
    found = rounds_ahead(described(*[[f"thing {number}"] for number in range(8)]), 800, 3, 200, folder)
    assert found and found.asked == (800, 200, 80) and found.shares_from.startswith("the build in ")


def test_tokens_are_counted_in_words_and_signs() -> None:
    assert tokens("the red dog") == 3
    assert tokens('{"a": 7}') == 7
    assert tokens("photographically") == 3
    assert tokens("") == 0


@pytest.mark.parametrize("words", [["--measure", "5"], ["--dry-run", "--price", "2"], ["--dry-run", "--measure", "1"]])
def test_an_estimate_needs_its_options_together(words: list[str], tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, ["build", str(tmp_path), *words])
    assert ended.exit_code != 0 and (isinstance(ended.exception, ValueError) or ended.exit_code == 2)
