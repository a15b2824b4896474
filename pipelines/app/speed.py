"""How fast the model is here, as its jobs have shown."""

from __future__ import annotations

import json
import statistics
from contextlib import suppress
from pathlib import Path

from instructrestore.shards.files import commit
from instructrestore.shards.parsing import parse_object, read_bounded

_KEPT = 9  # measurements


class Speed:
    """file: where the last measurements are kept. what: the model, device and precision that they are of."""

    def __init__(self, file: Path, what: str) -> None:
        self._file, self._what = file, what
        self._rates = self._known()

    @property
    def seconds(self) -> float | None:
        """For a megapixel and a step; None before anything was measured."""
        return statistics.median(self._rates) if self._rates else None

    def learn(self, seconds: float) -> None:
        """seconds: that a job took for each of its megapixels and steps."""
        self._rates = [*self._rates, seconds][-_KEPT:]
        with suppress(OSError):  # a full disk: then they are known until the program ends
            commit(self._file, json.dumps({self._what: self._rates}).encode())

    def _known(self) -> list[float]:
        try:
            known = parse_object(read_bounded(self._file), str(self._file))
            return [float(each) for each in known.get(self._what, [])]
        except (OSError, ValueError, TypeError):
            return []
