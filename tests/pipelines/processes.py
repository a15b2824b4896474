"""The processes of a Ray cluster that a driver started, and their sudden end."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def workers_of(driver: int) -> list[int]:
    """The actors of the driver's cluster: processes of its session named as Ray names them."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.getsid(int(entry.name)) == driver:
                line = (entry / "cmdline").read_bytes()
                if line.startswith(b"ray::Actor"):
                    found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def workers_below(raylet: int) -> list[int]:
    """The actors of one node of a cluster: the children of its raylet that are named as Ray names them."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit():
                continue
            parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
            if parent == str(raylet) and (entry / "cmdline").read_bytes().startswith(b"ray::Actor"):
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def kill(pid: int) -> bool:
    """SIGKILL; False where the process is gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
