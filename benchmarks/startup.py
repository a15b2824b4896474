"""Seconds until Python, the package and the command are there: `python -m benchmarks.startup [ROUNDS]`.

Each case is a process of its own, the cases in turn within a round. Wall time, and CPU time (user and system), which
other jobs on the machine disturb less: the median over the rounds and, in brackets, least to most.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time

COMMAND = (sys.executable, "-m", "instructrestore")
COMPLETION = {"_INSTRUCTRESTORE_COMPLETE": "complete_bash", "COMP_WORDS": "instructrestore bu", "COMP_CWORD": "1"}

CASES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "python -c pass": ((sys.executable, "-c", "pass"), {}),
    "import instructrestore": ((sys.executable, "-c", "import instructrestore"), {}),
    "parse_instruction": (
        (sys.executable, "-c", "import instructrestore; instructrestore.parse_instruction('make the dog clear')"),
        {},
    ),
    "instructrestore --version": ((*COMMAND, "--version"), {}),
    "instructrestore restore --help": ((*COMMAND, "restore", "--help"), {}),
    "completion of `instructrestore bu`": (COMMAND, COMPLETION),
}


def seconds(words: tuple[str, ...], variables: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of a process."""
    used, begin = cpu_seconds(), time.perf_counter()
    subprocess.run(words, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin, cpu_seconds() - used


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Prints a line for each case."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    for case in CASES.values():  # bytecode and files are in place before the first round counts
        seconds(*case)
    measured = [[seconds(*case) for case in CASES.values()] for _ in range(rounds)]
    for name, results in zip(CASES, zip(*measured, strict=True), strict=True):
        wall, cpu = zip(*results, strict=True)
        print(f"{name:36} {_spread(wall)} s, CPU {_spread(cpu)} s")


def _spread(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    main()
