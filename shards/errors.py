"""Errors in the words of one line."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters; the name of its class if it has no message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
