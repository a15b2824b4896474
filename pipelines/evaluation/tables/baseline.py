"""The regression gate: is any figure of an earlier evaluation now worse by more than its noise?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console
from rich.text import Text

from instructrestore.model.metrics.metric import BY_NAME, FOLLOWING, LOCALITY
from instructrestore.pipelines.evaluation.methods.method import EvaluationPlan
from instructrestore.pipelines.evaluation.tables.sweep import sweep_of, sweep_title
from instructrestore.pipelines.evaluation.tables.writing import SCHEMA_VERSION
from instructrestore.shards.errors import first_error
from instructrestore.shards.parsing import parse_object

MOST_BYTES = 64 * 2**20  # an evaluation.json of a hundred photos and ten methods has 0.3 MB
_TITLES = {metric.name: metric.title for metric in (*BY_NAME.values(), LOCALITY, FOLLOWING)}
# What must be equal in the metrics' configuration; the second group is compared by content.
_RULES = ("regions", "blur_detector", "revision", "pyiqa", "brisque")
_CONTENTS = ("iqa_weights", "d_dffnet_weights", "d_dffnet_code")
_ROUNDING = 1e-9  # a fall by exactly the noise is allowed, whatever rounding does to both
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Figure(BaseModel):
    """An entry of evaluation.json's `figures`, as far as the gate reads it."""

    model_config = ConfigDict(frozen=True)

    method: str
    scope: str
    metric: str
    better: Literal["higher", "lower"]
    mean: _Finite
    photos: int = Field(ge=1)
    noise: _Finite = Field(ge=0)


class _Testset(BaseModel):
    name: str
    photos: int
    bokeh: bool


class _Version(BaseModel):
    version: int


class _Evaluation(BaseModel):
    testset: _Testset
    configuration: dict[str, Any]
    figures: list[_Figure]


@dataclass(frozen=True)
class Change:
    """A figure in the baseline and now. before, after: its means. allowed: the noise that the baseline states.

    after: None if it is no longer measured. photos_before, photos_after: the number of photos in each mean.
    gain: how much better it is, in its own unit; negative if it is worse.
    """

    method: str
    scope: str
    metric: str
    before: float
    after: float | None
    allowed: float
    photos_before: int
    photos_after: int
    gain: float

    def __str__(self) -> str:
        what = f"{self.method}: {self.scope} {_TITLES.get(self.metric, self.metric)}"
        if self.after is None:
            return f"{what} {self.before:.5g} before, no longer measured"
        if self.photos_after < self.photos_before:
            return f"{what} over {self.photos_before} photos before, now over {self.photos_after}"
        by = f"by {abs(self.gain):.3g}, where {self.allowed:g} is noise"
        return f"{what} {self.before:.5g} before, {self.after:.5g} now, {by}"


@dataclass(frozen=True)
class Verdict:
    """compared: how many figures the baseline has. falls: those that are worse by more than the noise, over fewer
    photos, or gone. gains: those that are better by more than the noise."""

    compared: int
    falls: tuple[Change, ...]
    gains: tuple[Change, ...]


