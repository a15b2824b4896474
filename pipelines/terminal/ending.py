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
    """Prints the sentence to stderr and ends the program."""
    print(f"instructrestore: {escaped(sentence)}", file=sys.stderr)
    sys.exit(status)


def end_with_traceback(defect: str) -> NoReturn:
    """Shows the traceback within the text of a `Defect`, then the sentence before it, and ends the program."""
    first, _, trace = defect.partition("\n")
    if trace:
        print(f"Traceback (most recent call last):\n{trace}", file=sys.stderr)
    end(first.removesuffix(": Traceback (most recent call last):"), FAULTS_FOUND)


def escaped(text: str) -> str:
    """Text as one line that is safe on a terminal: control characters, as in a file's name, become visible escapes."""
    return "".join(
        repr(char)[1:-1] if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in readable(text)
    )
