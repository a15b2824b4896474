"""The lock of a run's folder in a store: one build at a time, dead ones passed over, living ones never."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from instructrestore.dataengine.running import lock as run_lock
from instructrestore.dataengine.running.lock import locked
from instructrestore.dataengine.running.stage import StopStage
from instructrestore.shards.files import commit
from instructrestore.shards.paths import ObjectPath, names, read


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectPath:
    """In a store in memory; hearts beat fast."""
    monkeypatch.setattr(run_lock, "HEARTBEAT_S", 0.05)
    return ObjectPath(f"memory://locks/{tmp_path.name}")


def held_by(folder: ObjectPath, process: int, seconds_ago: float, space: str | None = None) -> None:
    """Leaves the lock of another run."""
    said = {
        "owner": "another", "host": "there", "process": process, "time": time.time() - seconds_ago,
        "space": run_lock._space() if space is None else space,
    }  # fmt: skip
    commit(folder / ".lock", json.dumps(said).encode())


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


def test_a_build_that_was_killed_here_is_no_longer_in_the_way(folder: ObjectPath) -> None:
    held_by(folder, dead_process(), seconds_ago=1)
    with locked(folder) as check:
        check()


@pytest.mark.parametrize("space", ["", "another machine"])
def test_a_process_of_another_machine_is_not_looked_for_here(folder: ObjectPath, space: str) -> None:
    held_by(folder, dead_process(), seconds_ago=1, space=space)
    with pytest.raises(ValueError, match=r"free 60 s after that"), locked(folder):
        pass


def test_a_lock_that_nobody_renews_is_taken_over(folder: ObjectPath) -> None:
    held_by(folder, os.getpid(), seconds_ago=run_lock.STALE_S + 1)
    with locked(folder) as check:
        check()
        assert json.loads(read(folder / ".lock"))["owner"] != "another"


def test_a_living_build_whose_clock_is_wrong_keeps_its_lock(folder: ObjectPath) -> None:
    ended = threading.Event()

    def beat() -> None:
        ago = 10_000.0
        while not ended.wait(0.02):
            ago -= 0.02
            held_by(folder, os.getpid(), ago, "another machine")

    held_by(folder, os.getpid(), 10_001, "another machine")
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(ValueError, match="another run is at work"), locked(folder):
            pass
    finally:
        ended.set()
        thread.join()


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


def test_a_damaged_lock_is_said(folder: ObjectPath) -> None:
    commit(folder / ".lock", b"{}")
    with pytest.raises(ValueError, match=r"\.lock is damaged; remove it"), locked(folder):
        pass
