"""A caption's head and its referring part: "the second red car from the left beside the tree", read and written.

    the [rank] [colour] head [in COLOUR] [relation] [place]
    every head but the [same of one]

A rank singles out ("leftmost", "second ... from the right", "largest"), a colour and a relation choose all that have
it. What the grammar does not know stays in the head: "the man with a hat on the left" is a "man with a hat".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Order = Literal[
    "left", "right", "top", "bottom", "middle", "largest", "smallest", "tallest", "shortest", "widest", "narrowest"
]
Kind = Literal["beside", "on", "in front of", "above", "below", "left of", "right of"]

SIDES: tuple[Order, ...] = ("left", "right", "top", "bottom")
NUMBERS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
COLOURS = ("black", "grey", "white", "red", "pink", "orange", "brown", "yellow", "green", "blue", "purple")

# How each is written; the first is the usual one. Before the head:
ADJECTIVES: dict[Order, tuple[str, ...]] = {
    "left": ("leftmost", "left"),
    "right": ("rightmost", "right"),
    "top": ("top", "uppermost"),
    "bottom": ("bottom", "lowest"),
    "middle": ("middle",),
    "largest": ("largest", "biggest"),
    "smallest": ("smallest",),
    "tallest": ("tallest",),
    "shortest": ("shortest",),
    "widest": ("widest",),
    "narrowest": ("narrowest",),
}
# At the end:
PLACES: dict[Order, str] = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "middle": "in the middle",
}
RELATIONS: dict[Kind, tuple[str, ...]] = {
    "beside": ("beside", "next to"),
    "on": ("on",),
    "in front of": ("in front of",),
    "above": ("above",),
    "below": ("below",),
    "left of": ("to the left of",),
    "right of": ("to the right of",),
}


@dataclass(frozen=True)
class Rank:
    """The `number`th, from 1, in an order: of sides from there, of sizes from the most. "middle" has no number."""

    order: Order
    number: int = 1

    def __post_init__(self) -> None:
        assert 1 <= self.number <= (1 if self.order == "middle" else len(NUMBERS)), self.number


@dataclass(frozen=True)
class StandsTo:
    """other: what it stands to, without an article: "tree"."""

    kind: Kind
    other: str


@dataclass(frozen=True)
class Reference:
    """What a caption says. head: without an article, "" where it says none ("all but the tallest").

    colour: of the thing. wears: of something that it has on ("in red"). Both of `COLOURS`, or "". all_but: those are
    meant that the rest does not name.
    """

    head: str
    rank: Rank | None = None
    colour: str = ""
    wears: str = ""
    relation: StandsTo | None = None
    all_but: bool = False

    @property
    def refers(self) -> bool:
        """Whether it says more than what kind of thing it is."""
        return self != Reference(self.head)

    def __str__(self) -> str:
        return phrasings(self)[0]


def phrasings(reference: Reference) -> tuple[str, ...]:
    """All ways in which the grammar writes a reference, the usual one first; each is read back as the same."""
    if reference.all_but:
        one = replace(reference, head="one", all_but=False)
        return tuple(f"every {reference.head} {but} {text}" for text in phrasings(one) for but in ("but", "except"))
    relation = reference.relation
    related = [f" {word} the {relation.other}" for word in RELATIONS[relation.kind]] if relation else [""]
    worn = f" in {reference.wears}" if reference.wears else ""
    coloured = f"{reference.colour} " if reference.colour else ""
    return tuple(
        f"the {before}{coloured}{reference.head}{worn}{tail}{after}"
        for before, after in _ranked(reference.rank)
        for tail in related
    )


def _ranked(rank: Rank | None) -> list[tuple[str, str]]:
    """What stands before and after."""
    if rank is None:
        return [("", "")]
    if rank.number == 1:
        placed = [("", f" {PLACES[rank.order]}")] if rank.order in PLACES else []
        return [*((f"{word} ", "") for word in ADJECTIVES[rank.order]), *placed]
    number = NUMBERS[rank.number - 1]
    if rank.order in SIDES:
        return [(f"{number} ", f" from the {rank.order}")]
    return [(f"{number} {word} ", "") for word in ADJECTIVES[rank.order]]
