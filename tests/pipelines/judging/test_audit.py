from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from instructrestore.dataengine.judging.accuracy import stated
from instructrestore.dataengine.judging.judgement import region_id
from instructrestore.dataengine.judging.log import JudgementLog, log_path
from instructrestore.dataengine.judging.sampling import queue_path, read_queue
from instructrestore.dataengine.reporting import card, report, statistics
from instructrestore.pipelines.cli import app
from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import AnnotatedPhoto
from tests.dataengine.judging.judgements import judged
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    samples = []
    for seed in range(6):
        photo, rgb = photo_of(seed, 64, 48)
        regions = (
            region_of(photo, 0, 0, 64, 20, "the sky|*<b>", "sky"),
            region_of(photo, 4, 24, 8, 8, f"a dog {seed}", "dog"),
        )
        samples.append((AnnotatedPhoto(photo, regions), rgb))
    return write_dataset(tmp_path / "dataset", samples)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["audit", *(str(argument) for argument in arguments)])


def answer(dataset: Dataset, tmp_path: Path, who: str, wrong: int) -> Result:
    """Hands in answers to the whole queue of which the first `wrong` say that the caption is wrong."""
    lines = [json.loads(line) for line in queue_path(dataset.path).read_bytes().splitlines()]
    answered = [each | {"mask_right": True, "caption_right": place >= wrong} for place, each in enumerate(lines)]
    path = tmp_path / "answers"
    path.write_text("".join(json.dumps(each) + "\n" for each in answered))
    return run(dataset.path, "--answers", path, "--who", who)


def test_a_sample_is_drawn_judged_and_stated(dataset: Dataset, tmp_path: Path) -> None:
    assert "add --sample 200" in str(run(dataset.path).exception)
    drawn = run(dataset.path, "--sample", 8)
    assert "8 of 12 regions, of 2 strata, are to be judged" in drawn.output
    assert "has been judged yet" in str(run(dataset.path).exception)
    before = queue_path(dataset.path).read_bytes()
    run(dataset.path, "--sample", 8, "--seed", 1)
    assert queue_path(dataset.path).read_bytes() != before
    run(dataset.path, "--sample", 8, "--seed", 0)
    assert queue_path(dataset.path).read_bytes() == before

    assert "8 new judgements, 0 known ones" in answer(dataset, tmp_path, "Ann", 2).output
    assert "0 new judgements, 8 known ones" in answer(dataset, tmp_path, "Ann", 2).output
    assert "8 new judgements" in answer(dataset, tmp_path, "Ben", 4).output
    shown = run(dataset.path)
    assert shown.exit_code == 0 and "100.0% (67.6 to 100.0)" in shown.output
    assert "Ann and Ben judged the same 8 regions" in " ".join(shown.output.split())
    figures = json.loads(run(dataset.path, "--json").output)
    assert figures["all"]["caption"]["share"] == pytest.approx(5 / 8) and figures["judges"] == 2


def test_card_and_report_carry_it_and_a_version_says_whose_it_is(dataset: Dataset, tmp_path: Path) -> None:
    run(dataset.path, "--sample", 12)
    answer(dataset, tmp_path, "Ann [b] <i>", 3)
    accuracy, figures = stated(dataset), statistics.of_dataset(dataset)
    assert accuracy
    card.write_card(Path(dataset.path), dataset.card, figures, accuracy=accuracy)
    readme = (tmp_path / "dataset" / "README.md").read_text()
    assert (
        "## Accuracy" in readme and "| all regions | 12 | 12 | 100.0% (75.8 to 100.0) | 75.0% (46.8 to 91.1)" in readme
    )
    assert "Ann" not in readme  # people gave their names to each other
    report.write_report(tmp_path / "report.html", dataset, figures, [], "", accuracy=accuracy)
    assert "<h2>Accuracy</h2>" in (tmp_path / "report.html").read_text()

    sample = dataset.record(0)
    log = JudgementLog(log_path(dataset.path))
    log.append(judged("reject", region_id(sample.regions[1]), key=sample.photo.key))
    ended = CliRunner().invoke(app, ["revise", dataset.path, "--out", str(tmp_path / "v2")])
    assert ended.exit_code == 0, ended.output
    readme = (tmp_path / "v2" / "README.md").read_text()
    assert "before its changes" in readme and dataset.sha256 in readme and "75.0%" in readme
    assert stated(Dataset(str(tmp_path / "v2"))) is None


def test_a_rebuilt_data_set_keeps_judgements_of_regions_that_are_the_same(dataset: Dataset, tmp_path: Path) -> None:
    run(dataset.path, "--sample", 12)
    answer(dataset, tmp_path, "Ann", 3)
    samples = []
    for row in range(dataset.index.num_rows):
        record = dataset.record(row)
        renamed = region_of(record.photo, 0, 0, 64, 20, "the sea", "sea")
        samples.append((AnnotatedPhoto(record.photo, (renamed, record.regions[1])), photo_of(row, 64, 48)[1]))
    rebuilt = write_dataset(tmp_path / "dataset", samples)
    assert stated(rebuilt) is None and "another version" in str(run(rebuilt.path).exception)
    assert "6 of them were judged before" in run(rebuilt.path, "--sample", 12).output
    accuracy = stated(rebuilt)
    assert accuracy and (accuracy.judged, accuracy.left_out) == (6, 6)


@pytest.mark.parametrize(
    "line",
    [
        "{}{}",
        '{"key": "KEY", "region": "REGION", "mask_right": 1, "caption_right": true}',
        '{"key": "KEY", "region": "REGION", "mask_right": true}',
        '{"key": "KEY", "region": "0000000000000000", "mask_right": true, "caption_right": true}',
        '{"mask_right": true, "caption_right": true}',
    ],
)
def test_answers_that_are_none_are_named(dataset: Dataset, tmp_path: Path, line: str) -> None:
    run(dataset.path, "--sample", 2)
    drawn = read_queue(queue_path(dataset.path))[0]
    path = tmp_path / "answers"
    path.write_text(line.replace("KEY", drawn.key).replace("REGION", drawn.region))
    ended = run(dataset.path, "--answers", path, "--who", "Ann")
    assert isinstance(ended.exception, ValueError) and f"line 1 of {path}" in str(ended.exception)
    assert not log_path(dataset.path).exists()
    assert isinstance(run(dataset.path, "--answers", path).exception, ValueError)  # whose are they?
