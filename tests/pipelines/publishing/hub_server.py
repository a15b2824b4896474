"""A hub for tests, on this machine: the endpoints that huggingface_hub asks to make a repository, list it, store files
by their sha256, commit and fetch; and faults on demand. It keeps everything in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_only_for_this_test"
_RUN_OF_REPOSITORY = r"(?P<id>[\w.-]+/[\w.-]+)"
_LARGE = (".tar", ".parquet", ".safetensors")


@dataclass
class Fault:
    """What goes wrong: the next `times` requests of this method whose path holds `path`.

    status: answered instead; or `cut` closes the connection halfway, or `damaged` changes a byte of what is sent.
    """

    method: str
    path: str
    status: int = 0
    cut: bool = False
    damaged: bool = False
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Repository:
    """branches: commit by name. commits: the files of each, by path: (content, whether it is a large one)."""

    private: bool
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, tuple[bytes, bool]]] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, tuple[bytes, bool]]) -> str:
        name = hashlib.sha1(f"{branch} {len(self.commits)}".encode()).hexdigest()
        self.commits[name], self.branches[branch] = files, name
        return name

    def at(self, revision: str) -> str | None:
        found = self.branches.get(revision, revision)
        return found if found in self.commits else None

    def files(self, revision: str = "main") -> dict[str, bytes]:
        name = self.at(revision)
        assert name
        return {path: content for path, (content, _) in self.commits[name].items()}


class Hub:
    """repositories: by ("dataset" or "model", OWNER/NAME). stored: large files by sha256. puts: sha256 of every large
    file whose upload came to its end, in order. writers: tokens that may write."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.gets: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        self.url = ""

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method == method and fault.path in path:
                    fault.times -= 1
                    return fault
        return None


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that listens on this machine while the block runs."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Bound", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        fault = self.hub.take_fault(method, path)
        size = int(self.headers.get("Content-Length") or 0)
        if fault and fault.cut and method in ("PUT", "POST"):
            self.rfile.read(size // 2)
            self._hang_up()
            return
        self.body = self.rfile.read(size)
        self._cut, self._damaged = bool(fault and fault.cut), bool(fault and fault.damaged)
        if fault and fault.status:
            self._send(fault.status, {"error": "asked for by the test"}, **fault.headers)
            return
        for verb, pattern, act in _ROUTES:
            if verb == method.replace("HEAD", "GET") and (found := re.fullmatch(pattern, path)):
                act(self, **found.groupdict())
                return
        self._send(404, {"error": f"no endpoint {method} {path}"})

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def _send(self, status: int, content: Any, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        if self._damaged and data:
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self._cut:
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self._hang_up()
            return
        self.wfile.write(data)

    def _may_write(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._send(401, {"error": "Invalid username or password."}, X_Error_Message="Invalid username or password.")
        return False

    def _repository(self, kind: str, id: str, revision: str = "main") -> tuple[Repository, str] | None:
        known = self.hub.repositories.get((kind, id))
        if known is None:
            self._send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        if (commit := known.at(revision)) is None:
            self._send(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
            return None
        return known, commit

    def create(self) -> None:
        if not self._may_write():
            return
        asked = json.loads(self.body)
        kind, id = asked.get("type", "model"), f"{asked['organization']}/{asked['name']}"
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{id}"
        if (kind, id) in self.hub.repositories:
            self._send(409, {"error": "You already created this repo", "url": url})
            return
        made = Repository(asked.get("visibility") == "private" or bool(asked.get("private")))
        made.commit("main", {".gitattributes": (b"*.tar filter=lfs\n", False)})
        self.hub.repositories[kind, id] = made
        self._send(200, {"url": url, "name": id})

    def branch(self, kind: str, id: str, branch: str) -> None:
        if self._may_write() and (found := self._repository(kind, id)):
            known, commit = found
            if branch in known.branches:
                self._send(409, {"error": "Reference already exists"})
                return
            known.branches[branch] = commit
            self._send(200, {})

    def info(self, kind: str, id: str, revision: str | None = None) -> None:
        if found := self._repository(kind, id, revision or "main"):
            known, commit = found
            siblings = [{"rfilename": path} for path in known.commits[commit]]
            self._send(200, {"id": id, "sha": commit, "private": known.private, "siblings": siblings, "tags": []})

    def tree(self, kind: str, id: str, revision: str) -> None:
        if found := self._repository(kind, id, revision):
            known, commit = found
            self._send(200, [_entry(path, *file) for path, file in sorted(known.commits[commit].items())])

    def validate(self) -> None:
        self._send(200, {"errors": [], "warnings": []})

    def preupload(self, kind: str, id: str, revision: str) -> None:
        if self._may_write() and self._repository(kind, id, revision):
            modes = {True: "lfs", False: "regular"}
            asked = json.loads(self.body)["files"]
            answer = [
                {"path": file["path"], "uploadMode": modes[file["path"].endswith(_LARGE)], "shouldIgnore": False}
                for file in asked
            ]
            self._send(200, {"files": answer})

    def batch(self, kind: str, id: str) -> None:
        if not self._may_write():
            return
        objects = json.loads(self.body)["objects"]
        for each in objects:
            if each["oid"] not in self.hub.stored:
                each["actions"] = {"upload": {"href": f"{self.hub.url}/store/{each['oid']}"}}
        self._send(200, {"transfer": "basic", "objects": objects})

    def store(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        with self.hub.lock:
            self.hub.stored[oid] = self.body
            self.hub.puts.append(oid)
        self._send(200, {})

    def commit(self, kind: str, id: str, revision: str) -> None:
        if not (self._may_write() and (found := self._repository(kind, id, revision))):
            return
        known, head = found
        files = dict(known.commits[head])
        for line in self.body.splitlines():
            step = json.loads(line)
            what, value = step["key"], step["value"]
            if what == "header" and value.get("parentCommit", head) != head:
                self._send(412, {"error": "A commit has happened since."})
                return
            if what == "file":
                files[value["path"]] = (base64.b64decode(value["content"]), False)
            if what == "lfsFile":
                files[value["path"]] = (self.hub.stored[value["oid"]], True)
            if what == "deletedFile":
                del files[value["path"]]
        made = known.commit(revision, files)
        self._send(200, {"commitUrl": f"{self.hub.url}/{id}/commit/{made}", "commitOid": made})

    def resolve(self, kind: str, id: str, revision: str, path: str) -> None:
        if not (found := self._repository(kind, id, revision)):
            return
        known, commit = found
        if path not in known.commits[commit]:
            self._send(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            return
        content, large = known.commits[commit][path]
        headers = {"X_Repo_Commit": commit, "ETag": f'"{_oid(content, large)}"', "Accept_Ranges": "bytes"}
        if self.command == "GET":
            self.hub.gets.append(path)
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start = int(asked[1])
            place = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._send(206, content[start:], Content_Range=place, **headers)
            return
        self._send(200, content, **headers)


def _oid(content: bytes, large: bool) -> str:
    if large:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def _entry(path: str, content: bytes, large: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _oid(content, False)}
    if large:
        entry["lfs"] = {"oid": _oid(content, True), "size": len(content), "pointerSize": 130}
    return entry


def _dataset(act: Any, kind: str) -> Any:
    return lambda self, **found: act(self, kind=kind, **found)


_ROUTES: list[tuple[str, str, Any]] = [
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.validate),
    ("PUT", "/store/(?P<oid>[0-9a-f]{64})", _Handler.store),
]
for _kind, _prefix in (("dataset", "datasets/"), ("model", "")):
    _api = f"/api/{_kind}s/{_RUN_OF_REPOSITORY}"
    _ROUTES += [
        ("POST", f"{_api}/branch/(?P<branch>.+)", _dataset(_Handler.branch, _kind)),
        ("GET", _api, _dataset(_Handler.info, _kind)),
        ("GET", f"{_api}/revision/(?P<revision>.+)", _dataset(_Handler.info, _kind)),
        ("GET", f"{_api}/tree/(?P<revision>.+)", _dataset(_Handler.tree, _kind)),
        ("POST", f"{_api}/preupload/(?P<revision>.+)", _dataset(_Handler.preupload, _kind)),
        ("POST", f"{_api}/commit/(?P<revision>.+)", _dataset(_Handler.commit, _kind)),
        ("POST", f"/{_prefix}{_RUN_OF_REPOSITORY}.git/info/lfs/objects/batch", _dataset(_Handler.batch, _kind)),
        (
            "GET",
            f"/{_prefix}{_RUN_OF_REPOSITORY}/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
            _dataset(_Handler.resolve, _kind),
        ),
    ]
