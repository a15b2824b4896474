"""How a command ends: with one sentence, and the status that says whose fault it was."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from instructrestore.shards.plain_text import visible, visible_line

USER_ERROR = 2
FAULTS_FOUND = 1
INTERRUPTED = 130
GO_ON = "interrupted; run the same command again to continue"


def end(sentence: str, status: int) -> NoReturn:
    """Prints the sentence to stderr and ends the program."""
    print(f"instructrestore: {visible_line(sentence)}", file=sys.stderr)
    sys.exit(status)


def end_now(sentence: str, status: int) -> NoReturn:
    """The same from any thread, at once: what is being done is left as it is."""
    print(f"instructrestore: {visible_line(sentence)}", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def end_with_traceback(defect: str) -> NoReturn:
    """Shows the traceback within the text of a `Defect`, then the sentence before it, and ends the program."""
    first, _, trace = defect.partition("\n")
    if trace:
        print(f"Traceback (most recent call last):\n{visible(trace)}", file=sys.stderr)
    end(first.removesuffix(": Traceback (most recent call last):"), FAULTS_FOUND)
