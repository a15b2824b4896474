"""A table on a terminal: its groups of columns side by side if they fit, otherwise one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.console import Console
from rich.text import Text

from instructrestore.pipelines.evaluation.tables.comparisons import LEVEL, Comparison, by_pair
from instructrestore.pipelines.evaluation.tables.table import Cell, Column, MethodRow, Table
from instructrestore.pipelines.evaluation.tables.writing import best_cells, printed, short_title

_BETWEEN = 2  # blanks between groups; one between the columns of a group
_SHORTEST_LABEL = 12  # a longer one is cut to this if a group of columns leaves no room
_PLAIN = str.maketrans("─±↓–…", "-~v-~")  # for a terminal that only has ASCII


@dataclass(frozen=True)
class _Line:
    """A row of a grid: text and style for each column; no cells for a heading of rows."""

    label: str
    cells: tuple[tuple[str, str], ...]
    style: str = ""


def print_table(table: Table, console: Console) -> None:
    """Prints computed rows, with half the interval's width under each mean and the best of a column in bold, then
    quoted rows, dim and under "(paper)", then the notes."""
    best = best_cells(table)
    lines = [line for row in table.rows if row.origin == "computed" for line in _computed(row, table.columns, best)]
    quoted = [row for row in table.rows if row.origin == "quoted"]
    if quoted:
        lines.append(_Line("(paper)", (), "dim italic"))
        lines += [_Line(row.label, _means(row, table.columns, "dim"), "dim") for row in quoted]
    _print_grid(f"Table {table.number}. {table.title}", table.columns, lines, console)
    _print_notes(table.notes, console)


def print_comparisons(table: Table, comparisons: Sequence[Comparison], console: Console) -> None:
    """Prints how much better the table's first method, or in Table 2 each s1, is than the others; significant
    differences are coloured and starred. Prints nothing if nothing was compared."""
    pairs = by_pair(comparisons)
    if not pairs:
        return
    labels = {row.method: row.label for row in table.rows if row.origin == "computed"}
    compared = {figure for of in pairs.values() for figure in of}
    columns = [column for column in table.columns if (column.scope, column.metric) in compared]
    lines = [
        _Line(
            f"{labels[method]} against {labels[other].removeprefix('s1 = ')}" if table.number == 2 else labels[other],
            tuple(_difference(of.get((column.scope, column.metric)), column) for column in columns),
        )
        for (method, other), of in pairs.items()
    ]
    whose = "each s1 is better than the one before" if table.number == 2 else f"{table.rows[0].label} is better than"
    _print_grid(f"Table {table.number}, pairwise: by how much {whose}", columns, lines, console)
    note = f"Means over the photos that both have; negative: worse; * p < {LEVEL:g}, signed-rank test, Holm."
    _print_notes([note], console)


def _computed(row: MethodRow, columns: Sequence[Column], best: Sequence[frozenset[Cell]]) -> list[_Line]:
    means = _means(row, columns, "")
    marked = tuple(
        (text, "bold" if cell in of_column else style)
        for (text, style), cell, of_column in zip(means, row.cells, best, strict=True)
    )
    spread = tuple((_half_width(cell, column), "dim") for cell, column in zip(row.cells, columns, strict=True))
    lines = [_Line(row.label, marked)]
    return [*lines, _Line("", spread)] if any(text for text, _ in spread) else lines


def _means(row: MethodRow, columns: Sequence[Column], style: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (printed(cell.mean, column) if cell else "–", style if cell else "dim")
        for cell, column in zip(row.cells, columns, strict=True)
    )


def _half_width(cell: Cell | None, column: Column) -> str:
    if cell is None or cell.low is None or cell.high is None:
        return ""
    return "±" + printed((cell.high - cell.low) / 2, column).removeprefix("0")


def _difference(one: Comparison | None, column: Column) -> tuple[str, str]:
    if one is None:
        return "–", "dim"
    text = f"{round(one.difference, column.of.digits) + 0.0:+.{column.of.digits}f}"
    text = text[0] + text[1:].removeprefix("0")
    if not one.significant:
        return f"{text} ", ""
    return f"{text}*", "green" if one.difference > 0 else "red"


def _print_grid(title: str, columns: Sequence[Column], lines: Sequence[_Line], console: Console) -> None:
    headings = [short_title(column) + ("↓" if column.of.better == "lower" else "") for column in columns]
    widths = [
        max([len(heading), *(len(line.cells[place][0]) for line in lines if line.cells)])
        for place, heading in enumerate(headings)
    ]
    groups: dict[str, list[int]] = {}
    for place, column in enumerate(columns):
        groups.setdefault(column.group, []).append(place)
    for name, places in groups.items():
        widths[places[0]] += max(0, len(name) - _width(places, widths))
    room = console.width - _BETWEEN - max((_width(of, widths) for of in groups.values()), default=0)
    label_width = min(max(Text(line.label).cell_len for line in lines), max(room, _SHORTEST_LABEL))
    console.print(Text(title, "bold"))
    for block in _blocks(list(groups.values()), widths, console.width - label_width):
        names = [columns[places[0]].group for places in block]
        heads = [_rule(name, _width(places, widths)) for name, places in zip(names, block, strict=True)]
        _print_line(Text(" " * label_width), [Text(head, "dim") for head in heads], console)
        for line in [_Line("", tuple((heading, "bold dim") for heading in headings)), *lines]:
            label = Text(line.label, line.style)
            label.truncate(label_width, overflow="ellipsis", pad=True)
            _print_line(label, [_side_by_side(line, places, widths) for places in block] if line.cells else [], console)


def _blocks(groups: list[list[int]], widths: Sequence[int], room: int) -> list[list[list[int]]]:
    """The groups that go side by side, filled greedily; a group that is too wide gets a block of its own."""
    blocks: list[list[list[int]]] = [[]]
    for places in groups:
        beside = sum(_BETWEEN + _width(of, widths) for of in [*blocks[-1], places])
        if blocks[-1] and beside > room:
            blocks.append([])
        blocks[-1].append(places)
    return blocks


def _width(places: Sequence[int], widths: Sequence[int]) -> int:
    return sum(widths[place] for place in places) + len(places) - 1


def _rule(name: str, width: int) -> str:
    """A group's name over its columns, between dashes if there is room on both sides."""
    return f" {name} ".center(width, "─") if width >= len(name) + 4 else name.center(width)


def _side_by_side(line: _Line, places: Sequence[int], widths: Sequence[int]) -> Text:
    cells = [(line.cells[place][0].rjust(widths[place]), line.cells[place][1]) for place in places]
    return Text(" ").join(Text(text, style) for text, style in cells)


def _print_notes(notes: Sequence[str], console: Console) -> None:
    for note in notes:
        lines = wrap(note, console.width - 2, break_long_words=False, break_on_hyphens=False)
        console.print(Text("\n".join(f"  {line}" for line in lines), "dim"), soft_wrap=True)
    console.print()


def _print_line(label: Text, groups: Sequence[Text], console: Console) -> None:
    line = Text(" " * _BETWEEN).join([label, *groups])
    line.rstrip()
    if console.options.ascii_only:
        line.plain = line.plain.translate(_PLAIN)
    console.print(line, soft_wrap=True, highlight=False)
