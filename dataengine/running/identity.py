"""What makes a stage's output stale: declared beside each setting, and hashed here.

A stage's parts follow from its code (a REVISION that is raised by hand whenever results change), its settings, its
model's revision (one of the settings) and its input. A setting that never changes a result (a device, how many rows
go through a model at once, a time limit, where a file lies) is marked so where it is declared:

    device: Annotated[str, NO_RESULT] = Field(default="auto", ...)
    checkpoint: Annotated[str, Counts(lambda path: Path(path).name)] = ...   # of its value this alone counts

All other settings count. The hash is over the settings with marked ones at their defaults, so that marking one keeps
the parts of runs that never touched it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

Settings = TypeVar("Settings", bound=BaseModel)


@dataclass(frozen=True)
class Counts:
    """Marks a setting of which only a part counts for results. part: gives that of its value; None: nothing does."""

    part: Callable[[Any], Any] | None


NO_RESULT = Counts(None)
"""Marks a setting that never changes a result."""


def counting(settings: Settings) -> Settings:
    """The settings as far as results follow from them: marked ones at their defaults, in nested settings too."""
    changes: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        mark = next((each for each in field.metadata if isinstance(each, Counts)), None)
        if mark and mark.part:
            changes[name] = mark.part(value)
        elif mark:
            changes[name] = field.get_default(call_default_factory=True)
        elif isinstance(value, BaseModel):
            changes[name] = counting(value)
    return settings.model_copy(update=changes)


def marked(kind: type[BaseModel]) -> set[str]:
    """The settings of a class that never change a result, by name."""
    return {name for name, field in kind.model_fields.items() if NO_RESULT in field.metadata}
