"""Runs a command for as long as somebody holds the other end of standard input; then ends it with all it started.

A program of its own, run by file name with nothing but the standard library:

    python keeper.py COMMAND ...

A vLLM server is several processes. Whatever happens to the actor that wanted it (killed, out of memory, its driver
gone), the operating system closes its end of the pipe: the command's whole process group goes, and the GPU is free.
The keeper is a fork of this program, not the program itself, because Ray kills the children of a worker that ends.
Should the keeper be killed too, Linux tells the command to end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading

GRACE_S = 10.0
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """The command's exit status; of one that a signal ended, 128 + the signal's number."""
    forked = os.fork()
    if not forked:
        os._exit(_keep())
    status = os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])
    return status if status >= 0 else 128 - status


def _keep() -> int:
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux alone has it

    def end_with_me() -> None:
        if prctl:
            prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    try:
        child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=end_with_me)
    except OSError as error:
        print(f"OSError: cannot run {sys.argv[1]}: {error.strerror}", flush=True)
        return 127
    threading.Thread(target=_end_at_eof, args=(child,), daemon=True).start()
    status = child.wait()
    _signal_group(child, signal.SIGKILL)  # what it left behind
    return status if status >= 0 else 128 - status


def _end_at_eof(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 4096):
        pass
    _signal_group(child, signal.SIGTERM)
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        _signal_group(child, signal.SIGKILL)


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(main())
