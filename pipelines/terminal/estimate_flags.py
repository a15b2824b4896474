"""Options of the jobs over photos that can say what they will take before they run."""

from __future__ import annotations

from typing import Any

import typer


def dry_run_option(panel: str) -> Any:
    return typer.Option("--dry-run", help="Say what it would do, without doing it.", rich_help_panel=panel)


def measure_option(panel: str) -> Any:
    said = "With --dry-run: take so many photos, and say what all of them will take."
    return typer.Option(min=2, metavar="PHOTOS", help=said, rich_help_panel=panel)


def price_option(panel: str) -> Any:
    return typer.Option(min=0, metavar="AN_HOUR", help="With --measure: what an hour costs.", rich_help_panel=panel)
