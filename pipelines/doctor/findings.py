"""What the doctor finds, a line each, and how it prints them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

Level = Literal["ok", "warning", "missing"]
COLOURS = {"ok": "green", "warning": "yellow", "missing": "bold red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    level: "missing" if a build cannot run like this. what: the thing. text: its state, in one line. fix: what to do;
    empty if there is nothing to do.
    """

    level: Level
    what: str
    text: str
    fix: str = ""


def findings_table(findings: Iterable[Finding], width: int) -> Table:
    """width: of the column that names the things."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(width=8, justify="right", no_wrap=True)
    table.add_column(width=width)
    table.add_column(overflow="fold")
    for finding in findings:
        text = Text(finding.text)
        if finding.fix:
            text.append(f"\n-> {finding.fix}", "cyan")
        table.add_row(Text(finding.level, COLOURS[finding.level]), Text(finding.what), text)
    return table


def print_verdict(findings: list[Finding], console: Console, what: str = "this build") -> bool:
    """Whether `what`, one thing or several, can run, as the last line says."""
    missing = sum(finding.level == "missing" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    said = f"{warnings} warning{'' if warnings == 1 else 's'}"
    if missing:
        console.print(Text(f"{missing} missing, {said}: {what} cannot run here", COLOURS["missing"]))
    else:
        console.print(Text(f"nothing is missing, {said}: {what} can run here", COLOURS["ok"]))
    return not missing
