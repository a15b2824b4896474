"""A data set and its judgements -> the shards, index and `dataset.json` of a new version.

Shards without a photo that was changed are the parent's own files under a second name (or copies, where the file system
cannot do that); the others are written anew, in the same order and under the same names. `dataset.json` says in its
configuration what the version was made from:

    "revised": {"parent": {"name", "sha256"}, "ancestors": [of the parent, the oldest first],
                "changes": [{"key", "region", "act", "who", "when"}, ... in the order of the photos]}

Nothing in it says how or when it was made: the same judgements give the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from instructrestore.dataengine.judging.apply import apply
from instructrestore.dataengine.judging.log import LogEntry, standing
from instructrestore.shards.index import Dataset, DatasetCard
from instructrestore.shards.pairs import TEST_SET
from instructrestore.shards.rewrite import rewrite_shards
from instructrestore.shards.sample import AnnotatedPhoto
from instructrestore.shards.write import finish_dataset

REVISED = "revised"  # the entry of a version's configuration that says what it was made from


@dataclass(frozen=True)
class Version:
    """A version that was written.

    changes: judgements that changed something, by act. unchanged: those that left everything as it was (accepted,
    audited, said what stood there already). lost: those that no longer apply, by act. written, linked, dropped:
    shards written anew, taken from the parent as they are, and left out because no photo of them is left.
    """

    card: DatasetCard
    changes: dict[str, int]
    unchanged: int
    lost: dict[str, int]
    written: int
    linked: int
    dropped: int


def write_version(
    parent: Dataset, folder: Path, entries: Sequence[LogEntry], on_shard: Callable[[], None] = lambda: None
) -> Version:
    """Writes the version into an empty local folder; `dataset.json` comes last.

    parent: on this machine. entries: of a log, all of them. Raises ValueError, in one sentence, where the parent is
    no data set that can be revised, or a shard to be written anew is damaged.
    """
    if TEST_SET in parent.card.configuration:
        raise ValueError(
            f"{parent.path} is a test set, whose LQ photos belong to its regions: revise the data set and make it anew"
        )
    parent.check_files()
    judged = _Judgements(parent, entries)
    made = rewrite_shards(parent, folder, judged.gone, judged.touched, judged.record, on_shard)
    card = finish_dataset(
        folder,
        parent.card.name,
        made.entries,
        made.tables,
        {**parent.card.configuration, REVISED: _lineage(parent, judged)},
    )
    return Version(
        card,
        _by_act(judged.changed),
        len(judged.standing) - len(judged.changed) - len(judged.lost),
        _by_act(judged.lost),
        made.written,
        made.linked,
        made.dropped,
    )


def still_applying(dataset: Dataset, entries: Sequence[LogEntry]) -> tuple[int, int]:
    """How many standing judgements apply to a data set, and how many no longer do: their regions are not there or not
    as they were. Reads the records of the judged photos alone."""
    judged = _Judgements(dataset, entries)
    return len(judged.standing) - len(judged.lost), len(judged.lost)


class _Judgements:
    """What the judgements make of the photos that they are of; each record is read once, and again where it is
    written."""

    def __init__(self, parent: Dataset, entries: Sequence[LogEntry]) -> None:
        self._parent = parent
        self.standing = standing(entries)
        self._by_key: dict[str, list[LogEntry]] = {}
        for entry in self.standing:
            self._by_key.setdefault(entry.judgement.key, []).append(entry)
        self.changed: list[LogEntry] = []
        self.lost: list[LogEntry] = []
        self.touched: set[int] = set()
        self.gone: set[int] = set()
        places = pc.index_in(parent.index["key"], pa.array(sorted(self._by_key), pa.string()))  # pyright: ignore
        found = [row for row, place in enumerate(places.to_pylist()) if place is not None]
        keys = parent.index["key"].take(pa.array(found, pa.int64())).to_pylist()
        for row, key in zip(found, keys, strict=True):
            of_photo = {entry.number: entry for entry in self._by_key[key]}
            judged = apply(parent.record(row), list(of_photo.values()))
            self.changed += [of_photo[number] for number in judged.changes]
            self.lost += [of_photo[number] for number in judged.lost]
            if judged.changes:
                self.touched.add(row)
            if judged.record is None:
                self.gone.add(row)
        there = set(keys)
        self.lost += [entry for entry in self.standing if entry.judgement.key not in there]

    def record(self, row: int) -> AnnotatedPhoto | None:
        """The record of a judged photo as it is now; None where the photo is to go."""
        sample = self._parent.record(row)
        return apply(sample, self._by_key[sample.photo.key]).record


def _lineage(parent: Dataset, judged: _Judgements) -> dict[str, Any]:
    before = parent.card.configuration.get(REVISED)
    ancestors = []
    if isinstance(before, Mapping) and "parent" in before and isinstance(before.get("ancestors"), list):
        ancestors = [*before["ancestors"], before["parent"]]
    said = (entry.judgement for entry in judged.changed)
    return {
        "parent": {"name": parent.card.name, "sha256": parent.sha256},
        "ancestors": ancestors,
        "changes": [
            {"key": each.key, "region": each.region, "act": each.act, "who": each.who, "when": each.when}
            for each in said
        ],
    }


def _by_act(entries: Iterable[LogEntry]) -> dict[str, int]:
    return dict(sorted(Counter(entry.judgement.act for entry in entries).items()))
