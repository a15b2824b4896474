"""The photos of a page: LQ, every method's result and HQ, side by side, or in a viewer if the script runs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from PIL import Image

from instructrestore.dataengine.reporting.drawing import share_text
from instructrestore.model.metrics.metric import METRICS
from instructrestore.pipelines.evaluation.methods.method import LQ, Evaluation
from instructrestore.pipelines.evaluation.page.pictures import data_uri, encoded, outline, view_of
from instructrestore.pipelines.evaluation.page.shown import (
    ShownPhoto,
    main_method,
    method_labels,
    ranked,
    ranking_scope,
)
from instructrestore.pipelines.evaluation.page.table import metric_heading
from instructrestore.shards.plain_text import html_text

_SCOPES = {"target": "Target", "remaining": "Remaining", "full": "Full"}
_STOPS = (("LQ", 0), ("LQ | result", 50), ("Result", 100), ("Result | HQ", 150), ("HQ", 200))


def photos_section(evaluated: Evaluation, shown: Sequence[ShownPhoto]) -> str:
    """HTML of the controls for all photos together, and of each photo in the given order."""
    files = iter(encoded([picture for photo in shown for picture in _pictures(photo)]))
    labels = method_labels(evaluated)
    badges = _badges(evaluated, shown)
    main = main_method(evaluated)
    viewers = "".join(
        _viewer(photo, [data_uri(next(files)) for _ in _pictures(photo)], evaluated, labels, badges.get(photo.key, ""))
        for photo in shown
    )
    where = "in the region" if ranking_scope(evaluated) == "target" else "outside the region"
    note = f"All {len(shown):,} photos"
    if len(shown) < evaluated.photos:
        note = f"{len(shown):,} of {evaluated.photos:,} photos, spread evenly over the test set"
    if main and badges:
        note += f"; the worst and the best by the PSNR {where} of {main.title} are marked"
    return (
        f'<p class="note">{html_text(note)}. All pictures are JPEGs of one quality, made for this page alone: the '
        f"scores are those of the results themselves.</p>{_tools(evaluated, shown, labels)}"
        f'<div class="photos">{viewers}</div>'
    )


def _pictures(photo: ShownPhoto) -> list[Image.Image]:
    pictures = [photo.lq, *(result for _, result in photo.results), photo.hq]
    assert all(picture.size == photo.mask.shape[::-1] for picture in pictures), photo.key
    return pictures


def _badges(evaluated: Evaluation, shown: Sequence[ShownPhoto]) -> dict[str, str]:
    """ "best", "2nd worst" and so on of the photos shown, by key; none if there are fewer than four photos."""
    order = ranked(evaluated)
    if len(order) < 4:
        return {}
    named = {order[0]: "worst", order[1]: "2nd worst", order[-1]: "best", order[-2]: "2nd best"}
    return {photo.key: named[photo.key] for photo in shown if photo.key in named}


def _tools(evaluated: Evaluation, shown: Sequence[ShownPhoto], labels: dict[str, str]) -> str:
    main = main_method(evaluated)
    with_results = {title for photo in shown for title, _ in photo.results}
    methods = "".join(
        _button("data-method", method.title, labels[method.title], method == main)
        for method in evaluated.methods
        if method.title in with_results
    )
    stops = "".join(_button("data-value", str(value), words, value == 50) for words, value in _STOPS)
    return (
        '<div class="tools" role="group" aria-label="For all photos">'
        f'<div class="choice" role="group" aria-label="Result of all photos"><span>Result</span>{methods}</div>'
        f'<div class="choice" role="group" aria-label="What all photos show"><span>Show</span>{stops}</div>'
        f'<div class="choice"><span>Region</span>{_checks()}</div></div>'
    )


def _checks() -> str:
    return (
        '<label><input type="checkbox" data-check="outlined" autocomplete="off" checked> outline</label>'
        '<label><input type="checkbox" data-check="zoomed" autocomplete="off"> zoom to it</label>'
    )


def _button(name: str, value: str, words: str, pressed: bool) -> str:
    state = "true" if pressed else "false"
    return f'<button type="button" {name}="{html_text(value)}" aria-pressed="{state}">{html_text(words)}</button>'


def _viewer(photo: ShownPhoto, sources: list[str], evaluated: Evaluation, labels: dict[str, str], badge: str) -> str:
    titles = [title for title, _ in photo.results]
    main = main_method(evaluated)
    first = main.title if main and main.title in titles else next(iter(titles), "")
    width, height = photo.lq.size
    anchor = html_text(f"region-{photo.key}")
    svg = f'<svg class="region" viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">'
    path = outline(photo.mask)
    region = f'{svg}<g id="{anchor}"><path class="edge under" d="{path}"/><path class="edge" d="{path}"/></g></svg>'
    scores = evaluated.scores[evaluated.scores["key"] == photo.key]
    lq = scores[scores["method"] == LQ]

    layers = _layer("lq", photo, sources[0], "LQ", "LQ", _scores(lq, lq.iloc[:0]), region)
    for title, source in zip(titles, sources[1:-1], strict=True):
        kind = "result chosen" if title == first else "result"
        layers += _layer(kind, photo, source, title, labels[title], _scores(scores[scores["method"] == title], lq))
    layers += _layer("hq", photo, sources[-1], "HQ", "HQ")

    stops = "".join(_button("data-value", str(value), words, False) for words, value in _STOPS[::2])
    choice = "".join(_button("data-method", title, labels[title], title == first) for title in titles)
    facts = f"{photo.name}, {width}x{height}, region {share_text(photo.mask.mean())}"
    mark = f' <span class="badge {badge.split()[-1]}">{badge}</span>' if badge else ""
    view = view_of(photo.mask)
    return (
        f'<article class="photo outlined" id="photo-{html_text(photo.key)}" data-left="{view.left:g}" '
        f'data-top="{view.top:g}" data-zoom="{view.zoom:g}"><h3>{html_text(photo.caption)}{mark}</h3>'
        f'<div class="facts"><span>{html_text(facts)}</span><div class="choice checks">{_checks()}</div></div>'
        f'<div class="layers">{layers}<div class="stage" aria-hidden="true">{svg}<use href="#{anchor}"/></svg>'
        '<span class="line"></span><span class="label left"></span><span class="label right"></span></div>'
        f'<div class="wipe"><input type="range" min="0" max="200" value="50" autocomplete="off" '
        f'aria-label="{html_text(f"From LQ over the result to HQ: {photo.name}")}">'
        f'<div class="stops">{stops}</div></div>'
        f'<div class="choice methods" role="group" aria-label="{html_text(f"Result of {photo.name}")}">{choice}</div>'
        "</div></article>"
    )


def _layer(
    kind: str, photo: ShownPhoto, source: str, title: str, label: str, scores: str = "", region: str = ""
) -> str:
    """A picture with its name above and its scores below; the script uses it as a layer to wipe between."""
    width, height = photo.lq.size
    return (
        f'<figure class="layer {kind}" data-title="{html_text(title)}" data-label="{html_text(label)}">'
        f'<div class="frame"><img src="{source}" width="{width}" height="{height}" '
        f'alt="{html_text(f"{photo.name}, {title}")}" '
        f'draggable="false">{region}</div><figcaption><h4>{html_text(label)}</h4>{scores}</figcaption></figure>'
    )


def _scores(scores: pd.DataFrame, lq: pd.DataFrame) -> str:
    """One method's scores of one photo, with the LQ photo's in small type: a row per metric, a column per scope."""
    values, before = _by_figure(scores), _by_figure(lq)
    scopes = [scope for scope in _SCOPES if any(of == scope for of, _ in values)]
    metrics = [metric for metric in METRICS if any(name == metric.name for _, name in values)]
    if not metrics:
        return ""
    head = "".join(f'<th scope="col">{_SCOPES[scope]}</th>' for scope in scopes)
    rows = ""
    for metric in metrics:
        cells = ""
        for figure in ((scope, metric.name) for scope in scopes):
            if figure in values:
                small = f"<small>LQ {before[figure]:.{metric.digits}f}</small>" if figure in before else ""
                cells += f"<td>{values[figure]:.{metric.digits}f}{small}</td>"
            else:
                cells += '<td class="none">–</td>'
        rows += f'<tr><th scope="row">{metric_heading(metric)}</th>{cells}</tr>'
    return f'<table class="scores"><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _by_figure(scores: pd.DataFrame) -> dict[tuple[str, str], float]:
    """scope, metric -> value."""
    figures = zip(scores["scope"], scores["metric"], scores["value"], strict=True)
    return {(str(scope), str(metric)): float(value) for scope, metric, value in figures}
