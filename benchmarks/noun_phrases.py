"""How well the embedded grammar and the validation of noun phrases do on real descriptions.

    python benchmarks/noun_phrases.py [DATA_FOLDER]

Agreement: on the phrases of FACTUAL's Visual Genome sample, gold is, of the heads in a phrase's scene graph, the one
named first in the phrase. Heads not found in the text are left out and counted. "X of Y" and "Y's X" are given apart:
the scene graph often has the whole as its head there ("head of the person": person), where the paper's rule takes the
part ("a large field of grass": field). Even rows served development, odd rows did not.
"""

from __future__ import annotations

import csv
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from instructrestore.dataengine.noun_phrases.english.caption_length import clip_tokens
from instructrestore.dataengine.noun_phrases.english.noun_phrase import NounPhrase, fold
from instructrestore.dataengine.noun_phrases.grammar import Grammar
from instructrestore.dataengine.noun_phrases.validation import faults, read_answer

_WORD = re.compile(r"[\w'-]+")


@dataclass(frozen=True)
class Case:
    """One phrase with its gold subject (folded; None where no head stands in the text) and the grammar's answer."""

    row: int
    phrase: str
    gold: str | None
    parsed: NounPhrase | None

    @property
    def construction(self) -> str:
        """ "X of Y", "Y's X" or "plain": what the answer's subject stands in."""
        if self.parsed is None:
            return "plain"
        before, found, after = self.parsed.text.casefold().partition(self.parsed.subject)
        if found and after.startswith(" of "):
            return "X of Y"
        return "Y's X" if re.search(r"\w's? |s' ", before) and "'" in before else "plain"

    @property
    def equal(self) -> bool:
        """Whether the folded subject is the gold head, word for word."""
        return self.parsed is not None and fold(self.parsed.subject) == self.gold

    @property
    def same_last_word(self) -> bool:
        """Whether their last words agree: "stop sign" and "sign" are the same thing, "stand" and "night" are not."""
        return (
            self.parsed is not None and self.gold is not None and _last(fold(self.parsed.subject)) == _last(self.gold)
        )


def _last(text: str) -> str:
    return text.split()[-1]


def _folded_words(text: str) -> str:
    return " ".join(fold(word) for word in _WORD.findall(text))


def gold_subject(phrase: str, scene_graph: str) -> str | None:
    """Of the heads of "( head , relation , object ) , ...", folded, the one named first in the phrase."""
    text = f" {_folded_words(phrase)} "
    places: list[tuple[int, int, str]] = []
    for triple in re.findall(r"\(([^()]*)\)", scene_graph):
        head = _folded_words(re.sub(r":\d+$", "", triple.split(" , ")[0].strip()))
        place = text.find(f" {head} ")
        if head and place >= 0:
            places.append((place, -len(head), head))
    return min(places)[2] if places else None


def factual_cases(folder: Path, grammar: Grammar) -> list[Case]:
    """All phrases of factual_vg_phrases."""
    with (folder / "factual_vg_phrases" / "random_dev.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Case(i, row["caption"], gold_subject(row["caption"], row["scene_graph"]), grammar(row["caption"]))
        for i, row in enumerate(rows)
    ]


def agreement(cases: Iterable[Case]) -> tuple[int, float, float]:
    """Number of cases with gold, share equal, share with the same last word."""
    judged = [case for case in cases if case.gold is not None]
    count = max(len(judged), 1)
    return len(judged), sum(c.equal for c in judged) / count, sum(c.same_last_word for c in judged) / count


def region_phrases(folder: Path) -> list[str]:
    """The region descriptions of vg_regions."""
    images = json.loads((folder / "vg_regions" / "region_descriptions.json_samples.json").read_text(encoding="utf-8"))
    return [region["phrase"] for image in images for region in image["regions"]]


def pope_captions(folder: Path) -> list[str]:
    """The raw captions of pope_raw_captions."""
    lines = (folder / "pope_raw_captions" / "Instruction1_minigpt-4.json").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines if line.strip()]


