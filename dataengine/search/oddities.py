"""What vectors say is wrong: regions that look like another subject's, and photos that show the same twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.dataengine.search.nearest import first_regions
from instructrestore.dataengine.search.space import Vectors, of_length_1
from instructrestore.dataengine.search.vector_table import VectorTable

LEAST_OF_A_SUBJECT = 3  # regions from which on a subject has a look of its own
MOST_SUBJECTS = 500  # that a region is compared with, the most frequent
DUPLICATE = 0.88  # cosine from which two photos are taken for the same (docs/search.md has what it was measured on)
MOST_PHOTOS = 50_000  # among which all pairs are looked at
BLOCK = 2048


@dataclass(frozen=True)
class Oddity:
    """A region that is farther from its own subject than from another.

    row, region: of the index. own, other: cosine with the mean of its subject's other regions and with the mean of
    `like`'s, the nearest other subject, both around the mean of all regions. Odd are those with other > own.
    """

    row: int
    region: int
    like: str
    own: float
    other: float

    @property
    def score(self) -> float:
        return self.other - self.own


def oddities(table: VectorTable, subject: str | None, count: int) -> list[Oddity]:
    """The `count` regions of a subject (None: of all) that look most like another subject, the oddest first.

    Two passes over the vectors; what is kept is one mean a subject. Raises ValueError where the data set has no such
    subject, or too few regions of it to say what it looks like.
    """
    index = table.dataset.index
    folded: dict[str, str] = {}
    names = [
        folded.get(each) or folded.setdefault(each, fold(each))
        for some in index["subjects"].to_pylist()
        for each in some
    ]
    frequent = sorted(Counter(names).items(), key=lambda each: (-each[1], each[0]))
    if subject is not None:
        asked = fold(subject)
        there = dict(frequent).get(asked, 0)
        if there < LEAST_OF_A_SUBJECT:
            raise ValueError(
                f"{table.dataset.path} has {there or 'no'} regions of {subject!r}: {LEAST_OF_A_SUBJECT} are needed to "
                "tell which of them is odd"
            )
    known = [name for name, there in frequent if there >= LEAST_OF_A_SUBJECT][:MOST_SUBJECTS]
    if subject is not None and asked not in known:
        known.append(asked)
    if len(known) < 2:
        raise ValueError(f"{table.dataset.path} has fewer than two subjects with {LEAST_OF_A_SUBJECT} regions each")
    number = {name: place for place, name in enumerate(known)}
    codes = np.array([number.get(name, -1) for name in names], np.int64)
    sums, counts, middle = _sums(table, codes, len(known))
    means = of_length_1(sums / np.maximum(counts, 1)[:, None] - middle)
    begin, found = first_regions(index), list[Oddity]()
    for part in table.parts():
        rows, regions = part.rows[part.photos :], part.regions[part.photos :]
        own = codes[begin[rows] + regions]
        kept = np.flatnonzero(own == number[asked] if subject is not None else own >= 0)
        if not len(kept):
            continue
        vectors, own = part.vectors[part.photos :][kept].astype(np.float32), own[kept]
        near = of_length_1(vectors - middle) @ means.T
        # The mean of its subject without itself, so that a region does not vouch for itself.
        others = of_length_1((sums[own] - vectors) / np.maximum(counts[own] - 1, 1)[:, None] - middle)
        itself = np.einsum("nd,nd->n", of_length_1(vectors - middle), others)
        near[np.arange(len(own)), own] = -np.inf
        like = near.argmax(1)
        for place, where in enumerate(kept.tolist()):
            best = float(near[place, like[place]])
            odd = Oddity(int(rows[where]), int(regions[where]), known[like[place]], float(itself[place]), best)
            if odd.score > 0:
                found.append(odd)
        found = sorted(found, key=lambda odd: (-odd.score, odd.row, odd.region))[:count]
    return found


def _sums(table: VectorTable, codes: NDArray[np.int64], subjects: int) -> tuple[Vectors, NDArray[np.int64], Vectors]:
    """Sums (subjects, D) and counts (subjects,) of the vectors of each subject, and the mean (D,) of all regions."""
    begin = first_regions(table.dataset.index)
    sums = torch.zeros(subjects + 1, table.record.dimension)  # the last for those of no subject that is compared
    counts = np.zeros(subjects + 1, np.int64)
    for part in table.parts():
        own = codes[begin[part.rows[part.photos :]] + part.regions[part.photos :]]
        vectors = torch.from_numpy(part.vectors[part.photos :].copy()).float()  # numpy takes ten times as long for it
        own = np.where(own < 0, subjects, own)
        sums.index_add_(0, torch.from_numpy(own), vectors)
        counts += np.bincount(own, minlength=subjects + 1)
    return sums[:-1].numpy(), counts[:-1], (sums.sum(0) / max(1, int(counts.sum()))).numpy()


@dataclass(frozen=True)
class PhotoPair:
    """Two photos, by their rows of the index. score: cosine. grouped: whether the perceptual hash says the same."""

    first: int
    second: int
    score: float
    grouped: bool


def duplicates(table: VectorTable, least: float, count: int) -> list[PhotoPair]:
    """Pairs of photos whose vectors have at least this cosine, the nearest first, at most `count`.

    Raises ValueError for more than `MOST_PHOTOS` photos.
    """
    parts = list(table.parts())
    rows = np.concatenate([part.rows[: part.photos] for part in parts]) if parts else np.empty(0, np.int64)
    if len(rows) > MOST_PHOTOS:
        raise ValueError(
            f"{table.dataset.path} has {len(rows)} photos, and all pairs are looked at among {MOST_PHOTOS} at most: "
            "look for the likes of one photo with --like KEY"
        )
    vectors = np.concatenate([part.vectors[: part.photos] for part in parts]) if parts else np.empty((0, 1), np.float16)
    groups = table.dataset.index["group"].to_pylist()
    found: list[PhotoPair] = []
    for top in range(0, len(rows), BLOCK):
        above = vectors[top : top + BLOCK].astype(np.float32)
        for left in range(top, len(rows), BLOCK):
            near = above @ vectors[left : left + BLOCK].astype(np.float32).T
            for one, two in np.argwhere(near >= least).tolist():
                if top + one < left + two:
                    first, second = int(rows[top + one]), int(rows[left + two])
                    same = bool(groups[first]) and groups[first] == groups[second]
                    found.append(PhotoPair(first, second, float(near[one, two]), same))
        found = sorted(found, key=lambda pair: (-pair.score, pair.first, pair.second))[:count]
    return found
