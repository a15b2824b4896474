"""A job from asking to its files: the same as `instructrestore restore` gives, whatever happens in between."""

from __future__ import annotations

import io
import runpy
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from starlette.testclient import TestClient

from instructrestore.model.networks.tiling import plan_tiles
from instructrestore.pipelines import cli
from instructrestore.pipelines.app.app import App
from instructrestore.pipelines.app.job_queue import JobQueue
from instructrestore.pipelines.app.server import make_server
from instructrestore.pipelines.app.shelf import now
from instructrestore.pipelines.pictures.restored_photo import read_record
from tests.pipelines.app.asking import API, WISH, ask, bring, ended, refused
from tests.pipelines.app.conftest import HERE, TOKEN, mask_of, png_of, settings_in


def picture(client: TestClient, job: dict, name: str = "restored") -> np.ndarray:
    answer = client.get(f"{API}/jobs/{job['id']}/results/{name}")
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(answer.content)) as image:
        return np.asarray(image.convert("RGB" if name != "mask-1" else "L"))


def files_of(client: TestClient, job: dict, folder: Path) -> None:
    """The photo and the results as a person downloads them."""
    for result in job["results"]:
        data = client.get(f"{API}/jobs/{job['id']}/results/{result['name']}").content
        (folder / f"{result['name']}.png").write_bytes(data)


