"""The lock of a work folder: one run at a time.

In a local folder it is a lock of the operating system, which goes with its process however that ends. An object store
has none; there an object says who holds the folder and is renewed by a thread as long as the run lives:

    OUT/.lock       {owner, host, space, process, time}

A run that finds the object is refused, unless its owner is known to be dead: its process, on this machine, is gone;
or the object was last renewed more than STALE_S ago and is not renewed while the newcomer watches, so that clocks
that disagree cost no live run its lock.

What this cannot exclude: a run that stands still for that long (a suspended machine, a network that is cut) and goes
on after another has taken over may still commit the parts it has in hand before it notices. Those are the files that
the other run writes too, byte for byte, or ones that no plan names. And two runs that take over a dead one's lock
within the same second can both believe they have it for up to HEARTBEAT_S; then one of them stops.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from instructrestore.dataengine.running.stage import StopStage
from instructrestore.shards.files import commit, create
from instructrestore.shards.paths import ObjectPath, Place, read_if_there, remove

HEARTBEAT_S = 10.0
STALE_S = 60.0
NAME = ".lock"


@contextmanager
def locked(folder: Place, name: str = NAME, *, forks: bool = False) -> Iterator[Callable[[], None]]:
    """Holds the folder for the block; gives what raises StopStage if the lock is lost on the way.

    name: of the lock's file, in a local folder. forks: the process forks children that outlive it for some seconds;
    the lock is then of the process alone, not of its children (and another lock within the process is not refused).
    Raises ValueError where another run holds it.
    """
    if isinstance(folder, ObjectPath):
        with _locked_in_store(folder) as check:
            yield check
        return
    descriptor = os.open(folder / name, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            (fcntl.lockf if forks else fcntl.flock)(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise ValueError(f"another run is at work in {folder}") from None
        yield lambda: None
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class _Holder:
    """What the lock object says. space: where `process` is a number of one process; empty where that is unknown.
    time: of the latest heartbeat, in seconds since 1970 by the owner's clock."""

    owner: str
    host: str
    space: str
    process: int
    time: float

    def is_gone(self) -> bool:
        """Whether the process is known to be dead; only on its own machine can that be told."""
        if not self.space or self.space != _space():
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


_holders = TypeAdapter(_Holder)


@contextmanager
def _locked_in_store(folder: ObjectPath) -> Iterator[Callable[[], None]]:
    place = folder / NAME
    held = _seen(place)
    if held:
        _refuse_living(folder, place, held)
        remove([place])
    heart = _Heart(place)
    try:
        heart.begin()
    except FileExistsError:
        raise ValueError(f"another run is at work in {folder}: it began at this moment") from None
    try:
        yield heart.check
    finally:
        heart.end()


def _refuse_living(folder: ObjectPath, place: ObjectPath, held: _Holder) -> None:
    """Raises ValueError where the lock's owner may be alive."""
    if held.is_gone():
        return
    age = max(0.0, time.time() - held.time)
    if age > STALE_S:
        time.sleep(1.5 * HEARTBEAT_S)
        if _seen(place) == held:
            return
        age = 0.0
    raise ValueError(
        f"another run is at work in {folder}: process {held.process} on {held.host}, {age:.0f} s ago; if it was "
        f"killed, the folder is free {STALE_S:.0f} s after that"
    )


def _seen(place: ObjectPath) -> _Holder | None:
    content = read_if_there(place)
    if content is None:
        return None
    try:
        return _holders.validate_json(content)
    except ValidationError:
        raise ValueError(f"{place} is damaged; remove it if no run is at work there") from None


class _Heart:
    """Renews the lock object until it is ended, or finds that another run has it."""

    def __init__(self, place: ObjectPath) -> None:
        self._place = place
        self._holder = _Holder(uuid.uuid4().hex, socket.gethostname(), _space(), os.getpid(), time.time())
        self._ended = threading.Event()
        self._lost = False
        self._latest = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name="lock", daemon=True)

    def begin(self) -> None:
        """Raises FileExistsError where the object is there."""
        create(self._place, self._content())
        self._thread.start()

    def check(self) -> None:
        """Raises StopStage if the folder may be another run's by now."""
        if self._lost:
            raise StopStage(f"another run has taken over {self._place.parent}: this one stood still for too long")
        if time.monotonic() - self._latest > STALE_S:
            raise StopStage(f"{self._place} could not be renewed for {STALE_S:.0f} s: the store does not answer")

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(OSError):  # a store that is gone; the lock grows stale by itself
            if self._is_ours():
                remove([self._place])

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            with suppress(OSError):  # the store may come back; `check` tells when that takes too long
                if not self._is_ours():
                    self._lost = True
                    return
                commit(self._place, self._content())
                self._latest = time.monotonic()

    def _is_ours(self) -> bool:
        return self._holder.owner.encode() in (read_if_there(self._place) or b"")

    def _content(self) -> bytes:
        return json.dumps({**asdict(self._holder), "time": time.time()}).encode()


def _space() -> str:
    """Names the processes among which a number is that of one: a boot of a machine, and a container of it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
