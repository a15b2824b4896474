"""What restores a batch of LQ photos: the model under test, or a method that it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from instructrestore.dataengine.running.stage import Failed
from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.model.networks.devices import find_device
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.evaluation.methods.checkout import check, known_of
from instructrestore.pipelines.evaluation.methods.command import CommandMethod
from instructrestore.pipelines.evaluation.methods.method import OURS, Method
from instructrestore.pipelines.evaluation.methods.ncnn_files import NCNN
from instructrestore.pipelines.evaluation.methods.ncnn_network import NcnnNetwork
from instructrestore.pipelines.evaluation.methods.network import OnePassNetwork
from instructrestore.pipelines.evaluation.methods.photos import PhotoArray
from instructrestore.pipelines.evaluation.methods.recipe import MethodRecipe, methods_folder, read_recipe
from instructrestore.pipelines.evaluation.methods.spec import COMMAND, MethodSpec
from instructrestore.pipelines.evaluation.methods.x4_upscaler import X4Upscaler
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.terminal.arguments import anchored_place

COMPARED_STEPS = 100  # a generous bound: how many steps a compared method takes is unknown


@dataclass(frozen=True)
class MethodInput:
    """A photo to restore.

    rgb: (H, W, 3) uint8, the LQ photo. caption: of its region. s1, s2: the scales of the region and of the rest; None
    except for the model. bokeh: whether the rest is to be blurred. seed: of its own noise, 63 bits.
    mask: (H, W) bool, the region; None: the method finds it.
    """

    rgb: NDArray[np.uint8]
    caption: str
    s1: float | None
    s2: float | None
    bokeh: bool
    seed: int
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class MethodOutput:
    """A restored photo.

    rgb: (H, W, 3) uint8, of the LQ photo's size. mask: (H, W) float32 in [0, 1], the region as the method found it;
    None if it did not look for it. instruction: as it was understood. reports: what the user should know.
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.float32] | None = None
    instruction: str = ""
    reports: list[str] = field(default_factory=list)


class Restorer(Protocol):
    """Restores photos of one size, in order; `Failed` where there is no result for a photo. It may depend, in its last
    bits, on the number of photos in the batch, but never on the others themselves."""

    def __call__(self, asked: Sequence[MethodInput]) -> Sequence[MethodOutput | Failed]: ...


@dataclass(frozen=True)
class MethodGroup:
    """Methods that one restorer runs here.

    name: of the stage, for the user. build: makes the restorer on a torch device (None: a GPU if there is one); it can
    be pickled.
    follows_from: everything that results depend on besides the photo, its seed and the scales, as plain JSON.
    record: what is written into the results about how they were made.
    given_masks: the method gets the regions' own masks instead of finding them.
    device: the user's choice; None: any. weights_bytes: their approximate size. steps: denoising steps.
    batch: how many photos are restored together; None: as many as the user says. call_s: how long a batch may take
    besides what `steps` allow.
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
    batch: int | None = None
    call_s: float = 0


class ModelUnderTest:
    """The model under test."""

    def __init__(self, loading: ModelSource, settings: SamplingSettings, device: str | None) -> None:
        self._pipeline = replace(loading, device=device).load()
        self._settings = settings

    def __call__(self, asked: Sequence[MethodInput]) -> list[MethodOutput]:
        output = self._pipeline(
            [each.rgb for each in asked],
            [instruction_for(each) for each in asked],
            masks=[None if each.mask is None else [each.mask] for each in asked],
            settings=self._settings,
            generator=[torch.Generator("cpu").manual_seed(each.seed) for each in asked],
        )
        assert isinstance(output.images, list)
        answers: list[MethodOutput] = []
        for number, each in enumerate(asked):
            found = output.masks[number][0] if each.mask is None else None
            image, instruction = np.asarray(output.images[number]), str(output.instructions[number])
            answers.append(MethodOutput(image, found, instruction, output.reports[number]))
        return answers


class LoadedMethod(Protocol):
    """A loaded method, which knows nothing of regions.

    lq: photos (H, W, 3) uint8, of any sizes. seeds: one per photo, for whatever is random in the method. Returns the
    restored photos, each of its LQ photo's size. On one device a result depends on its photo and seed alone, to the
    last bit, not on the photos that it is restored with. Raises ValueError, in one sentence, for a photo that the
    method cannot restore, or gives `Failed` in its place.
    """

    def __call__(self, lq: Sequence[PhotoArray], seeds: Sequence[int]) -> Sequence[PhotoArray | Failed]: ...


def load_method(run: MethodSpec, device: str | None = None) -> LoadedMethod:
    """The method with its weights, on a device as torch names it; None: a GPU if there is one.

    Raises ValueError, in one sentence with what to do, for whatever cannot be loaded.
    """
    if run.name in NCNN:
        return NcnnNetwork(NCNN[run.name])
    where = find_device(device)
    if run.name == "x4-upscaler":
        assert run.place is not None
        return X4Upscaler(run.place, run.revision, where)
    return OnePassNetwork(run, where)


class ComparedMethod:
    """A method that the model is compared with. It learns nothing of regions."""

    def __init__(self, load: Callable[[str | None], LoadedMethod], device: str | None) -> None:
        self._runner = load(device)

    def __call__(self, asked: Sequence[MethodInput]) -> list[MethodOutput | Failed]:
        restored = self._runner([each.rgb for each in asked], [each.seed for each in asked])
        return [each if isinstance(each, Failed) else MethodOutput(each) for each in restored]


def instruction_for(asked: MethodInput) -> Instruction:
    """The paper's template: the region by its caption with s1, the rest with s2, blurred or not."""
    assert asked.s1 is not None and asked.s2 is not None
    return Instruction((RegionScale(asked.caption, asked.s1),), asked.s2, asked.bokeh)


