"""Corrections made in Label Studio, as judgements: each change its own, and nothing taken for a change that is none."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instructrestore.dataengine.exchange import corrections
from instructrestore.dataengine.exchange.corrections import Corrector, judgements, to_lines
from instructrestore.dataengine.exchange.export import export
from instructrestore.dataengine.judging.judgement import region_id
from instructrestore.dataengine.sources import list_photos, parse_source
from instructrestore.dataengine.sources.brush_rle import decode, encode
from instructrestore.dataengine.sources.label_studio import list_label_studio
from instructrestore.shards.index import Dataset
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import AnnotatedPhoto
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset

WHEN = "2026-01-31T12:00:00Z"
BY = Corrector("ann", WHEN, "0" * 64)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A photo with a box, a dog in front of it, and a wall."""
    photo, rgb = photo_of(1, 40, 30)
    regions = (
        region_of(photo, 0, 0, 20, 30, "a red box", "box"),
        region_of(photo, 10, 10, 9, 15, "the small dog", "dog"),
        region_of(photo, 25, 0, 10, 10, "a wall", "wall"),
    )
    return write_dataset(tmp_path / "set", [(AnnotatedPhoto(photo, regions), rgb)])


@pytest.fixture
def tasks(dataset: Dataset, tmp_path: Path) -> list[dict[str, Any]]:
    """The data set as Label Studio gives it back when somebody submits what was predicted: under ids of its own."""
    export(dataset, "label-studio", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "tasks.json").read_bytes())
    for task in found:
        results = copy.deepcopy(task["predictions"][0]["result"])
        for result in results:
            result["id"] = f"new-{result['id'][:6]}"
        task["annotations"] = [{"id": 1, "completed_by": 1, "result": results}]
    return found


def corrected(
    dataset: Dataset, tasks: list[dict[str, Any]], left_out: Counter[str] | None = None, by: Corrector = BY
) -> list[dict[str, Any]]:
    path = Path(dataset.path).parent / "project.json"
    path.write_text(json.dumps(tasks))
    counts = Counter[str]() if left_out is None else left_out
    photos = list_label_studio(parse_source(f"label-studio:{path}"), counts, by_people=True)
    return list(judgements(dataset, photos, by, counts))


def results_of(tasks: list[dict[str, Any]], subject: str) -> list[dict[str, Any]]:
    """The results of the region with that label."""
    results = tasks[0]["annotations"][0]["result"]
    name = next(each["id"] for each in results if each["value"].get("brushlabels") == [subject])
    return [each for each in results if each["id"] == name]


def value_of(tasks: list[dict[str, Any]], subject: str, kind: str) -> dict[str, Any]:
    return next(each["value"] for each in results_of(tasks, subject) if each["type"] == kind)


def test_what_came_back_as_it_was_is_accepted(dataset: Dataset, tasks: list[dict[str, Any]]) -> None:
    record = dataset.record(0)
    told = {"when": WHEN, "who": "ann", "dataset": "0" * 64, "key": record.photo.key}
    accepted = [{**told, "region": region_id(region), "act": "accept"} for region in record.regions]
    assert corrected(dataset, tasks) == accepted
    assert [json.loads(line) for line in to_lines(accepted).splitlines()] == accepted


def test_predictions_that_nobody_looked_at_say_nothing(dataset: Dataset, tasks: list[dict[str, Any]]) -> None:
    tasks[0]["annotations"] = []
    left_out = Counter[str]()
    assert corrected(dataset, tasks, left_out) == [] and left_out == {corrections.NOT_LOOKED_AT: 1}


def _brush(tasks: list[dict[str, Any]]) -> None:
    value = value_of(tasks, "dog", "brushlabels")
    mask = decode(value["rle"], 30, 40)
    mask[9, 12] = True
    value["rle"] = encode(mask)


def _add(tasks: list[dict[str, Any]]) -> None:
    results = copy.deepcopy(results_of(tasks, "wall"))
    drawn = np.zeros((30, 40), np.bool_)
    drawn[20:, 30:] = True
    for result in results:
        result["id"] = "drawn"
    results[0]["value"] = {"format": "rle", "rle": encode(drawn), "brushlabels": ["cat"]}
    results[1]["value"] = {"text": ["a cat"]}
    tasks[0]["annotations"][0]["result"] += results


