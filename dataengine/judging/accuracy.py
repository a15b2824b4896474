"""How right a data set is, as people judged it: mask, caption and both, with 95% intervals, and how far judges agree.

Shares are of all regions: a judged region stands for N/n of its stratum, N the regions of the stratum and n those of
them that were judged. Intervals are Wilson's (1927) with the effective size of the weighted sample, (sum w)^2 / sum w^2
(Kish 1965). Where several people judged a region it counts as right by the share of them who say so. Agreement is
Cohen's kappa (1960), of each two judges over the regions that both judged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from instructrestore.dataengine.judging.judgement import Audit
from instructrestore.dataengine.judging.log import JudgementLog, LogEntry, log_path, standing
from instructrestore.dataengine.judging.sampling import AREAS, FREQUENCIES, DrawnRegion, queue_path, read_queue
from instructrestore.shards.index import Dataset

Z = 1.959964  # of a 95% interval
PAIRS = 10  # of judges, those with the most regions in common

Answers = tuple[bool, bool, bool]  # mask right, caption right, both


@dataclass(frozen=True)
class Estimate:
    """A share of regions, 0..1, and its 95% interval."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Figures:
    """What is known of some regions. of, name: which ("area", "under 5%"). regions: how many the data set has of them.
    judged: how many were judged."""

    of: str
    name: str
    regions: int
    judged: int
    mask: Estimate
    caption: Estimate
    both: Estimate


@dataclass(frozen=True)
class Kappa:
    """How far two judges agree over `regions` that both judged: Cohen's kappa, at most 1; None where it is not
    defined, for both gave one answer to all. agreed: the share of regions with the same answers to both questions."""

    judges: tuple[str, str]
    regions: int
    agreed: float
    mask: float | None
    caption: float | None
    both: float | None


@dataclass(frozen=True)
class Accuracy:
    """The stated accuracy of one version of a data set.

    dataset: sha256 of its `dataset.json`. drawn, judged: regions of the sample. judges: how many people. all: of the
    whole data set. strata: by frequency of the subject, by area, by round. left_out: regions of strata of which none
    has been judged yet, for which nothing is said.
    """

    dataset: str
    drawn: int
    judged: int
    judges: int
    all: Figures
    strata: tuple[Figures, ...]
    kappas: tuple[Kappa, ...]
    left_out: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def stated(dataset: Dataset, entries: Sequence[LogEntry] | None = None) -> Accuracy | None:
    """The accuracy that lies beside a data set; None where nothing was judged of a sample of this version.

    entries: of a log; by default the one beside the data set. Raises DamagedFile for a damaged log or queue.
    """
    if "://" in dataset.path:
        return None
    drawn = read_queue(queue_path(dataset.path))
    if not drawn or drawn[0].dataset != dataset.sha256:
        return None
    return estimate(drawn, JudgementLog(log_path(dataset.path)).entries() if entries is None else entries)


def estimate(drawn: Sequence[DrawnRegion], entries: Sequence[LogEntry]) -> Accuracy | None:
    """The accuracy that follows from a queue and a log; None where none of the queue's regions was judged."""
    answers = _answers(drawn, entries)
    judged = [each for each in drawn if answers.get((each.key, each.region))]
    if not judged:
        return None
    sizes = {each.stratum: each.regions for each in drawn}
    often = Counter(each.stratum for each in judged)
    said = [(each, _shares(answers[each.key, each.region].values())) for each in judged]

    def figures(of: str, name: str, stratum: int | None) -> Figures:
        """stratum: the place of `name` in a stratum; None: all."""
        some = [(each, right) for each, right in said if stratum is None or each.stratum[stratum] == name]
        weights = [sizes[each.stratum] / often[each.stratum] for each, _ in some]
        estimates = (_estimate([right[question] for _, right in some], weights) for question in range(3))
        regions = sum(size for key, size in sizes.items() if stratum is None or key[stratum] == name)
        return Figures(of, name, regions, len(some), *estimates)

    rounds = sorted({each.round for each in judged})
    named = (("subject", 0, FREQUENCIES), ("area", 1, AREAS), ("round", 2, rounds))
    there = [{each.stratum[place] for each in judged} for place in range(3)]
    return Accuracy(
        drawn[0].dataset,
        len(drawn),
        len(judged),
        len({who for each in answers.values() for who in each}),
        figures("all", "all regions", None),
        tuple(figures(of, name, place) for of, place, names in named for name in names if name in there[place]),
        _kappas(answers.values()),
        sum(size for stratum, size in sizes.items() if stratum not in often),
    )


def progress(drawn: Sequence[DrawnRegion], entries: Sequence[LogEntry], who: str) -> list[bool]:
    """Of each region of the queue, whether this judge has judged it."""
    answers = _answers(drawn, entries)
    return [who in answers.get((each.key, each.region), {}) for each in drawn]


def wilson(share: float, size: float) -> tuple[float, float]:
    """The 95% interval of a share, 0..1, that was found in a sample of `size` > 0."""
    middle = share + Z * Z / (2 * size)
    reach = Z * math.sqrt(share * (1 - share) / size + Z * Z / (4 * size * size))
    whole = 1 + Z * Z / size
    # At both ends the formula gives 0 and 1, but for rounding.
    return (middle - reach) / whole if share > 0 else 0.0, (middle + reach) / whole if share < 1 else 1.0


def kappa(answers: Sequence[tuple[bool, bool]]) -> float | None:
    """Cohen's kappa of two judges' answers to the same questions; None where both gave one answer to all."""
    size = len(answers)
    agreed = sum(one == other for one, other in answers) / size
    yes = [sum(pair[judge] for pair in answers) / size for judge in range(2)]
    by_chance = yes[0] * yes[1] + (1 - yes[0]) * (1 - yes[1])
    return None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)


def _answers(drawn: Sequence[DrawnRegion], entries: Sequence[LogEntry]) -> dict[tuple[str, str], dict[str, Answers]]:
    """By key and region, what each judge said last."""
    wanted = {(each.key, each.region) for each in drawn}
    found: dict[tuple[str, str], dict[str, Answers]] = {}
    for entry in standing(entries):
        said = entry.judgement
        if isinstance(said, Audit) and (said.key, said.region) in wanted:
            right = (said.mask_right, said.caption_right, said.mask_right and said.caption_right)
            found.setdefault((said.key, said.region), {})[said.who] = right
    return found


def _shares(answers: Iterable[Answers]) -> tuple[float, float, float]:
    columns = list(zip(*answers, strict=True))
    mask, caption, both = (sum(column) / len(column) for column in columns)
    return mask, caption, both


def _estimate(values: Sequence[float], weights: Sequence[float]) -> Estimate:
    whole = math.fsum(weights)
    share = min(1.0, math.fsum(value * weight for value, weight in zip(values, weights, strict=True)) / whole)
    size = whole * whole / math.fsum(weight * weight for weight in weights)
    return Estimate(share, *wilson(share, size))


def _kappas(answers: Iterable[dict[str, Answers]]) -> tuple[Kappa, ...]:
    common: dict[tuple[str, str], list[tuple[Answers, Answers]]] = {}
    for said in answers:
        for one, other in combinations(sorted(said), 2):
            common.setdefault((one, other), []).append((said[one], said[other]))
    most = sorted(common.items(), key=lambda each: (-len(each[1]), each[0]))[:PAIRS]
    return tuple(
        Kappa(
            judges,
            len(pairs),
            sum(one == other for one, other in pairs) / len(pairs),
            *(kappa([(one[question], other[question]) for one, other in pairs]) for question in range(3)),
        )
        for judges, pairs in most
    )
