"""`instructrestore phrase`: descriptions to noun phrases, outside a build."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from instructrestore.dataengine.noun_phrases.parser import Parser, ParserAnswer, Question
from instructrestore.dataengine.noun_phrases.rounds import NounPhraseSettings
from instructrestore.dataengine.running.outcomes import batched
from instructrestore.dataengine.running.stage import Failed
from instructrestore.shards.plain_text import json_text

BATCH = 256


def phrase(file: str, settings: NounPhraseSettings, number: int) -> None:
    """Prints a line of JSON for each line of `file` ("-": standard input). Raises ValueError if there is no such file.

    number: the round; 1 asks the small model, later ones the large model.
    """
    parse = Parser(settings.small if number == 1 else settings.large)
    typed = file == "-" and sys.stdin.isatty()
    for lines in batched(_lines(file), 1 if typed else BATCH):
        for line, result in zip(lines, parse([Question(line, number) for line in lines]), strict=True):
            print(json_text(_record(line, result)), flush=True)


def _record(description: str, result: object) -> dict[str, object]:
    if not isinstance(result, ParserAnswer):
        assert isinstance(result, Failed)
        return {"description": description, "noun_phrase": "", "subject": "", "valid": False, "reasons": [result.error]}
    answer = result.answer
    return {
        "description": description,
        "noun_phrase": answer.noun_phrase,
        "subject": answer.subject,
        "valid": not answer.faults,
        "reasons": answer.faults.split(),
    }


def _lines(file: str) -> Iterator[str]:
    if file == "-":
        yield from (line.rstrip("\n") for line in sys.stdin)
        return
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"there is no file {file}")
    with path.open(encoding="utf-8", errors="replace") as lines:
        yield from (line.rstrip("\n") for line in lines)
