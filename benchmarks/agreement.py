"""How well the embedded annotator tells right captions from wrong ones, on COCO's panoptic annotations.

    python -m benchmarks.agreement [FOLDER]       FOLDER: coco_panoptic of the shared data

A region is all that is annotated with one name in a photo, from 1% of it on. Right: its own name. Swapped: the names
of the photo's other regions. Absent: four names, drawn at random, of kinds that the photo does not show. Reworded: its
name by a word of synonyms.tsv, where there is one. By vector: its name, as if the annotator knew the word by its text
vector alone. Photos of training are judged by the one head that has not seen them, those of validation by all four.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.stats import rankdata

from instructrestore.dataengine.annotator.annotator import Annotator, load_annotator
from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.annotator.panoptic import PanopticPhoto, read_panoptic
from instructrestore.dataengine.merging import synonyms
from instructrestore.dataengine.merging.named_agreement import FOUND, SubjectScorer
from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.pretrained.text_vectors import TextEncoder
from instructrestore.shards.rle import BoolArray

LEAST_AREA = 0.01
KINDS = ("right", "swapped", "absent", "reworded", "by vector")


def regions_of(photo: PanopticPhoto) -> list[tuple[BoolArray, int]]:
    labels = photo.labels(photo.segments())
    masks = [(np.asarray(labels == label), label) for label in sorted(set(photo.categories.values()))]
    return [(mask, label) for mask, label in masks if mask.mean() >= LEAST_AREA]


def asked(photo: PanopticPhoto, rng: np.random.Generator) -> Iterator[tuple[str, BoolArray, str]]:
    """(which of KINDS, region, subject)"""
    names, regions = coco_names(), regions_of(photo)
    kinds = {names[label].parent or names[label].word for label in photo.categories.values()}
    absent = [name.word for name in names if (name.parent or name.word) not in kinds]
    for mask, label in regions:
        word = names[label].word
        yield "right", mask, word
        yield from (("swapped", mask, names[other].word) for _, other in regions if other != label)
        yield from (("absent", mask, str(other)) for other in rng.choice(absent, 4, replace=False))
        other_words = [line.word for line in synonyms.table() if line.of == fold(word)]
        if other_words and max(x.similarity for x in synonyms.table() if x.word == other_words[0]) >= synonyms.NEAR:
            yield "reworded", mask, other_words[0]
        yield "by vector", mask, f"some {word} there"  # no name ends so, and the vector is the name's but for a little


def area_under_curve(right: np.ndarray, wrong: np.ndarray) -> float:
    ranks = rankdata(np.concatenate([right, wrong]))
    return float((ranks[: len(right)].sum() - len(right) * (len(right) + 1) / 2) / len(right) / len(wrong))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    data = os.environ.get("INSTRUCTRESTORE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(data) / "coco_panoptic")
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    whole, _ = load_annotator()
    encoder = TextEncoder()
    single = [SubjectScorer(Annotator(whole.sight, (head,)), encoder) for head in whole.heads]
    every = SubjectScorer(whole, encoder)
    for part in ("train", "validation"):
        photos = read_panoptic(folder / f"panoptic_{part}.json", folder / f"panoptic_{part}", folder / part)
        scores: dict[str, list[float]] = {kind: [] for kind in KINDS}
        unjudged, rng = 0, np.random.default_rng(0)
        for number, photo in enumerate(photos):
            questions = list(asked(photo, rng))
            scorer = single[number % len(single)] if part == "train" else every
            found = scorer(photo.rgb(), ((mask, subject) for _, mask, subject in questions))
            unjudged += sum(score is None for score in found)
            for (kind, _, _), score in zip(questions, found, strict=True):
                if score is not None:
                    scores[kind].append(score)
        values = {kind: np.array(each) for kind, each in scores.items()}
        print(
            f"{part}: {len(photos)} photos,", {kind: len(each) for kind, each in values.items()}, "unjudged", unjudged
        )
        print(
            "  quantiles of right ones, 5%, 10%, 25%, 50%:",
            np.quantile(values["right"], (0.05, 0.1, 0.25, 0.5)).round(1),
        )
        for good in ("right", "reworded", "by vector"):
            areas = {bad: round(area_under_curve(values[good], values[bad]), 3) for bad in ("swapped", "absent")}
            print(f"  {good}: area under the curve {areas}")
        print(
            f"  not found (< {FOUND:g}):",
            {kind: round(float((each < FOUND).mean()), 3) for kind, each in values.items()},
        )


if __name__ == "__main__":
    main()
