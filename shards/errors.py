"""Errors of other code, and long lists of names, as part of one sentence."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

MAX_LENGTH = 200  # characters


class DamagedFile(ValueError):
    """A file of this program's own that does not hold what was written to it. place: the file.

    remedy: what people are to do about it.
    """

    def __init__(self, place: object, remedy: str = "remove it and run the same command again") -> None:
        super().__init__(f"{place} is damaged: {remedy}")
        self.place, self.remedy = str(place), remedy

    def __reduce__(self) -> tuple[type[DamagedFile], tuple[str, str]]:
        return DamagedFile, (self.place, self.remedy)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters; the name of its class where there is no message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:MAX_LENGTH]


def one_line(error: BaseException) -> str:
    """The whole message of an error on one line; the name of its class where there is no message."""
    return " ".join(str(error).split()) or type(error).__name__


def first_error(error: ValidationError) -> str:
    """The first complaint of a validation error as "SETTING: COMPLAINT"."""
    first = error.errors(include_url=False, include_input=False)[0]
    # Of a setting that may be one of several kinds pydantic also names the kind that it tried.
    parts = [str(part) for part in first["loc"] if not str(part).startswith(("literal[", "constrained-"))]
    where = ".".join(parts) or "the text"
    if first["type"] == "extra_forbidden":
        return f"{where}: this name is not known"
    message = first["msg"].removeprefix("Value error, ")  # what a check of ours said
    return f"{where}: {message[0].lower()}{message[1:]}"


def first_three(names: Iterable[str]) -> str:
    """The names in alphabetical order, the first three of them: "a, b, c and 4 more"."""
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
