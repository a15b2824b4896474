"""A run's folder in an object store: moto's S3 server, builds in processes of their own, and what can go wrong."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import fsspec
import pytest

from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.running import lock as run_lock
from instructrestore.shards.files import commit
from instructrestore.shards.index import Dataset
from instructrestore.shards.paths import parse_place, read, read_if_there
from instructrestore.shards.reading.cache import ShardCache
from instructrestore.shards.reading.reader import PhotoReader
from instructrestore.shards.reading.stream import TripletStream
from tests.pipelines.photos import BY_COLOUR_SET, make_photos
from tests.shards.loading import name_of, order_of

for needed in ("moto", "flask", "flask_cors", "s3fs"):
    pytest.importorskip(needed, reason=f"the S3 server of these tests needs {needed}: pip install -e '.[test]'")

ROOT = Path(__file__).resolve().parents[3]
START_S = 60
SMALL = ("photos_per_part=3", "shards.photos_per_shard=5", "quality_gate.short_side=64", "quality_gate.score=0")


class Wire:
    """A TCP connection to the server that can be cut and mended."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._open: list[socket.socket] = []
        self.port = 0
        self.mend()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        ends, self._open = [self._listener, *self._open], []
        for end in ends:
            _shut(end)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._server))
            except OSError:
                return
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pour, args=(source, sink), daemon=True).start()


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    _shut(source)
    _shut(sink)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """The way to an S3 server with an empty bucket "bucket"; the environment says where it is."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline, "moto's server does not start"
            time.sleep(0.1)
    opened = Wire(port)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{opened.port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }.items():
            environment.setenv(name, value)
        fsspec.filesystem("s3").mkdir("bucket")
        yield opened
    opened.cut()
    server.terminate()
    server.wait()


def command(photos: Path, out: str, *more: str) -> list[str]:
    settings = [word for setting in (*SMALL, "run.cpus=1") for word in ("--set", setting)]
    return [
        sys.executable,
        "-m",
        "instructrestore",
        "build",
        str(photos),
        "--out",
        out,
        *settings,
        *BY_COLOUR_SET,
        *more,
    ]


def build(photos: Path, out: str, *more: str) -> str:
    """A build that ends well; what it printed."""
    ended = subprocess.run(command(photos, out, *more), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def objects(under: str) -> dict[str, str]:
    """The sha256 of every object, by its name."""
    files = fsspec.filesystem("s3")
    files.invalidate_cache()
    found = files.find(under)
    return {path[len(under) + 1 :]: hashlib.sha256(files.cat_file(path)).hexdigest() for path in found}


def parts(run: str) -> set[str]:
    files = fsspec.filesystem("s3")
    files.invalidate_cache()
    return {path for path in files.find(f"{run}/stages") if path.endswith(".parquet")}


def begin(photos: Path, run: str, more_parts: int) -> subprocess.Popen[str]:
    """A build at work that has committed so many more parts."""
    known = len(parts(run))
    process = subprocess.Popen(
        command(photos, f"s3://{run}"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while len(parts(run)) < known + more_parts:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process


def files_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, one of them broken, and a manifest that names them."""
    folder = tmp_path_factory.mktemp("remote") / "photos"
    make_photos(folder, 12)
    (folder / "broken.jpg").write_bytes((folder / "photo 000.jpg").read_bytes()[:500])
    manifest = folder.parent / "photos.csv"
    manifest.write_text("uri\n" + "".join(f"photos/{path.name}\n" for path in sorted(folder.iterdir())))
    return manifest


@pytest.fixture(scope="module")
def expected(photos: Path) -> dict[str, str]:
    """The data set that a build in a local folder gives."""
    build(photos, str(photos.parent / "local"))
    return files_of(photos.parent / "local/dataset")


