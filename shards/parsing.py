"""JSON and TOML that may come from anywhere, as plain values: the only reader of either.

Whatever is wrong with a text is a ValueError of one sentence that names it. Python's own parsers give a traceback for a
few hundred brackets, keep the last of two values of one name, and read numbers that nothing can be done with.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, BinaryIO

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

MAX_BYTES = 256 * 2**20  # of a file that is no annotations: a large tokenizer.json has 30 MB
MAX_DEPTH = 100  # lists and objects in one another: what takes the values up (copies, prints) recurses too
# In a line of TOML: Python's parser keeps every beginning of a dotted name, gigabytes for a name of 400 kB.
MAX_DOTS = 250
MAX_DIGITS = 300  # of an integer, so that it can become a float
_PIECE_BYTES = 1 << 22
_TOO_DEEP = "it is nested too deeply"


class RepeatedName(ValueError):
    """An object has two values of one name: readers differ in which of them they take."""


def parse_json(content: bytes | str, name: str, any_number: bool = False) -> Any:
    """The value in a JSON text. name: what sentences call it, such as its file.

    any_number: NaN, infinities and integers of any size pass, for whoever judges numbers one by one: files of
    annotations, which tools write with all of these, and whose millions of numbers must be read quickly.
    Raises ValueError for anything but sound JSON of at most `MAX_DEPTH` levels without repeated names.
    """
    numbers: dict[str, Any] = {}
    if not any_number:
        numbers = {"parse_int": _integer, "parse_float": _finite, "parse_constant": _finite}
    try:
        value = json.loads(content, object_pairs_hook=_without_repetition, **numbers)
    except RecursionError:
        raise ValueError(f"{name} is not valid JSON: {_TOO_DEEP}") from None
    except RepeatedName as error:
        raise RepeatedName(f"{name} cannot be relied on: {error}") from None
    except ValueError as error:
        raise ValueError(f"{name} is not valid JSON: {_reason(error)}") from None
    if _is_deep(value):
        raise ValueError(f"{name} is not valid JSON: {_TOO_DEEP}")
    return value


def parse_object(content: bytes | str, name: str, any_number: bool = False) -> dict[str, Any]:
    """The object in a JSON text, as `parse_json` reads it; a list, text or number is a ValueError too."""
    value = parse_json(content, name, any_number)
    if not isinstance(value, dict):
        raise ValueError(f"{name} holds no values by name")
    return value


def parse_toml(content: bytes | str, name: str) -> dict[str, Any]:
    """The values in a TOML text, by name. Raises ValueError, as `parse_json` does; infinities are allowed."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        if any(line.count(".") > MAX_DOTS for line in text.split("\n")):
            raise ValueError(f"a line of it has more than {MAX_DOTS} dots")
        values = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"{name} cannot be read as TOML: {_TOO_DEEP}") from None
    except ValueError as error:
        raise ValueError(f"{name} cannot be read as TOML: {_reason(error)}") from None
    if _is_deep(values):
        raise ValueError(f"{name} cannot be read as TOML: {_TOO_DEEP}")
    return values


def read_bounded(path: Path, most: int = MAX_BYTES) -> bytes:
    """A local file's content. Raises ValueError where it has more than `most` bytes, of which no more are read."""
    with path.open("rb") as file:
        return read_at_most(file, most, str(path))


def read_at_most(file: BinaryIO, most: int, name: str) -> bytes:
    """All of an open file. Raises ValueError where it has more than `most` bytes, of which no more are read."""
    pieces, left = [], most
    while piece := file.read(min(_PIECE_BYTES, left + 1)):  # a larger one would take its room before it is there
        pieces.append(piece)
        left -= len(piece)
        if left < 0:
            raise ValueError(f"{name} has more than {most} bytes, which no such file has")
    return b"".join(pieces)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise RepeatedName(f"it says {repeated[:40]!r} twice in one place")
    return values


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"it has a number of {len(digits)} digits")
    return int(digits)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it has {text[:20]} where a number belongs")
    return number


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if type(each) is dict else each)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def _reason(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    # What Python says of an integer of thousands of digits is advice to its programmer.
    return "it has a number of thousands of digits" if "sys.set_int_max_str_digits" in str(error) else str(error)
