"""All figures of an evaluation, and the files that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from instructrestore.pipelines.evaluation.methods.method import Evaluation
from instructrestore.pipelines.evaluation.tables.comparisons import Comparison, compare_methods
from instructrestore.pipelines.evaluation.tables.console import print_comparisons, print_table
from instructrestore.pipelines.evaluation.tables.layout import build_table, table_numbers
from instructrestore.pipelines.evaluation.tables.photo_scores import PhotoScores
from instructrestore.pipelines.evaluation.tables.sweep import Sweep, measure_sweep
from instructrestore.pipelines.evaluation.tables.table import Table
from instructrestore.pipelines.evaluation.tables.writing import to_csv, to_json, to_latex

EVALUATION = "evaluation.json"


@dataclass(frozen=True)
class Report:
    """tables: those that were asked for, or that the evaluation can fill. sweep: None if s1 was not swept."""

    tables: tuple[Table, ...]
    comparisons: tuple[Comparison, ...]
    sweep: Sweep | None


def report_of(evaluated: Evaluation, numbers: Sequence[int] = (), quoted: bool = True) -> Report:
    """numbers: of the tables; (): all that the evaluation can fill. quoted: with the paper's rows.

    Raises ValueError for a table that the evaluation cannot fill.
    """
    numbers = numbers or table_numbers(evaluated)
    return Report(
        tuple(build_table(evaluated, number, quoted) for number in numbers),
        tuple(comparison for number in numbers for comparison in compare_methods(evaluated, number)),
        measure_sweep(evaluated, PhotoScores(evaluated)),
    )


def files_of(evaluated: Evaluation, report: Report) -> dict[str, bytes]:
    """By name: evaluation.json, and table-N.csv and table-N.tex of each table. The same evaluation, the same bytes."""
    files = {EVALUATION: to_json(evaluated, report.tables, report.comparisons, report.sweep)}
    for table in report.tables:
        files[f"table-{table.number}.csv"] = to_csv(table).encode("utf-8", "replace")
        files[f"table-{table.number}.tex"] = to_latex(table).encode("utf-8", "replace")
    return files


def print_report(report: Report, console: Console) -> None:
    """Prints the tables and their comparisons; a note that several tables share is printed once."""
    said: set[str] = set()
    for table in report.tables:
        print_table(replace(table, notes=tuple(note for note in table.notes if note not in said)), console)
        said |= set(table.notes)
        own = [comparison for comparison in report.comparisons if comparison.table == table.number]
        print_comparisons(table, own, console)
