"""References to the pieces of one kind of thing in a photo, of which each names exactly one of them, or all but one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from instructrestore.model.referring.pieces import MeasuredPiece
from instructrestore.model.referring.reference import (
    ADJECTIVES,
    COLOURS,
    NUMBERS,
    RELATIONS,
    SIDES,
    Rank,
    Reference,
    StandsTo,
)
from instructrestore.model.referring.resolving import COLOUR, WORN, resolve
from instructrestore.shards.rle import BoolArray

# Of these people say no one colour; of people they say what they wear.
COLOURLESS = frozenset(
    {"person", "man", "woman", "boy", "girl", "child", "pizza", "sandwich", "cake", "food", "fruit", "window", "mirror"}
)
DRESSED = frozenset({"person", "man", "woman", "boy", "girl", "child"})

# Of these nobody says "the left one".
UNCOUNTED = frozenset(
    {"sky", "grass", "sea", "water", "snow", "sand", "gravel", "dirt", "pavement", "road", "ground", "floor", "ceiling"}
    | {"wall", "field", "river", "mountain", "food", "furniture", "background", "area"}
)


def describe(
    head: str, pieces: Sequence[MeasuredPiece], others: Mapping[str, BoolArray]
) -> list[tuple[tuple[int, ...], Reference]]:
    """(the numbers of the pieces it names, a reference): the plainest first, none of them ambiguous.

    head: what each piece is. pieces: all such things in the photo. others: what else is there, by name, as in
    `resolve`. A photo's only piece has its head alone. Where pieces cannot be told apart, and of what cannot be
    counted, there is nothing.
    """
    if len(pieces) == 1:
        return [((0,), Reference(head))]
    if head in UNCOUNTED:
        return []
    found, known = [], dict[StandsTo, list[float]]()
    for reference in _possible(head, pieces, [name for name in others if name != head]):
        chosen = resolve(reference, pieces, others, known)
        if chosen.sure and len(chosen.numbers) == (len(pieces) - 1 if reference.all_but else 1):
            found.append((chosen.numbers, reference))
    return found


def _possible(head: str, pieces: Sequence[MeasuredPiece], others: Sequence[str]) -> Iterator[Reference]:
    ranks = [Rank(order) for order in ADJECTIVES]
    counted = [Rank(side, number) for side in SIDES for number in range(2, min(len(pieces), len(NUMBERS)) + 1)]
    traits = [*_coloured(head, pieces), *_related(head, others)]
    single = [*(Reference(head, rank) for rank in ranks), *traits]
    yield from single
    yield from (Reference(head, rank) for rank in counted)
    for trait in traits:  # among those that have it
        yield from (replace(trait, rank=rank) for rank in ranks)
    if len(pieces) > 2:  # of two, all but one are the other
        yield from (replace(reference, all_but=True) for reference in single)


def _coloured(head: str, pieces: Sequence[MeasuredPiece]) -> Iterator[Reference]:
    for number, colour in enumerate(COLOURS):
        most = max(piece.colours[number] for piece in pieces)
        if head not in COLOURLESS and most >= COLOUR.has:
            yield Reference(head, colour=colour)
        if head in DRESSED and most >= WORN.has:
            yield Reference(head, wears=colour)


def _related(head: str, others: Sequence[str]) -> Iterator[Reference]:
    for other in others:
        yield from (Reference(head, relation=StandsTo(kind, other)) for kind in RELATIONS)
