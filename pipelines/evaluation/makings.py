"""The methods that are run here: the model at its scales, and compared ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from model.settings import SamplingSettings
from pipelines.evaluation.method import OURS, Method
from pipelines.evaluation.restorers import Compared, Making, Model
from pipelines.evaluation.runners.names import Run
from pipelines.restoration.dataset import anchored
from pipelines.restoration.loading import Loading
from pipelines.restoration.options import anchored_place
from pipelines.restoration.weights import weights_of

COMPARED_STEPS = 100  # at the most, with room to spare: what a compared method takes is not known


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
