"""What a language model understood is done only once a person has seen it and said yes, or did so beforehand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import typer

from instructrestore.pipelines.understanding.wishes import Understood, WishModel, WishReader
from instructrestore.shards.plain_text import visible_line


def wish_model_named(url: str | None, name: str | None, yes: bool = False) -> WishModel | None:
    """The language model that a command's options name. Raises ValueError for options without what they need."""
    if url is None and (name is not None or yes):
        option = "--language-model-name" if name is not None else "--yes"
        raise ValueError(f"{option} is of a language model: name its server with --language-model")
    return WishModel(url, name) if url is not None else None


def reader_named(url: str | None, name: str | None, yes: bool = False) -> WishReader:
    """What reads the wishes of a command with these options. Raises as `wish_model_named`."""
    return WishReader(wish_model_named(url, name, yes))


def confirm(understood: Sequence[Understood], yes: bool, say: Callable[[str], object]) -> None:
    """Shows what each wish was understood as, and asks once whether to go on.

    Raises ValueError, in one sentence, where the answer is no, or where there is no terminal to ask at.
    """
    if not understood:
        return
    if not yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ValueError(refusal(understood))
    for each in understood:
        wish = f"{visible_line(each.typed)!r} is understood" if understood[1:] else "Understood"
        say(f"{wish} as: {visible_line(str(each.instruction))} (by {visible_line(each.model or '')})")
    if not yes and not typer.confirm("Go on?", default=False):
        raise ValueError("nothing was restored: write the instruction as you mean it")


def refusal(understood: Sequence[Understood]) -> str:
    """The sentence where nobody can be asked: what to run instead."""
    first, *others = understood
    more = f", and read {len(others)} more" if others else ""
    return (
        f"the language model {first.model} understood {first.typed!r} as '{first.instruction}'{more}: "
        "write that as the instruction, or add --yes"
    )
