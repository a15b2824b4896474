"""A benchmark's case in a process of its own: nothing of another one is warm, cached or counted in its memory."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def measured(module: str, *arguments: str) -> dict[str, Any] | None:
    """The JSON object on the last line that `python -m module arguments` prints; None where it fails."""
    ended = subprocess.run([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, check=False, text=True)
    return None if ended.returncode else json.loads(ended.stdout.splitlines()[-1])
