"""What a page shows of an evaluation: which photos, which method first, and the methods' short names."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from instructrestore.model.metrics.metric import PSNR, Scope
from instructrestore.pipelines.evaluation.methods.method import LQ, Evaluation, Method
from instructrestore.pipelines.evaluation.tables.published import SCALES

EXTREMES = 2  # how many of the worst and of the best photos are shown


@dataclass(frozen=True)
class ShownPhoto:
    """A photo of a page. key, name, caption: as in `Evaluation.scores`.

    lq, hq: RGB, of one size. mask: (H, W) bool, the region that the caption names.
    results: RGB pictures of the same size, each with its method's title, without the method LQ; a method that failed on
        the photo has none.
    """

    key: str
    name: str
    caption: str
    lq: Image.Image
    hq: Image.Image
    mask: np.ndarray
    results: Sequence[tuple[str, Image.Image]]


def main_method(evaluated: Evaluation) -> Method | None:
    """The method that a page puts first, of those that have figures: the model at the paper's scales, or the nearest
    ones; without the model, the first that is not LQ. None if there is no such method."""
    measured = set(evaluated.scores["method"])
    methods = [method for method in evaluated.methods if method.title in measured and method.name != LQ]
    s1, s2 = SCALES[4 if evaluated.bokeh else 3]
    away = {
        method: abs(method.s1 - s1) + abs(method.s2 - s2)
        for method in methods
        if method.s1 is not None and method.s2 is not None
    }
    return min(away, key=lambda method: away[method]) if away else next(iter(methods), None)


def method_labels(evaluated: Evaluation) -> dict[str, str]:
    """Short names of the methods, by title: for the model's rows only what tells them apart."""
    swept = [method for method in evaluated.methods if method.s1 is not None]
    names, rests = {method.name for method in swept}, {method.s2 for method in swept}
    labels = {}
    for method in evaluated.methods:
        label = method.title
        if method.s1 is not None:
            scales = f"s1 = {method.s1:g}" + (f", s2 = {method.s2:g}" if len(rests) > 1 else "")
            label = method.name if len(swept) == 1 else f"{method.name} {scales}" if len(names) > 1 else scales
        labels[method.title] = label
    return labels


def ranking_scope(evaluated: Evaluation) -> Scope:
    """Where the main method's PSNR ranks the photos: in the region, or in a bokeh set in the background."""
    return "remaining" if evaluated.bokeh else "target"


def ranked(evaluated: Evaluation) -> list[str]:
    """The keys of all photos that the main method restored, the worst first; in their order if PSNR is equal."""
    method = main_method(evaluated)
    scores = evaluated.scores
    chosen = scores[
        (scores["method"] == (method.title if method else ""))
        & (scores["scope"] == ranking_scope(evaluated))
        & (scores["metric"] == PSNR.name)
    ]
    return [str(key) for key in chosen.sort_values("value", kind="stable")["key"]]


def choose_photos(evaluated: Evaluation, count: int = 12, without: Container[str] = ()) -> list[str]:
    """The keys of at most `count` photos to show, in the test set's order: the two worst and the two best by the main
    method's PSNR, and others spread evenly over the set; `without` those that cannot be shown."""
    keys = [key for key in map(str, evaluated.scores["key"].unique()) if key not in without]
    order = [key for key in ranked(evaluated) if key not in without]
    ends = min(EXTREMES, count // 4, len(order) // 2)
    chosen = {*order[:ends], *order[len(order) - ends :]}
    rest = [key for key in keys if key not in chosen]
    spread = min(count - len(chosen), len(rest))
    chosen |= {rest[place] for place in np.linspace(0, len(rest) - 1, spread).round().astype(int)} if spread else set()
    return [key for key in keys if key in chosen]
