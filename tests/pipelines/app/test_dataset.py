"""The data set's routes: what they give, to whom, and what they do with what is hostile."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.running.part_files import Outcome, write_part
from instructrestore.pipelines.app.run import dataset_among
from instructrestore.pipelines.app.server import make_server
from instructrestore.pipelines.app.thumbnails import Thumbnails
from instructrestore.shards.sample import AnnotatedPhoto
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset
from tests.pipelines.app.asking import API, refused
from tests.pipelines.app.conftest import HERE, TOKEN, png_of, settings_in

HOSTILE = "<img src=x onerror=alert(1)>\u202e" + "very " * 400 + "long"
ROUTES = ("", "/photos", "/subjects", "/dropped", "/photos/0", "/photos/0/thumbnail", "/dropped/0/thumbnail")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a data set of four photos, one of them hostile in all its texts, and two photos left out."""
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    folder.create()
    assert isinstance(folder.path, Path)
    samples = []
    for seed in range(4):
        photo, rgb = photo_of(seed, 320, 200)
        region = region_of(photo, 40, 20, 160, 100, "the red dog", "dog", bokeh=True)
        if seed == 3:
            photo = replace(
                photo, name=HOSTILE, source=HOSTILE, licence=HOSTILE, url="https://example.org/?token=secret"
            )
            region = replace(region, caption=HOSTILE, subject=HOSTILE)
        samples.append((AnnotatedPhoto(photo, (region,)), rgb))
    write_dataset(folder.path / "dataset", samples)
    left = folder.path / "left out <b>.png"
    left.write_bytes(png_of(400, 300))
    stage = folder.path / "stages" / "03-quality-gate"
    stage.mkdir(parents=True)
    outcomes = [
        Outcome(str(left), "dropped", None, "short side", "it has 300 pixels"),
        Outcome("https://user.example/gone.png?token=secret", "dropped", None, "short side", HOSTILE),
    ]
    write_part(stage, 0, "0" * 16, 0, outcomes, TypeAdapter(Row))
    return folder.path


