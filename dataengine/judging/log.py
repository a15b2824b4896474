"""The log of judgements beside a data set: a line a judgement, only ever added to.

    run/dataset  ->  run/dataset.judgements.jsonl

A judgement is in the log once its line end is on the disk. What a kill left of a line is nobody's judgement: reading
passes it over, and the next judgement takes its place. Judgements are numbered by their lines, from 1, for good; an
empty line counts and says nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from instructrestore.dataengine.judging.judgement import MAX_LINE_BYTES, Judgement, Undo, from_line, to_line
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import sync

ENDING = ".judgements.jsonl"
_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class LogEntry:
    """A judgement and its number in the log: that of its line, from 1."""

    number: int
    judgement: Judgement


def log_path(dataset: str) -> Path:
    """Where the judgements of a data set's folder lie. Raises ValueError for one that is not on this machine."""
    return beside(dataset, ENDING)


def beside(dataset: str, ending: str) -> Path:
    """A file beside a data set's folder. Raises ValueError for a data set that is not on this machine."""
    if "://" in dataset:
        raise ValueError(f"judgements lie beside a data set on this machine, which {dataset} is not: copy it here")
    folder = Path(dataset).absolute()
    return folder.parent / f"{folder.name}{ending}"


class JudgementLog:
    """A log opened to be read and added to, by any number of processes and threads at once; it need not be there yet.

    Keeps what it has read, so that reading again reads only what is new.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._entries: list[LogEntry] = []
        self._lines = 0
        self._end = 0  # bytes up to the end of the last whole line
        self._file = (0, 0)  # device and number of the file they are of

    def entries(self) -> tuple[LogEntry, ...]:
        """All judgements, in order. Raises DamagedFile, which names its line, for one that nobody wrote so."""
        with self._turn:
            try:
                descriptor = self._open(os.O_RDONLY)
            except FileNotFoundError:
                self._forget()
                return ()
            try:
                self._catch_up(descriptor)
            finally:
                os.close(descriptor)
            return tuple(self._entries)

    def append(self, judgement: Judgement, check: Callable[[Sequence[LogEntry]], None] = lambda entries: None) -> int:
        """Adds a judgement and returns its number; it is on the disk then.

        check: called with all judgements before it, and nobody can add another until this one is there; what it raises
        leaves the log as it was. Raises ValueError for a judgement that cannot be, or that undoes what is not in the
        log; OSError where the disk is full or the folder cannot be written, and then too the log is as it was.
        """
        line = to_line(judgement)
        from_line(line)  # dataclasses take anything
        with self._turn, self._locked() as descriptor:
            self._catch_up(descriptor)
            if isinstance(judgement, Undo):
                self._check_undo(judgement)
            check(self._entries)
            if os.fstat(descriptor).st_size > self._end:
                os.ftruncate(descriptor, self._end)  # what a kill left of a line
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, self._end)
                raise
            self._catch_up(descriptor)
            return self._lines

    def _check_undo(self, undo: Undo) -> None:
        of = next((entry for entry in self._entries if entry.number == undo.of), None)
        if of is None or of.judgement.key != undo.key:
            raise ValueError(f"{self.path} has no judgement {undo.of} of photo {undo.key} that could be undone")

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The log opened to be added to, made where it is not there, for this writer alone."""
        is_new = not self.path.exists()
        descriptor = self._open(os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            if is_new:
                sync(self.path.parent)
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # goes with the process, however that ends
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, how: int) -> int:
        descriptor = os.open(self.path, how | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)  # less the umask
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # a pipe, which would be waited for, a folder, a device
            os.close(descriptor)
            raise ValueError(f"{self.path} is no file, and so no log of judgements: move it away")
        return descriptor

    def _catch_up(self, descriptor: int) -> None:
        """Reads the whole lines that are new."""
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) != self._file or status.st_size < self._end:
            self._forget()
            self._file = (status.st_dev, status.st_ino)
        rest, place = b"", self._end
        while chunk := os.pread(descriptor, _CHUNK, place):
            place += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(line)
            if len(rest) > MAX_LINE_BYTES:
                raise self._damaged("it has no end")

    def _take(self, line: bytes) -> None:
        if line.strip():
            try:
                self._entries.append(LogEntry(self._lines + 1, from_line(line, "it")))
            except ValueError as error:
                raise self._damaged(str(error)) from None
        self._lines += 1
        self._end += len(line) + 1

    def _damaged(self, why: str) -> DamagedFile:
        return DamagedFile(
            f"line {self._lines + 1} of {self.path}",
            f"{why}; take it from a copy of the file, or leave the line empty, which passes it over",
        )


def standing(entries: Sequence[LogEntry]) -> list[LogEntry]:
    """The judgements that nobody took back, in order, without the undoing ones. An undone undo undoes nothing."""
    undone: set[int] = set()
    kept = []
    for entry in reversed(entries):
        if entry.number in undone:
            continue
        if isinstance(entry.judgement, Undo):
            if entry.judgement.of < entry.number:
                undone.add(entry.judgement.of)
        else:
            kept.append(entry)
    return kept[::-1]
