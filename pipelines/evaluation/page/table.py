"""A table of the paper as HTML: computed rows first, quoted ones set apart; and its paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Literal

from instructrestore.model.metrics.metric import Metric
from instructrestore.pipelines.evaluation.tables.comparisons import LEVEL, Comparison, by_pair
from instructrestore.pipelines.evaluation.tables.table import Cell, Column, MethodRow, Table
from instructrestore.pipelines.evaluation.tables.writing import best_cells, printed
from instructrestore.shards.plain_text import html_text

_ARROWS = {"higher": "↑", "lower": "↓"}
_ORIGINS = {"computed": "Computed here", "quoted": "Quoted from the paper, not computed here"}


def html_table(table: Table, photos: int) -> str:
    """photos: how many the test set has; a figure over fewer says over how many."""
    body, best = "", best_cells(table)
    for origin, words in _ORIGINS.items():
        rows = [row for row in table.rows if row.origin == origin]
        if rows:
            head = f'<tr class="origin"><th scope="rowgroup" colspan="{len(table.columns) + 1}">{words}</th></tr>'
            body += f'<tbody class="{origin}">{head}{"".join(_row(row, table, photos, best) for row in rows)}</tbody>'
    notes = "".join(f'<p class="note">{html_text(note)}</p>' for note in table.notes)
    return _grid(table.title, "Method", table.columns, body) + notes


def html_comparisons(table: Table, comparisons: Sequence[Comparison]) -> str:
    """How much better the table's first method, or in Table 2 each s1, is than the others, folded; "" for none."""
    pairs = by_pair([one for one in comparisons if one.table == table.number])
    if not pairs:
        return ""
    compared = {figure for figures in pairs.values() for figure in figures}
    columns = tuple(column for column in table.columns if (column.scope, column.metric) in compared)
    labels = {row.method: row.label for row in table.rows if row.origin == "computed"}
    rows = ""
    for (method, other), figures in pairs.items():
        cells = "".join(_difference(figures.get((column.scope, column.metric)), column) for column in columns)
        rows += f'<tr><th scope="row">{html_text(f"{labels[method]} against {labels[other]}")}</th>{cells}</tr>'
    note = (
        "By how much the first of the two is better, in the mean over the photos that both have: negative if it is "
        "worse, also for metrics of which less is better. p of the two-sided signed-rank test, adjusted by Holm over "
        f"all tests of the table; bold if it is below {LEVEL:g}."
    )
    return (
        "<details><summary>Paired tests: is a difference more than chance?</summary>"
        f'{_grid("Paired tests", "Better by", columns, f"<tbody>{rows}</tbody>")}<p class="note">{note}</p></details>'
    )


def _grid(title: str, of_rows: str, columns: Sequence[Column], body: str) -> str:
    """A table under the columns' headings, which scrolls by itself on a narrow screen."""
    spans = [(group, len(list(same))) for group, same in groupby(columns, key=lambda column: column.group)]
    groups = "".join(f'<th scope="colgroup" colspan="{width}">{html_text(group)}</th>' for group, width in spans)
    outlines = "".join(f'<colgroup class="group" span="{width}"></colgroup>' for _, width in spans)
    metrics = "".join(f'<th scope="col">{metric_heading(column.of)}</th>' for column in columns)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{html_text(title)}"><table class="results">'
        f"<colgroup></colgroup>{outlines}"
        f'<thead><tr class="groups"><td></td>{groups}</tr>'
        f'<tr><th scope="col">{of_rows}</th>{metrics}</tr></thead>{body}</table></div>'
    )


def metric_heading(metric: Metric) -> str:
    """ "PSNR, dB ↑"; its source is shown on hover."""
    unit = f"<small>, {html_text(metric.unit)}</small>" if metric.unit else ""
    return f'<span title="{html_text(metric.source)}">{html_text(metric.title)}</span>{unit} {arrow(metric.better)}'


def arrow(better: Literal["higher", "lower"]) -> str:
    """Which direction is better, also in words, for hovering and screen readers."""
    words = f"{better} is better"
    return (
        f'<span class="arrow" title="{words}"><span aria-hidden="true">{_ARROWS[better]}</span>'
        f'<span class="unseen">({words})</span></span>'
    )


def interval_text(cell: Cell, digits: int) -> str:
    """ "26.10–28.02", "-0.10 to 0.20", or "" for a figure without an interval."""
    if cell.low is None or cell.high is None:
        return ""
    between = " to " if cell.low < 0 else "–"
    return f"{cell.low:.{digits}f}{between}{cell.high:.{digits}f}"


def _row(row: MethodRow, table: Table, photos: int, best: Sequence[frozenset[Cell]]) -> str:
    tag = '<small class="tag">quoted</small>' if row.origin == "quoted" else ""
    cells = "".join(
        _cell(cell, column, photos, best[place])
        for place, (cell, column) in enumerate(zip(row.cells, table.columns, strict=True))
    )
    label = row.label.replace(" = ", "\u00a0=\u00a0")  # never broken
    return f'<tr><th scope="row">{html_text(label)}{tag}</th>{cells}</tr>'


def _cell(cell: Cell | None, column: Column, photos: int, best: frozenset[Cell]) -> str:
    if cell is None:
        return '<td class="none" title="no figure">–</td>'
    text = printed(cell.mean, column)
    small = interval_text(cell, column.of.digits)
    small = f'<small title="95% confidence interval">{small}</small>' if small else ""
    if cell.photos is not None and cell.photos != photos:
        small += f"<small>of {cell.photos:,} photos</small>"
    return f"<td>{f'<strong>{text}</strong>' if cell in best else text}{small}</td>"


def _difference(comparison: Comparison | None, column: Column) -> str:
    if comparison is None:
        return '<td class="none" title="no figure">–</td>'
    digits = column.of.digits
    text = f"{comparison.difference:+.{digits}f}"
    text = text if float(text) else text[1:]  # no sign if it rounds to zero
    notes = [interval_text(Cell(comparison.difference, comparison.low, comparison.high), digits)]
    if comparison.p_adjusted is not None:
        notes.append(f"p {'< 0.001' if comparison.p_adjusted < 0.001 else f'= {comparison.p_adjusted:.3f}'}")
    small = "".join(f"<small>{html_text(note)}</small>" for note in notes if note)
    return f"<td>{f'<strong>{text}</strong>' if comparison.significant else text}{small}</td>"
