"""Progress of restoring on a terminal: photos, steps of the current ones, time left."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class RestoreProgress:
    """A bar that moves with every step; nothing without a terminal, where a line per photo shows the progress."""

    def __init__(self, console: Console, photos: int, steps: int) -> None:
        self._photos, self._steps = photos, steps
        self._done, self._in_hand = 0, 1
        self._bar = Progress(
            TextColumn("[bold]restoring"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[done]} of {task.total} photos  {task.fields[doing]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=photos, done=0, doing="")

    def __enter__(self) -> RestoreProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def doing(self, what: str) -> None:
        self._bar.update(self._task, doing=what)

    def begin(self, photos: int) -> None:
        """Notes how many photos are restored together now."""
        self._in_hand = photos

    def step(self, pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """A callback on the end of a step, as diffusers calls it."""
        # Counts one extra step, for the decoder and the files that follow.
        reached = self._done + self._in_hand * (step + 1) / (self._steps + 1)
        self._bar.update(self._task, completed=reached, doing=f"step {step + 1} of {self._steps}")
        return {}

    def photo_done(self) -> None:
        self._done += 1
        self._bar.update(self._task, completed=self._done, done=self._done, doing="")
