"""How many wishes the grammar of instructions understands, and how many a language model makes of what it refuses.

    python benchmarks/wishes.py [--language-model URL] [--language-model-name NAME] [--expressions FILE] [--show]

The 100 wishes of benchmarks/wishes.json were written after public issue threads ("from"), each in words of our own, in
six languages, with the instruction that a person expects, or why there is none ("cannot"). A wish is right where the
regions are (as many, each with the head noun of the expected caption, or with one of "heads" where the file has them,
and with at most two words more, so that none has swallowed another wish), the blur of the rest is, and every scale is
within 0.1. Where there is no instruction, any refusal is right. A wish that is read as another thing than it is counts
as wrong, and is worse than one that is refused.

--expressions: instead, a JSON file of RefCOCO expressions, each of which is put into three wishes: "make X clear",
"sharpen X a little" and "X should be sharper", of which the grammar knows the first two; the model is asked 20 of the
third.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from instructrestore.dataengine.running.stage import StopStage
from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.instruction.parser import parse
from instructrestore.pipelines.understanding.wishes import WishModel, WishReader

WISHES = Path(__file__).with_suffix(".json")
TEMPLATES = ("make {} clear", "sharpen {} a little", "{} should be sharper")
ARTICLES = {"a", "an", "the"}
MORE_WORDS = 2
SAMPLED = 20  # expressions that the model is asked
_PHRASE_ENDS = re.compile(r"\b(?:of|on|in|at|behind|under|with|around)\b.*")


@dataclass(frozen=True)
class Case:
    """expected: the instruction that a person expects; None where there is none."""

    language: str
    text: str
    expected: Instruction | None
    heads: tuple[frozenset[str], ...]


def cases() -> list[Case]:
    found = []
    for row in json.loads(WISHES.read_text("utf-8")):
        expected = parse(row["expected"]) if "expected" in row else None
        named = row.get("heads") or [[head(caption)] for caption in (expected.captions if expected else ())]
        found.append(Case(row["language"], row["text"], expected, tuple(map(frozenset, named))))
    return found


def head(caption: str) -> str:
    return _PHRASE_ENDS.sub("", caption.casefold()).split()[-1]


def words_of(caption: str) -> list[str]:
    return re.findall(r"\w+", caption.casefold())


def verdict(case: Case, read: Instruction | None) -> str:
    """right, parts (a scale or the blur differs), wrong (other regions, or read where there is nothing), or refused."""
    if read is None:
        return "refused" if case.expected else "right"
    if case.expected is None or len(read.regions) != len(case.expected.regions):
        return "wrong"
    scales = []
    for region, heads in zip(case.expected.regions, case.heads, strict=True):
        longest = len(words_of(region.caption)) + MORE_WORDS
        same = [each for each in read.regions if heads & set(words := words_of(each.caption)) and len(words) <= longest]
        if not same:
            return "wrong"
        scales.append((region.scale, same[0].scale))
    scales.append((case.expected.others, read.others))
    near = all(abs(one - other) <= 0.101 for one, other in scales)
    return "right" if near and read.bokeh == case.expected.bokeh else "parts"


def judged(name: str, reader: WishReader, show: bool) -> None:
    verdicts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    reasons: Counter[str] = Counter()
    seconds = []
    for case in cases():
        began, read, why = time.perf_counter(), None, ""
        try:
            read = reader(case.text).instruction
        except ValueError as error:
            why = str(error)
        seconds.append(time.perf_counter() - began)
        said = verdict(case, read)
        kind = case.language if case.expected else f"{case.language}, none"
        verdicts[kind][said] += 1
        verdicts["all" if case.expected else "all, none"][said] += 1
        if "its reply cannot be used" in why:
            reasons[why.rpartition("its reply cannot be used: ")[2]] += 1
        if show:
            print(f"  {said:8} {case.language} {case.text!r}\n           -> {read or why}", flush=True)
    print(f"{name}: {sum(seconds) / len(seconds):.2f} s a wish")
    for kind, counts in verdicts.items():
        print(f"  {kind:10} " + ", ".join(f"{said} {counts[said]}" for said in ("right", "parts", "wrong", "refused")))
    for reason, count in reasons.most_common(8):
        print(f"  {count} unusable: {reason}")


def expressions(path: Path, model: WishReader | None) -> None:
    """How many RefCOCO expressions are read in each template, with the expression as the one caption."""
    said = [" ".join(row["sent"].split()) for row in json.loads(path.read_text("utf-8"))["predictions"]]
    for template in TEMPLATES:
        counts = Counter(_caption(WishReader(), template, expression) for expression in said)
        print(f"{template!r}: {dict(counts)} of {len(said)} by the grammar", flush=True)
    if model:
        some = said[:: len(said) // SAMPLED][:SAMPLED]
        counts = Counter(_caption(model, TEMPLATES[-1], expression) for expression in some)
        print(f"{TEMPLATES[-1]!r}: {dict(counts)} of {len(some)} with the model", flush=True)


def _caption(read: WishReader, template: str, expression: str) -> str:
    try:
        captions = read(template.format(expression)).instruction.captions
    except ValueError:
        return "refused"
    words = [set(words_of(caption)) - ARTICLES for caption in captions]
    if words == [set(words_of(expression)) - ARTICLES]:
        return "whole"
    return "in other words" if len(words) == 1 and words[0] & set(words_of(expression)) else "wrong"


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--language-model")
    asked.add_argument("--language-model-name")
    asked.add_argument("--expressions", type=Path)
    asked.add_argument("--show", action="store_true")
    options = asked.parse_args()
    model = None
    if options.language_model:
        model = WishReader(WishModel(options.language_model, options.language_model_name))
    try:
        if options.expressions:
            expressions(options.expressions, model)
            return
        judged("grammar alone", WishReader(), options.show)
        if model:
            judged("with the model", model, options.show)
    except StopStage as error:
        print(error)


if __name__ == "__main__":
    main()
