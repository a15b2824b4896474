"""Where a region is from: what the record, the data set, the run and the judgements say, each where it is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from instructrestore.dataengine.judging.judgement import region_id
from instructrestore.dataengine.lineage.judgements import judgements
from instructrestore.dataengine.lineage.names import parse_region, region_number
from instructrestore.dataengine.lineage.trace import trace_dropped, trace_photo
from instructrestore.dataengine.noun_phrases.parser import ParserSettings, cache_identity
from instructrestore.dataengine.noun_phrases.prompt import PROMPT_REVISION
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.running.part_files import Outcome, write_part
from instructrestore.dataengine.running.server_settings import ServerSettings
from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import Agreement, AnnotatedPhoto, Answer, Piece, Region
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset

ROWS = TypeAdapter(Row)
SERVER = ServerSettings(where="running", urls=("http://127.0.0.1:1/v1",), model="org/qwen", revision="c0ffee")
CONFIGURATION: dict[str, Any] = {
    "merge": {"synonyms": True},
    "noun_phrases": {"small": {"kind": "server", "server": SERVER.model_dump(mode="json")}},
}


def two_photos() -> tuple[AnnotatedPhoto, AnnotatedPhoto, list[Any]]:
    (photo, rgb), (other, other_rgb) = photo_of(1, 64, 48), photo_of(2, 64, 48)
    dog, cat = (region_of(photo, x, 4, 20, 30, f"a {name}", name) for x, name in ((2, "dog"), (40, "cat")))
    answers = (
        Answer("org/qwen", "c0ffee", 1, "", "dogg", "subject_not_in_text"),
        Answer("grammar", "1", 2, "a dog", "dog"),
    )
    pieces = (Piece(dog.mask, "sam2 1", "the dog is red", "osprey 7b", "a dog", "dog", answers), *cat.pieces)
    merged = Region("a dog", "dog", dog.mask, False, pieces, Agreement(31.5, "clip 1"))
    one, two = (
        AnnotatedPhoto(photo, (merged, cat)),
        AnnotatedPhoto(other, (region_of(other, 0, 0, 9, 9, "Dogs", "Dogs"),)),
    )
    return one, two, [(one, rgb), (two, other_rgb)]


def make_run(run: Path, one: AnnotatedPhoto, other: AnnotatedPhoto) -> None:
    """Two stages of a build, in which the photos are in the second of two parts; a third stage for the other one."""
    rows = [Row(SourcePhoto(f"/photos/{n}", f"{n}", "made"), each.photo) for n, each in enumerate((one, other))]
    stranger = Row(SourcePhoto("/photos/9", "9", "made"), photo_of(9, 64, 48)[0])
    masked = [Row(row.origin, row.photo, counts={"island dropped": 3} if n == 0 else {}) for n, row in enumerate(rows)]
    for folder in ("01-intake", "04-masks", "08-png-shards"):
        (run / "stages" / folder).mkdir(parents=True)
    for stage, part, of_part in (("01-intake", 0, [stranger]), ("01-intake", 1, rows), ("04-masks", 1, masked)):
        outcomes = [Outcome(row.origin.uri, "ok", row) for row in of_part]
        write_part(run / "stages" / stage, part, "0" * 16, 0, outcomes, ROWS)
    (run / "run.json").write_text('{"schema": 1}')
    (run / "tables").mkdir()
    (run / "tables/subjects.csv").write_text("subject,count,rank\ncow,90,1\ndog,70,2\n")
    (run / "answers" / cache_identity(ParserSettings(kind="server", server=SERVER))).mkdir(parents=True)


def test_a_region_is_followed_back_to_photo_stages_answers_and_place(tmp_path: Path) -> None:
    one, other, samples = two_photos()
    dataset = write_dataset(tmp_path / "run/dataset", samples, CONFIGURATION)
    make_run(tmp_path / "run", one, other)
    row = dataset.find(one.photo.key)
    found = trace_photo(dataset, row, 0, tmp_path / "run", None)
    assert json.loads(json.dumps(found)) == found
    assert (found["photo"]["sha256"], found["photo"]["licence"]) == (one.photo.sha256, "CC0-1.0")
    shard = (Path(dataset.path) / found["place"]["shard"]).read_bytes()
    start = found["place"]["record_offset"]
    assert json.loads(shard[start : start + found["place"]["record_bytes"]])["photo"]["key"] == one.photo.key
    assert [(each["stage"], each["outcome"], each["noticed"]) for each in found["stages"]] == [
        ("01-intake", "ok", {}),
        ("04-masks", "ok", {"island dropped": 3}),
    ]
    assert all(each["part"].startswith("000001-") for each in found["stages"])
    (region,) = found["regions"]
    assert (region["number"], region["id"], region["caption"]) == (1, region_id(one.regions[0]), "a dog")
    assert (region["subject_count"], region["subject_rank"]) == (70, 2)
    assert region["agreement"] == {"score": 31.5, "model": "clip 1"}
    assert region["merging"] == {"synonyms": True}
    assert region["box_xywh"] == [2, 4, 20, 30]
    assert [piece["segmenter"] for piece in region["pieces"]] == ["sam2 1", "made"]
    answers = region["pieces"][0]["answers"]
    assert [(each["model"], each["round"], each["faults"]) for each in answers] == [
        ("org/qwen", 1, "subject_not_in_text"),
        ("grammar", 2, ""),
    ]
    assert [each["prompt"] for each in answers] == [PROMPT_REVISION, ""]


def test_without_the_run_the_data_set_says_what_it_knows(tmp_path: Path) -> None:
    one, _, samples = two_photos()
    dataset = write_dataset(tmp_path / "data", samples, CONFIGURATION)
    found = trace_photo(dataset, dataset.find(one.photo.key), None, None, tmp_path / "none.jsonl")
    assert found["stages"] == found["judgements"] == []
    assert [each["subject"] for each in found["regions"]] == ["dog", "cat"]
    dog = found["regions"][0]
    assert (dog["subject_count"], dog["subject_rank"]) == (2, 1)  # "dog" and "Dogs"
    assert dog["pieces"][0]["answers"][0]["prompt"] == ""  # which prompt it was, nothing here tells


def test_a_dropped_photo_ends_at_its_stage(tmp_path: Path) -> None:
    one, other, samples = two_photos()
    dataset = write_dataset(tmp_path / "run/dataset", samples)
    make_run(tmp_path / "run", one, other)
    gate = tmp_path / "run/stages/03-quality-gate"
    gate.mkdir()
    outcomes = [
        Outcome("/photos/0", "dropped", None, "low score", "12 of 60"),
        Outcome("/photos/1", "ok", Row(SourcePhoto("/photos/1", "1", "made"))),
    ]
    write_part(gate, 1, "0" * 16, 0, outcomes, ROWS)
    found = trace_photo(dataset, dataset.find(one.photo.key), None, tmp_path / "run", None)
    assert [(each["stage"], each["outcome"], each["reason"], each["detail"]) for each in found["stages"]][1] == (
        *("03-quality-gate", "dropped"),
        *("low score", "12 of 60"),
    )


def test_a_photo_that_is_in_no_data_set_is_known_to_its_run(tmp_path: Path) -> None:
    one, other, _ = two_photos()
    make_run(tmp_path / "run", one, other)
    stranger = photo_of(9, 64, 48)[0]
    found = trace_dropped(tmp_path / "run", stranger.key[:8])
    assert found is not None
    assert (found["photo"]["sha256"], found["photo"]["name"]) == (stranger.sha256, "photo 9.png")
    assert [(each["stage"], each["outcome"]) for each in found["stages"]] == [("01-intake", "ok")]
    assert trace_dropped(tmp_path / "run", "0" * 20) is None


def test_judgements_of_the_region_and_of_its_photo(tmp_path: Path) -> None:
    one, _, samples = two_photos()
    dataset = write_dataset(tmp_path / "data", samples)
    dog, cat = map(region_id, one.regions)
    log = tmp_path / "data.judgements.jsonl"
    given = {"when": "2026-01-31T12:00:00Z", "dataset": "0" * 64}
    said = [
        {"who": "ann", "key": one.photo.key, "region": dog, "act": "accept"},
        {"who": "ann", "key": one.photo.key, "region": cat, "act": "reject"},
        {"who": "bo", "key": "f" * 20, "region": dog, "act": "reject"},
        {"who": "bo", "key": one.photo.key, "region": "", "act": "reject_photo"},
        {"who": "bo", "key": one.photo.key, "region": "", "act": "undo", "of": 4},
        {"who": "cy", "key": one.photo.key, "region": cat, "act": "merge", "others": [dog],
         "caption": "the dog and the cat", "subject": "animal"},
    ]  # fmt: skip
    log.write_text("".join(json.dumps({**given, **each}) + "\n" for each in said) + '{"who": "torn", "key"')
    assert [(each["line"], each["who"], each["undone"]) for each in judgements(log, one.photo.key)] == [
        *((1, "ann", False), (2, "ann", False), (4, "bo", True), (6, "cy", False)),
    ]
    of_dog = trace_photo(dataset, dataset.find(one.photo.key), 0, None, log)["judgements"]
    assert [each["line"] for each in of_dog] == [1, 4, 6]


@pytest.mark.parametrize("text", ["", "8f#0", "8f#", "8f#x", "8F", "../x#1", "8f#1234567", "8f#1#2", "g"])
def test_names_that_name_no_region(text: str) -> None:
    with pytest.raises(ValueError, match="names no region: write a photo's key"):
        parse_region(text)


def test_a_region_by_its_number_and_by_its_id(tmp_path: Path) -> None:
    one, _, _ = two_photos()
    assert parse_region("8f3a2c#2") == ("8f3a2c", "2")
    assert parse_region(one.photo.key) == (one.photo.key, "")
    assert region_number(one, "2") == region_number(one, region_id(one.regions[1])) == 1
    with pytest.raises(ValueError, match="has 2 regions, and no region 3"):
        region_number(one, "3")
    with pytest.raises(ValueError, match="has no region 0123456789abcdef"):
        region_number(one, "0123456789abcdef")


def test_an_id_is_the_hash_of_mask_and_caption() -> None:
    import hashlib

    one, _, _ = two_photos()
    mask = one.regions[0].mask
    said = f"48 64 {mask.counts}\na dog"
    assert region_id(one.regions[0]) == hashlib.sha256(said.encode()).hexdigest()[:16]


def test_a_data_set_that_is_a_version_names_what_it_was_made_of(tmp_path: Path) -> None:
    _, _, samples = two_photos()
    dataset = write_dataset(tmp_path / "v2", samples, {"parent": {"name": "v1", "sha256": "0" * 64}})
    assert isinstance(dataset, Dataset)
    assert trace_photo(dataset, 0, None, None, None)["dataset"]["parent"]["name"] == "v1"
