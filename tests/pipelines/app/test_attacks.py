"""What those who mean harm send, and what they get: a sentence."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from instructrestore.model.instruction.instruction import MAX_REGIONS
from instructrestore.pipelines.app.app import App
from instructrestore.pipelines.app.server import make_server
from instructrestore.pipelines.app.shelf import new_id, safe_name
from tests.pipelines.app.asking import API, ask, bring, ended, refused
from tests.pipelines.app.conftest import HERE, TOKEN, mask_of, png_of, settings_in

ROUTES = [
    ("GET", "/"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/metrics"), ("GET", "/static/index.html"),
    ("GET", f"{API}/model"), ("GET", f"{API}/photos"), ("POST", f"{API}/photos"), ("GET", f"{API}/jobs"),
    ("POST", f"{API}/jobs"), ("GET", f"{API}/events"), ("DELETE", f"{API}/session"), ("POST", f"{API}/folders"),
    ("POST", f"{API}/instructions"), ("GET", f"{API}/samples"), ("POST", f"{API}/samples/cat"), ("GET", "/no/such"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_the_token_nothing_is_answered(server: TestClient, method: str, path: str) -> None:
    assert "token" in refused(server.request(method, path), 401)
    wrong = {"Authorization": f"Bearer {TOKEN}x"}
    assert "token is wrong" in refused(server.request(method, path, headers=wrong), 401)
    made_up = {"Cookie": f"instructrestore-7860={'0' * 64}"}
    assert server.request(method, path, headers=made_up).status_code in (401, 403)


def test_health_alone_is_open_and_tells_nothing_of_anybody(server: TestClient) -> None:
    assert set(server.get(f"{API}/health").json()) == {"status", "version", "model", "queue"}


def test_a_wrong_token_in_the_address_gives_no_cookie(server: TestClient) -> None:
    answer = server.get("/?token=guess", follow_redirects=False)
    assert "printed last" in refused(answer, 401)
    assert "set-cookie" not in answer.headers


def test_the_cookie_is_of_no_use_to_scripts_and_other_sites(server: TestClient) -> None:
    server.cookies.clear()
    answer = server.get(f"/?token={TOKEN}", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in answer.headers["set-cookie"].split(";")}
    assert TOKEN not in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:7860", "evil.example:7860", "", "127.0.0.2", "[::2]:7860", "@"]
)
def test_another_name_that_points_here_is_refused(visitor: TestClient, host: str) -> None:
    headers = {"Host": host, "Authorization": f"Bearer {TOKEN}"}
    assert "address is not one of the app's" in refused(visitor.get(f"{API}/photos", headers=headers), 421)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:7860", "LOCALHOST", "[::1]:7860", "localhost."])
def test_the_names_of_this_machine_are_taken(visitor: TestClient, host: str) -> None:
    headers = {"Host": host, "Authorization": f"Bearer {TOKEN}", "Origin": f"http://{host}"}
    assert visitor.get(f"{API}/photos", headers=headers).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:7861", "https://127.0.0.1:7860"])
def test_another_sites_page_can_do_nothing_with_the_cookie(visitor: TestClient, origin: str) -> None:
    for method, path in (("POST", f"{API}/photos"), ("DELETE", f"{API}/session"), ("GET", f"{API}/photos")):
        assert "another site" in refused(visitor.request(method, path, headers={"Origin": origin}), 403)
    for site in ("cross-site", "same-site"):
        headers = {"Sec-Fetch-Site": site, "Origin": HERE}
        assert "another site" in refused(visitor.post(f"{API}/photos", headers=headers), 403)


def test_a_form_of_another_site_without_an_origin_is_refused_too(server: TestClient) -> None:
    server.cookies.clear()
    secret = server.get(f"/?token={TOKEN}", follow_redirects=False).cookies["instructrestore-7860"]
    server.cookies.clear()
    cookie = {"Cookie": f"instructrestore-7860={secret}"}
    assert refused(server.request("POST", f"{API}/samples/cat", headers=cookie), 403)


def test_ids_of_others_are_as_good_as_none(server: TestClient, visitor: TestClient) -> None:
    photo = bring(visitor)["id"]
    mask = visitor.post(f"{API}/photos/{photo}/masks", content=mask_of()).json()["id"]
    job = ask(visitor, photo, kind="mask")
    assert ended(visitor, job)["state"] == "done"
    other = TestClient(server.app, base_url=HERE, headers={"Origin": HERE})
    other.get(f"/?token={TOKEN}")
    bearer = TestClient(server.app, base_url=HERE, headers={"Authorization": f"Bearer {TOKEN}"})
    for client in (other, bearer):
        for path in (
            f"photos/{photo}", f"photos/{photo}/picture", f"photos/{photo}/thumbnail", f"photos/{photo}/segments.png",
            f"masks/{mask}", f"jobs/{job['id']}", f"jobs/{job['id']}/results/mask-1",
        ):  # fmt: skip
            missing = refused(client.get(f"{API}/{path}"), 404)
            assert missing == refused(client.get(f"{API}/photos/{new_id()}"), 404)
        assert refused(client.post(f"{API}/jobs", json={"photo": photo, "instruction": "make x clear"}), 404)
        own = bring(client)["id"]
        asked = {"photo": own, "instruction": "make x clear", "masks": [mask]}
        assert refused(client.post(f"{API}/jobs", json=asked), 404)
        assert refused(client.delete(f"{API}/photos/{photo}"), 404)
        assert refused(client.delete(f"{API}/jobs/{job['id']}"), 404)
        assert refused(client.post(f"{API}/jobs/{job['id']}/cancel"), 404)
        assert client.get(f"{API}/jobs").json() == {"jobs": []}
    assert visitor.get(f"{API}/photos/{photo}").status_code == 200
    bearer.delete(f"{API}/session")


@pytest.mark.parametrize("id", ["..", "../..", "%2e%2e", "..%2f..%2fkey", "0" * 31, "0" * 33, "g" * 32, "\x00", "a/b"])
def test_what_is_no_id_is_not_looked_up(visitor: TestClient, id: str) -> None:
    for path in (f"photos/{id}", f"photos/{id}/picture", f"masks/{id}", f"jobs/{id}", f"folders/{id}"):
        assert refused(visitor.get(f"{API}/{path}" if "\x00" not in path else f"{API}/photos/%00"), 404)


def test_results_are_looked_up_by_name_and_not_by_path(visitor: TestClient) -> None:
    job = ended(visitor, ask(visitor, bring(visitor)["id"], kind="mask"))
    for name in ("job", "job.json", "..%2Fjob.json", "..%5C..%5Ckey", "mask-2", "restored"):
        assert refused(visitor.get(f"{API}/jobs/{job['id']}/results/{name}"), 404)


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "..\\..\\boot.ini", "/etc/shadow", "CON:", "a\x00b.png", "<img src=x onerror=alert(1)>.png",
     ".", "..", "", " ", "a" * 5000 + ".png", "\u202egnp.exe", "-rf.png"],
)  # fmt: skip
def test_a_photos_name_is_no_path(visitor: TestClient, app: App, name: str) -> None:
    photo = bring(visitor, name=name)
    assert not set("/\\\x00:") & set(photo["name"])
    assert photo["name"] not in ("", ".", "..")
    (file,) = app.visitors.folder.rglob(f"{photo['id']}/file/*")
    assert file.name == photo["name"]
    assert file.read_bytes() == png_of()


@given(st.text(max_size=400))
def test_every_name_is_a_files_name(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert len(safe.encode()) <= 200
    assert not set('/\\\x00\n:*?"<>|') & set(safe)
    assert safe.strip(" .") == safe
    assert safe_name(safe) == safe


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"


def _zip_bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(50_000_000))
    return file.getvalue()


def _large_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(2_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [SVG, HTML, b"", b"GIF89a", _zip_bomb(), _large_png(60_000, 60_000), _large_png(2**31 - 1, 1), png_of()[:200],
     png_of(20, 20), b"%PDF-1.7", b"\x00" * 1000],
    ids=["svg", "html", "empty", "gif head", "zip bomb", "60000 x 60000", "2 G wide", "cut off", "too small", "pdf",
         "zeros"],
)  # fmt: skip
def test_what_is_no_photo_is_refused_and_not_kept(visitor: TestClient, app: App, data: bytes) -> None:
    assert refused(visitor.post(f"{API}/photos", params={"name": "x.png"}, content=data))
    photo = bring(visitor)["id"]
    refused(visitor.post(f"{API}/photos/{photo}/masks", content=data))
    assert len(visitor.get(f"{API}/photos").json()["photos"]) == 1
    (folder,) = [path.parent.parent for path in app.visitors.folder.rglob(f"{photo}/photo.json")]
    assert [path.name for path in folder.iterdir()] == [photo]


def test_more_bytes_than_allowed_are_refused_before_they_are_read(visitor: TestClient) -> None:
    assert "at most 3000000 bytes" in refused(visitor.post(f"{API}/photos", content=bytes(3_000_001)), 413)
    assert "at most" in refused(visitor.post(f"{API}/photos", headers={"Content-Length": "9" * 30}), 413)
    assert "at most" in refused(visitor.post(f"{API}/jobs", content=bytes(5_000_000)), 413)

    def endless():
        for _ in range(40):
            yield bytes(100_000)

    assert "at most" in refused(visitor.post(f"{API}/photos", content=endless()), 413)

    assert "at most" in refused(
        visitor.post(
            f"{API}/jobs", content=(bytes(1 << 20) for _ in range(5)), headers={"Content-Type": "application/json"}
        ),
        413,
    )


def test_an_upload_that_is_cut_off_leaves_nothing_and_is_no_defect(visitor: TestClient, app: App) -> None:
    photo = bring(visitor)["id"]
    before = sorted(app.visitors.folder.rglob("*"))
    sent = iter([])

    async def receive() -> dict:
        return next(sent, {"type": "http.disconnect"})

    async def send(message: dict) -> None:
        assert message.get("status", 400) == 400

    for path in ("photos", f"photos/{photo}/masks"):
        sent = iter([{"type": "http.request", "body": png_of()[:500], "more_body": True}] * 2)
        headers = {"host": "127.0.0.1:7860", "origin": HERE, "content-length": "9000"}
        headers["cookie"] = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
        scope = {
            "type": "http", "http_version": "1.1", "method": "POST", "path": f"{API}/{path}", "raw_path": b"",
            "query_string": b"", "scheme": "http", "root_path": "", "client": ("127.0.0.1", 1), "server": None,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }  # fmt: skip
        asyncio.run(visitor.app(scope, receive, send))  # pyright: ignore
    assert sorted(app.visitors.folder.rglob("*")) == before


@pytest.mark.parametrize("host", ["127.0.0.1:1/api/v1/health?", "127.0.0.1/api/v1/health#", "localhost:7860/?"])
def test_what_stands_in_the_host_is_no_part_of_the_path(server: TestClient, host: str) -> None:
    server.cookies.clear()
    for path in (f"{API}/samples", "/openapi.json", f"{API}/photos"):
        assert server.get(path, headers={"Host": host}).status_code in (401, 421)


def test_scripts_in_metadata_and_captions_stay_text(visitor: TestClient) -> None:
    script = "<script>alert(1)</script>"
    exif = Image.Exif()
    exif[0x010E] = script
    photo = bring(visitor, png_of(exif=exif), name=f"{script}.png")
    assert not set("<>") & set(photo["name"])
    job = ended(visitor, ask(visitor, photo["id"], instruction=f'make "{script}" clear with 0.5'))
    assert job["state"] == "done"
    for path in (f"jobs/{job['id']}", "jobs", f"photos/{photo['id']}"):
        assert visitor.get(f"{API}/{path}").headers["content-type"] == "application/json"


def test_every_answer_tells_the_browser_to_trust_it_in_nothing(visitor: TestClient) -> None:
    photo = bring(visitor)["id"]
    for path in ("/", "/docs", f"{API}/photos/{photo}/picture", f"{API}/photos", "/static/index.html", "/no/such"):
        headers = visitor.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "asked",
    [{"photo": "../x"}, {"kind": "rm"}, {"seed": -1}, {"seed": 2**64}, {"settings": {"nothing": 1}}, {"sweep": [9.0]},
     {"settings": {"upscale": 1e9}}, {"settings": {"upscale": float("inf")}}, {"settings": {"tile": [1]}}, {"x": 1},
     {"settings": {"num_inference_steps": 10**9}}, {"masks": [None, None]}, {"masks": ["../../x"]}, {"kind": "sweep"},
     {"instruction": "x" * 30_000}, {"instruction": ""}, {"instruction": {"regions": []}},
     {"settings": {"upscale": 0.1}}, {"settings": {"rest": "keep"}},
     {"instruction": {"regions": [{"caption": "a", "scale": 99}]}}, {"settings": {"upscale": 8.0, "tile": 64}}],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_a_sentence(visitor: TestClient, asked: dict) -> None:
    wish = {"photo": bring(visitor)["id"], "instruction": "make the dog clear"} | asked
    answer = visitor.post(f"{API}/jobs", content=json.dumps(wish), headers={"Content-Type": "application/json"})
    assert refused(answer, 404 if asked.get("masks") == ["../../x"] else 422)


def test_too_many_regions_are_said_to_be_too_many(visitor: TestClient) -> None:
    regions = [{"caption": f"thing {number}"} for number in range(MAX_REGIONS + 1)]
    wish = {"photo": bring(visitor)["id"], "instruction": {"regions": regions}}
    said = refused(visitor.post(f"{API}/jobs", json=wish))
    assert said.startswith("instruction.regions: ")
    assert f"at most {MAX_REGIONS}" in said


@given(st.binary(max_size=300))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_as_json_are_answered(visitor: TestClient, data: bytes) -> None:
    for path in ("jobs", "instructions", "folders"):
        answer = visitor.post(f"{API}/{path}", content=data, headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500
        assert answer.json()["error"]


def test_a_photo_of_more_pixels_than_allowed_is_refused_before_it_is_decoded(visitor: TestClient) -> None:
    file = io.BytesIO()
    Image.new("L", (2001, 2000)).save(file, "PNG")
    assert "4000000" in refused(visitor.post(f"{API}/photos", content=file.getvalue())).replace(",", "")


def test_a_session_has_so_many_photos_and_no_more(visitor: TestClient) -> None:
    for _ in range(12):
        bring(visitor)
    assert "12 photos already" in refused(visitor.post(f"{API}/photos", content=png_of()))


@pytest.mark.parametrize(
    ("token", "said"), [("short", "16 characters"), ("with blanks in it, many", "blanks"), ("é" * 20, "ASCII")]
)
def test_a_weak_token_is_refused(tmp_path, token: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_server(settings_in(tmp_path, token=token))
