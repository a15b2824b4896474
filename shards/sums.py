"""The sha256 of files as they were written, compared before what is read of them is believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from instructrestore.shards.files import file_sha256


def sums_of(files: Mapping[str, Path]) -> dict[str, str]:
    """The sha256 of each of the local files, in hex digits, in the order of their names."""
    return {name: file_sha256(path) for name, path in sorted(files.items())}


def check_sums(folder: Path, sums: Mapping[str, str], remedy: str, names: Iterable[str] | None = None) -> None:
    """Raises ValueError where a file in `folder` is gone or no longer what it was.

    sums: sha256 by path in the folder. remedy: the end of the sentence, which names the file. names: of those to look
    at; None: all.
    """
    for name in sums if names is None else names:
        path = folder / name
        try:
            found = file_sha256(path)
        except FileNotFoundError:
            raise ValueError(f"{path} is gone: {remedy}") from None
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror}): {remedy}") from None
        if found != sums[name]:
            raise ValueError(f"{path} is damaged: it is not, byte for byte, what was written there; {remedy}")
