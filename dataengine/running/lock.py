"""The lock of a work folder: one run at a time.

In a local folder it is a lock of the operating system, which goes with its process however that ends. An object store
has none; there an object says who holds the folder and is renewed by a thread as long as the run lives:

    OUT/.lock       {owner, host, space, process, begun, time}

A run that finds the object looks for its owner's process where that is on this machine. Elsewhere it watches for
WATCH_S whether the object is renewed: it is refused as soon as that happens, and takes over if it does not. No clock
is compared with another machine's: `time` is for people.

What this cannot exclude: a run that stands still for that long (a suspended machine, a network that is cut) and goes
on after another has taken over may still commit the parts it has in hand before it notices. Those are the files that
the other run writes too, byte for byte, or ones that no plan names. And two runs that take over a dead one's lock
within the same second can both believe they have it for up to HEARTBEAT_S; then one of them stops.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from instructrestore.dataengine.running.stage import StopStage
from instructrestore.shards.files import commit, create
from instructrestore.shards.paths import ObjectPath, Place, read_if_there, remove
from instructrestore.shards.plain_text import visible_line

HEARTBEAT_S = 10.0
STALE_S = 60.0  # a run that could not renew its lock for so long stops
WATCH_S = STALE_S + HEARTBEAT_S
NAME = ".lock"

logger = logging.getLogger(__name__)


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
    descriptor = os.open(folder / name, os.O_CREAT | os.O_RDWR, 0o666)  # less the umask
    try:
        try:
            (fcntl.lockf if forks else fcntl.flock)(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise ValueError(f"another run is at work in {folder}") from None
        except OSError as error:  # a file system without locks
            raise OSError(error.errno, error.strerror, str(folder / name)) from None
        yield lambda: None
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class _Holder:
    """What the lock object says. space: where `process` is a number of one process, and `begun` when that process
    began (`_begun`); empty where that is unknown. time: of the latest heartbeat, in seconds since 1970 by the owner's
    clock."""

    owner: str
    host: str
    space: str
    process: Annotated[int, Field(strict=True, gt=0, lt=1 << 31)]  # to `kill`, 0 and less are groups of processes
    time: FiniteFloat
    begun: str = ""

    def lives(self) -> bool | None:
        """Whether the process lives; None where that cannot be told from here."""
        if not self.space or (self.host, self.space) != (socket.gethostname(), _space()):
            return None
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return None
        begun = _begun(self.process)
        return begun == self.begun if begun and self.begun else None


_holders = TypeAdapter(_Holder)


@contextmanager
def _locked_in_store(folder: ObjectPath) -> Iterator[Callable[[], None]]:
    place = folder / NAME
    _free(folder, place)
    heart = _Heart(place)
    try:
        heart.begin()
    except FileExistsError:
        raise ValueError(f"another run is at work in {folder}: it began at this moment") from None
    try:
        yield heart.check
    finally:
        heart.end()


def _free(folder: ObjectPath, place: ObjectPath) -> None:
    """Removes the lock of a run that is dead. Raises ValueError where its owner is alive."""
    held = _seen(place)
    if held is None:
        return
    lives = held.lives()
    if lives is None:
        whose = visible_line(f"process {held.process} on {held.host}")
        logger.warning("%s is locked by %s: watching for up to %.0f s whether that is alive", folder, whose, WATCH_S)
        lives = _is_renewed(place, held)
    if lives:
        raise ValueError(f"another run is at work in {folder}: process {held.process} on {held.host}")
    remove([place])


def _is_renewed(place: ObjectPath, held: _Holder) -> bool:
    """Whether a run is seen to renew the lock, by the time it would have stopped if it could not."""
    end = time.monotonic() + WATCH_S
    while time.monotonic() < end:
        time.sleep(HEARTBEAT_S / 2)
        seen = _seen(place)
        if seen is None:
            return False
        if seen != held:
            return True
    return False


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
        me = os.getpid()
        self._holder = _Holder(uuid.uuid4().hex, socket.gethostname(), _space(), me, time.time(), _begun(me))
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
                now = time.monotonic()  # not later: who watches may have seen the object as soon as it is sent
                commit(self._place, self._content())
                self._latest = now

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


def _begun(process: int) -> str:
    """When a process began, in ticks since the boot: with its number that names one process for good. "ended" for one
    that was not yet waited for, and empty where the system does not say."""
    try:
        state, *rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "ended" if state in "ZX" else rest[18]
