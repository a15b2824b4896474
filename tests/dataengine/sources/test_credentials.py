"""Photos behind a password or with signed addresses: read as fsspec reads them, and in nothing that is handed on."""

from __future__ import annotations

import base64
import json
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import fsspec.config
import pytest
from aiohttp import ClientResponseError
from pydantic import ValidationError

from instructrestore.dataengine.photos.photo_file import read_bytes
from instructrestore.dataengine.photos.row import SourcePhoto
from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.sources import SourceSettings, list_photos, parse_source
from tests.dataengine.photos.test_photo_file import saved, scene

JPEG = saved(scene(), "JPEG")
KEY = "Basic " + base64.b64encode(b"user:hunter2").decode()


class _Guarded(BaseHTTPRequestHandler):
    """Gives the photo to whoever has the key, or a signature in the query."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        allowed = self.headers["Authorization"] == KEY or "sig=hunter2" in self.path
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(JPEG) if allowed else 0))
        self.end_headers()
        if allowed and with_body:
            self.wfile.write(JPEG)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Guarded) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()


def manifest(folder: Path, *uris: str) -> list[SourcePhoto]:
    (folder / "list.csv").write_text("uri,url\n" + "".join(f"{uri},{uri}\n" for uri in uris))
    return list(list_photos(parse_source(str(folder / "list.csv"))))


def test_a_password_goes_where_fsspec_looks_for_it(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="an address with a name or password in it") as caught:
        parse_source(f"http://user:hunter2@{server}/photos")
    assert "FSSPEC_HTTP" in str(caught.value) and "hunter2" not in str(caught.value)
    for name in ("path", "images", "masks"):
        with pytest.raises(ValidationError, match="an address with a name or password in it"):
            SourceSettings.model_validate({"kind": "coco", "path": "a", name: f"http://user:hunter2@{server}/a"})
    refused, plain = manifest(tmp_path, f"http://user:hunter2@{server}/a.jpg", f"http://{server}/a.jpg")
    assert (refused.problem, plain.problem) == ("address with a password", "")
    assert "hunter2" not in repr(refused)
    with pytest.raises(ClientResponseError, match="401"):
        read_bytes(plain.uri)
    for options in ({"headers": {"Authorization": KEY}}, {"trust_env": True}):
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password hunter2")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        fsspec.config.set_conf_env(configured := {}, {"FSSPEC_HTTP": json.dumps({"client_kwargs": options})})
        monkeypatch.setattr(fsspec.config, "conf", configured)
        assert read_bytes(plain.uri) == JPEG


def test_a_signed_address_is_read_and_kept_for_its_owner_alone(server: str, tmp_path: Path) -> None:
    (photo,) = manifest(tmp_path, f"http://{server}/a.jpg?sv=1&sig=hunter2")
    assert read_bytes(photo.uri) == JPEG
    assert photo.name == "a.jpg?sv=1&sig=***" and photo.url == f"http://{server}/a.jpg?sv=1&sig=***"
    for photos, mode in (([SourcePhoto("https://host/a.jpg", "a", "s")], 0o755), ([photo], 0o700)):
        run = RunFolder(tmp_path / f"run {mode}")
        run.create()
        run.path.chmod(0o755)
        assert run.append(photos, 4).signed == (mode == 0o700)
        assert stat.S_IMODE(run.path.stat().st_mode) == mode
