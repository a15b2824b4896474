"""What a stage did, added up from its parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from instructrestore.dataengine.running.part_files import PartSummary


@dataclass(frozen=True)
class StageSummary:
    """What a stage did with its rows: input = ok + dropped + failed, always.

    dropped, failed: rows by reason. counts: what was removed or noticed inside the photos kept, by reason.
    held, lost: the annotations of the sources that its rows held, and those lost, by reason: held = kept + lost.
    """

    name: str
    input: int
    ok: int
    dropped: dict[str, int]
    failed: dict[str, int]
    counts: dict[str, int]
    held: int = 0
    lost: dict[str, int] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Of what its rows held, what came through."""
        return self.held - sum(self.lost.values())


def add_up(name: str, summaries: Iterable[PartSummary]) -> StageSummary:
    """The counts of all parts of a stage."""
    dropped, failed, counts, lost = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    rows = ok = held = 0
    for summary in summaries:
        rows += len(summary.outcomes)
        ok += summary.ok
        dropped.update(summary.dropped)
        failed.update(summary.failed)
        counts.update(summary.counts)
        held += summary.held
        lost.update(summary.lost)
    total = StageSummary(
        name, rows, ok, _by_reason(dropped), _by_reason(failed), _by_reason(counts), held, _by_reason(lost)
    )
    assert total.input == total.ok + sum(dropped.values()) + sum(failed.values()), total
    return total


def _by_reason(counted: Counter[str]) -> dict[str, int]:
    return dict(sorted(counted.items()))
