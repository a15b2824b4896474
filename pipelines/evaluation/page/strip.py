"""Every photo of an evaluation as a dot: the spread of a method's photos, and the position of each."""

from __future__ import annotations

from collections.abc import Sequence

from instructrestore.model.metrics.metric import PSNR
from instructrestore.pipelines.evaluation.methods.method import Evaluation
from instructrestore.pipelines.evaluation.page.chart import ticks_of
from instructrestore.pipelines.evaluation.page.shown import ShownPhoto, main_method, method_labels, ranking_scope
from instructrestore.shards.plain_text import html_text

_WIDTH, _ROW = 1000, 30
_RIGHT, _TOP, _BOTTOM = 20, 6, 44  # the margins; the left one is as wide as the methods' names
_LETTER, _LETTERS = 9.5, 26  # of a name: width of one, and how many are shown
_DOTS = 3000  # of all methods together; of more photos an even selection is drawn


def strip(evaluated: Evaluation, shown: Sequence[ShownPhoto]) -> str:
    """HTML of a chart: a row per method with a dot per photo and a line at the mean; photos on the page are linked."""
    scope = ranking_scope(evaluated)
    scores = evaluated.scores
    scores = scores[(scores["scope"] == scope) & (scores["metric"] == PSNR.name)]
    of_methods = {method.title: scores[scores["method"] == method.title] for method in evaluated.methods}
    of_methods = {title: own for title, own in of_methods.items() if len(own)}
    if not of_methods:
        return ""
    ticks = ticks_of(float(scores["value"].min()), float(scores["value"].max()))
    labels, main = method_labels(evaluated), main_method(evaluated)
    linked = {photo.key for photo in shown}
    every = max(1, -(-sum(map(len, of_methods.values())) // _DOTS))
    bottom = _TOP + _ROW * len(of_methods)
    left = 24 + _LETTER * min(_LETTERS, max(len(labels[title]) for title in of_methods))

    def across(value: float) -> float:
        return left + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (_WIDTH - left - _RIGHT)

    drawn = [
        f'<path class="grid" d="M{across(tick):.1f} {_TOP}V{bottom}"/>'
        f'<text class="x" x="{across(tick):.1f}" y="{bottom + 18}">{tick:g}</text>'
        for tick in ticks
    ]
    for number, (title, own) in enumerate(of_methods.items()):
        middle = _TOP + _ROW * number + _ROW / 2
        kind = "main" if main and title == main.title else "other"
        name = labels[title]
        if len(name) > _LETTERS:
            name = name[: _LETTERS - 1] + "…"
        drawn.append(f'<text class="y" x="{left - 14:g}" y="{middle + 4:g}">{html_text(name)}</text>')
        rows = zip(own["key"], own["photo"], own["value"], strict=True)
        for place, (key, photo, value) in enumerate(rows):
            if place % every and key not in linked:
                continue
            told = html_text(f"{photo}, {title}: {value:.{PSNR.digits}f} dB")
            dot = (
                f'<circle class="{kind}" cx="{across(value):.1f}" cy="{middle:g}" r="5"><title>{told}</title></circle>'
            )
            link = f'<a href="#photo-{html_text(str(key))}" aria-label="{told}">{dot}</a>'
            drawn.append(link if key in linked and kind == "main" else dot)
        mean = across(float(own["value"].mean()))
        drawn.append(f'<path class="mean {kind}" d="M{mean:.1f} {middle - 11:g}v22"/>')
    where = "in the region" if scope == "target" else "outside the region"
    drawn.append(f'<text class="x" x="{(_WIDTH + left - _RIGHT) / 2:g}" y="{bottom + 38}">PSNR {where}, dB</text>')
    height = bottom + _BOTTOM
    note = f"Each dot is a photo's PSNR {where}; the stroke is the mean."
    note += " Dots of the emphasised row link to the photos that are shown below." if linked else ""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="PSNR of every photo">'
        f'<svg class="chart strip" viewBox="0 0 {_WIDTH} {height}">{"".join(drawn)}</svg></div>'
        f'<p class="note">{note}</p>'
    )