def model_group(
    loading: ModelSource, settings: SamplingSettings, scales: Sequence[tuple[float, float]], given_masks: bool
) -> MethodGroup:
    """The model at each (s1, s2). Raises ValueError, in one sentence, if its weights are missing."""
    loading = loading.anchored()
    weights = loading.fingerprint()
    settings = loading.sampling(settings)
    how = {"settings": settings.model_dump(mode="json"), "given_masks": given_masks}
    return MethodGroup(
        name="restore",
        methods=tuple(Method(OURS, "model", s1, s2) for s1, s2 in scales),
        build=partial(ModelUnderTest, loading, settings),
        follows_from={"weights": weights.identity, "dtype": loading.dtype, **how},
        record={**how, **loading.record()},
        given_masks=given_masks,
        device=loading.device,
        weights_bytes=weights.bytes,
        steps=settings.num_inference_steps,
    )


def compared_group(
    run: MethodSpec, device: str | None, seed: int = 0, methods: str | Path | None = None
) -> MethodGroup:
    """A compared method. Raises ValueError, in one sentence, if its weights are missing.

    seed: of the evaluation, for programs. methods: the folder of their checkouts; None: as the environment says.
    """
    if run.name == COMMAND:
        assert run.place is not None
        return _command_group(read_recipe(run.place), methods_folder(methods), device, seed)
    run.check()
    known = run.identity()
    run = replace(run, place=run.place and anchored_place(run.place))
    return MethodGroup(
        name=f"run {run.name}",
        methods=(Method(run.title, "runner"),),
        build=partial(ComparedMethod, partial(load_method, run)),
        follows_from={"run": known},
        record={"run": run.record()},
        device="cpu" if run.name in NCNN else device,
        steps=COMPARED_STEPS,
    )


def _command_group(recipe: MethodRecipe, methods: Path, device: str | None, seed: int) -> MethodGroup:
    check(recipe, methods)
    known = known_of(recipe, methods, seed)
    said = recipe.model_dump(mode="json", include={"name", "command", "repository", "licence"})
    return MethodGroup(
        name=f"run {recipe.name}",
        methods=(Method(recipe.name, "runner"),),
        build=partial(ComparedMethod, partial(CommandMethod, recipe, methods, seed)),
        follows_from={"command": known},
        record={"run": said | known},
        device=device,
        batch=recipe.photos_per_call,
        call_s=(1 + recipe.photos_per_call) * recipe.timeout_s,  # a call that failed, and each of its photos alone
    )
