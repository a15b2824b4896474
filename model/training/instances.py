"""A triplet of one piece of a region, in a crop: its mask, and a caption that names it alone among what the crop shows.

The caption is made of the crop, after it was cut and mirrored: what is leftmost in the photo need not be so there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from instructrestore.model.referring.describing import describe
from instructrestore.model.referring.pieces import measured, shrunk
from instructrestore.model.referring.reference import phrasings
from instructrestore.shards.rle import BoolArray, Mask
from instructrestore.shards.sample import Region

LEAST_SHOWN = 0.01  # of the crop, for a piece that is asked for
LEAST_SEEN = 0.001  # of the crop, for one that captions must tell it from
SETS = 0.1  # share of the captions that name all but one


@dataclass(frozen=True)
class SinglePiece:
    """mask: (S, S) bool. caption: names what is in it alone."""

    mask: BoolArray
    caption: str


def drawn_piece(region: Region, share: float, rng: np.random.Generator) -> Mask | None:
    """The mask of one piece, in `share` of the samples of regions that have several; else None."""
    pieces = [piece.mask for piece in region.pieces if piece.mask.area()]
    if len(pieces) < 2 or rng.random() >= share:
        return None
    return pieces[int(rng.integers(len(pieces)))]


def single_piece(
    region: Region,
    others: Sequence[Region],
    drawn: Mask,
    photo: NDArray[np.uint8],
    cut: Callable[[Mask], BoolArray],
    rng: np.random.Generator,
) -> SinglePiece | None:
    """None where too little of the piece is in the crop, or no caption tells it from the others.

    drawn: one of the region's pieces' masks. others: the photo's other regions. photo: the crop, (S, S, 3) uint8.
    cut: a mask of the photo -> (S, S) bool, the crop's part.
    """
    masks = {piece.mask: cut(piece.mask) for piece in region.pieces}
    if masks[drawn].mean() < LEAST_SHOWN:
        return None
    seen = [mask for mask, own in masks.items() if own.mean() >= LEAST_SEEN]
    around = {other.subject: cut(other.mask) for other in others if other.subject != region.subject}
    said = describe(
        region.subject,
        measured([masks[each] for each in seen], photo),
        {name: shrunk(mask) for name, mask in around.items() if mask.mean() >= LEAST_SHOWN},
    )
    of_sets = rng.random() < SETS
    chosen = [each for each in said if seen.index(drawn) in each[0]]
    chosen = [each for each in chosen if each[1].all_but == of_sets] or chosen
    if not chosen:
        return None
    numbers, reference = chosen[int(rng.integers(len(chosen)))]
    texts = phrasings(reference)
    union = np.logical_or.reduce([masks[seen[number]] for number in numbers])
    return SinglePiece(union, texts[int(rng.integers(len(texts)))])
