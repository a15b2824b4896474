"""Samples come out of a worker as they went in, through shared memory or, where that is small, without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from instructrestore.shards.reading.parcel import Parcel, packed, unpacked


@dataclass(frozen=True)
class Sample:
    photo: np.ndarray
    mask: np.ndarray
    caption: str


def samples() -> list[Sample]:
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (4, 256, 256, 3), dtype=np.uint8)
    return [Sample(photo, photo[::-1, ::2, 0] > 99, f"the dog {n}") for n, photo in enumerate(photos)]


def assert_same(given: list[Any], expected: list[Any]) -> None:
    assert [each.caption for each in given] == [each.caption for each in expected]
    for one, other in zip(given, expected, strict=True):
        for name in ("photo", "mask"):
            array, wanted = getattr(one, name), getattr(other, name)
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted)


def test_arrays_lie_in_the_block_and_are_the_same() -> None:
    sent = packed(samples())
    assert isinstance(sent, Parcel) and sent.block.is_shared()
    assert len(sent.head) < 4000 and sum(sent.sizes) == len(sent.block)
    given = unpacked(sent)
    assert_same(given, samples())
    given[0].photo[0, 0] = 7
    assert int(sent.block[0]) == 7


def test_without_room_samples_go_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = torch.UntypedStorage._new_shared
    monkeypatch.setattr(torch.UntypedStorage, "_new_shared", lambda _: reserve(2**50))
    given = packed(samples())
    assert isinstance(given, list)
    assert_same(unpacked(given), samples())


def test_small_samples_go_as_they_are() -> None:
    assert isinstance(packed([Sample(np.zeros((3, 3)), np.zeros(4), "the cat")]), list)
