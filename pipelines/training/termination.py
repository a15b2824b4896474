"""SIGTERM to a training on Ray: the command ends at once, with its sentence.

Sent to a group of processes the signal comes to Ray's too, and once they are gone Ray's own code ends this process
without a word. So who hears of it is not the main thread, which waits inside Ray, but one that does nothing else.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from instructrestore.pipelines.terminal.ending import INTERRUPTED, end_now


@contextmanager
def ends_at_once(sentence: str) -> Iterator[None]:
    """While it lasts, SIGTERM ends the process with the sentence, whatever the main thread is at; entered there."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    # Python writes a signal's number there in whatever thread the signal arrives.
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    of_term = signal.signal(signal.SIGTERM, lambda *_: None)
    threading.Thread(target=_listen, args=(heard, sentence), daemon=True).start()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, of_term or signal.SIG_DFL)  # None: Ray's
        signal.set_wakeup_fd(before)
        os.close(told)


def _listen(heard: int, sentence: str) -> None:
    """Until the other end is closed."""
    with os.fdopen(heard, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            if number[0] == signal.SIGTERM:
                end_now(sentence, INTERRUPTED)
