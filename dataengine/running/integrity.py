"""Whether a file holds what was written: the hashes in its name and its footer, and what else gives damage away.

Damage shows in many ways: Arrow cannot decompress, or reads a number of rows or a text that cannot be; or nothing shows
at all but the hash. All of it becomes one error that names the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.paths import Place

# A flipped bit of a footer also makes texts of bytes, and bytes of texts.
_SIGNS = (pa.ArrowException, ValueError, TypeError, LookupError, OverflowError, AttributeError)
_REST = ("reason", "detail", "attempts", "held")


def digest(*values: Any) -> str:
    """16 hex digits over JSON-able values: the hash used in file names and between parts."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@contextmanager
def reading(place: Place, remedy: str | None = None) -> Iterator[None]:
    """Turns whatever a damaged file makes of decoding it into a DamagedFile. Errors of disks and stores pass."""
    try:
        yield
    except DamagedFile:
        raise
    except OSError as error:
        if error.errno is not None:  # Arrow's own have no number
            raise
        raise _damaged(place, remedy) from error
    except _SIGNS as error:
        raise _damaged(place, remedy) from error


def _damaged(place: Place, remedy: str | None) -> DamagedFile:
    return DamagedFile(place) if remedy is None else DamagedFile(place, remedy)


def content_hash(records: Sequence[Mapping[str, Any]]) -> str:
    """Hash of what later stages can see of a part: who came through and how, who was dropped and why, who failed."""
    known = hashlib.blake2b(digest_size=8)
    for record in records:
        name, outcome = record["name"], record["outcome"]
        seen = record["row"] if outcome == "ok" else {"dropped": record["reason"].encode(), "failed": b""}[outcome]
        known.update(f"{len(name)} {outcome} {len(seen)} ".encode() + name.encode() + seen)
    return known.hexdigest()


def rest_hash(records: Sequence[Mapping[str, Any]]) -> str:
    """Hash of the rest: why and how often rows failed and what they were, the details of drops, and what rows held."""
    rest = [
        (place, record["outcome"] == "failed" and (record["row"] or b"").hex(), *(record.get(name) for name in _REST))
        for place, record in enumerate(records)
        if record["outcome"] != "ok" or _tells(record)
    ]
    return digest(rest)


def _tells(record: Mapping[str, Any]) -> bool:
    """Whether any of `_REST` says something; spelt out, as it is asked of every row."""
    return bool(record["reason"] or record["detail"] or record["attempts"] or record.get("held"))
