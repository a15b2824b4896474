"""Weights that came with packages: what is wrong with a file is a clause, and its use one sentence."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from instructrestore.pretrained.installed import InstalledFile


def file_at(path: Path | None) -> InstalledFile:
    return InstalledFile("the judge", path, hashlib.sha256(b"right").hexdigest(), "install it again", "MIT")


def test_every_byte_counts(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    assert file_at(None).fault() == "not installed"
    assert file_at(path).fault() == f"not installed (there is no {path})"
    path.write_bytes(b"wrong")
    assert file_at(path).fault().startswith(f"damaged: the sha256 of {path} begins with ")
    path.write_bytes(b"right")
    assert file_at(path).fault() == "" and file_at(path).checked() == path


def test_a_file_that_cannot_be_read_is_said_so() -> None:
    unreadable = Path("/proc/self/mem")  # for root too, whom permissions do not stop
    if not unreadable.exists():
        pytest.skip("there is no /proc here")
    assert file_at(unreadable).fault() == "unreadable (Input/output error: /proc/self/mem)"
    with pytest.raises(ValueError, match=r"the weights of the judge are unreadable .*; install it again"):
        file_at(unreadable).checked()