def _remove(tasks: list[dict[str, Any]]) -> None:
    gone = results_of(tasks, "dog")
    tasks[0]["annotations"][0]["result"] = [e for e in tasks[0]["annotations"][0]["result"] if e not in gone]


CHANGES: dict[str, tuple[Callable[[list[dict[str, Any]]], Any], dict[str, Any]]] = {
    "caption": (
        lambda tasks: value_of(tasks, "dog", "textarea").update(text=["the old dog"]),
        {"act": "caption", "caption": "the old dog"},
    ),
    "subject": (
        lambda tasks: value_of(tasks, "dog", "brushlabels").update(brushlabels=["puppy"]),
        {"act": "subject", "subject": "puppy"},
    ),
    "mask": (_brush, {"act": "mask"}),
    "remove": (_remove, {"act": "reject"}),
    "add": (_add, {"act": "add", "caption": "a cat", "subject": "cat"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_one_judgement(dataset: Dataset, tasks: list[dict[str, Any]], name: str) -> None:
    change, expected = CHANGES[name]
    change(tasks)
    found = [each for each in corrected(dataset, tasks) if each["act"] != "accept"]
    assert len(found) == 1 and expected.items() <= found[0].items()
    dog = dataset.record(0).regions[1]
    assert found[0]["region"] == ("" if name == "add" else region_id(dog))
    if name == "mask":
        mask = Mask(*found[0]["mask"]["size"], found[0]["mask"]["counts"])
        assert mask.area() == dog.mask.area() + 1
        loose = Corrector("ann", WHEN, "0" * 64, same=0.95)
        assert {each["act"] for each in corrected(dataset, tasks, by=loose)} == {"accept"}


@pytest.mark.parametrize("caption", ["word " * 60, "a\u202edog", "a \x1b[31m dog"])
def test_a_caption_that_cannot_be_is_left_out_and_counted(
    dataset: Dataset, tasks: list[dict[str, Any]], caption: str
) -> None:
    value_of(tasks, "dog", "textarea").update(text=[caption])
    left_out = Counter[str]()
    assert [each["act"] for each in corrected(dataset, tasks, left_out)] == ["accept", "accept"]
    assert left_out == {corrections.BAD_CAPTION: 1}


def test_a_mask_that_cannot_be_read_is_no_removal(dataset: Dataset, tasks: list[dict[str, Any]]) -> None:
    value_of(tasks, "dog", "brushlabels").update(rle=[1, 2, 3])
    left_out = Counter[str]()
    assert [each["act"] for each in corrected(dataset, tasks, left_out)] == ["accept", "accept"]
    assert left_out[corrections.NOT_READ] == 1 and left_out.total() == 2


def test_photos_of_other_data_sets_and_those_that_come_twice(dataset: Dataset, tasks: list[dict[str, Any]]) -> None:
    other = copy.deepcopy(tasks[0])
    other["data"]["image"] = "/data/local-files/?d=images/0123456789abcdef0123.png"
    left_out = Counter[str]()
    assert len(corrected(dataset, [*tasks, other, tasks[0]], left_out)) == 3
    assert left_out == {corrections.NOT_THERE: 1, corrections.TWICE: 1}


def test_coco_instances_come_back_in_the_same_way(dataset: Dataset, tmp_path: Path) -> None:
    export(dataset, "coco", tmp_path / "coco")
    path = tmp_path / "coco" / "annotations.json"
    content = json.loads(path.read_bytes())
    content["annotations"][1]["caption"] = "the old dog"
    path.write_text(json.dumps(content))
    photos = list_photos(parse_source(str(path)), Counter())
    found = list(judgements(dataset, photos, BY, Counter()))
    assert [each["act"] for each in found] == ["accept", "caption", "accept"]


@pytest.mark.parametrize("who", ["", " ann", "a\nb", "x" * 65])
def test_a_name_is_visible(who: str) -> None:
    with pytest.raises(ValueError, match="--who is a name of 1 to 64 visible characters"):
        Corrector(who, WHEN, "0" * 64)
