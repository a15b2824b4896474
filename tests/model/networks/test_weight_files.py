"""Files that other projects publish their weights in: whoever reads them, one sentence for the damaged, foreign and
hostile ones, which runs nothing and never says how to load them unsafely."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from instructrestore.model.metrics import d_dffnet, iqa_weights
from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.model.networks.weight_files import read_pickled
from instructrestore.pipelines.evaluation.methods import network

Read = Callable[[Path], Any]
NAME = iqa_weights.MUSIQ.name  # so that all of them find it


def by_d_dffnet(path: Path) -> None:
    d_dffnet.load(nn.Linear(2, 3), path)


def by_iqa(path: Path) -> None:
    iqa_weights.read(iqa_weights.MUSIQ, "MUSIQ", MetricSettings(iqa_weights=str(path.parent)))


by_every_reader = pytest.mark.parametrize(
    "read", [by_d_dffnet, by_iqa, network.read_state], ids=["D-DFFNet", "pyiqa", "networks"]
)


def refused(read: Read, path: Path) -> str:
    """What is said of the file, and nothing beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=path.name) as caught:
            read(path)
    return one_sentence(caught.value, path)


def one_sentence(fault: ValueError, path: Path) -> str:
    words = str(fault)
    assert "\n" not in words and str(path) in words
    assert "weights_only" not in words and "torch.load" not in words and "add_safe_globals" not in words
    return words


class Burglar:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.trace}'",)


class Program(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "no weights as torch saves them"),
        (b"hello", "no weights as torch saves them"),
        (b"<!DOCTYPE html><html>Google Drive - Quota exceeded</html>", "no weights as torch saves them"),
        (b"\x80", "is damaged"),
        (b"\x80\x02.", "is damaged"),
        (b"\x80\x02K", "is damaged"),
        (b"\x80\x02<html>", "or is damaged"),
        (b"PK\x03\x04", "is damaged"),
    ],
)
@by_every_reader
def test_what_holds_no_weights_is_one_sentence(read: Read, content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    assert expected in refused(read, path)


@by_every_reader
def test_a_file_damaged_anywhere_is_one_sentence_or_other_weights(read: Read, tmp_path: Path) -> None:
    path, random = tmp_path / NAME, np.random.default_rng(0)
    for zipped in (True, False):
        state = {f"layer{number}.weight": torch.rand(5) for number in range(4)}
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        whole, faults = path.read_bytes(), 0
        for _ in range(200):
            damaged = bytearray(whole)
            for place in random.integers(0, len(whole) if zipped else 400, 3):
                damaged[place] = random.integers(256)
            path.write_bytes(damaged[: random.integers(2, len(whole))] if random.random() < 0.3 else damaged)
            try:
                read(path)
            except ValueError as fault:
                one_sentence(fault, path)
                faults += 1
        assert faults > 20


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("form", ["pickle", "protocol 4", "torch.save", "old torch.save", "among weights"])
@by_every_reader
def test_no_code_ever_runs(read: Read, form: str, tmp_path: Path) -> None:
    path, trace = tmp_path / NAME, tmp_path / "trace"
    payload = Burglar(trace)
    if form in ("pickle", "protocol 4"):
        path.write_bytes(pickle.dumps(payload, protocol=2 if form == "pickle" else 4))
    else:
        state = {"a": torch.zeros(2), "b": payload} if form == "among weights" else payload
        torch.save(state, path, _use_new_zipfile_serialization=form != "old torch.save")
    assert "holds more than weights (a pickle with code, which is never run)" in refused(read, path)
    assert not trace.exists()


@by_every_reader
def test_a_program_is_one_sentence(read: Read, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Program()), tmp_path / NAME)
    assert "no file of weights" in refused(read, tmp_path / NAME)


def test_the_payload_would_have_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Burglar(tmp_path / "trace")))  # noqa: S301
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_what_was_saved_is_what_is_read(zipped: bool, tmp_path: Path) -> None:
    state = {"a": torch.rand(3, 4), "step": 7, "params": {"b": torch.arange(3)}}
    torch.save(state, tmp_path / NAME, _use_new_zipfile_serialization=zipped)
    read = read_pickled(tmp_path / NAME, "fetch it")
    assert read.keys() == state.keys() and read["step"] == 7
    assert torch.equal(read["a"], state["a"]) and torch.equal(read["params"]["b"], torch.arange(3))


def test_the_sentence_ends_with_what_to_do(tmp_path: Path) -> None:
    for content in (b"hello", b"\x80\x02.", pickle.dumps(Burglar(tmp_path / "trace"), protocol=2)):
        (tmp_path / NAME).write_bytes(content)
        assert refused(lambda path: read_pickled(path, "fetch it from there"), tmp_path / NAME).endswith(
            ": fetch it from there"
        )
    assert "Is a directory" in refused(lambda path: read_pickled(path, "fetch it from there"), tmp_path)
