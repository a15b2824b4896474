"""Judging over HTTP: every judgement a line, what stands of them, who is led where."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from instructrestore.dataengine.judging.judgement import judgement_of, now, region_id
from instructrestore.dataengine.judging.log import JudgementLog, log_path
from instructrestore.dataengine.judging.sampling import draw, queue_path, write_queue
from instructrestore.pipelines.app.server import make_server
from instructrestore.shards.index import Dataset
from instructrestore.shards.rle import Mask
from tests.pipelines.app.asking import API, refused
from tests.pipelines.app.conftest import HERE, TOKEN, settings_in
from tests.shards.samples import write_dataset

AT = f"{API}/dataset"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "dataset", 2)
    return tmp_path / "dataset"


@pytest.fixture
def client(place: Path, tmp_path: Path) -> Iterator[TestClient]:
    settings = settings_in(tmp_path / "app", dataset=place)
    with TestClient(make_server(settings), base_url=HERE, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        while client.get(AT).json()["state"] == "being read":
            time.sleep(0.02)
        yield client


def first(client: TestClient) -> dict[str, Any]:
    key = client.get(f"{AT}/photos").json()["photos"][0]["key"]
    return client.get(f"{AT}/photos/{key}/judged").json()


def judge(client: TestClient, photo: dict[str, Any], **said: Any) -> dict[str, Any]:
    answer = client.post(f"{AT}/judgements", json={"who": "Ann", "key": photo["key"]} | said)
    assert answer.status_code == 201, answer.text
    return answer.json()


def captions(photo: dict[str, Any]) -> list[str]:
    return [region["caption"] for region in photo["regions"]]


def test_each_is_one_line_of_the_log_beside_the_data_set(client: TestClient, place: Path) -> None:
    photo = first(client)
    dog = next(region for region in photo["regions"] if region["subject"] == "dog")
    assert judge(client, photo, act="accept", region=dog["id"])["number"] == 1
    taken = judge(client, photo, act="caption", region=dog["id"], caption="the brown dog")
    assert (taken["number"], sorted(captions(taken["photo"]))) == (2, ["a wall", "the brown dog"])
    lines = log_path(str(place)).read_text("utf-8").splitlines()
    assert [json.loads(line)["act"] for line in lines] == ["accept", "caption"]
    assert {json.loads(line)["dataset"] for line in lines} == {Dataset(str(place)).sha256}
    unjudged = client.get(f"{AT}/photos/{photo['key']}").json()
    assert sorted(captions(unjudged)) == ["a wall", "the red dog"]


def test_judged_is_told_and_undone(client: TestClient) -> None:
    photo = first(client)
    assert [region["judged"] for region in photo["regions"]] == [False, False]
    dog, wall = sorted(photo["regions"], key=lambda region: region["caption"], reverse=True)
    after = judge(client, photo, act="bokeh", region=dog["id"], bokeh=False)["photo"]
    assert [(each["subject"], each["judged"]) for each in after["regions"] if each["judged"]] == [("dog", True)]
    gone = judge(client, photo, act="reject", region=wall["id"])
    assert captions(gone["photo"]) == ["the red dog"]
    back = judge(client, photo, act="undo", of=gone["number"])["photo"]
    assert len(back["regions"]) == 2
    assert judge(client, photo, act="reject_photo")["photo"]["gone"]
    listed = client.get(f"{AT}/judgements", params={"limit": 2}).json()
    assert (listed["count"], listed["by"]) == (4, {"Ann": 4})
    assert [line["act"] for line in listed["judgements"]] == ["reject_photo", "undo"]


def test_a_drawn_mask_is_shown_by_its_id(client: TestClient, place: Path) -> None:
    photo = first(client)
    mask = Mask(16, 24, Mask.from_array(_square()).counts)
    given = {"size": [16, 24], "counts": mask.counts}
    taken = judge(client, photo, act="add", mask=given, caption="a small box", subject="box")["photo"]
    box = next(region for region in taken["regions"] if region["subject"] == "box")
    assert box["box"] == [3, 2, 4, 5]
    picture = client.get(f"{AT}/photos/{photo['key']}/judged/{box['id']}/mask")
    assert Image.open(io.BytesIO(picture.content)).getchannel("A").getbbox() == (3, 2, 7, 7)
    sample = Dataset(str(place)).record(0)
    refused(client.get(f"{AT}/photos/{photo['key']}/judged/{'0' * 16}/mask"), 404)
    assert client.get(f"{AT}/photos/{photo['key']}/judged/{region_id(sample.regions[0])}/mask").status_code == 200


def _square() -> Any:
    import numpy as np

    array = np.zeros((16, 24), np.bool_)
    array[2:7, 3:7] = True
    return array


@pytest.mark.parametrize(
    "said",
    [
        {"act": "accept", "region": "0" * 16},
        {"act": "accept"},
        {"act": "destroy"},
        {"act": "reject_photo", "who": ""},
        {"act": "reject_photo", "who": "x" * 65},
        {"act": "reject_photo", "who": "\u202eAnn"},
        {"act": "reject_photo", "more": 1},
        {"act": "undo", "of": 77},
        {"act": "add", "mask": {"size": [16, 24], "counts": "zz"}, "caption": "a box", "subject": "box"},
        {"act": "add", "mask": {"size": [8, 8], "counts": "0o0"}, "caption": "a box", "subject": "box"},
    ],
)
def test_what_cannot_be_is_refused_and_not_logged(client: TestClient, place: Path, said: dict[str, Any]) -> None:
    photo = first(client)
    refused(client.post(f"{AT}/judgements", json={"who": "Ann", "key": photo["key"]} | said))
    assert JudgementLog(log_path(str(place))).entries() == ()


def test_a_region_that_somebody_rejected_is_no_longer_judged(client: TestClient) -> None:
    photo = first(client)
    region = photo["regions"][0]["id"]
    judge(client, photo, act="reject", region=region)
    late = {"who": "Bob", "key": photo["key"], "act": "accept", "region": region}
    assert "no longer as it was" in refused(client.post(f"{AT}/judgements", json=late))


def test_people_are_led_to_different_photos_until_all_are_judged(client: TestClient) -> None:
    def lead(who: str, **asked: Any) -> str | None:
        return client.post(f"{AT}/queue", json={"who": who} | asked).json()["key"]

    keys = [photo["key"] for photo in client.get(f"{AT}/photos").json()["photos"]]
    assert (lead("Ann"), lead("Bob"), lead("Ann")) == (keys[0], keys[1], keys[0])
    assert lead("Cid", after=keys[2]) == keys[3]
    assert lead("Dot", after=keys[3]) == keys[2]
    assert lead("Eve") is None  # somebody looks at each
    photo = first(client)
    for region in photo["regions"]:
        judge(client, photo, act="accept", region=region["id"])
    assert lead("Ann", subject="dog") is None
    assert lead("Bob", subject="dog") == keys[1]
    assert lead("Bob", subject="no such thing") is None


def test_the_drawn_sample_is_judged_one_by_one(client: TestClient, place: Path) -> None:
    assert client.get(f"{AT}/audit", params={"who": "Ann"}).json()["drawn"] == 0
    opened = Dataset(str(place))
    write_queue(queue_path(str(place)), draw(opened, 3, 0))
    for done in range(3):
        found = client.get(f"{AT}/audit", params={"who": "Ann"}).json()
        assert (found["drawn"], found["done"]) == (3, done)
        said = {"act": "audit", "region": found["region"], "mask_right": True, "caption_right": False}
        judge(client, {"key": found["key"]}, **said)
    assert client.get(f"{AT}/audit", params={"who": "Ann"}).json()["key"] is None
    assert client.get(f"{AT}/audit", params={"who": "Bob"}).json()["done"] == 0
    photo = client.get(f"{AT}/photos/{found['key']}/judged").json()
    assert not any(region["judged"] for region in photo["regions"])  # an audit changes and settles nothing


def test_a_log_that_is_damaged_is_named(client: TestClient, place: Path) -> None:
    log_path(str(place)).write_text("{}\n")
    photo = client.get(f"{AT}/photos").json()["photos"][0]["key"]
    assert "line 1 of" in refused(client.get(f"{AT}/photos/{photo}/judged"))


def test_of_two_that_clash_one_is_told(client: TestClient, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else, in another process, rejects the region after it was looked at and before the answer comes."""
    photo = first(client)
    region = photo["regions"][0]["id"]
    log, append = JudgementLog(log_path(str(place))), JudgementLog.append
    rejected = judgement_of(
        {"act": "reject", "who": "Bob", "when": now(), "dataset": "0" * 64, "key": photo["key"], "region": region}
    )

    def late(self: JudgementLog, *given: Any) -> int:
        append(log, rejected)
        return append(self, *given)

    monkeypatch.setattr(JudgementLog, "append", late)
    said = {"who": "Ann", "key": photo["key"], "region": region, "act": "caption", "caption": "the red dog"}
    assert "no longer as it was judged" in refused(client.post(f"{AT}/judgements", json=said))
    assert [entry.judgement.who for entry in log.entries()] == ["Bob"]
