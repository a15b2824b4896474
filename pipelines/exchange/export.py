"""What `instructrestore export` shows: progress, and one table of what the layout holds and what it cannot."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from instructrestore.dataengine.exchange.export import ExportSummary
from instructrestore.dataengine.exchange.export import export as write_layout
from instructrestore.pipelines.terminal.amounts import counts_text
from instructrestore.shards.index import Dataset


def export(dataset: str, to: str, out: Path, console: Console) -> ExportSummary:
    """Writes the layout and prints the table. Raises as `exchange.export.export` does."""
    opened = Dataset(dataset)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("exporting", total=opened.card.photos)
        summary = write_layout(opened, to, out, lambda: progress.advance(task))
    table = Table(
        title=f"{counts_text(photo=summary.photos, region=summary.regions)} as {to}",
        title_justify="left",
    )
    table.add_column("of each record")
    table.add_column("in it", justify="right")
    table.add_column(f"what {to} cannot hold", justify="right")
    for what in sorted(summary.held | summary.lost, key=lambda what: (what not in summary.held, what)):
        held, lost = summary.held[what], summary.lost[what]
        table.add_row(what, f"{held:,}" if held else "", f"{lost:,}" if lost else "")
    console.print(table)
    console.print(f"{out}", markup=False, highlight=False, soft_wrap=True)
    return summary