def test_a_result_is_the_commands_result_byte_for_byte(
    visitor: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dog.png").write_bytes(png_of())
    job = ended(visitor, ask(visitor, bring(visitor)["id"], seed=3, settings={"num_inference_steps": 2}))
    assert job["state"] == "done", job["error"]
    monkeypatch.chdir(tmp_path)
    words = shlex.split(job["command"])
    assert words[:3] == ["instructrestore", "restore", "dog.png"]
    monkeypatch.setattr(sys, "argv", [*words, "--save-mask"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code in (0, None)
    download = visitor.get(f"{API}/jobs/{job['id']}/results/restored", params={"download": True})
    assert download.content == (tmp_path / "restored" / "dog.png").read_bytes()
    assert download.headers["content-disposition"] == 'attachment; filename="dog.png"'
    with Image.open(tmp_path / "restored" / "dog-mask.png") as image:
        assert (np.asarray(image) == picture(visitor, job, "mask-1")).all()
    record = read_record(tmp_path / "restored" / "dog.png")
    assert job["record"] == {name: value for name, value in record.items() if name != "shows"}


def test_with_a_mask_the_command_gives_the_same_bytes_and_the_python_call_the_same_pixels(
    visitor: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dog.png").write_bytes(png_of())
    photo = bring(visitor)["id"]
    mask = visitor.post(f"{API}/photos/{photo}/masks", content=mask_of()).json()["id"]
    job = ended(visitor, ask(visitor, photo, masks=[mask], settings={"num_inference_steps": 2, "mask": "hard"}))
    files_of(visitor, job, tmp_path)
    words = shlex.split(job["command"])
    assert words[4:6] == ["--mask", "mask-1.png"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code in (0, None)
    assert (tmp_path / "restored" / "dog.png").read_bytes() == (tmp_path / "restored.png").read_bytes()
    (tmp_path / "restored.png").unlink()
    subprocess.run([sys.executable, "-c", job["python"]], cwd=tmp_path, check=True, timeout=300)
    with Image.open(tmp_path / "restored.png") as image:
        assert (np.asarray(image) == picture(visitor, job)).all()


def test_a_mask_is_found_again_by_command_and_script_whatever_was_asked_of_the_rest(
    visitor: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dog.png").write_bytes(png_of())
    job = ended(visitor, ask(visitor, bring(visitor)["id"], kind="mask", settings={"careful": "faces,text"}))
    files_of(visitor, job, tmp_path)
    found = (tmp_path / "mask-1.png").read_bytes()
    assert "--careful" not in job["command"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", shlex.split(job["command"]))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code in (0, None)
    (tmp_path / "again.py").write_text(job["python"])
    runpy.run_path("again.py")
    with Image.open(tmp_path / "mask-1.png") as again, Image.open(io.BytesIO(found)) as image:
        assert (np.asarray(again) == np.asarray(image)).all()


def test_masks_given_and_masks_found_go_together(visitor: TestClient) -> None:
    photo = bring(visitor)["id"]
    mask = visitor.post(f"{API}/photos/{photo}/masks", content=mask_of()).json()
    assert mask["share"] == pytest.approx(1 / 16)
    wish = "make the square clear with 0.6, make the ground clear with 0.9"
    job = ended(visitor, ask(visitor, photo, instruction=wish, masks=[mask["id"], None]))
    assert job["state"] == "done", job["error"]
    assert [result["name"] for result in job["results"]] == ["restored", "mask-1", "mask-2"]
    with Image.open(io.BytesIO(mask_of())) as given:
        assert (picture(visitor, job, "mask-1") == np.asarray(given)).all()
    given, found = job["record"]["masks"]
    assert (given["file"], found) == ("mask-1.png", "predicted")
    found = ended(visitor, ask(visitor, photo, instruction="make the ground clear with 0.9", kind="mask"))
    assert found["results"][0]["share"] == pytest.approx(job["results"][2]["share"], abs=0.02)
    other = visitor.post(f"{API}/photos/{bring(visitor)['id']}/masks", content=mask_of()).json()["id"]
    asked = {"photo": photo, "instruction": WISH, "masks": [other]}
    assert "another photo" in refused(visitor.post(f"{API}/jobs", json=asked))


def test_a_sweep_has_a_picture_for_each_scale(visitor: TestClient) -> None:
    photo = bring(visitor)["id"]
    job = ended(visitor, ask(visitor, photo, kind="sweep", sweep=[0.5, 0.6, 1.1]))
    names = [result["name"] for result in job["results"]]
    assert names == ["sweep-0.5", "sweep-0.6", "sweep-1.1", "mask-1"]
    alone = ended(visitor, ask(visitor, photo))
    assert (picture(visitor, job, "sweep-0.6") == picture(visitor, alone)).all()
    assert (picture(visitor, job, "sweep-0.5") != picture(visitor, job, "sweep-1.1")).any()
    assert "--sweep 0.5,0.6,1.1" in job["command"]


def test_a_preview_is_small_and_quick(visitor: TestClient) -> None:
    photo = bring(visitor, png_of(1200, 600))["id"]
    mask = visitor.post(f"{API}/photos/{photo}/masks", content=mask_of(1200, 600)).json()["id"]
    job = ended(visitor, ask(visitor, photo, preview=True, masks=[mask]))
    assert (job["results"][0]["width"], job["results"][0]["height"]) == (512, 256)
    assert job["results"][1]["share"] == pytest.approx(1 / 16, abs=0.002)


def test_a_mask_of_the_same_aspect_is_scaled_and_of_another_refused(visitor: TestClient) -> None:
    photo = bring(visitor)["id"]
    mask = visitor.post(f"{API}/photos/{photo}/masks", content=mask_of(48, 40)).json()
    assert (mask["width"], mask["height"]) == (96, 80)
    assert mask["notes"] == ["the mask of 48x40 was scaled to the photo's size"]
    said = refused(visitor.post(f"{API}/photos/{photo}/masks", content=mask_of(48, 48)))
    assert said == "the mask is 48x48 and the photo 96x80: it must have the photo's size or its aspect"


def test_what_a_click_chooses_is_a_mask(visitor: TestClient) -> None:
    photo = visitor.post(f"{API}/samples/cat").json()
    found = visitor.post(f"{API}/photos/{photo['id']}/segments").json()
    assert "the cat" in found["names"]
    cats = [each for each in found["segments"] if each["name"] == "cat"]
    with Image.open(io.BytesIO(visitor.get(f"{API}/photos/{photo['id']}/segments.png").content)) as image:
        ids = np.asarray(image).astype(int)
    ids = ids[..., 0] + 256 * ids[..., 1]
    assert ids.shape == (found["height"], found["width"])
    assert ids[150, 150] == cats[0]["id"]
    url = f"{API}/photos/{photo['id']}/masks/segments"
    mask = visitor.post(url, json={"segments": [cats[0]["id"]]}).json()
    assert mask["share"] == pytest.approx(cats[0]["area"], abs=0.01)
    x, y = (150 * photo[side] / found[side] for side in ("width", "height"))
    for places in ({"points": [[x, y]]}, {"boxes": [cats[0]["box"]]}):
        assert visitor.post(url, json=places).json()["share"] == mask["share"]
    assert "outside the photo" in refused(visitor.post(url, json={"points": [[photo["width"], 0]]}))
    assert "no segment fits the box" in refused(visitor.post(url, json={"boxes": [[0, 0, 3, 3]]}))
    assert "name at least one" in refused(visitor.post(url, json={}))
    soft = visitor.post(url, json={"segments": [cats[0]["id"]], "feather": 30}).json()
    assert soft["share"] > mask["share"]
    assert "no segment 99" in refused(visitor.post(url, json={"segments": [99]}))


def test_a_waiting_job_is_cancelled_at_once_and_one_in_hand_before_its_next_pass(visitor: TestClient) -> None:
    photo = bring(visitor, png_of(900, 900))["id"]
    first = ask(visitor, photo, settings={"num_inference_steps": 1000})
    second = ask(visitor, photo)
    assert visitor.post(f"{API}/jobs/{second['id']}/cancel").json()["state"] == "cancelled"
    while not (now_ := visitor.get(f"{API}/jobs/{first['id']}").json())["step"]:
        assert now_["state"] in ("queued", "running")
    assert now_["steps"] == 1000 * len(plan_tiles(904, 904, 512, 128))
    visitor.post(f"{API}/jobs/{first['id']}/cancel")
    assert ended(visitor, first)["state"] == "cancelled"
    assert visitor.post(f"{API}/jobs/{first['id']}/cancel").json()["state"] == "cancelled"
    again = visitor.post(f"{API}/jobs/{second['id']}/again").json()
    assert ended(visitor, again)["state"] == "done"


def test_one_bad_photo_fails_its_job_and_no_other(visitor: TestClient, app: App) -> None:
    bad, good = bring(visitor), bring(visitor)
    (file,) = app.visitors.folder.rglob(f"{bad['id']}/file/*")
    file.write_bytes(png_of()[:500])
    failed, done = ask(visitor, bad["id"]), ask(visitor, good["id"])
    failed = ended(visitor, failed)
    assert failed["state"] == "failed"
    assert "corrupt" in failed["error"]
    assert ended(visitor, done)["state"] == "done"


def test_where_memory_runs_out_it_is_restored_in_smaller_tiles_and_said(
    visitor: TestClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = bring(visitor, png_of(600, 520))["id"]
    pipe = app.bench.load()
    forward = pipe.unet.forward

    def small_memory(sample: torch.Tensor, *rest: object, **options: object) -> object:
        if sample.shape[-1] * pipe.vae_scale_factor > 300:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(sample, *rest, **options)  # pyright: ignore

    monkeypatch.setattr(pipe.unet, "forward", small_memory)
    job = ended(visitor, ask(visitor, photo))
    assert job["state"] == "done", job["error"]
    assert "memory ran out: it was restored in tiles of 256 pixels" in job["notes"]
    assert job["record"]["settings"]["tile"] == 256
    monkeypatch.undo()
    asked = ended(visitor, ask(visitor, photo, settings={"tile": 256, "overlap": 64}))
    assert (picture(visitor, job) == picture(visitor, asked)).all()


def test_a_folder_is_a_job_for_each_photo_with_one_mask(visitor: TestClient) -> None:
    photos = [bring(visitor, png_of(seed=seed), "dog.png")["id"] for seed in range(2)]
    photos.append(bring(visitor, png_of(192, 160), "large.png")["id"])
    mask = visitor.post(f"{API}/photos/{photos[0]}/masks", content=mask_of()).json()["id"]
    wish = {"photos": photos, "instruction": WISH, "masks": [mask]}
    folder = visitor.post(f"{API}/folders", json=wish).json()
    for job in folder["jobs"]:
        assert ended(visitor, job)["state"] == "done"
    folder = visitor.get(f"{API}/folders/{folder['id']}").json()
    assert (folder["done"], folder["failed"], folder["left"]) == (3, 0, 0)
    assert [job["photo"] for job in folder["jobs"]] == photos
    with zipfile.ZipFile(io.BytesIO(visitor.get(f"{API}/folders/{folder['id']}/zip").content)) as archive:
        assert archive.namelist() == ["dog.png", "dog_2.png", "large.png"]
        assert archive.testzip() is None
        assert Image.open(io.BytesIO(archive.read("large.png"))).size == (192, 160)
    square = bring(visitor, png_of(96, 96), "square.png")["id"]
    said = refused(visitor.post(f"{API}/folders", json=wish | {"photos": [*photos, square]}))
    assert said.startswith("square.png: the mask is 96x80 and the photo 96x96")


def test_photos_of_one_size_are_restored_together_and_come_out_as_alone(tmp_path: Path) -> None:
    with TestClient(make_server(settings_in(tmp_path, batch=4)), base_url=HERE) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        app: App = client.app.state.app  # pyright: ignore
        together: list[int] = []
        do = app.bench.do
        app.bench.do = lambda works, *rest: together.append(len(works)) or do(works, *rest)
        photos = [bring(client, png_of(seed=seed))["id"] for seed in range(4)]
        folder = client.post(f"{API}/folders", json={"photos": photos, "instruction": WISH}).json()
        made = [picture(client, ended(client, job)) for job in folder["jobs"]]
        assert max(together) > 1
        for photo, seen in zip(photos, made, strict=True):
            alone = picture(client, ended(client, ask(client, photo)))
            assert np.abs(seen.astype(int) - alone).max() <= 1


def test_removing_a_photo_removes_all_that_was_made_of_it(visitor: TestClient, app: App) -> None:
    photo = bring(visitor)["id"]
    mask = visitor.post(f"{API}/photos/{photo}/masks", content=mask_of()).json()["id"]
    job = ended(visitor, ask(visitor, photo, masks=[mask]))
    assert visitor.delete(f"{API}/photos/{photo}").status_code == 204
    for path in (f"photos/{photo}", f"masks/{mask}", f"jobs/{job['id']}"):
        assert refused(visitor.get(f"{API}/{path}"), 404)
    left = [path for id in (photo, mask, job["id"]) for path in app.visitors.folder.rglob(f"*{id}*")]
    assert left == []


def test_what_is_older_than_its_lifetime_is_removed(
    visitor: TestClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = bring(visitor)["id"]
    visitor.post(f"{API}/photos/{photo}/masks", content=mask_of())
    ended(visitor, ask(visitor, photo, kind="mask"))
    app.expire()
    assert len(visitor.get(f"{API}/photos").json()["photos"]) == 1
    later = now() + 3600 * app.settings.lifetime_hours + 1
    monkeypatch.setattr("instructrestore.pipelines.app.app.now", lambda: later)
    app.expire()
    assert visitor.get(f"{API}/photos").json() == {"photos": []}
    assert visitor.get(f"{API}/jobs").json() == {"jobs": []}
    assert not list(app.visitors.folder.rglob("*.png"))


def test_photos_that_the_app_was_started_with_are_read_and_never_changed(tmp_path: Path) -> None:
    place = tmp_path / "mine" / "dog.png"
    place.parent.mkdir()
    place.write_bytes(png_of())
    (tmp_path / "mine" / "notes.png").write_text("no photo")
    paths = (place, tmp_path / "mine" / "notes.png")
    out = tmp_path / "out"
    out.mkdir()
    (out / "dog.png").write_text("somebody's")
    with TestClient(make_server(settings_in(tmp_path / "app", photos=paths, out=out)), base_url=HERE) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        (photo,) = client.get(f"{API}/photos").json()["photos"]
        assert (photo["name"], photo["own"]) == ("dog.png", False)
        job = ended(client, ask(client, photo["id"]))
        assert job["state"] == "done"
        assert (out / "dog.png").read_text() == "somebody's"
        restored = client.get(f"{API}/jobs/{job['id']}/results/restored").content
        assert (out / "dog_2.png").read_bytes() == restored
        assert f"written to {out / 'dog_2.png'}" in job["notes"]
        assert client.get(f"{API}/photos/{photo['id']}/thumbnail").status_code == 200
        assert "it stays" in refused(client.delete(f"{API}/photos/{photo['id']}"), 409)
        assert client.get(f"{API}/jobs").json() == {"jobs": []}
        place.write_bytes(png_of(128, 96))
        assert client.get(f"{API}/photos/{photo['id']}").json()["width"] == 128
    assert sorted(path.name for path in place.parent.iterdir()) == ["dog.png", "notes.png"]


def test_what_waited_when_the_program_was_killed_is_interrupted_and_done_again_by_one_call(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with TestClient(make_server(settings), base_url=HERE) as client, pytest.MonkeyPatch.context() as patch:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        photo = bring(client)["id"]
        patch.setattr(JobQueue, "_do", lambda self, group: None)  # as if it was killed before the first step
        job = ask(client, photo)
    with TestClient(make_server(settings), base_url=HERE) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        found = client.get(f"{API}/jobs/{job['id']}").json()
        assert found["state"] == "interrupted"
        assert "program ended" in found["error"]
        again = client.post(f"{API}/jobs/{job['id']}/again").json()
        assert ended(client, again)["state"] == "done"


def test_the_rest_stays_exactly_as_it_is_where_that_is_asked_for(visitor: TestClient, tmp_path: Path) -> None:
    photo = bring(visitor)["id"]
    mask = visitor.post(f"{API}/photos/{photo}/masks", content=mask_of()).json()["id"]
    job = ended(visitor, ask(visitor, photo, masks=[mask], rest="keep", feather=5))
    assert job["state"] == "done", job["error"]
    with Image.open(io.BytesIO(png_of())) as image:
        before = np.asarray(image)
    changed = (picture(visitor, job) != before).any(-1)
    assert changed.any()
    assert not changed[:14].any()
    assert not changed[46:].any()
    assert "--rest keep" in job["command"]
    assert "--feather 5" in job["command"]
    wish = {"photo": photo, "instruction": "make the dog clear and blur the background", "rest": "keep"}
    assert "one or the other" in refused(visitor.post(f"{API}/jobs", json=wish))
    wish |= {"instruction": WISH, "settings": {"upscale": 2}}
    assert "upscale" in refused(visitor.post(f"{API}/jobs", json=wish))


@pytest.mark.parametrize("asked", ["png", "jpeg", "webp", "tiff", "original"])
def test_a_result_comes_in_any_format_with_the_photos_own_data(visitor: TestClient, asked: str, tmp_path: Path) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x013B] = "A. Photographer"
    Image.open(io.BytesIO(png_of())).save(file, "JPEG", quality=95, exif=exif)
    photo = bring(visitor, file.getvalue(), "Ä dog.jpg")
    job = ended(visitor, ask(visitor, photo["id"]))
    url = f"{API}/jobs/{job['id']}/results/restored"
    answer = visitor.get(url, params={"format": asked, "download": True})
    ending = {"jpeg": "jpg", "original": "jpg", "tiff": "tif"}.get(asked, asked)
    assert f".{ending}" in answer.headers["content-disposition"]
    (tmp_path / f"x.{ending}").write_bytes(answer.content)
    record = read_record(tmp_path / f"x.{ending}")
    assert {name: value for name, value in record.items() if name != "shows"} == job["record"]
    if asked == "tiff":
        deep = tifffile.imread(io.BytesIO(answer.content))
        assert deep.dtype == np.uint16
        assert np.abs(deep / 257.0 - picture(visitor, job)).max() < 0.51
        assert (deep % 257 != 0).any()
    else:
        with Image.open(io.BytesIO(answer.content)) as image:
            assert image.getexif()[0x013B] == "A. Photographer"
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - picture(visitor, job)).mean() < 3


def test_of_a_folder_eight_bits_are_kept_unless_more_are_asked_for(visitor: TestClient) -> None:
    wish = {"photos": [bring(visitor)["id"]], "instruction": WISH}
    for deep in (False, True):
        folder = visitor.post(f"{API}/folders", json=wish | ({"deep": True} if deep else {})).json()
        ended(visitor, folder["jobs"][0])
        answer = visitor.get(f"{API}/folders/{folder['id']}/zip", params={"format": "tiff"})
        if deep:
            with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
                assert archive.namelist() == ["dog.tif"]
        else:
            assert "ask for it again with deep" in refused(answer)
