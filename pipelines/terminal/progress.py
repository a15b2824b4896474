"""Progress of stages on a terminal, and as plain lines where there is none."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from instructrestore.dataengine.running.part_files import PartSummary

PLAIN_EVERY_S = 10


class StageProgress:
    """Shows one stage: rate, time left, drops and failures by reason. A context manager, which gives what is to be
    called with every part that is committed."""

    def __init__(self, console: Console, name: str, parts: int) -> None:
        self._console, self._name, self._parts = console, name, parts
        self._rows = self._done = 0
        self._why: Counter[str] = Counter()
        self._begin = self._told = time.monotonic()
        self._bar = Progress(
            TextColumn("[bold]{task.description:<24}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("parts  {task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[why]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(name, total=parts, rate="", why="")

    def __enter__(self) -> Callable[[PartSummary], None]:
        self._bar.start()
        return self.part

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if not self._console.is_terminal:
            self._say()

    def part(self, summary: PartSummary) -> None:
        """Takes note of a part that was committed."""
        self._rows += len(summary.outcomes)
        self._done += 1
        self._why.update(summary.dropped)
        self._why.update({f"failed: {reason}": n for reason, n in summary.failed.items()})
        self._bar.update(self._task, advance=1, rate=self._rate(), why=self._reasons())
        unsaid = self._done < self._parts and time.monotonic() - self._told > PLAIN_EVERY_S
        if unsaid and not self._console.is_terminal:  # after the last part, the end of the stage says it
            self._say()

    def _rate(self) -> str:
        return f"{self._rows / max(time.monotonic() - self._begin, 1e-6):.1f} rows/s"

    def _reasons(self) -> str:
        return ", ".join(f"{reason} {n}" for reason, n in self._why.most_common(3))

    def _say(self) -> None:
        self._told = time.monotonic()
        line = f"{self._name}: {self._done} of {self._parts} parts, {self._rows} rows, {self._rate()}"
        self._console.print(f"{line}; {self._reasons()}" if self._why else line, markup=False, highlight=False)
