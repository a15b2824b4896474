"""One queue of jobs in front of one model, and everybody who watches.

A job is on the disk from the moment it is asked for, and again whenever its state changes: what a killed program had
waiting or in hand is "interrupted" when it starts again, and one call asks for it anew.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from instructrestore.pipelines.app.records import EDITS, ENDED, Asked, Job
from instructrestore.pipelines.app.shelf import Missing, Shelf, said_of
from instructrestore.pipelines.app.workbench import Cancelled, Done, PassCounter, Work, Workbench

logger = logging.getLogger(__name__)
STEPS_A_SECOND = 10  # events of a job's steps at the most


@dataclass
class Entry:
    """A job, whose it is, and what work it means. size: the photo's (height, width)."""

    job: Job
    shelf: Shelf
    work: Work
    size: tuple[int, int]
    cancel: threading.Event = field(default_factory=threading.Event)


class JobWatcher(Protocol):
    def __call__(self, session: str, job: Job) -> None: ...


class JobQueue:
    """batch: how many photos of one size and one wish are restored together. clock: seconds since 1970."""

    def __init__(self, bench: Workbench, batch: int = 1, clock: Callable[[], float] = time.time) -> None:
        self._bench, self._batch, self._clock = bench, batch, clock
        self._lock = threading.RLock()
        self._arrived = threading.Condition(self._lock)
        self._waiting: OrderedDict[str, Entry] = OrderedDict()
        self._running: dict[str, Entry] = {}
        self._known: dict[str, dict[str, Job]] = {}
        self._watchers: list[JobWatcher] = []
        self._closing = False
        self.ended: Counter[str] = Counter()
        self.work_seconds = 0.0
        self._thread = threading.Thread(target=self._work, name="restoring", daemon=True)

    def start(self, shelves: Iterable[Shelf]) -> None:
        """Reads the jobs of before, and begins to work."""
        for shelf in shelves:
            shelf.tidy(self._clock())
            for job in shelf.jobs():
                self._of(shelf)[job.id] = job
                if job.state not in ENDED:
                    job.state, job.doing, job.position = "interrupted", "", None
                    job.error = "the program ended while this was waiting or being done"
                    self._keep(shelf, job)
        self._thread.start()

    def close(self) -> None:
        """Ends the job in hand between two passes; it and those that wait are interrupted when the program starts."""
        with self._lock:
            self._closing = True
            self._arrived.notify_all()
            for entry in self._running.values():
                entry.cancel.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def watch(self, watcher: JobWatcher) -> Callable[[], None]:
        """Calls the watcher, from any thread, with every change of a job and its session; returns what ends it."""
        self._watchers.append(watcher)

        def end() -> None:
            with suppress(ValueError):
                self._watchers.remove(watcher)

        return end

    def submit(self, entry: Entry) -> Job:
        """Raises OSError where the job cannot be kept; then there is none."""
        with self._lock:
            entry.job.position = len(self._waiting)
            try:
                entry.shelf.keep_job(entry.job)
            except OSError:
                entry.shelf.drop_job(entry.job.id)
                raise
            self._of(entry.shelf)[entry.job.id] = entry.job
            self._waiting[entry.job.id] = entry
            self._arrived.notify_all()
            copy = entry.job.model_copy(deep=True)
        self._tell(entry)
        return copy

    def count(self, shelf: Shelf) -> int:
        """How many jobs a session has."""
        with self._lock:
            return len(self._of(shelf))

    def jobs(self, shelf: Shelf, photo: str | None = None) -> list[Job]:
        """The newest first."""
        with self._lock:
            places = {id: place for place, id in enumerate(self._waiting)}
            found = [self._seen(job, places) for job in self._of(shelf).values() if photo in (None, job.photo)]
        return sorted(found, key=lambda job: -job.created)

    def job(self, shelf: Shelf, id: str) -> Job:
        with self._lock:
            try:
                return self._seen(self._of(shelf)[id])
            except KeyError:
                raise Missing from None

    def cancel(self, shelf: Shelf, id: str) -> Job:
        """One that waits is cancelled at once, one that is done now before its networks' next pass."""
        with self._lock:
            job = self.job(shelf, id)
            entry = self._waiting.pop(id, None)
            if entry:
                self._end(entry, "cancelled")
            elif id in self._running:
                self._running[id].cancel.set()
            else:
                return job
        return self.job(shelf, id)

    def forget(self, shelf: Shelf, id: str) -> None:
        """Removes a job with its results; one that is being done is cancelled first."""
        with self._lock:
            self.cancel(shelf, id)
            self._of(shelf).pop(id, None)
            shelf.drop_job(id)

    def forget_all(self, shelf: Shelf, photo: str | None = None) -> None:
        """All of a session's jobs, or all of a photo's."""
        for job in self.jobs(shelf, photo):
            with suppress(Missing):  # somebody else was quicker
                self.forget(shelf, job.id)

    @property
    def length(self) -> int:
        return len(self._waiting) + len(self._running)

    def _of(self, shelf: Shelf) -> dict[str, Job]:
        return self._known.setdefault(shelf.folder.name, {})

    def _seen(self, job: Job, places: Mapping[str, int] | None = None) -> Job:
        """A copy, as it is now. places: of the jobs that wait, where they are known."""
        copy = job.model_copy(deep=True)
        if copy.state == "queued" and places is not None:
            copy.position = places.get(job.id)
        elif copy.state == "queued":
            copy.position = next((place for place, id in enumerate(self._waiting) if id == job.id), None)
        if copy.state == "running" and copy.started:
            copy.seconds = self._clock() - copy.started
        return copy

    def _work(self) -> None:
        """Loads the networks and runs them, all in this thread: OpenMP's threads belong to the one that began them, and
        where two threads have some each, there are more than processors and all of them are slower."""
        try:
            self._bench.load()
        except ValueError as error:  # and every job will say so
            logger.error("%s", error)
        while True:
            with self._lock:
                while not self._waiting and not self._closing:
                    self._arrived.wait()
                if self._closing:
                    return
                group = self._next()
            self._do(group)

    def _next(self) -> list[Entry]:
        """The first that waits, and with it others of the same wish on photos of its size."""
        first = next(iter(self._waiting.values()))
        alike = [each for each in self._waiting.values() if _together(first, each)][: self._batch]
        for entry in alike:
            del self._waiting[entry.job.id]
            self._running[entry.job.id] = entry
        return alike

    def _do(self, group: list[Entry]) -> None:
        begin = self._clock()
        for entry in group:
            job = entry.job
            job.state, job.started, job.position, job.step = "running", begin, None, 0
            job.doing = "reading the photo"
            self._keep(entry.shelf, job)
            self._tell(entry)
        told = 0.0

        def on_pass(passes: int) -> None:
            nonlocal told
            for entry in group:
                entry.job.step = min(passes, entry.job.steps)
                entry.job.seconds = self._clock() - begin
            if time.monotonic() - told > 1 / STEPS_A_SECOND:
                told = time.monotonic()
                for entry in group:
                    self._tell(entry)

        def doing(what: str) -> None:
            for entry in group:
                entry.job.doing = what
                entry.job.steps = max(1, self._bench.passes(entry.job.asked, entry.size))
                self._tell(entry)

        progress = PassCounter(on_pass, lambda: all(entry.cancel.is_set() for entry in group))
        try:
            found = self._bench.do([entry.work for entry in group], progress, doing)
        except Cancelled:
            for entry in group:
                self._end(entry, "interrupted" if self._closing else "cancelled")
        except FileNotFoundError:
            self._fail(group, "the photo or a mask of it is no longer there")
        except OSError as error:
            self._fail(group, said_of(error))
        except ValueError as error:
            self._fail(group, str(error))
        except Exception as error:
            logger.exception("a job failed")
            self._fail(group, f"a defect of the program ({type(error).__name__}); its log says where")
        else:
            seconds = (self._clock() - begin) / len(group)
            for entry, done in zip(group, found, strict=True):
                self._finish(entry, done, seconds)

    def _fail(self, group: list[Entry], reason: str) -> None:
        """One job's failure; of several that were done together each is tried alone."""
        if len(group) == 1:
            group[0].job.error = reason
            self._end(group[0], "failed")
            return
        for entry in group:
            self._do([entry])

    def _finish(self, entry: Entry, done: Done, seconds: float) -> None:
        if entry.cancel.is_set():
            self._end(entry, "cancelled")
            return
        job = entry.job
        job.results, job.notes, job.record, job.step = done.results, done.notes, done.record, job.steps
        self._bench.measured(job.asked, entry.size, seconds)
        self._end(entry, "done")

    def _end(self, entry: Entry, state: str) -> None:
        job = entry.job
        with self._lock:
            self._running.pop(job.id, None)
            job.state, job.doing, job.position, job.ended = state, "", None, self._clock()  # pyright: ignore
            job.seconds = job.ended - job.started if job.started else None
            self.ended[state] += 1
            self.work_seconds += job.seconds or 0
            if job.id in self._of(entry.shelf):
                self._keep(entry.shelf, job)
            else:  # what was written after it was removed
                entry.shelf.drop_job(job.id)
        self._tell(entry)

    def _keep(self, shelf: Shelf, job: Job) -> None:
        """On the disk too, unless it was removed. A disk that is full must not end the work on the others."""
        with self._lock:
            if job.id not in self._of(shelf):
                return
            try:
                shelf.keep_job(job)
            except OSError as error:
                logger.error("the state of a job could not be kept: %s", said_of(error))

    def _tell(self, entry: Entry) -> None:
        with self._lock:
            copy = self._seen(entry.job)
        for watcher in list(self._watchers):
            watcher(entry.shelf.folder.name, copy)


def _together(first: Entry, other: Entry) -> bool:
    """Whether two jobs can go through the networks together."""
    return first is other or (first.size == other.size and _kind(first) == _kind(other) and _plain(first.job.asked))


def _kind(entry: Entry) -> tuple[object, ...]:
    asked = entry.job.asked
    return asked.kind, asked.preview, asked.deep, repr(sorted(asked.sampling().items())), any(asked.masks)


def _plain(asked: Asked) -> bool:
    changed = any(getattr(asked, name) for name in EDITS)
    return asked.kind == "restore" and not any(asked.masks) and not changed and not asked.scale_map
