"""A worker with two parts in hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from instructrestore.dataengine.running.on_ray.actor import PARTS_IN_HAND, Actor
from instructrestore.dataengine.running.on_ray.runner import Cluster
from instructrestore.dataengine.running.part_files import list_parts
from instructrestore.dataengine.running.stage import StopStage
from instructrestore.dataengine.running.worker import StageWorker, Stopped
from tests.dataengine.running.test_runner import spec, tasks
from tests.dataengine.running.trial_stages import Item, SlowSink


class InOneThread:
    """A stage that says whether it is called where it was built, and by one at a time."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._calls = 0

    def __call__(self, rows: Sequence[Item]) -> list[Item]:
        self._calls += 1
        time.sleep(0.01)
        assert (self._calls, threading.get_ident()) == (1, self._thread)
        self._calls -= 1
        return list(rows)


def hand_on(rows: Sequence[Item]) -> list[Item]:
    return list(rows)


class Noticed:
    """A stage that says when it was called first, and stops where a row says so."""

    def __init__(self, called: threading.Event) -> None:
        self._called = called

    def __call__(self, rows: Sequence[Item]) -> list[Item]:
        self._called.set()
        if rows[0].act == "stop":
            raise StopStage("the server is down")
        return list(rows)


def test_parts_in_hand_are_in_the_stage_one_at_a_time_in_its_own_thread(tmp_path: Path, ray_cluster: Cluster) -> None:
    actor, stage = Actor(), spec(tmp_path, build=InOneThread)
    assert not isinstance(actor.begin(stage), Stopped)
    planned = tasks(tmp_path, [["ok"] * 3] * 8)
    with ThreadPoolExecutor(PARTS_IN_HAND) as threads:
        done = list(threads.map(actor.do_part, planned))
    plain = StageWorker()
    plain.start(spec(tmp_path, build=lambda: hand_on))
    assert done == [plain.do_part(task) for task in planned]


def test_a_stage_that_stops_leaves_the_part_before_committed(tmp_path: Path, ray_cluster: Cluster) -> None:
    actor, called = Actor(), threading.Event()
    actor.begin(spec(tmp_path, build=partial(Noticed, called), sink=SlowSink))
    first, second = tasks(tmp_path, [["ok"], ["stop"]])
    with ThreadPoolExecutor(PARTS_IN_HAND) as threads:
        before = threads.submit(actor.do_part, first)
        assert called.wait(60)
        assert isinstance(threads.submit(actor.do_part, second).result(), Stopped)
        assert list(list_parts(tmp_path / "out")) == [0]
        assert not isinstance(before.result(), Stopped)
