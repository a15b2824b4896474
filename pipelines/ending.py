"""How a command ends: with one sentence, and the status that says whose fault it was."""

from __future__ import annotations

import sys
from typing import NoReturn

from pipelines.restoration.job import escaped

USER_ERROR = 2
FAULTS_FOUND = 1
INTERRUPTED = 130


def end(sentence: str, status: int) -> NoReturn:
    """Says the sentence where errors go, and ends the program."""
    print(f"instructrestore: {escaped(sentence)}", file=sys.stderr)
    sys.exit(status)
