"""The canonical order as micro-batches of prepared samples: the same samples for any number of ranks and workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from instructrestore.shards.errors import first_line, one_line
from instructrestore.shards.reading.cache import check_windows
from instructrestore.shards.reading.order import Order
from instructrestore.shards.reading.parcel import Parcel, packed, unpacked
from instructrestore.shards.reading.reader import Fault, PhotoReader, Triplet
from instructrestore.shards.reading.turns import first_position

_Sample = TypeVar("_Sample")
MAX_FAULTS = 100
TIMEOUT_S = 600.0  # a worker that takes longer for a micro-batch hangs (on a dead network disk)
# The interval at which the loader looks for dead workers. Torch's signal handler may notice them earlier, but it is
# missing in threads, where Ray runs its workers, and what it raises can be lost.
LOOK_S = 5.0
PREFETCH = 2  # micro-batches a worker has ready
ASKING_TO_END = (signal.SIGINT, signal.SIGTERM)
START_METHOD = "fork"  # shares the order's and the readers' arrays with the workers instead of copying them


class StreamError(ValueError):
    """The data cannot be read any further; one sentence, even when it was raised in a worker process."""


class ReadingError(StreamError):
    """Reading failed although the data may be sound: a worker was killed, or a disk or network is gone."""


class TripletStream(IterableDataset, Generic[_Sample]):
    """An endless stream of micro-batches, lists of prepared samples, of one rank of a run.

    Step s of the run takes the positions s * batch to (s + 1) * batch - 1 of the order; each rank takes an equal
    slice of them in turn, in micro-batches of equal size. So the samples of a step depend on neither ranks nor
    workers, and the state of the stream is the number of the next step.

    readers: of the order's data sets, in its order. prepare: a triplet -> a sample; raises Fault for one that is
    unusable, which a substitute then replaces; runs in the workers and must depend on the triplet alone.
    batch: samples a step over all ranks. micro_batch: samples in one list, all of the rank's by default.
    Raises ValueError where the batch cannot be divided so, or the cache of remote data sets is too small.
    """

    def __init__(
        self,
        readers: Sequence[PhotoReader],
        order: Order,
        prepare: Callable[[Triplet], _Sample],
        *,
        batch: int,
        micro_batch: int | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        assert 0 <= rank < ranks and batch > 0 and len(readers) == len(order.tables)
        if batch % ranks:
            raise ValueError(f"a batch of {batch} cannot be divided among {ranks} ranks: make it a multiple")
        self.rank_batch = batch // ranks
        self.micro_batch = micro_batch or self.rank_batch
        if self.rank_batch % self.micro_batch:
            raise ValueError(
                f"a rank's {self.rank_batch} samples a step cannot be cut into micro-batches of {self.micro_batch}: "
                "choose a divisor"
            )
        check_windows([reader.files for reader in readers], order.settings.window_shards)
        self.readers = tuple(readers)
        self.order = order
        self.prepare = prepare
        self.batch, self.rank, self.ranks = batch, rank, ranks
        self.accumulation = self.rank_batch // self.micro_batch
        self.step = 0

    def micro_batches(self, workers: int = 0) -> Iterator[list[_Sample]]:
        """The micro-batches from step `self.step` on, prepared by that many worker processes (0: by this one).

        `self.step` goes on when the last micro-batch of a step is handed out. Torch's global random state is left
        alone. Raises StreamError, in one sentence, where the data fails; ReadingError where a worker does.
        """
        loader = DataLoader(
            self,
            batch_size=None,
            num_workers=workers,
            collate_fn=packed if workers else _as_it_is,
            prefetch_factor=PREFETCH if workers else None,
            timeout=LOOK_S if workers else 0,
            multiprocessing_context=START_METHOD if workers else None,
            worker_init_fn=partial(_end_with, os.getpid()),
            generator=torch.Generator(),  # else each start would draw from the global one
        )
        number = self.step * self.accumulation
        with _deferring():
            batches = iter(loader)
        try:
            while True:
                samples = _next(batches)
                number += 1
                self.step = number // self.accumulation
                yield samples
        except StreamError as error:  # a worker's comes with the traceback in its text
            _cut_loose(error)
            kind = type(error)
            raise kind(str(error).rpartition(f"{kind.__name__}: ")[2].strip()) from None
        except RuntimeError as error:
            if str(error).startswith("DataLoader "):  # a worker was killed or hangs
                _cut_loose(error)
                raise ReadingError(f"the loader failed: {first_line(error)}") from None
            raise
        finally:
            del batches

    def __iter__(self) -> Iterator[list[_Sample]]:
        """Worker w of W yields micro-batches w, w + W, ...: the DataLoader's turns give the order back."""
        worker = get_worker_info()
        number = self.step * self.accumulation + (worker.id if worker else 0)
        while True:
            first = first_position(number, self.batch, self.micro_batch, self.rank, self.ranks)
            yield [self.sample(position) for position in range(first, first + self.micro_batch)]
            number += worker.num_workers if worker else 1

    def sample(self, position: int) -> _Sample:
        """The prepared sample at a position, or its substitute where its triplet is unusable.

        Raises StreamError where `MAX_FAULTS` in a row are, or the shards cannot be read at all.
        """
        faults: list[str] = []
        place = self.order.place(position)
        while len(faults) < MAX_FAULTS:
            reader = self.readers[place.dataset]
            try:
                found = reader.read(place.row, place.region)
                seed = self.order.settings.seed
                return self.prepare(Triplet(*found, place, position, seed, tuple(faults)))
            except Fault as fault:
                detail = f" ({fault.detail})" if fault.detail else ""
                faults.append(f"{fault.reason}: {reader.where(place.row)}{detail}")
            except OSError as error:
                raise ReadingError(f"{reader.path} can no longer be read: {one_line(error)}") from None
            place = self.order.substitute(position, len(faults) - 1)
        raise StreamError(f"{MAX_FAULTS} triplets in a row are unusable, the last: {faults[-1]}")

    def state_dict(self) -> dict[str, Any]:
        """As plain JSON: the next step, and what makes its samples what they are."""
        settings = self.order.settings.model_dump(mode="json")
        order = {
            "data sets": [reader.index_sha256 for reader in self.readers],
            "triplets": [len(table) for table in self.order.tables],
            "shares": [str(share) for share in self.order.shares],
            "batch": self.batch,
            **{name.replace("_", " "): value for name, value in settings.items()},
        }
        return {"step": self.step, "order": order}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken. Raises ValueError, naming what differs, if the samples would be others."""
        order = self.state_dict()["order"]
        differing = [name for name in order if order[name] != state["order"].get(name)]
        if differing:
            raise ValueError(
                f"the checkpoint was made with other {' and '.join(differing)}: resume with the same, or start anew"
            )
        self.step = int(state["step"])


def _next(batches: Iterator[list[_Sample] | Parcel]) -> list[_Sample]:
    """The next micro-batch, waited for up to `TIMEOUT_S`. Raises RuntimeError, "DataLoader ...", where none comes."""
    end = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return unpacked(next(batches))
        except RuntimeError as error:  # after a mere timeout the loader waits on
            if not str(error).startswith("DataLoader timed out"):
                raise
        if time.monotonic() > end:
            raise RuntimeError(f"DataLoader gave nothing for {TIMEOUT_S:g} seconds")


def _cut_loose(error: Exception) -> None:
    """Takes the frames from an error: they keep the loader in a circle, and its workers would end late and slowly."""
    error.__traceback__ = error.__cause__ = error.__context__ = None


@contextmanager
def _deferring() -> Iterator[None]:
    """Holds back what asks a whole group of processes to end (Ctrl-C, `timeout`, systemd, scancel). Processes that are
    forked in the block hold it back for ever: whether and when a run ends is their parent's to say, which may need them
    until its step is done."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING_TO_END)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(parent: int, _worker: int) -> None:
    """Ends this process where its parent says so, and soon after its parent was killed: torch's own look at the parent
    is never reached by a worker that waits to hand over a large micro-batch, which would stay for ever and hold on to
    the parent's GPU."""

    def watch() -> None:
        while os.getppid() == parent:
            came = signal.sigtimedwait(ASKING_TO_END, 1)
            if came and came.si_pid == parent and came.si_signo == signal.SIGTERM:  # as DataLoader ends a stuck worker
                os._exit(0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _as_it_is(samples: list[_Sample]) -> list[_Sample]:
    return samples
