"""What reaches a terminal: sequences of rich's own, and none from data."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from rich.table import Table
from rich.text import Text

from instructrestore.dataengine.running.part_files import PartSummary
from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.pipelines.terminal.ending import end, end_with_traceback
from instructrestore.pipelines.terminal.progress import StageProgress

HARM = "\x1b]0;owned\x07 a\u202eb \x9b31m"
SEEN = "\\x1b]0;owned\\x07 a\\u202eb \\x9b31m"


def table(console: PlainConsole) -> None:
    shown = Table("licence", HARM, title=HARM)
    shown.add_row(Text(HARM), HARM)
    console.print(shown)


def progress(console: PlainConsole) -> None:
    with StageProgress(console, "masks", 2) as part:
        part(PartSummary("d", {f"[/b] {HARM}": 1}, {}, {}, {}))


PRINTED: dict[str, Callable[[PlainConsole], None]] = {
    "a line": lambda console: console.print(HARM),
    "a styled line": lambda console: console.print(Text(HARM, "bold"), soft_wrap=True),
    "a line of parts": lambda console: console.print(Text.assemble(("worse", "red"), f"  {HARM}"), soft_wrap=True),
    "markup that is none": lambda console: console.print(f"[/nothing] [red]{HARM}"),
    "a table": table,
    "progress": progress,
}


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("name", PRINTED)
def test_nothing_from_data_acts(name: str, terminal: bool) -> None:
    file = io.StringIO()
    PRINTED[name](PlainConsole(file=file, force_terminal=terminal, width=200))
    text = file.getvalue()
    shown = re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", text)  # without colours and cursor movements, which are rich's own
    assert "\\x1b]0;owned" in shown
    for harm in ("\x1b", "\x07", "\u202e", "\x9b"):
        assert harm not in shown
    if name != "progress":  # cut off at the edge
        assert "a\\u202eb \\x9b31m" in shown
    if "none" in name:
        assert "[/nothing] [red]" in shown


def test_the_end_of_a_command_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        end(f"there is no {HARM}\nfile", 2)
    assert capsys.readouterr().err == f"instructrestore: there is no {SEEN}\\nfile\n"
    with pytest.raises(SystemExit):
        end_with_traceback(f"it broke: Traceback (most recent call last):\n  a line\nValueError: {HARM}")
    assert capsys.readouterr().err.splitlines() == [
        "Traceback (most recent call last):", "  a line", f"ValueError: {SEEN}", "instructrestore: it broke",
    ]  # fmt: skip