def dam_captions(folder: Path) -> list[str]:
    """The region descriptions of dam_outputs."""
    answers = json.loads((folder / "dam_outputs" / "dam_3b_v1.json").read_text(encoding="utf-8"))
    return [text for key, text in answers.items() if key != "query"]


def osprey_captions(folder: Path) -> list[str]:
    """The reference descriptions of osprey_text."""
    answers = (folder / "osprey_text" / "eval__description__answers.json").read_text(encoding="utf-8")
    return [answer["text"] for answer in json.loads(answers)]


def osprey_examples(folder: Path) -> list[str]:
    """The raw language-model replies of osprey_text, whole."""
    return [path.read_text(encoding="utf-8") for path in sorted((folder / "osprey_text").glob("*res_example.txt"))]


def judge_replies(folder: Path) -> list[str]:
    """The raw language-model replies of llm_format_failures."""
    files = sorted((folder / "llm_format_failures").glob("*.jsonl"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [json.loads(line)["text"] for line in lines if line.strip()]


def raw_faults(text: str, grammar: Grammar) -> tuple[str, ...]:
    """Faults of a raw text taken as a noun phrase as it stands, with the grammar's subject, or else its last word."""
    parsed = grammar(text)
    subject = parsed.subject if parsed else (re.findall(r"[^\W\d_]+", text) or [""])[-1]
    return faults(NounPhrase(text.strip(), subject), text)


def report(folder: Path) -> list[str]:
    """Every figure, one line each."""
    grammar, strict = Grammar(), Grammar(strict=True)
    cases = factual_cases(folder, grammar)
    lines = ["factual_vg_phrases: subject agrees with gold      phrases  same last word  word for word"]
    halves = (("all", cases), ("even rows (developed on)", cases[0::2]), ("odd rows (held out)", cases[1::2]))
    for name, half in halves:
        parts = {"every construction": half}
        for construction in ("plain", "X of Y", "Y's X"):
            parts[construction] = [case for case in half if case.construction == construction]
        parts["without X of Y"] = [case for case in half if case.construction != "X of Y"]
        for part, chosen in parts.items():
            count, equal, last = agreement(chosen)
            lines.append(f"  {name:25s} {part:20s} {count:9d} {last:15.1%} {equal:14.1%}")
        lines.append(f"  {name:25s} {'no head in the text':20s} {sum(case.gold is None for case in half):9d}")

    texts = {
        "vg_regions": region_phrases(folder),
        "dam_outputs": dam_captions(folder),
        "osprey_text": osprey_captions(folder),
        "pope_raw_captions": pope_captions(folder),
    }
    lines.append("descriptions that become valid noun phrases       texts   grammar    strict   texts/s (one core)")
    for name, described in texts.items():
        start = time.perf_counter()
        answers = [grammar(text) for text in described]
        rate = len(described) / (time.perf_counter() - start)
        shares = [sum(a is not None for a in result) / len(described) for result in (answers, map(strict, described))]
        lines.append(f"  {name:45s} {len(described):7d} {shares[0]:9.1%} {shares[1]:9.1%} {rate:9.0f}")

    texts |= {"osprey_text, raw replies": osprey_examples(folder), "llm_format_failures": judge_replies(folder)}
    lines.append("raw texts taken as noun phrases                    texts  rejected  faults")
    for name, raw in texts.items():
        found = [raw_faults(text, grammar) for text in raw]
        counts = Counter(fault for text_faults in found for fault in text_faults)
        listed = ", ".join(f"{fault} {count}" for fault, count in counts.most_common())
        lines.append(f"  {name:45s} {len(raw):7d} {sum(map(bool, found)) / len(raw):9.1%}  {listed}")
    replies = Counter(str(read_answer(text)) for text in texts["llm_format_failures"])
    lines.append(f"llm_format_failures read as JSON answers: {dict(replies)}")
    tokens = sum(clip_tokens(text) for text in texts["vg_regions"]) / len(texts["vg_regions"])
    lines.append(f"estimated CLIP tokens of a region phrase of vg_regions: {tokens:.1f} on average")
    return lines


if __name__ == "__main__":
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("INSTRUCTRESTORE_DATA", "../shared/data")
    print("\n".join(report(Path(given))))
