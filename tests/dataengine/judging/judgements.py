"""Judgements for tests."""

from __future__ import annotations

from typing import Any

from instructrestore.dataengine.judging.judgement import Judgement, judgement_of

KEY = "a" * 20
DATASET = "0" * 64


def judged(act: str, region: str = "", who: str = "Ann", key: str = KEY, **fields: Any) -> Judgement:
    """A judgement of a moment and a data set that do not matter."""
    common = {"when": "2026-01-31T12:00:00Z", "who": who, "dataset": DATASET, "key": key, "region": region}
    return judgement_of({**common, "act": act, **fields})
