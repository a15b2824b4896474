"""The sweep of s1 as two SVG charts: PSNR inside and outside the region, and its change from the smallest s1."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from instructrestore.pipelines.evaluation.methods.method import Evaluation
from instructrestore.pipelines.evaluation.tables.table import Cell, MethodRow, Table
from instructrestore.shards.plain_text import html_text

_WIDTH, _HEIGHT = 520, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 14, 48  # the margins, in which the axes are labelled
_LEAST_SPAN = 0.06  # of an axis, in dB: PSNR is shown to a hundredth


@dataclass(frozen=True)
class Line:
    """scope: "target" or "remaining". quoted: from the paper. points: s1 -> figure, in the order of s1."""

    scope: str
    quoted: bool
    points: dict[float, Cell]

    def changes(self) -> dict[float, Cell]:
        first = next(iter(self.points.values())).mean
        return {s1: Cell(cell.mean - first) for s1, cell in self.points.items()}


def sweep_lines(table: Table, evaluated: Evaluation) -> list[Line]:
    """The PSNR of Table 2, inside and outside the region, computed and quoted; only lines of two points or more."""
    lines = []
    for scope in ("target", "remaining"):
        places = [i for i, c in enumerate(table.columns) if c.scope == scope and c.metric == "psnr"]
        for origin in ("computed", "quoted"):
            points = {}
            for row in table.rows:
                s1 = _s1(row, evaluated)
                if row.origin == origin and s1 is not None and places and (cell := row.cells[places[0]]):
                    points[s1] = cell
            if len(points) > 1:
                lines.append(Line(scope, origin == "quoted", dict(sorted(points.items()))))
    return lines


def charts(lines: Sequence[Line]) -> str:
    """HTML of both charts and their key; "" if there is no line."""
    if not lines:
        return ""
    absolute = _chart([(line, line.points) for line in lines], "PSNR over s1, in dB")
    starts = {min(line.points) for line in lines}
    start = f"s1 = {starts.pop():g}" if len(starts) == 1 else "each line's smallest s1"
    change = _chart([(line, line.changes()) for line in lines], f"Change of PSNR from {start} on, in dB")
    measured = any(cell.low is not None for line in lines for cell in line.points.values())
    intervals = ", with 95% intervals over photos" if measured else ""
    key = "".join(
        f'<span><svg viewBox="0 0 26 10" aria-hidden="true"><path class="{_kind(line)}" d="M1 5H25"/>'
        f'<circle class="{_kind(line)}" cx="13" cy="5" r="3"/></svg> {_name(line)}</span>'
        for line in lines
    )
    return (
        f'<p class="key">{key}</p><div class="columns">'
        f"<figure><figcaption>PSNR in dB{intervals}</figcaption>{absolute}</figure>"
        f"<figure><figcaption>Its change from {start} on, in dB</figcaption>{change}</figure></div>"
    )


def _chart(lines: Sequence[tuple[Line, dict[float, Cell]]], title: str) -> str:
    numbers = [s1 for _, points in lines for s1 in points]
    ends = [v for _, points in lines for c in points.values() for v in (c.mean, c.low, c.high) if v is not None]
    ticks = ticks_of(min(ends), max(ends))
    low, high = min(*ends, ticks[0]), max(*ends, ticks[-1])
    first, last = min(numbers), max(numbers)
    side = 0.06 * (last - first)

    def across(s1: float) -> float:
        return _LEFT + (s1 - first + side) / (last - first + 2 * side) * (_WIDTH - _LEFT - _RIGHT)

    def down(value: float) -> float:
        return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    step = round(ticks[1] - ticks[0], 4)
    digits = 0 if step >= 1 else 1 if step >= 0.1 else 2
    drawn = [
        f'<path class="grid" d="M{_LEFT} {down(tick):.1f}H{_WIDTH - _RIGHT}"/>'
        f'<text class="y" x="{_LEFT - 8}" y="{down(tick) + 4:.1f}">{tick:.{digits}f}</text>'
        for tick in ticks
    ]
    drawn += [
        f'<text class="x" x="{across(s1):.1f}" y="{_HEIGHT - _BOTTOM + 24}">{s1:g}</text>'
        for s1 in sorted(set(numbers))
    ]
    drawn.append(f'<text class="x" x="{(_WIDTH + _LEFT - _RIGHT) / 2:g}" y="{_HEIGHT - 4}">s1</text>')
    shift = dict(zip((id(line) for line, _ in lines), _shifts(len(lines)), strict=True))
    for line, points in reversed(lines):  # computed lines above quoted ones
        kind, aside = _kind(line), shift[id(line)]
        path = "L".join(f"{across(s1) + aside:.1f} {down(cell.mean):.1f}" for s1, cell in points.items())
        drawn.append(f'<path class="{kind}" d="M{path}"/>')
        for s1, cell in points.items():
            x = across(s1) + aside
            if cell.low is not None and cell.high is not None:
                drawn.append(
                    f'<path class="interval {kind}" d="M{x - 4:.1f} {down(cell.low):.1f}h8m-4 0V{down(cell.high):.1f}'
                    f'm-4 0h8"/>'
                )
            told = f"{_name(line)}, s1 = {s1:g}: {cell.mean:.2f} dB"
            drawn.append(
                f'<circle class="{kind}" cx="{x:.1f}" cy="{down(cell.mean):.1f}" r="4"><title>{told}</title></circle>'
            )
    head = f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html_text(title)}">'
    return head + "".join(drawn) + "</svg>"


def _shifts(count: int) -> list[float]:
    """Offsets that keep the intervals of neighbouring lines from overlapping."""
    return [5.0 * (number - (count - 1) / 2) for number in range(count)]


def ticks_of(low: float, high: float) -> list[float]:
    """Two to nine round numbers from about `low` to about `high`, in steps of 0.01 or more.

    Steps are 1, 2 or 5 times a power of ten, so that one digit tells them apart.
    """
    span = max(high - low, _LEAST_SPAN)
    power = 10 ** math.floor(math.log10(span))
    step = next(s * power for s in (0.2, 0.5, 1, 2) if span / (s * power) <= 7)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:  # all figures are the same round number, such as the 100 dB of results that equal HQ
        first, last = first - 1, last + 1
    return [step * n for n in range(first, last + 1)]


def _s1(row: MethodRow, evaluated: Evaluation) -> float | None:
    if row.origin == "computed":
        return next((method.s1 for method in evaluated.methods if method.title == row.method), None)
    found = re.search(r"s1\s*=\s*([0-9.]+)", row.label)
    return float(found[1]) if found else None


def _kind(line: Line) -> str:
    return f"{line.scope}{' quoted' if line.quoted else ''}"


def _name(line: Line) -> str:
    where = "target region" if line.scope == "target" else "remaining"
    return f"{where}, {'quoted from the paper' if line.quoted else 'computed'}"
