"""The lock of a run's folder in a store: one build at a time, dead ones passed over, living ones never."""

from __future__ import annotations

import errno
import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from instructrestore.dataengine.running import lock as run_lock
from instructrestore.dataengine.running.lock import locked
from instructrestore.dataengine.running.stage import StopStage
from instructrestore.shards.files import commit
from instructrestore.shards.paths import ObjectPath, names, read, remove


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectPath:
    """In a store in memory; hearts beat fast."""
    monkeypatch.setattr(run_lock, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(run_lock, "WATCH_S", 0.5)
    return ObjectPath(f"memory://locks/{tmp_path.name}")


def held_by(folder: ObjectPath, process: object, seconds_ago: float = 1, **changes: object) -> None:
    """Leaves the lock of another run, of this machine unless it is said to be of another one."""
    said: dict[str, object] = {
        "owner": "another", "host": socket.gethostname(), "space": run_lock._space(), "process": process,
        "begun": "1", "time": time.time() - seconds_ago,
    }  # fmt: skip
    commit(folder / ".lock", json.dumps(said | changes).encode())


@contextmanager
def renewed(folder: ObjectPath, seconds_ago: float) -> Iterator[None]:
    """Another machine's run that lives, and whose clock is so wrong."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.02):
            held_by(folder, os.getpid(), seconds_ago, space="another machine")

    held_by(folder, os.getpid(), seconds_ago, space="another machine")
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def dead_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_one_build_at_a_time(folder: ObjectPath) -> None:
    with locked(folder) as check:
        with pytest.raises(ValueError, match=f"another run is at work in .*process {os.getpid()} on"), locked(folder):
            pass
        time.sleep(0.3)
        check()
        assert json.loads(read(folder / ".lock"))["time"] > time.time() - 0.2, "it is renewed"
    assert names(folder) == []
    with locked(folder):
        pass


@pytest.fixture
def no_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    def watched(place: object, held: object) -> bool:
        raise AssertionError("what can be told at once is not watched for")

    monkeypatch.setattr(run_lock, "_is_renewed", watched)


@pytest.mark.usefixtures("no_watching")
def test_a_build_that_was_killed_here_is_no_longer_in_the_way(folder: ObjectPath) -> None:
    held_by(folder, dead_process())
    with locked(folder) as check:
        check()


@pytest.mark.usefixtures("no_watching")
def test_a_killed_build_whose_number_another_process_has_is_not_in_the_way(folder: ObjectPath) -> None:
    held_by(folder, os.getpid(), begun="1")
    with locked(folder) as check:
        check()


@pytest.mark.usefixtures("no_watching")
def test_a_killed_build_that_nobody_waited_for_is_not_in_the_way(folder: ObjectPath) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    begun = run_lock._begun(ended.pid)
    while run_lock._begun(ended.pid) != "ended":
        time.sleep(0.01)
    held_by(folder, ended.pid, begun=begun)
    with locked(folder) as check:
        check()
    ended.wait()


@pytest.mark.usefixtures("no_watching")
def test_a_living_build_of_this_machine_is_known_at_once(folder: ObjectPath) -> None:
    held_by(folder, os.getpid(), seconds_ago=10_000, begun=run_lock._begun(os.getpid()))
    with pytest.raises(ValueError, match=f"another run is at work in .*process {os.getpid()} on"), locked(folder):
        pass


@pytest.mark.parametrize("seconds_ago", [10_000, 1, -10_000, -1e300])
def test_a_lock_that_nobody_renews_is_taken_over_whatever_its_time(folder: ObjectPath, seconds_ago: float) -> None:
    held_by(folder, os.getpid(), seconds_ago, space="another machine")
    with locked(folder) as check:
        check()
        assert json.loads(read(folder / ".lock"))["owner"] != "another"


@pytest.mark.parametrize("seconds_ago", [10_000, 0, -10_000])
def test_a_living_build_whose_clock_is_wrong_keeps_its_lock(
    folder: ObjectPath, seconds_ago: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lock, "WATCH_S", 60)
    said = "another run is at work"
    with renewed(folder, seconds_ago), pytest.raises(ValueError, match=said), locked(folder):
        pass


@pytest.mark.parametrize("another", [{"space": ""}, {"space": "another machine"}, {"host": "another machine"}])
def test_a_process_of_another_machine_is_not_looked_for_here(folder: ObjectPath, another: dict[str, str]) -> None:
    held_by(folder, dead_process(), **another)
    held = run_lock._seen(folder / ".lock")
    assert held and held.lives() is None


def test_a_lock_of_an_earlier_version_says_less_and_is_watched(folder: ObjectPath) -> None:
    held_by(folder, os.getpid(), begun="")
    held = run_lock._seen(folder / ".lock")
    assert held and held.lives() is None
    with locked(folder) as check:
        check()


def test_a_lock_that_goes_while_it_is_watched_is_free(folder: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "WATCH_S", 60)
    held_by(folder, 1, space="another machine")
    going = threading.Timer(0.2, lambda: remove([folder / ".lock"]))
    going.start()
    with locked(folder) as check:
        check()
    going.join()


def test_that_it_watches_is_said(folder: ObjectPath, caplog: pytest.LogCaptureFixture) -> None:
    held_by(folder, 77, host="there")
    with locked(folder):
        pass
    assert "is locked by process 77 on there: watching for up to 0 s whether that is alive" in caplog.text


def test_a_build_that_lost_its_lock_stops_and_leaves_the_others(folder: ObjectPath) -> None:
    with locked(folder) as check:
        held_by(folder, os.getpid(), seconds_ago=0)
        time.sleep(0.3)
        with pytest.raises(StopStage, match="another run has taken over memory://"):
            check()
    assert json.loads(read(folder / ".lock"))["owner"] == "another"


def test_a_store_that_stays_silent_stops_the_build(folder: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(place: ObjectPath, data: bytes) -> None:
        raise OSError("no answer")

    monkeypatch.setattr(run_lock, "STALE_S", 0.2)
    with locked(folder) as check:
        monkeypatch.setattr(run_lock, "commit", silent)
        check()
        time.sleep(0.5)
        with pytest.raises(StopStage, match="the store does not answer"):
            check()


@pytest.mark.parametrize("process", [10**12, 2**31, 10**400, 0, -1, -77, True, "77", 77.0, 77.5, None, [77], math.nan])
def test_a_number_that_no_process_has_is_said(folder: ObjectPath, process: object) -> None:
    held_by(folder, process)
    with pytest.raises(ValueError, match=r"\.lock is damaged; remove it"), locked(folder):
        pass


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe", b"[" * 200_000, b'{"owner": "another"'])
def test_a_damaged_lock_is_said(folder: ObjectPath, content: bytes) -> None:
    commit(folder / ".lock", content)
    with pytest.raises(ValueError, match=r"\.lock is damaged; remove it"), locked(folder):
        pass


@pytest.mark.parametrize("time_said", [math.nan, math.inf, 10**400, "soon"])
def test_a_time_that_is_none_is_said(folder: ObjectPath, time_said: object) -> None:
    held_by(folder, 77, time=time_said)
    with pytest.raises(ValueError, match=r"\.lock is damaged; remove it"), locked(folder):
        pass


def test_a_folder_in_the_place_of_a_local_lock_is_said(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(OSError, match=r"\.lock"), locked(tmp_path):
        pass


def test_a_local_folder_that_knows_no_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(run_lock.fcntl, "flock", none)
    with pytest.raises(OSError, match="No locks available") as raised, locked(tmp_path):
        pass
    assert raised.value.filename == str(tmp_path / ".lock")
