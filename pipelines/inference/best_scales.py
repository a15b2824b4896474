"""The best scales of an instruction for a stated aim: `find_scales`.

The paper leaves the scales to the user and names the optimisation of the whole photo's quality as what it lacks. This
is one: restorations with few steps are judged (aims.py) where a search asks for them (scale_search.py), and the best
one is made with all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

from torch import Tensor

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.instruction.parser import parse
from instructrestore.model.restoring.output import RestorationOutput, as_output, to_uint8, warn_of
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.request import MaskInput, PhotoInput, photo_tensor
from instructrestore.model.restoring.settings import SamplingSettings, resolve
from instructrestore.model.restoring.sizes import resize
from instructrestore.model.restoring.trials import Trials
from instructrestore.pipelines.inference.aims import AIMS, Aim, Measures, checked_aim, measure
from instructrestore.pipelines.inference.scale_search import Scales, TrialScore, search
from instructrestore.pipelines.terminal.arguments import checked_seed

PREVIEW_STEPS = 4
MOST_SEEDS = 16


@dataclass(frozen=True)
class ScaleTrial(TrialScore):
    """A restoration that was tried. scales: of the regions, in their order; others: of the rest. steps: with how many
    denoising steps. measures: what was measured of it."""

    scales: tuple[float, ...]
    others: float
    seed: int
    steps: int
    measures: Measures


@dataclass(frozen=True)
class FoundScales:
    """What `find_scales` found.

    instruction, seed: the pipeline gives `output` again with these and the same settings, on the same machine.
    output: of the photo, as the pipeline gives it back. aim: its name. lq: what was measured of the LQ photo.
    trials: all that was tried, in its order; chosen: the place of the answer among them.
    """

    instruction: Instruction
    seed: int
    output: RestorationOutput
    aim: str
    lq: Measures
    trials: list[ScaleTrial]
    chosen: int

    @property
    def best(self) -> ScaleTrial:
        return self.trials[self.chosen]

    @property
    def default(self) -> ScaleTrial:
        """With scales of 1 and the first seed, made with as many steps as the best one."""
        return next(trial for trial in self.trials if trial.steps == self.best.steps)

    def summary(self) -> str:
        """One sentence for a person."""
        if self.best == self.default:
            return f"{self.aim}: nothing better than scales of 1 in {len(self.trials)} trials"
        aim, seed = AIMS[self.aim], "" if self.seed == self.default.seed else f", seed {self.seed}"
        scales = ", ".join(f"{region.caption} {region.scale:g}" for region in self.instruction.regions)
        best, default = (aim.figure(trial.measures) for trial in (self.best, self.default))
        scales += f", other parts {self.instruction.others:g}{seed}"
        better = f"{aim.figure_is} {best:.2f} instead of {default:.2f}"
        return f"{self.aim}: {scales}; {better}, in {len(self.trials)} trials"

    def record(self) -> dict[str, Any]:
        """For the results' files: the aim's score and bound, and all that was tried."""
        aim = AIMS[self.aim]
        return {
            "figure": aim.figure_is,
            "bound": aim.bound_is,
            "lq": _rounded(asdict(self.lq)),
            "tried": [_rounded(asdict(trial)) for trial in self.trials],
            "chosen": self.chosen,
        }


def find_scales(
    pipe: InstructRestorePipeline,
    photo: PhotoInput,
    instruction: str | Instruction,
    aim: str = "natural",
    *,
    masks: Sequence[MaskInput] | None = None,
    seed: int = 0,
    seeds: int = 1,
    settings: SamplingSettings | None = None,
    output_type: Literal["pil", "np", "pt"] = "pil",
    **overrides: Any,
) -> FoundScales:
    """The scales of a photo's regions and of the rest that serve an aim best, and the photo restored with them.

    instruction: names the regions and no scale other than 1. aim: natural, faithful or detail (aims.AIMS). masks: of
    the regions; None: they are predicted. seed: of the noise. seeds: so many seeds from `seed` on are tried with the
    best scales. settings, overrides, output_type: as the pipeline takes them.

    The first trial has all scales 1, which is the answer where nothing within the aim's bound is better: the answer is
    never worse than that in its aim. At most 24 trials, and one for each further seed, with `PREVIEW_STEPS` steps or
    what is asked for, if that is less; where it is more, the first and the best one once more with all of them, and
    the better of both is the answer. Raises ValueError, in one sentence, for what cannot be used.
    """
    asked = instruction if isinstance(instruction, Instruction) else parse(instruction)
    check_asked(asked, aim, seeds)
    checked_seed(seed, "the seed")
    checked_seed(seed + seeds - 1, "the last seed")
    settings = resolve(settings, overrides, {**pipe.on_this_machine, **(pipe.config["sampling"] or {})})
    begin = partial(_Stage, pipe, photo, asked, AIMS[aim], settings, masks)
    # Where the rest is kept as it was, it has no scale of its own.
    first: Scales = (1.0,) * (len(asked.regions) + (settings.rest != "keep"))
    stages = [begin(min(PREVIEW_STEPS, settings.num_inference_steps))]
    search(first, lambda scales: stages[0].attempt(scales, seed))
    for further in range(seed + 1, seed + seeds):
        stages[0].attempt(stages[0].best_scales, further)
    if settings.num_inference_steps > PREVIEW_STEPS:
        stages.append(begin(settings.num_inference_steps))
        for point in dict.fromkeys([(first, seed), (stages[0].best_scales, stages[0].best.seed)]):
            stages[1].attempt(*point)
    best, output = stages[-1].best, stages[-1].output
    trials = [trial for stage in stages for trial in stage.trials]
    assert isinstance(output.images, Tensor)
    images = as_output(output.images, settings, output_type)
    warn_of(output.reports)
    return FoundScales(
        output.instructions[0], best.seed, replace(output, images=images), aim, stages[0].lq, trials, trials.index(best)
    )


def check_asked(instruction: Instruction, aim: str, seeds: int, option: str = "aim") -> None:
    """Raises ValueError, in one sentence, for what no scales are to be found for. option: how the aim is asked for."""
    checked_aim(aim, option)
    if not 1 <= seeds <= MOST_SEEDS:
        raise ValueError(f"the number of seeds must be from 1 to {MOST_SEEDS}, not {seeds}")
    if instruction.bokeh:
        raise ValueError(f"the instruction blurs the other parts, and no score knows how much: leave out {option}")
    given = [(repr(region.caption), region.scale) for region in instruction.regions]
    for what, scale in [*given, ("the other parts", instruction.others)]:
        if scale != 1:
            raise ValueError(
                f"the scales are to be found, and the instruction gives {what} {scale:g}: leave it out, or leave out "
                f"{option}"
            )


class _Stage:
    """Trials with one number of steps. best, best_scales, output: of the best one so far, its images as "pt"."""

    best: ScaleTrial
    best_scales: Scales
    output: RestorationOutput

    def __init__(
        self,
        pipe: InstructRestorePipeline,
        photo: PhotoInput,
        instruction: Instruction,
        aim: Aim,
        settings: SamplingSettings,
        masks: Sequence[MaskInput] | None,
        steps: int,
    ) -> None:
        self._instruction, self._aim, self._steps = instruction, aim, steps
        lq = photo_tensor(photo)[None]
        self._lq = to_uint8(resize(lq, settings.restored_size(lq.shape[-2:])))[0]
        self.lq = measure(self._lq, self._lq)
        few = resolve(settings, {"num_inference_steps": steps})
        self._begin = lambda seed: Trials(pipe, photo, instruction, few, seed, masks)
        self._begun: dict[int, Trials] = {}
        self.trials: list[ScaleTrial] = []

    def attempt(self, scales: Scales, seed: int) -> ScaleTrial:
        """Restores with these scales, of the regions and then of the rest, and judges. The first one is the default."""
        if seed not in self._begun:
            self._begun = {seed: self._begin(seed)}
        count = len(self._instruction.regions)
        own, others = scales[:count], (*scales, 1.0)[count]
        regions = tuple(replace(each, scale=scale) for each, scale in zip(self._instruction.regions, own, strict=True))
        output = self._begun[seed](replace(self._instruction, regions=regions, others=others), "pt")
        assert isinstance(output.images, Tensor)
        measures = measure(to_uint8(output.images)[0], self._lq)
        default = self.trials[0].measures if self.trials else measures
        admitted = self._aim.admits(measures, default, self.lq)
        trial = ScaleTrial(self._aim.score(measures), admitted, own, others, seed, self._steps, measures)
        self.trials.append(trial)
        if len(self.trials) == 1 or (admitted and trial.score > self.best.score):
            self.best, self.best_scales, self.output = trial, scales, output
        return trial


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """With measured numbers to four decimals."""
    return {
        name: _rounded(value) if isinstance(value, dict) else round(value, 4) if isinstance(value, float) else value
        for name, value in values.items()
    }
