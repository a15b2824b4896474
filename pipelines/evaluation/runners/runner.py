"""A compared method, ready to restore."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from instructrestore.model.restoring.checkpoint import find_device
from instructrestore.pipelines.evaluation.runners.lq import LQ
from instructrestore.pipelines.evaluation.runners.names import Run
from instructrestore.pipelines.evaluation.runners.network import Network
from instructrestore.pipelines.evaluation.runners.photos import Photo
from instructrestore.pipelines.evaluation.runners.x4_upscaler import X4Upscaler


class Runner(Protocol):
    """A loaded method.

    lq: photos (H, W, 3) uint8, of any sizes. seeds: one a photo, of whatever is random in the method. Returns the
    restored photos, each of its LQ photo's size. On one device a result depends on its photo and seed alone, to the
    last bit: not on which photos it is restored with. Raises ValueError, in one sentence, for a photo that the method
    cannot restore.
    """

    def __call__(self, lq: Sequence[Photo], seeds: Sequence[int]) -> list[Photo]: ...


def load_runner(name: str, place: str | None = None, revision: str | None = None, device: str = "auto") -> Runner:
    """The method of that name with its weights (`names.Run`), on a device: auto, or as torch names it.

    Raises ValueError, in one sentence with what to do, for whatever cannot be loaded.
    """
    if name == "lq":
        return LQ()
    assert place is not None
    where = find_device(None if device == "auto" else device)
    return X4Upscaler(place, revision, where) if name == "x4-upscaler" else Network(Run(name, place), where)
