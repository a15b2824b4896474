"""What to evaluate, from the options. Imports no torch, so that mistakes are reported at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from instructrestore.model.metrics.metric import BY_NAME, EMBEDDED
from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.evaluation.flags import SAMPLING_OPTIONS
from instructrestore.pipelines.evaluation.methods.method import LQ, Method
from instructrestore.pipelines.evaluation.methods.recipe import expanded
from instructrestore.pipelines.evaluation.methods.results_folder import GivenResults
from instructrestore.pipelines.evaluation.tables.published import SCALES, SWEEP
from instructrestore.pipelines.inference.options import sampling_settings
from instructrestore.pipelines.terminal.arguments import anchored_place
from instructrestore.shards.errors import first_error

TABLES = {False: (2, 3), True: (4,)}  # by whether the test set is a bokeh set
METRIC_OPTIONS = {
    "metrics": "--metrics",
    "regions": "--regions",
    "iqa_weights": "--iqa-weights",
    "iqa_revision": "--iqa-revision",
    "blur_detector": "--blur-detector",
    "d_dffnet_code": "--d-dffnet-code",
    "d_dffnet_weights": "--d-dffnet-weights",
}
PLACES = ("iqa_weights", "d_dffnet_code", "d_dffnet_weights")


def tables_of(numbers: Sequence[int], bokeh: bool) -> tuple[int, ...]:
    """The paper's tables that were asked for, or all that the test set can give. Raises ValueError for others."""
    possible = TABLES[bokeh]
    for number in numbers:
        if number not in possible:
            kind, other = ("bokeh", "general") if bokeh else ("general", "bokeh")
            can = " and ".join(map(str, possible))
            what = (
                f"Table {number} needs a {other} set" if number in TABLES[not bokeh] else f"there is no Table {number}"
            )
            raise ValueError(f"{what}; this {kind} set gives {can}")
    return tuple(number for number in possible if number in numbers or not numbers)


def scales_of(tables: Sequence[int]) -> list[tuple[float, float]]:
    """The (s1, s2) that the tables need, each once, in rising order."""
    wanted = {(s1, 1.0) for s1 in SWEEP if 2 in tables} | {SCALES[number] for number in tables if number in SCALES}
    return sorted(wanted)


def given_results(texts: Sequence[str]) -> list[GivenResults]:
    """Methods from NAME=FOLDER. Raises ValueError, in one sentence."""
    found: list[GivenResults] = []
    for text in texts:
        name, equals, folder = (part.strip() for part in text.partition("="))
        if not equals or not folder or not name or not name.isprintable():
            raise ValueError(f"--results takes NAME=FOLDER as in SeeSR=results/seesr, not {text!r}")
        if " ".join(name.split()).casefold() == LQ.casefold():
            raise ValueError(
                f"--results {name}: {LQ} is the name of the unrestored photos, which are always measured: rename it"
            )
        found.append(GivenResults(Method(" ".join(name.split()), "results"), expanded(folder)))
    return found


def metric_settings(metrics: str, device: str | None, **others: Any) -> MetricSettings:
    """metrics: embedded, all, or names separated by commas. device: a torch device; None: any. others: by field.

    Raises ValueError, in one sentence that names the option.
    """
    if not metrics.strip(" ,"):
        raise ValueError(f"--metrics must be embedded, all, or names separated by commas: {', '.join(BY_NAME)}")
    groups = {"embedded": EMBEDDED, "all": tuple(BY_NAME)}
    names = groups.get(metrics) or tuple(name.strip() for name in metrics.split(",") if name.strip())
    where = "auto" if device is None else device if re.fullmatch(r"cpu|cuda(:\d+)?", device) else "cpu"
    values = {
        name: anchored_place(value) if name in PLACES else value for name, value in others.items() if value is not None
    }
    try:
        return MetricSettings.model_validate({"metrics": names, "device": where, **values})
    except ValidationError as error:
        name, _, complaint = first_error(error).partition(": ")
        raise ValueError(f"{METRIC_OPTIONS[name.split('.')[0]]}: {complaint}") from None


def evaluation_settings(values: dict[str, object], assignments: Sequence[str]) -> SamplingSettings:
    """How the model restores. Raises ValueError, in one sentence that names the option."""
    settings = sampling_settings(values, assignments, SAMPLING_OPTIONS)
    if settings.upscale != 1:
        raise ValueError("--set upscale does not apply to an evaluation: results have their HQ photos' size")
    return settings.model_copy(update={"upscale": 1.0})  # whatever the model asks for
