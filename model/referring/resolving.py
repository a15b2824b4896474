"""Which pieces a reference names, and whether that is beyond doubt.

Colour and relation choose among all pieces, then the rank among those that are left. What a reference asks for and no
piece has clearly is left to the piece that has it most; so something is always chosen, and `sure` says whether each
choice was clear by the margins below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from instructrestore.model.referring.pieces import MeasuredPiece, related
from instructrestore.model.referring.reference import COLOURS, Order, Rank, Reference, StandsTo
from instructrestore.shards.rle import BoolArray

PLACE_MARGIN = 0.08  # of the photo's side, between the middles of neighbours in an order
SIZE_RATIO = 1.3  # of areas that are told apart
EXTENT_RATIO = 1.2  # of heights and widths


@dataclass(frozen=True)
class Bounds:
    """A piece with at least `has` has it, one with at most `lacks` does not; in between nobody can say."""

    has: float
    lacks: float


COLOUR = Bounds(0.4, 0.15)  # share of a thing's pixels
WORN = Bounds(0.15, 0.04)
RELATED = Bounds(0.5, 0.25)  # of `related`


@dataclass(frozen=True)
class Chosen:
    """numbers: of the pieces that are named, in their order. sure: whether it could be no others."""

    numbers: tuple[int, ...]
    sure: bool


def resolve(
    reference: Reference,
    pieces: Sequence[MeasuredPiece],
    others: Mapping[str, BoolArray],
    known: dict[StandsTo, list[float]] | None = None,
) -> Chosen:
    """pieces: all of the head's kind, of one photo. others: what else is there, by name: (h, w) bool as pieces have.

    known: how much each piece stands in a relation, kept for further references to the same pieces.
    """
    if not pieces:
        return Chosen((), False)
    left, sure = list(range(len(pieces))), True
    for bounds, scores in _asked(reference, pieces, others, {} if known is None else known):
        left, clear = _having(left, scores, bounds)
        sure &= clear
    if reference.rank:
        number, clear = _ranked(reference.rank, left, pieces)
        left, sure = [number], sure and clear
    if reference.all_but:
        named = left
        left = [number for number in range(len(pieces)) if number not in named]
        sure &= bool(left)
    return Chosen(tuple(left), sure)


def _asked(
    reference: Reference,
    pieces: Sequence[MeasuredPiece],
    others: Mapping[str, BoolArray],
    known: dict[StandsTo, list[float]],
) -> list[tuple[Bounds, list[float]]]:
    asked = []
    for bounds, colour in ((COLOUR, reference.colour), (WORN, reference.wears)):
        if colour:
            asked.append((bounds, [float(piece.colours[COLOURS.index(colour)]) for piece in pieces]))
    if relation := reference.relation:
        if relation not in known:
            other = others.get(relation.other)
            known[relation] = [0.0 if other is None else related(piece, other, relation.kind) for piece in pieces]
        asked.append((RELATED, known[relation]))
    return asked


def _having(left: list[int], scores: Sequence[float], bounds: Bounds) -> tuple[list[int], bool]:
    """Those that have it, else the one that has most of it, else all."""
    having = [number for number in left if scores[number] >= bounds.has]
    if having:
        return having, all(scores[number] >= bounds.has or scores[number] <= bounds.lacks for number in left)
    best = max(left, key=lambda number: scores[number])
    return ([best] if scores[best] > bounds.lacks else left), False


# Of each order: what comes first has the least. Sizes are told apart by their ratio, places by their distance.
_KEYS: dict[Order, Callable[[MeasuredPiece], float]] = {
    "left": lambda piece: piece.x,
    "right": lambda piece: -piece.x,
    "top": lambda piece: piece.y,
    "bottom": lambda piece: -piece.y,
    "middle": lambda piece: piece.x,
    "largest": lambda piece: 1 / piece.area,
    "smallest": lambda piece: piece.area,
    "tallest": lambda piece: 1 / piece.height,
    "shortest": lambda piece: piece.height,
    "widest": lambda piece: 1 / piece.width,
    "narrowest": lambda piece: piece.width,
}
_RATIOS: dict[Order, float] = {
    "largest": SIZE_RATIO,
    "smallest": SIZE_RATIO,
    **dict.fromkeys(("tallest", "shortest", "widest", "narrowest"), EXTENT_RATIO),
}


def _ranked(rank: Rank, left: Sequence[int], pieces: Sequence[MeasuredPiece]) -> tuple[int, bool]:
    key = _KEYS[rank.order]
    order = sorted(left, key=lambda number: (key(pieces[number]), number))
    values = [key(pieces[number]) for number in order]
    place = len(order) // 2 if rank.order == "middle" else min(rank.number, len(order)) - 1
    if rank.order == "middle" and len(order) % 2 == 0:
        place = min(range(len(order)), key=lambda at: abs(values[at] - 0.5))
        return order[place], False
    ratio = _RATIOS.get(rank.order)
    enough = [
        after >= before * ratio if ratio else after - before >= PLACE_MARGIN for before, after in pairwise(values)
    ]
    clear = all(enough[max(0, place - 1) : place + 1]) and rank.number <= len(order) and len(order) > 1
    return order[place], clear and (rank.order != "middle" or len(order) > 2)
