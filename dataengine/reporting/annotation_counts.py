"""What became of the sources' annotations, stage by stage: those that came in are those kept and those lost, and each
lost one has a reason. For the console, the report and the data set card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rich.table import Table
from rich.text import Text

from instructrestore.dataengine.masks.annotated import NOTES
from instructrestore.dataengine.running.stage_summary import StageSummary
from instructrestore.shards.plain_text import html_text, visible_line

SOURCES, SHARDS = "sources", "shards"
HEAD = ("stage", "annotations in", "kept", "lost", "why")
SUM = "At every stage: annotations in = kept + lost."


@dataclass(frozen=True)
class Annotations:
    """A stage's.

    reasons: why the lost ones were lost, the most frequent first; they add up to `lost`. noticed: what was noticed of
    those that were kept ("mask scaled to the photo").
    """

    stage: str
    held: int
    kept: int
    reasons: tuple[tuple[str, int], ...]
    noticed: tuple[tuple[str, int], ...] = ()

    @property
    def lost(self) -> int:
        return self.held - self.kept

    @property
    def why(self) -> str:
        lost, noticed = (
            ", ".join(f"{reason} {count:,}" for reason, count in each) for each in (self.reasons, self.noticed)
        )
        return "; ".join((*([lost] if lost else []), *([f"of those kept: {noticed}"] if noticed else [])))


def of_stages(summaries: Sequence[StageSummary], left_out: Mapping[str, int]) -> list[Annotations]:
    """The annotations of the sources, and of each stage that had any; none where parts of before 0.2, which did not
    count them, have a share in it.

    left_out: those that are part of no photo, and so come to no stage, by reason.
    """
    listed = _annotations(SOURCES, summaries[0].held if summaries else 0, left_out)
    found = [_of_stage(stage) for stage in summaries if stage.held]
    of_photos = [listed, *(each for each in found if not each.stage.endswith(SHARDS))]
    written = sum(each.held for each in found if each.stage.endswith(SHARDS))
    handed_on = [*(each.held for each in of_photos[1:]), written]
    return [*([listed] if listed.held else []), *found] if [each.kept for each in of_photos] == handed_on else []


def _of_stage(stage: StageSummary) -> Annotations:
    noticed = {reason: count for reason, count in stage.counts.items() if reason in NOTES}
    return replace(_annotations(stage.name, stage.kept, stage.lost), noticed=_by_frequency(noticed))


def _annotations(stage: str, kept: int, lost: Mapping[str, int]) -> Annotations:
    return Annotations(stage, kept + sum(lost.values()), kept, _by_frequency(lost))


def _by_frequency(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    there = ((reason, count) for reason, count in counts.items() if count)
    return tuple(sorted(there, key=lambda each: (-each[1], each[0])))


def rows(found: Sequence[Annotations]) -> list[tuple[str, ...]]:
    """A row of text for each stage, below `HEAD`."""
    return [(each.stage, f"{each.held:,}", f"{each.kept:,}", f"{each.lost:,}", each.why) for each in found]


def html(found: Sequence[Annotations]) -> str:
    """The table for the report; all text is escaped."""
    head = "".join(f'<th scope="col">{title.capitalize()}</th>' for title in HEAD)
    lines = (
        f'<tr><th scope="row">{html_text(row[0])}</th>'
        + "".join(f'<td class="number">{number}</td>' for number in row[1:4])
        + f'<td class="reasons">{html_text(row[4])}</td></tr>'
        for row in rows(found)
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<div class="wide" tabindex="0">{table}</div><p class="note">{SUM}</p>'


def console(found: Sequence[Annotations]) -> Table:
    """The table for a terminal. Text from the data is never read as markup."""
    table = Table(*HEAD, box=None, pad_edge=False, caption=SUM, caption_justify="left")
    for row in rows(found):
        table.add_row(*(Text(visible_line(cell)) for cell in row))
    return table
