"""Judging in the app: the log beside the data set, what stands of it for a photo, and who looks at what.

A judgement is one line of the log; nothing of it is kept elsewhere. That somebody looks at a photo is kept in memory
alone, for a few minutes, so that several people do not judge the same one.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from instructrestore.dataengine.judging.accuracy import progress
from instructrestore.dataengine.judging.apply import Judged, apply
from instructrestore.dataengine.judging.judgement import Audit, SplitRegion, Undo, judgement_of, now, region_id
from instructrestore.dataengine.judging.log import JudgementLog, LogEntry, log_path, standing
from instructrestore.dataengine.judging.sampling import DrawnRegion, queue_path, read_queue
from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import AnnotatedPhoto

HELD_SECONDS = 180.0  # for so long nobody else is led to a photo that somebody was led to


class Judging:
    """Of one data set on this machine, by any number of people at once."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._log = JudgementLog(log_path(dataset.path))
        self._turn = threading.Lock()
        self._known = -1  # entries of the log that `_of_photo` has
        self._of_photo: dict[str, list[LogEntry]] = {}
        self._held: dict[str, tuple[str, float]] = {}  # by key: who was led to it, and when
        self._whole: dict[str, tuple[int, bool]] = {}  # by key: the entries for which it is known that all is judged

    def entries(self) -> tuple[LogEntry, ...]:
        """All of the log. Raises DamagedFile."""
        return self._log.entries()

    def of_photo(self, key: str) -> list[LogEntry]:
        """The judgements of a photo that stand. Raises DamagedFile."""
        return self._standing_of(key, self.entries())

    def _standing_of(self, key: str, entries: Sequence[LogEntry]) -> list[LogEntry]:
        with self._turn:
            if len(entries) != self._known:
                found: defaultdict[str, list[LogEntry]] = defaultdict(list)
                for entry in standing(entries):
                    found[entry.judgement.key].append(entry)
                self._known, self._of_photo = len(entries), dict(found)
            return self._of_photo.get(key, [])

    def judged(self, sample: AnnotatedPhoto) -> Judged:
        """The photo as it was judged."""
        return apply(sample, self.of_photo(sample.photo.key))

    def add(self, sample: AnnotatedPhoto, given: Mapping[str, Any]) -> int:
        """Adds a judgement of the photo to the log; returns its number. given: its fields but for `when` and `dataset`.

        Raises ValueError, in one sentence, for one that cannot be, or that no longer applies.
        """
        judgement = judgement_of({**given, "when": now(), "dataset": self._dataset.sha256})
        key = sample.photo.key

        def check(entries: Sequence[LogEntry]) -> None:
            if isinstance(judgement, Undo):
                return
            before = self._standing_of(key, entries)
            number = 1 + max((entry.number for entry in before), default=0)
            judged = apply(sample, [*before, LogEntry(number, judgement)])
            drawn = isinstance(judgement, Audit) and judgement.region in map(region_id, sample.regions)
            if number in judged.lost and isinstance(judgement, SplitRegion) and judgement.by != "masks":
                there = () if judged.record is None else judged.record.regions
                if judgement.region in map(region_id, there):
                    raise ValueError("this region is in one part: there is nothing to split")
            if number in judged.lost and not drawn:
                raise ValueError("this region is no longer as it was judged, or does not fit: look at the photo again")

        number = self._log.append(judgement, check)
        with self._turn:
            self._held[key] = (judgement.who, time.monotonic())
        return number

    def all_judged(self, sample: AnnotatedPhoto) -> bool:
        """Whether nothing of the photo is left to judge: it is to go, or each of its regions was judged."""
        record = self.judged(sample).record
        return record is None or all(self.is_judged(sample.photo.key).values(record))

    def is_judged(self, key: str) -> _Judged:
        return _Judged(self.of_photo(key))

    def lead(self, who: str, keys: Iterable[str], record: Callable[[str], AnnotatedPhoto]) -> str | None:
        """The first of the photos of which something is left to judge and which nobody else is looking at."""
        for key in keys:
            entries = self.of_photo(key)
            with self._turn:
                holder, since = self._held.get(key, ("", 0.0))
                if holder not in ("", who) and time.monotonic() - since < HELD_SECONDS:
                    continue
                known = self._whole.get(key, (0, False))
            if entries:
                whole = known[1] if known[0] == len(entries) else self.all_judged(record(key))
                with self._turn:
                    self._whole[key] = (len(entries), whole)
                if whole:
                    continue
            with self._turn:
                if self._held.get(key, ("", 0.0)) != (holder, since):  # somebody was quicker
                    continue
                self._held[key] = (who, time.monotonic())
            return key
        return None

    def audit(self, who: str) -> tuple[list[DrawnRegion], list[bool]]:
        """The regions that were drawn to be audited, and which of them this judge has judged. Both are empty where none
        were drawn of this version."""
        drawn = [each for each in read_queue(queue_path(self._dataset.path)) if each.dataset == self._dataset.sha256]
        return drawn, progress(drawn, self.entries(), who)


class _Judged:
    """Which regions of a photo's judged record somebody has judged."""

    def __init__(self, entries: Iterable[LogEntry]) -> None:
        self._ids = {entry.judgement.region for entry in entries if not isinstance(entry.judgement, Audit)}

    def values(self, record: AnnotatedPhoto) -> list[bool]:
        """One for each region, in order."""
        return [region_id(region) in self._ids or bool(region.corrections) for region in record.regions]
