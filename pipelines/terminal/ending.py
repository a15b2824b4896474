"""How a command ends: with one sentence, and the status that says whose fault it was."""

from __future__ import annotations

import sys
import unicodedata
from typing import NoReturn

from instructrestore.dataengine.sources.places import readable

USER_ERROR = 2
FAULTS_FOUND = 1
INTERRUPTED = 130


def end(sentence: str, status: int) -> NoReturn:
    """Says the sentence where errors go, and ends the program."""
    print(f"instructrestore: {escaped(sentence)}", file=sys.stderr)
    sys.exit(status)


def escaped(text: str) -> str:
    """Text as one line for a terminal: what a file's name may hold to break or steer it becomes a visible escape."""
    return "".join(
        repr(char)[1:-1] if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in readable(text)
    )