@pytest.fixture(scope="module")
def client(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = settings_in(tmp_path_factory.mktemp("app"), dataset=run / "dataset")
    with TestClient(make_server(settings), base_url=HERE, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        limit = time.monotonic() + 60
        while client.get(f"{API}/dataset").json()["records"] is not None:
            assert time.monotonic() < limit
            time.sleep(0.05)
        yield client


def test_the_printed_address_leads_to_the_data_set(client: TestClient) -> None:
    answer = client.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dataset")
    page = client.get("/dataset")
    assert "script-src 'self'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("route", ROUTES)
def test_without_the_token_nothing_is_told(client: TestClient, route: str) -> None:
    other = TestClient(client.app, base_url=HERE)
    assert "token" in refused(other.get(f"{API}/dataset{route}"), 401)


def test_an_app_without_a_data_set_has_none(server: TestClient) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for route in ROUTES:
        assert "no such thing" in refused(server.get(f"{API}/dataset{route}", headers=headers), 404)


def test_photos_are_listed_a_page_at_a_time(client: TestClient) -> None:
    listed = client.get(f"{API}/dataset/photos", params={"subject": "dog", "limit": 2}).json()
    rest = client.get(f"{API}/dataset/photos", params={"subject": "dog", "offset": 2}).json()
    assert (listed["count"], len(listed["photos"]), len(rest["photos"])) == (3, 2, 1)
    assert len({photo["key"] for photo in listed["photos"] + rest["photos"]}) == 3


@pytest.mark.parametrize(
    "query",
    [{"limit": 501}, {"offset": -1}, {"order": "row; DROP TABLE photos"}, {"area_from": "much"}, {"nonsense": 1}],
)
def test_what_cannot_be_asked_is_one_sentence(client: TestClient, query: dict[str, str]) -> None:
    refused(client.get(f"{API}/dataset/photos", params=query))


def test_a_photos_pictures_and_masks(client: TestClient) -> None:
    key = client.get(f"{API}/dataset/photos").json()["photos"][0]["key"]
    photo = client.get(f"{API}/dataset/photos/{key}").json()
    assert photo["regions"][0]["box"] == [40, 20, 160, 100]
    mask = Image.open(io.BytesIO(client.get(f"{API}/dataset/photos/{key}/regions/0/mask").content))
    assert mask.getchannel("A").getbbox() == (40, 20, 200, 120)
    for address, size in (
        ("thumbnail", (256, 160)),
        ("thumbnail?regions=true", (256, 160)),
        ("picture?longest=64", (64, 40)),
    ):
        assert Image.open(io.BytesIO(client.get(f"{API}/dataset/photos/{key}/{address}").content)).size == size
    for address in ("regions/1/mask", "regions/-1/mask", "regions/0/pieces/1/mask"):
        refused(client.get(f"{API}/dataset/photos/{key}/{address}"), 404)
    refused(client.get(f"{API}/dataset/photos/{'0' * 20}/thumbnail"), 404)


def test_texts_are_whole_and_addresses_without_secrets(client: TestClient) -> None:
    key = client.get(f"{API}/dataset/photos", params={"source": HOSTILE[:1000]}).json()["photos"]
    assert key == []
    subjects = client.get(f"{API}/dataset/subjects").json()["subjects"]
    assert {each["subject"] for each in subjects} == {"dog", HOSTILE}
    found = [each for each in client.get(f"{API}/dataset/photos").json()["photos"] if each["subjects"] == [HOSTILE]]
    photo = client.get(f"{API}/dataset/photos/{found[0]['key']}").json()
    assert photo["regions"][0]["caption"] == HOSTILE
    assert photo["url"] == "https://example.org/?token=***"


def test_what_was_left_out_has_a_reason_and_a_picture(client: TestClient) -> None:
    card = client.get(f"{API}/dataset").json()
    assert card["reasons"] == [{"stage": "quality gate", "kind": "dropped", "reason": "short side", "count": 2}]
    here, elsewhere = client.get(f"{API}/dataset/dropped").json()["photos"]
    assert here["name"] == "left out <b>.png"
    assert elsewhere["uri"].endswith("token=***")
    picture = client.get(f"{API}/dataset/dropped/{here['number']}/thumbnail")
    assert Image.open(io.BytesIO(picture.content)).size == (256, 192)
    refused(client.get(f"{API}/dataset/dropped/{elsewhere['number']}/thumbnail"), 404)


def test_files_that_a_run_names_are_shown_to_nobody_else(run: Path, tmp_path: Path) -> None:
    """Its manifest may come from anywhere, and names any file of this machine."""
    settings = settings_in(tmp_path, dataset=run / "dataset", host="0.0.0.0")
    with TestClient(make_server(settings), base_url=HERE, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        while not client.get(f"{API}/dataset").json()["reasons"]:
            time.sleep(0.05)
        refused(client.get(f"{API}/dataset/dropped/0/thumbnail"), 404)


def test_a_damaged_shard_is_named(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dataset"
    copy.mkdir()
    for path in (run / "dataset").iterdir():
        data = bytearray(path.read_bytes())
        if path.suffix == ".tar":
            data[2000:] = bytes(len(data) - 2000)
        (copy / path.name).write_bytes(data)
    settings = settings_in(tmp_path / "app", dataset=copy)
    with TestClient(make_server(settings), base_url=HERE, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        while client.get(f"{API}/dataset").json()["records"] is not None:
            time.sleep(0.05)
        key = client.get(f"{API}/dataset/photos").json()["photos"][0]["key"]
        assert "png-000000.tar is damaged at" in refused(client.get(f"{API}/dataset/photos/{key}/thumbnail"))


def test_thumbnails_are_bounded(tmp_path: Path) -> None:
    kept = Thumbnails(tmp_path, most_bytes=1000)
    made: list[str] = []
    for number in range(30):
        name = f"{number:03}"
        assert kept.get(name, lambda name=name: (made.append(name), bytes(100))[1]) == bytes(100)
    assert len(made) == 30
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) <= 1000
    kept.get("029", lambda: pytest.fail("it is kept"))  # pyright: ignore[reportArgumentType]


def test_a_run_is_told_apart_from_its_data_set(run: Path) -> None:
    assert dataset_among([run / "dataset", run / "left out <b>.png"]) == (run / "dataset", [run / "left out <b>.png"])
    with pytest.raises(ValueError, match="is a run: its data set is"):
        dataset_among([run])
    with pytest.raises(ValueError, match="one data set"):
        dataset_among([run / "dataset", run / "dataset"])


@pytest.mark.parametrize(
    "name", ["%22%20x%3D%22", "..%5C..%5Cetc", "%00", "-1", "9" * 4000, "%D9%A3", "f" * 19, "A" * 20]
)
def test_what_is_no_photo_is_told_in_one_sentence(client: TestClient, name: str) -> None:
    key = client.get(f"{API}/dataset/photos").json()["photos"][0]["key"]
    for route in ("", "/thumbnail", "/picture", "/judged", "/regions/0/mask", "/regions/0/pieces/0/mask"):
        assert client.get(f"{API}/dataset/photos/{name}{route}").status_code == 404
    for route in (f"photos/{key}/regions/{name}/mask", f"photos/{key}/regions/0/pieces/{name}/mask"):
        assert client.get(f"{API}/dataset/{route}").status_code in (404, 422)
    assert client.get(f"{API}/dataset/dropped/{name}/thumbnail").status_code in (404, 422)
