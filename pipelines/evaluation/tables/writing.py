"""Tables and whole evaluations as files: CSV, LaTeX, JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby

from instructrestore.model.metrics.metric import BY_NAME, Metric, figure_order
from instructrestore.pipelines.evaluation.methods.method import Evaluation
from instructrestore.pipelines.evaluation.tables.comparisons import Comparison
from instructrestore.pipelines.evaluation.tables.photo_scores import PhotoScores
from instructrestore.pipelines.evaluation.tables.sweep import Sweep
from instructrestore.pipelines.evaluation.tables.table import Cell, Column, MethodRow, Table

SCHEMA_VERSION = 1  # raised when evaluation.json changes in a way that an older program would misread
_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}  # fmt: skip


def to_csv(table: Table) -> str:
    """One line per row: label, origin, method; and for each column SCOPE_METRIC (the mean), _low, _high, _photos."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [f"{column.scope}_{column.metric}" for column in table.columns]
    parts = ("", "_low", "_high", "_photos")
    writer.writerow(["label", "origin", "method", *(name + part for name in names for part in parts)])
    for row in table.rows:
        cells = [(cell.mean, cell.low, cell.high, cell.photos) if cell else (None,) * 4 for cell in row.cells]
        writer.writerow([row.label, row.origin, row.method, *(value for cell in cells for value in cell)])
    return file.getvalue()


def to_latex(table: Table) -> str:
    r"""A float to \input in a document that loads booktabs: the best computed figure of a column is bold."""
    groups = [(name, len(list(columns))) for name, columns in groupby(table.columns, lambda column: column.group)]
    heads, rules, place = [], [], 2
    for name, width in groups:
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{_escaped(name)}}}")
        rules.append(rf"\cmidrule(lr){{{place}-{place + width - 1}}}")
        place += width
    best = best_cells(table)
    computed = [row for row in table.rows if row.origin == "computed"]
    quoted = [row for row in table.rows if row.origin == "quoted"]
    lines = [
        r"\begin{table}[t]",
        r"\centering\small\setlength{\tabcolsep}{3.5pt}",
        rf"\caption{{{_escaped(table.title)}.}}",
        rf"\label{{tab:instructrestore-{table.number}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(["", *heads]) + r" \\",
        "".join(rules),
        " & ".join(["", *(_heading(column) for column in table.columns)]) + r" \\",
        r"\midrule",
        *(_latex_row(row, table.columns, best) for row in computed),
    ]
    if quoted:
        lines += [
            r"\midrule",
            rf"\multicolumn{{{len(table.columns) + 1}}}{{l}}{{\emph{{Quoted from the paper}}}} \\",
            *(_latex_row(row, table.columns, best) for row in quoted),
        ]
    notes = [rf"\par\smallskip\footnotesize {_escaped(' '.join(table.notes))}"] if table.notes else []
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *notes, r"\end{table}"]) + "\n"


def to_json(
    evaluated: Evaluation, tables: Sequence[Table], comparisons: Sequence[Comparison], sweep: Sweep | None
) -> bytes:
    """evaluation.json: the same evaluation gives the same bytes.

    `evaluate --baseline` compares `figures`, each with the noise that its mean may fall by, which may be edited in the
    file. The sweep's locality and instruction following come last, under the sweep's title.
    """
    figures = PhotoScores(evaluated)
    titles = [method.title for method in evaluated.methods]
    known = sorted(figures.known(), key=lambda of: (titles.index(of[0]), figure_order(of[1:])))
    entries = [
        _figure(method, scope, BY_NAME[name], figures.cell(method, scope, name)) for method, scope, name in known
    ]
    if sweep:
        entries += [_figure(sweep.title, "sweep", metric, cell) for metric, cell in sweep.figures()]
    content = {
        "version": SCHEMA_VERSION,
        "testset": {"name": evaluated.testset, "photos": evaluated.photos, "bokeh": evaluated.bokeh},
        "configuration": evaluated.configuration,
        "methods": [
            {"title": method.title, **asdict(method), "failed": evaluated.failed.get(method.title, {})}
            for method in evaluated.methods
        ],
        "figures": entries,
        "sweep": asdict(sweep) if sweep else None,
        "tables": [asdict(table) for table in tables],
        "comparisons": [asdict(comparison) for comparison in comparisons],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"


def best_cells(table: Table) -> list[frozenset[Cell]]:
    """For each column, the best of the computed figures, or all that print the same. Figures over fewer photos than
    others in the column are left out, since a method may have failed on the hard ones. None is best of fewer than two,
    and quoted ones, which have no count of photos, never are."""
    best: list[frozenset[Cell]] = []
    for place, column in enumerate(table.columns):
        cells = [cell for row in table.rows if row.origin == "computed" and (cell := row.cells[place])]
        most = max((cell.photos or 0 for cell in cells), default=0)
        whole = [cell for cell in cells if cell.photos == most]
        whole.sort(key=lambda cell: cell.mean, reverse=column.of.better == "higher")
        same = [cell for cell in whole if printed(cell.mean, column) == printed(whole[0].mean, column)]
        best.append(frozenset(same if len(whole) > 1 else ()))
    return best


def printed(mean: float, column: Column) -> str:
    return f"{mean:.{column.of.digits}f}"


def short_title(column: Column) -> str:
    """A metric's title below its group's: "IoU" below "Mask"."""
    return column.of.title.removeprefix(f"{column.group} ")


def _figure(method: str, scope: str, metric: Metric, cell: Cell | None) -> dict[str, object]:
    assert cell is not None, (method, scope, metric.name)
    about = {"method": method, "scope": scope, "metric": metric.name, "better": metric.better}
    return {**about, **asdict(cell), "noise": metric.noise}


def _heading(column: Column) -> str:
    arrow = r"$\uparrow$" if column.of.better == "higher" else r"$\downarrow$"
    return _escaped(short_title(column)) + arrow


def _latex_row(row: MethodRow, columns: Sequence[Column], best: Sequence[frozenset[Cell]]) -> str:
    cells = [_escaped(row.label)]
    for cell, column, of_column in zip(row.cells, columns, best, strict=True):
        text = printed(cell.mean, column) if cell else "--"
        cells.append(rf"\textbf{{{text}}}" if cell in of_column else text)
    return " & ".join(cells) + r" \\"


def _escaped(text: str) -> str:
    signs = "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))
    return signs.replace("--", "-{}-")  # which LaTeX would join into one dash
