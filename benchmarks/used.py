"""What a process and those that it started have used."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Used:
    """CPU seconds so far, of this process and of those it started, which `processes` are; at: when, in seconds."""

    at: float
    driver_s: float
    workers_s: float
    processes: tuple[int, ...]

    @classmethod
    def now(cls) -> Used:
        seconds: dict[int, float] = {}
        parents: dict[int, int] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
            process = int(stat.parent.name)
            parents[process] = int(fields[1])
            seconds[process] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        started = []
        for process in seconds:
            ancestor = parents[process]
            while ancestor in parents and ancestor != os.getpid():
                ancestor = parents[ancestor]
            started += [process] * (ancestor == os.getpid())
        return cls(time.monotonic(), time.process_time(), sum(seconds[p] for p in started), tuple(started))


def shared_out_mib(process: int) -> float:
    """A process's memory; what several processes share is shared out among them."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
