"""What a push would upload: every file, what is held back, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from instructrestore.pipelines.terminal.amounts import size_text
from instructrestore.pipelines.terminal.damage import print_line
from instructrestore.shards.plain_text import visible_line


@dataclass(frozen=True)
class PlannedFile:
    """A file as it will be called in the repository. content: where it is, or what it holds; None: it is written only
    when the push begins. bytes: its size, None where that is not known before. sha256: in hex digits, where known."""

    name: str
    content: Path | bytes | None
    bytes: int | None
    sha256: str | None = None


@dataclass(frozen=True)
class HeldPhoto:
    """A photo that is held back, and why."""

    key: str
    name: str
    licence: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """files: all of them, the ones that make the rest count (such as dataset.json) last. held: photos that are not
    shared. left_out: files of the folder that are not uploaded, with the reason. notes: sentences for the user.
    ours: names of files in the repository that an earlier push put there, and that go where they are not in `files`.
    """

    kind: str
    files: Sequence[PlannedFile]
    held: Sequence[HeldPhoto] = ()
    left_out: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    ours: re.Pattern[str] = field(default=re.compile(r"(?!)"))

    @property
    def bytes(self) -> int:
        """Of all files whose size is known."""
        return sum(file.bytes or 0 for file in self.files)


def print_plan(plan: Plan, repository: str, console: Console) -> None:
    """Lists the plan: every file with its size, every photo held back by name, and every file left out."""
    for file in plan.files:
        size = "written then" if file.bytes is None else size_text(file.bytes)
        print_line(f"{size:>14}  {visible_line(file.name)}", console)
    print_line(f"{size_text(plan.bytes):>14}  in {len(plan.files):,} files for the {plan.kind} {repository}", console)
    for name, why in plan.left_out:
        print_line(f"left out: {visible_line(name)}: {why}", console)
    for photo in plan.held:
        stated = f" ({photo.licence})" if photo.licence else ""
        print_line(visible_line(f"held back: {photo.key} {photo.name}: {photo.reason}{stated}"), console)
    print_summary(plan, console)


def print_summary(plan: Plan, console: Console) -> None:
    """How many photos are held back, by reason and licence, and the notes."""
    counted = Counter((photo.reason, photo.licence) for photo in plan.held)
    for (reason, licence), photos in sorted(counted.items(), key=lambda entry: (-entry[1], entry[0])):
        stated = f": {licence}" if licence else ""
        print_line(visible_line(f"{photos:,} photos are held back, {reason}{stated}"), console)
    if plan.held:
        print_line("whoever knows that a licence allows sharing says so with --licences NAME", console)
    for note in plan.notes:
        print_line(visible_line(note), console)
