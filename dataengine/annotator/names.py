"""The names that the annotator knows: COCO's 133 panoptic categories, and what is known of them.

`coco_names.tsv` holds for each category the word that a caption says, its parent (what to call it when only the kind
is certain) and those of ImageNet's 1,000 classes that show it. The classes come from WordNet 3.0 (ImageNet's classes
are synsets; all below the category's synset), with additions by hand where COCO and WordNet part ways ("suit" shows a
person, "volcano" a mountain).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

IMAGENET_CLASSES = 1000
THINGS = 80  # the first of the names: what can be counted; the others are stuff


@dataclass(frozen=True)
class Name:
    """category: COCO's. word: what a caption says. parent: a word for its kind, or "". imagenet: class numbers."""

    category: str
    word: str
    parent: str
    imagenet: tuple[int, ...]


@cache
def coco_names() -> tuple[Name, ...]:
    """In COCO's order; an index into this tuple is the label of a pixel everywhere in this room."""
    with (Path(__file__).parent / "coco_names.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return tuple(
            Name(
                row["name"],
                row["word"],
                "" if row["parent"] == "-" else row["parent"],
                () if row["imagenet"] == "-" else tuple(int(number) for number in row["imagenet"].split(",")),
            )
            for row in rows
        )


def membership() -> Tensor:
    """(1000, names) float32: 1 where the ImageNet class shows the name."""
    names = coco_names()
    matrix = torch.zeros(IMAGENET_CLASSES, len(names))
    for index, name in enumerate(names):
        matrix[list(name.imagenet), index] = 1
    return matrix
