"""What restores a batch of LQ photos: the model under test, or a method that it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.evaluation.method import OURS, Method
from instructrestore.pipelines.evaluation.runners.names import Run
from instructrestore.pipelines.evaluation.runners.runner import load_runner
from instructrestore.pipelines.inference.loading import Loading
from instructrestore.pipelines.inference.options import anchored_place
from instructrestore.pipelines.inference.weights import weights_of
from instructrestore.pipelines.restoration.dataset import anchored

COMPARED_STEPS = 100  # at the most, with room to spare: what a compared method takes is not known


@dataclass(frozen=True)
class Asked:
    """A photo to be restored.

    rgb: (H, W, 3) uint8, the LQ photo. caption: of its region. s1, s2: the scales of the region and of the rest; None
    for all methods but the model. bokeh: whether the rest is to be blurred. seed: of its own noise, 63 bits.
    mask: (H, W) bool, where the region is; None: the method finds it.
    """

    rgb: NDArray[np.uint8]
    caption: str
    s1: float | None
    s2: float | None
    bokeh: bool
    seed: int
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Answer:
    """rgb: (H, W, 3) uint8, of the LQ photo's size. mask: (H, W) float32 in [0, 1], where the method found the region;
    None where it did not look. instruction: as it was understood. reports: what the user should know."""

    rgb: NDArray[np.uint8]
    mask: NDArray[np.float32] | None = None
    instruction: str = ""
    reports: list[str] = field(default_factory=list)


class Restorer(Protocol):
    """Photos of one size in, restored ones out, in order. A photo's result may depend on how many there are in the
    batch, in its last bits, but never on which others."""

    def __call__(self, asked: Sequence[Asked]) -> list[Answer]: ...


@dataclass(frozen=True)
class Making:
    """Methods that are run here, by one restorer.

    name: of the stage, for people. build: makes the restorer on a device as torch names it (None: a GPU if there is
    one); to be pickled.
    follows_from: plain JSON of all that results follow from besides the photo, its seed and the scales.
    record: what is written into the results of how they were made.
    given_masks: the regions' own masks are asked for, in place of what the method would find.
    device: that the user wants; None: any. weights_bytes: about how much of them is loaded. steps: denoising steps.
    """

    name: str
    methods: tuple[Method, ...]
    build: Callable[[str | None], Restorer]
    follows_from: dict[str, Any]
    record: dict[str, Any]
    given_masks: bool = False
    device: str | None = None
    weights_bytes: int = 0
    steps: int = 1


class Model:
    """The model under test."""

    def __init__(self, loading: Loading, settings: SamplingSettings, device: str | None) -> None:
        self._pipeline = replace(loading, device=device).load()
        self._settings = settings

    def __call__(self, asked: Sequence[Asked]) -> list[Answer]:
        output = self._pipeline(
            [each.rgb for each in asked],
            [instruction_for(each) for each in asked],
            masks=[None if each.mask is None else [each.mask] for each in asked],
            settings=self._settings,
            generator=[torch.Generator("cpu").manual_seed(each.seed) for each in asked],
        )
        assert isinstance(output.images, list)
        answers: list[Answer] = []
        for number, each in enumerate(asked):
            found = output.masks[number][0] if each.mask is None else None
            image, instruction = np.asarray(output.images[number]), str(output.instructions[number])
            answers.append(Answer(image, found, instruction, output.reports[number]))
        return answers


class Compared:
    """A method that the model is compared with. It is told nothing of regions."""

    def __init__(self, run: Run, device: str | None) -> None:
        self._runner = load_runner(run.name, run.place, run.revision, device or "auto")

    def __call__(self, asked: Sequence[Asked]) -> list[Answer]:
        restored = self._runner([each.rgb for each in asked], [each.seed for each in asked])
        return [Answer(rgb) for rgb in restored]


def instruction_for(asked: Asked) -> Instruction:
    """The paper's template: the region by its caption with s1, the rest with s2, blurred or not."""
    assert asked.s1 is not None and asked.s2 is not None
    return Instruction((RegionScale(asked.caption, asked.s1),), asked.s2, asked.bokeh)


def model_making(
    loading: Loading, settings: SamplingSettings, scales: Sequence[tuple[float, float]], given_masks: bool
) -> Making:
    """The model at each (s1, s2). Raises ValueError, in one sentence, for weights that are not there."""
    loading = anchored(loading)
    weights = weights_of(loading.base, loading.checkpoint, loading.base_revision, loading.checkpoint_revision)
    how = {"settings": settings.model_dump(mode="json"), "given_masks": given_masks}
    return Making(
        name="restore",
        methods=tuple(Method(OURS, "model", s1, s2) for s1, s2 in scales),
        build=partial(Model, loading, settings),
        follows_from={"weights": weights.identity, "dtype": loading.dtype, **how},
        record={**how, **loading.record()},
        given_masks=given_masks,
        device=loading.device,
        weights_bytes=weights.bytes,
        steps=settings.num_inference_steps,
    )


def compared_making(run: Run, device: str | None) -> Making:
    """A compared method. Raises ValueError, in one sentence, for weights that are not there."""
    run.check()
    known = run.identity()
    run = replace(run, place=run.place and anchored_place(run.place))
    return Making(
        name=f"run {run.name}",
        methods=(Method(run.title, "runner"),),
        build=partial(Compared, run),
        follows_from={"run": known},
        record={"run": run.record()},
        device=device,
        steps=COMPARED_STEPS,
    )