def read_baseline(path: Path) -> bytes:
    """The bytes of an earlier evaluation.json, checked before hours of evaluating.

    Raises ValueError, in one sentence, if there is no such file or it is something else.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ValueError(f"there is no baseline {path}: name the evaluation.json of an earlier evaluation") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder: name the evaluation.json in it") from None
    _read(content, str(path))
    return content


def check_baseline(baseline: bytes, name: str, plan: EvaluationPlan) -> None:
    """Raises ValueError if the planned evaluation could not be compared with the baseline, in the sentence that
    `compare_with_baseline` would raise once the work is done. baseline, name: as there.
    """
    titles = {method.title for method in plan.methods}
    if sweep := sweep_of(plan.methods, plan.bokeh):
        titles.add(sweep_title([method.s1 or 0.0 for method in sweep]))
    about = _Testset(name=plan.testset, photos=plan.photos, bokeh=plan.bokeh)
    _check_comparable(_read(baseline, name), about, plan.configuration, titles, name)


def compare_with_baseline(current: bytes, baseline: bytes, name: str = "the baseline") -> Verdict:
    """current, baseline: contents of evaluation.json. name: of the baseline's file, for messages.

    A figure falls if its mean is worse, in the metric's direction, by more than the noise that the baseline states for
    it, if it is the mean of fewer photos, or if it is no longer measured. What is measured only now is ignored. Raises
    ValueError, in one sentence, if the baseline cannot be read or was measured on other photos or by other rules.
    """
    before, after = _read(baseline, name), _read(current, "this evaluation")
    _check_comparable(before, after.testset, after.configuration, {figure.method for figure in after.figures}, name)
    now = {(figure.method, figure.scope, figure.metric): figure for figure in after.figures}
    changes = [_change(figure, now.get((figure.method, figure.scope, figure.metric))) for figure in before.figures]
    falls = tuple(
        change
        for change in changes
        if change.gain < -change.allowed - _ROUNDING or change.photos_after < change.photos_before
    )
    gains = tuple(change for change in changes if change.gain > change.allowed + _ROUNDING and change not in falls)
    return Verdict(len(changes), falls, gains)


def print_verdict(verdict: Verdict, console: Console) -> None:
    """Prints each fall and each gain, and how many figures held."""
    _print_changes("worse", verdict.falls, "red", console)
    _print_changes("better", verdict.gains, "green", console)
    held = verdict.compared - len(verdict.falls) - len(verdict.gains)
    line = (
        f"baseline: figures {verdict.compared} = held {held} + better {len(verdict.gains)} + worse {len(verdict.falls)}"
    )
    console.print(Text(line, "bold"), soft_wrap=True)


def _print_changes(word: str, changes: Sequence[Change], colour: str, console: Console) -> None:
    for change in changes:
        console.print(Text.assemble((f"{word:<6}", colour), f"  {change}"), soft_wrap=True, highlight=False)


def _change(before: _Figure, after: _Figure | None) -> Change:
    gain = 0.0
    if after is not None:
        gain = (after.mean - before.mean) * (1 if before.better == "higher" else -1)
    return Change(
        before.method,
        before.scope,
        before.metric,
        before.mean,
        after.mean if after else None,
        before.noise,
        before.photos,
        after.photos if after else 0,
        gain,
    )


def _read(content: bytes, name: str) -> _Evaluation:
    if len(content) > MOST_BYTES:
        raise ValueError(f"{name} is over {MOST_BYTES >> 20} MiB, so it is not an evaluation.json")
    try:
        parse_object(content, f"{name} is not an evaluation.json: it", any_number=True)
        version = _Version.model_validate_json(content, strict=True).version
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"{name} has version {version}, and this program writes {SCHEMA_VERSION}: measure it again"
            )
        read = _Evaluation.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise ValueError(f"{name} is not an evaluation.json: {first_error(error)}") from None
    if len({(figure.method, figure.scope, figure.metric) for figure in read.figures}) < len(read.figures):
        raise ValueError(f"{name} lists a figure twice")
    if not read.figures:
        raise ValueError(f"{name} holds no figures, so there is nothing to compare")
    return read


def _check_comparable(
    before: _Evaluation, testset: _Testset, configuration: Mapping[str, Any], methods: set[str], name: str
) -> None:
    """testset, configuration, methods (titles): of this evaluation."""
    for of, word in (("testset", "the test set"), ("metrics", "the metrics' settings")):
        if not isinstance(before.configuration.get(of, {}), dict):
            raise ValueError(f"{name} is not an evaluation.json: its configuration does not describe {word}")
    had, has = (each.get("testset", {}).get("sha256") for each in (before.configuration, configuration))
    if had != has or before.testset.bokeh != testset.bokeh:
        raise ValueError(
            f"{name} is of the test set {before.testset.name}, whose content differs from {testset.name}'s: "
            f"compare evaluations of the same test set"
        )
    if before.testset.photos != testset.photos:
        raise ValueError(f"{name} is of {before.testset.photos} photos, this evaluation of {testset.photos}")
    for rule in (*_RULES, *_CONTENTS):
        had, has = (each.get("metrics", {}).get(rule) for each in (before.configuration, configuration))
        if _differ(had, has) and rule in _RULES:
            raise ValueError(f"{name} was measured with {rule} {had}, this evaluation with {has}: use the same")
        if _differ(had, has):
            raise ValueError(f"{name} was measured with a different {rule}: use the same as there")
    theirs = list(dict.fromkeys(figure.method for figure in before.figures))
    if not methods.intersection(theirs):
        raise ValueError(f"{name} measured {', '.join(theirs)}, and this evaluation has none of these")


def _differ(had: Any, has: Any) -> bool:
    """Whether two values are known to differ. None: not used there, like pyiqa if it measured nothing. Two folders of
    weights are compared by the files that both used; a folder and a hub id may be the same."""
    if had is None or has is None or isinstance(had, dict) != isinstance(has, dict):
        return False
    if isinstance(had, dict):
        return any(had[file] != has[file] for file in had.keys() & has.keys())
    return had != has
