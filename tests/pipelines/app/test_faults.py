"""What goes wrong without anybody's meaning it: a full disk, what is removed while it is at work, a killed program."""

from __future__ import annotations

import asyncio
import errno
import io
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from instructrestore.pipelines.app import pictures
from instructrestore.pipelines.app.app import App
from instructrestore.pipelines.app.job_queue import JobQueue
from instructrestore.pipelines.app.routes.jobs import _Events
from instructrestore.pipelines.app.segments import Segmenter
from instructrestore.pipelines.app.server import make_server
from instructrestore.pipelines.app.shelf import Shelf, new_id, now
from instructrestore.pipelines.app.stream import Stream
from instructrestore.pipelines.app.work import Work
from tests.pipelines.app.asking import API, WISH, ask, bring, ended, refused
from tests.pipelines.app.conftest import HERE, TOKEN, mask_of, png_of, settings_in
from tests.pipelines.app.serving import serving

FULL = "the disk of the app's folder is full: remove photos, or make room"


@pytest.fixture
def held(app: App, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Jobs stand still once they are taken into hand: the first event says so, the second lets them go on."""
    taken, go_on = threading.Event(), threading.Event()
    do = app.bench.do

    def waits(works: list[Work], *rest: object) -> object:
        taken.set()
        assert go_on.wait(60)
        return do(works, *rest)  # pyright: ignore

    monkeypatch.setattr(app.bench, "do", waits)
    yield taken, go_on
    go_on.set()


def rest_of(app: App, *ids: str) -> list[Path]:
    return [path for id in ids for path in app.visitors.folder.rglob(f"*{id}*")]


def settled(app: App) -> None:
    limit = time.monotonic() + 60
    while app.queue.length:
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_disk_that_is_full_while_a_job_is_done_ends_the_work_on_no_other(
    visitor: TestClient, app: App, monkeypatch: pytest.MonkeyPatch, held: tuple[threading.Event, threading.Event]
) -> None:
    photo = bring(visitor)["id"]
    first = ask(visitor, photo, kind="mask")
    taken, go_on = held
    assert taken.wait(60)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    with monkeypatch.context() as patch:
        patch.setattr(Shelf, "keep_job", full)
        assert refused(visitor.post(f"{API}/jobs", json={"photo": photo, "instruction": WISH}), 507) == FULL
        go_on.set()
        assert ended(visitor, first)["state"] == "done"
    assert [job["id"] for job in visitor.get(f"{API}/jobs").json()["jobs"]] == [first["id"]]
    assert ended(visitor, ask(visitor, photo))["state"] == "done"
    with monkeypatch.context() as patch:
        patch.setattr("instructrestore.pipelines.app.work.commit", full)
        failed = ended(visitor, ask(visitor, photo, kind="mask"))
        patch.setattr("instructrestore.pipelines.app.speed.commit", full)
        patch.setattr("instructrestore.pipelines.app.work.commit", lambda path, data: path.write_bytes(data))
        assert ended(visitor, ask(visitor, photo))["state"] == "done"
    assert (failed["state"], failed["error"]) == ("failed", FULL)


def test_a_mask_is_kept_whole_or_not_at_all(visitor: TestClient, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = bring(visitor)["id"]

    def full(path: Path, data: bytes) -> None:
        if path.suffix == ".json":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        path.write_bytes(data)

    with monkeypatch.context() as patch:
        patch.setattr("instructrestore.pipelines.app.shelf.commit", full)
        assert refused(visitor.post(f"{API}/photos/{photo}/masks", content=mask_of()), 507) == FULL
        assert refused(visitor.post(f"{API}/photos", content=png_of()), 507) == FULL
    assert not list(app.visitors.folder.glob("*/masks/*"))
    assert [path.name for path in app.visitors.folder.glob("*/photos/*")] == [photo]


@pytest.mark.parametrize("what", ["job", "photo", "session"])
def test_what_is_removed_while_it_is_done_stays_removed(
    visitor: TestClient, app: App, what: str, held: tuple[threading.Event, threading.Event]
) -> None:
    photo = bring(visitor)["id"]
    job, waiting = ask(visitor, photo)["id"], ask(visitor, photo)["id"]
    taken, go_on = held
    assert taken.wait(60)
    for id in (waiting, job) if what == "job" else (photo,):
        path = "session" if what == "session" else f"{what}s/{id}"
        assert visitor.delete(f"{API}/{path}").status_code == 204
    go_on.set()
    settled(app)
    assert visitor.get(f"{API}/jobs").json() == {"jobs": []}
    assert rest_of(app, job, waiting) == []
    again = visitor.post(f"{API}/jobs/{job}/again")
    assert refused(again, 404)


def test_a_job_removed_between_its_turn_and_its_beginning_is_not_made_anew(visitor: TestClient, app: App) -> None:
    photo = bring(visitor)["id"]
    do = app.queue._do  # pyright: ignore
    with pytest.MonkeyPatch.context() as patch:

        def removed_first(self: JobQueue, group: list) -> None:
            for entry in group:
                self.forget(entry.shelf, entry.job.id)
            do(group)

        patch.setattr(JobQueue, "_do", removed_first)
        job = ask(visitor, photo)["id"]
        settled(app)
    assert rest_of(app, job) == []


def test_a_photo_removed_while_it_is_looked_at_is_missing_and_no_fault_of_the_disk(
    visitor: TestClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = bring(visitor)["id"]
    found = Segmenter._found  # pyright: ignore

    def removed(self: Segmenter, rgb: object) -> object:
        visitor.delete(f"{API}/photos/{photo}")
        return found(self, rgb)  # pyright: ignore

    monkeypatch.setattr(Segmenter, "_found", removed)
    assert "no longer there" in refused(visitor.post(f"{API}/photos/{photo}/segments"), 404)
    assert rest_of(app, photo) == []


def test_a_mask_and_a_job_that_come_while_their_photo_goes_are_not_left_behind(
    visitor: TestClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, sent in (("masks", {"content": mask_of()}), ("jobs", {"json": {"instruction": WISH}})):
        photo = bring(visitor)["id"]
        keep_mask, submit = Shelf.keep_mask, JobQueue.submit

        def kept_late(self: Shelf, *rest: object, gone: str = photo) -> None:
            self.drop_photo(gone)
            keep_mask(self, *rest)  # pyright: ignore  # noqa: B023

        def submitted_late(self: JobQueue, entry: object, gone: str = photo) -> object:
            entry.shelf.drop_photo(gone)  # pyright: ignore
            return submit(self, entry)  # pyright: ignore  # noqa: B023

        with monkeypatch.context() as patch:
            patch.setattr(Shelf, "keep_mask", kept_late)
            patch.setattr(JobQueue, "submit", submitted_late)
            url = f"{API}/photos/{photo}/masks" if path == "masks" else f"{API}/jobs"
            if path == "jobs":
                sent = {"json": {"photo": photo, "instruction": WISH}}
            assert "no longer there" in refused(visitor.post(url, **sent), 404)  # pyright: ignore
    settled(app)
    assert [path for kind in ("masks", "jobs") for path in app.visitors.folder.glob(f"*/{kind}/*")] == []


def test_a_folder_is_begun_for_every_photo_or_for_none(visitor: TestClient, app: App) -> None:
    small, large, square = (bring(visitor, png_of(*size))["id"] for size in ((96, 80), (192, 160), (96, 96)))
    mask = visitor.post(f"{API}/photos/{small}/masks", content=mask_of()).json()["id"]
    wish = {"photos": [small, large, square], "instruction": WISH, "masks": [mask]}
    assert refused(visitor.post(f"{API}/folders", json=wish))
    assert refused(visitor.post(f"{API}/folders", json=wish | {"photos": [small, large, new_id()]}), 404)
    two = {"photos": [small, large], "instruction": "make the dog clear, make the cat clear", "masks": [mask]}
    assert "one mask for each region" in refused(visitor.post(f"{API}/folders", json=two))
    assert visitor.get(f"{API}/jobs").json() == {"jobs": []}
    assert {path.stem for path in app.visitors.folder.glob("*/masks/*")} == {mask}


def test_a_zip_goes_on_without_what_is_removed_meanwhile(
    visitor: TestClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [bring(visitor, png_of(seed=seed), f"{seed}.png")["id"] for seed in range(3)]
    folder = visitor.post(f"{API}/folders", json={"photos": photos, "instruction": WISH}).json()
    for job in folder["jobs"]:
        assert ended(visitor, job)["state"] == "done"
    saved_as = pictures.read_photo
    kept = []

    def removing(path: Path, *rest: object) -> object:
        if not kept:
            kept.append(path)
            visitor.delete(f"{API}/photos/{photos[1]}")
        return saved_as(path, *rest)  # pyright: ignore

    monkeypatch.setattr("instructrestore.pipelines.app.saving.read_photo", removing)
    answer = visitor.get(f"{API}/folders/{folder['id']}/zip", params={"format": "jpeg"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["0.jpg", "2.jpg"]


def test_what_was_never_finished_goes_when_the_program_starts_and_a_damaged_job_when_it_is_old(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with TestClient(make_server(settings), base_url=HERE) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        photo = bring(client)["id"]
        mask = client.post(f"{API}/photos/{photo}/masks", content=mask_of()).json()["id"]
        damaged, whole = (ended(client, ask(client, photo, kind="mask"))["id"] for _ in range(2))
    (shelf,) = make_server(settings).state.app.visitors.all()
    half = shelf.begin_photo("half.png")[1]
    half.write_bytes(png_of()[:100])
    (shelf.folder / "jobs" / new_id()).mkdir()
    (shelf.folder / "masks" / f"{new_id()}.png").write_bytes(mask_of())
    (shelf.folder / "jobs" / whole / ".partial-00").write_bytes(b"x")
    record = shelf.folder / "jobs" / damaged / "job.json"
    record.write_bytes(record.read_bytes()[:100])
    with TestClient(make_server(settings), base_url=HERE) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        assert [job["id"] for job in client.get(f"{API}/jobs").json()["jobs"]] == [whole]
        assert refused(client.get(f"{API}/jobs/{damaged}"), 404)
        kept = {path.name for kind in ("photos", "masks", "jobs") for path in (shelf.folder / kind).iterdir()}
        assert kept == {photo, f"{mask}.png", f"{mask}.json", damaged, whole}
        assert not list(shelf.folder.rglob(".partial-*"))
        shelf.expire(now() + 1, [])
    assert [path for kind in ("photos", "masks", "jobs") for path in (shelf.folder / kind).iterdir()] == [
        shelf.folder / "jobs" / whole
    ]


def test_what_a_job_needs_stays_while_it_waits_however_old_it_is(
    visitor: TestClient, app: App, monkeypatch: pytest.MonkeyPatch, held: tuple[threading.Event, threading.Event]
) -> None:
    photo = bring(visitor)["id"]
    mask = visitor.post(f"{API}/photos/{photo}/masks", content=mask_of()).json()["id"]
    jobs = [ask(visitor, photo, masks=[mask]) for _ in range(2)]
    taken, go_on = held
    assert taken.wait(60)
    later = now() + 3600 * app.settings.lifetime_hours + 1
    with monkeypatch.context() as patch:
        patch.setattr("instructrestore.pipelines.app.app.now", lambda: later)
        app.expire()
    go_on.set()
    assert [ended(visitor, job)["state"] for job in jobs] == ["done", "done"]


def test_one_sessions_fault_keeps_no_other_from_being_cleared(
    visitor: TestClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(visitor)
    failing = app.visitors.of_bearers().folder
    expire = Shelf.expire

    def fails(self: Shelf, *rest: object) -> None:
        if self.folder == failing:
            raise PermissionError(errno.EACCES, "Permission denied")
        expire(self, *rest)  # pyright: ignore

    monkeypatch.setattr(Shelf, "expire", fails)
    later = now() + 3600 * app.settings.lifetime_hours + 1
    monkeypatch.setattr("instructrestore.pipelines.app.app.now", lambda: later)
    app.expire()
    assert visitor.get(f"{API}/photos").json() == {"photos": []}


def test_results_of_photos_that_the_app_was_started_with_before_are_still_there(tmp_path: Path) -> None:
    place = tmp_path / "dog.png"
    place.write_bytes(png_of())
    with TestClient(make_server(settings_in(tmp_path / "app", photos=(place,))), base_url=HERE) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        (photo,) = client.get(f"{API}/photos").json()["photos"]
        job = ended(client, ask(client, photo["id"]))
    with TestClient(make_server(settings_in(tmp_path / "app")), base_url=HERE) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        url = f"{API}/jobs/{job['id']}/results/restored"
        assert client.get(url).status_code == 200
        assert refused(client.get(url, params={"format": "jpeg"}), 404)
        assert refused(client.post(f"{API}/jobs/{job['id']}/again"), 404)


def test_two_pages_at_once_read_a_shared_photo(tmp_path: Path) -> None:
    place = tmp_path / "dog.png"
    place.write_bytes(png_of(600, 400))
    shared = make_server(settings_in(tmp_path / "app", photos=(place,))).state.app.shared
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(len(shared.photos()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 6


def test_a_preview_of_a_long_photo_has_a_side_that_can_be_restored(visitor: TestClient) -> None:
    job = ended(visitor, ask(visitor, bring(visitor, png_of(64, 1000))["id"], preview=True))
    assert job["state"] == "done", job["error"]
    assert job["results"][0]["width"] == 64
    wide = ended(visitor, ask(visitor, bring(visitor, png_of(1400, 128))["id"], preview=True))
    assert (wide["results"][0]["width"], wide["results"][0]["height"]) == (700, 64)


def test_a_page_that_is_gone_before_its_first_event_is_not_watched_for(app: App) -> None:
    async def gone(*_: object) -> None:
        raise OSError("gone")

    async def opened() -> None:
        stream = Stream(app.queue, "x")
        assert len(app.queue._watchers) == before + 1  # pyright: ignore

        async def changes():
            yield await stream.next()

        scope = {"type": "http", "method": "GET", "headers": []}
        with pytest.raises(BaseException, match=r"gone|TaskGroup|exceptions"):
            await _Events(stream, changes())(scope, gone, gone)  # pyright: ignore
        assert len(app.queue._watchers) == before  # pyright: ignore
        stream.end()

    before = len(app.queue._watchers)  # pyright: ignore
    asyncio.run(opened())


def test_a_thumbnail_is_shown_though_it_cannot_be_kept(visitor: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = bring(visitor)["id"]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pictures, "commit", full)
    with Image.open(io.BytesIO(visitor.get(f"{API}/photos/{photo}/thumbnail").content)) as image:
        assert image.size == (96, 80)


def test_two_apps_in_one_folder_are_one_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.pipelines.app.test_process import _refused

    with serving(tmp_path / "app", ready=False):
        said = _refused(["--port", "0", "--folder", str(tmp_path / "app")], monkeypatch, capsys)
    assert "another app is at work in" in said