@pytest.fixture(scope="module")
def finished(wire: Wire, photos: Path) -> str:
    """A run in the bucket whose driver was killed, which then lost its server, and which came to its end."""
    run = "bucket/some/run"
    hidden = photos.parent / "photos/photo 005.png"
    content = hidden.read_bytes()
    hidden.unlink()

    process = begin(photos, run, more_parts=2)
    with pytest.raises(ValueError, match=f"another run is at work in s3://{run}: process {process.pid} on"):
        RunFolder(parse_place(f"s3://{run}")).lock().__enter__()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert "dataset.json" not in objects(f"{run}/dataset")

    done = parts(run)
    process = begin(photos, run, more_parts=4)  # what the killed one held is taken over
    wire.cut()
    said, errors = process.communicate(timeout=300)
    wire.mend()
    assert process.returncode == 2, said + errors
    assert re.fullmatch(r"instructrestore: .*(127\.0\.0\.1|s3://bucket).*\n", errors), errors
    assert done <= parts(run), "nothing that was done is lost"

    done = parts(run)
    build(photos, f"s3://{run}")
    assert done <= parts(run), "and nothing done twice"
    hidden.write_bytes(content)
    return run


@pytest.mark.slow
def test_killed_cut_off_and_retried_gives_the_bytes_of_a_local_build(
    finished: str, photos: Path, expected: dict[str, str]
) -> None:
    without = objects(f"{finished}/dataset")
    assert {"dataset.json", "index.parquet", "README.md"} <= set(without)
    assert without != expected
    said = build(photos, f"s3://{finished}", "--retry-failed")
    assert "starting Ray" in said
    assert objects(f"{finished}/dataset") == expected
    before = objects(finished)
    said = build(photos, f"s3://{finished}")
    assert "starting Ray" not in said, "no stage is left to run"
    assert objects(finished) == before
    assert not [name for name in before if ".partial-" in name or name == ".lock"]


@pytest.mark.slow
def test_a_data_set_in_a_store_is_read_as_any_other(finished: str, tmp_path: Path) -> None:
    place = f"s3://{finished}/dataset"
    dataset = Dataset(place)
    key = dataset.index["key"][0].as_py()
    for words in (["verify", place], ["stats", place], ["show", place, key, "--out", str(tmp_path / "shown.png")]):
        ended = subprocess.run(
            [sys.executable, "-m", "instructrestore", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, (words, ended.stdout, ended.stderr)
    assert (tmp_path / "shown.png").stat().st_size
    fsspec.filesystem("s3").get(f"{finished}/dataset", f"{tmp_path}/copy", recursive=True)
    local = Dataset(str(tmp_path / "copy"))
    settings = {"seed": 3, "window_shards": 2}
    readers = [PhotoReader(local)], [PhotoReader(dataset, ShardCache(tmp_path / "cache", 1 << 30))]
    streams = [TripletStream(each, order_of(dataset, **settings), name_of, batch=4) for each in readers]
    here, there = (list(itertools.islice(stream.micro_batches(), 5)) for stream in streams)
    assert here == there


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("s3://no-such-bucket/run", "The specified bucket does not exist: s3://no-such-bucket/run"),
        ("sftp://host/run", "sftp://host/run is neither a local folder nor one in an object store"),
    ],
)
@pytest.mark.usefixtures("wire")
def test_a_place_that_cannot_be_written_is_one_sentence(photos: Path, out: str, sentence: str) -> None:
    ended = subprocess.run(command(photos, out), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert sentence in ended.stderr and ended.stderr.count("\n") == 1


@pytest.mark.usefixtures("wire")
def test_a_lock_of_a_clock_that_is_ahead_is_in_the_way_only_while_its_run_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_lock, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(run_lock, "WATCH_S", 60.0)
    run, beats = parse_place("s3://bucket/ahead"), itertools.count()

    def beat() -> None:
        commit(run / ".lock", json.dumps(said | {"time": time.time() + 3600 + next(beats)}).encode())

    said = {"owner": "another", "host": "there", "space": "there", "process": 77, "begun": "1"}
    beat()
    renewing = threading.Timer(0.3, beat)
    renewing.start()
    with pytest.raises(ValueError, match="another run is at work in s3://bucket/ahead: process 77 on there"):
        RunFolder(run).lock().__enter__()
    renewing.join()
    monkeypatch.setattr(run_lock, "WATCH_S", 1.0)
    with RunFolder(run).lock() as check:
        check()
        assert json.loads(read(run / ".lock"))["owner"] != "another"
    assert read_if_there(run / ".lock") is None
