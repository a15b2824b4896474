from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from instructrestore.pipelines.evaluation.methods.method import Evaluation, Method
from instructrestore.pipelines.evaluation.page.chart import charts, sweep_lines, ticks_of
from instructrestore.pipelines.evaluation.page.strip import strip
from instructrestore.pipelines.evaluation.tables.report import report_of
from tests.html_page import Page
from tests.pipelines.evaluation.page_by_hand import LQ, METHODS, OTHER, SWEPT, evaluated_of, page_of


def all_equal(psnr: float, methods: tuple[Method, ...] = METHODS) -> Evaluation:
    """Every result is HQ itself, say."""
    evaluated = evaluated_of(4, methods)
    scores = evaluated.scores.copy()
    scores.loc[scores["metric"] == "psnr", "value"] = psnr
    return replace(evaluated, scores=scores)


def without(evaluated: Evaluation, method: Method) -> Evaluation:
    """As if it had failed on every photo."""
    scores = evaluated.scores[evaluated.scores["method"] != method.title]
    return replace(evaluated, scores=scores, failed={method.title: {"out of memory": evaluated.photos}})


def section(page: bytes, name: str) -> str:
    return page.decode().split(f'<section id="{name}">')[1].split("</section>")[0]


def on_axis(drawn: str, axis: str) -> tuple[list[float], list[float]]:
    """Where the ticks of an axis ("x" or "y") lie, and what they say."""
    found = re.findall(r'<path class="grid" d="M([0-9.]+) ([0-9.]+)[HV][^/]*/><text [^>]*>([^<]*)<', drawn)
    return [float(left if axis == "x" else top) for left, top, _ in found], [float(text) for *_, text in found]


@pytest.mark.parametrize(
    ("low", "high"),
    [(100, 100), (0, 0), (27.1, 27.1), (-3.0, -3.0), (27.1, 27.1004), (17.6, 31.9), (-0.21, 1.1), (24.99, 25.01)],
)
def test_ticks_are_round_and_hold_the_figures(low: float, high: float) -> None:
    ticks = ticks_of(low, high)
    assert 2 <= len(ticks) <= 9
    assert ticks[0] <= low + 1e-9 and ticks[-1] >= high - 1e-9
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert steps[0] >= 0.0099 and f"{steps[0]:.0e}"[0] in "125"
    np.testing.assert_allclose(ticks, np.round(ticks, 2), atol=1e-9)  # a label of two digits tells them


@pytest.mark.parametrize(("low", "high"), [(17.9, 31.6), (0.0, 1.3), (20.0, 27.0), (27.1, 27.1)])
def test_every_tick_says_where_it_is(low: float, high: float) -> None:
    evaluated = evaluated_of(1, SWEPT)
    scores = evaluated.scores.copy()
    of_psnr = scores["metric"] == "psnr"
    scores.loc[of_psnr, "value"] = np.linspace(low, high, of_psnr.sum())
    evaluated = replace(evaluated, scores=scores)
    for axis, drawn in [("x", strip(evaluated, ())), *(("y", chart) for chart in drawn_charts(evaluated))]:
        places, said = on_axis(drawn, axis)
        assert len(places) >= 2 and len(set(said)) == len(said)
        slope = (places[-1] - places[0]) / (said[-1] - said[0])
        np.testing.assert_allclose(places, places[0] + slope * (np.array(said) - said[0]), atol=0.2)


def drawn_charts(evaluated: Evaluation) -> list[str]:
    (table,) = report_of(evaluated, (2,), quoted=False).tables
    return re.findall('<svg class="chart".*?</svg>', charts(sweep_lines(table, evaluated)), re.DOTALL)


@pytest.mark.parametrize("psnr", [100.0, 27.1, 0.0])
def test_figures_that_are_all_equal_still_have_their_charts(psnr: float) -> None:
    evaluated = all_equal(psnr)
    absolute, change = drawn_charts(evaluated)
    for drawn, value in ((absolute, psnr), (change, 0.0)):
        places, said = on_axis(drawn, "y")
        heights = {float(y) for y in re.findall('<circle [^>]*cy="([^"]*)"', drawn)}
        assert heights == {places[said.index(value)]} and drawn.count("<circle") == 8
    drawn = strip(evaluated, ())
    places, said = on_axis(drawn, "x")
    assert {float(x) for x in re.findall('<circle [^>]*cx="([^"]*)"', drawn)} == {places[said.index(psnr)]}
    assert drawn.count("<circle") == 4 * len(METHODS)


def test_a_page_of_perfect_results() -> None:
    content = page_of(all_equal(100.0))
    text = Page(content).text
    assert "Target PSNR100.00 dB" in text and "Locality" not in section(content, "control")  # nothing moves inside
    tests = section(content, "table-2").split("<details>")[1]
    assert "<td>0.00<small>" in tests and "+0.00<" not in tests and "-0.00<" not in tests
    assert "nan" not in text.lower().replace("maniqa", "") and "inf" not in re.findall(r"[a-z]+", text)


def test_a_page_of_one_photo() -> None:
    content = page_of(evaluated_of(1))
    text = Page(content).text
    assert "Test set of 1 photo," in text and "95%" not in section(content, "control")
    assert "Target PSNR28.00 dB" in text
    drawn = section(content, "spread-over-photos")
    dots, means = re.findall('cx="([^"]*)"', drawn), re.findall(r'class="mean \w+" d="M([0-9.]+) ', drawn)
    assert dots == means and len(dots) == len(METHODS)


def test_a_scale_that_failed_on_every_photo_leaves_the_charts_of_the_others() -> None:
    content = page_of(without(evaluated_of(4), SWEPT[1]))
    control = section(content, "control")
    assert "No photo has a result at every s1" in control and "Instruction following" not in Page(content).text
    assert "target region, computed, s1 = 0.5: 26.50 dB" in control
    assert "s1 = 0.7: " in control and "computed, s1 = 0.7" not in control
    assert "Its change from s1 = 0.5 on" in control
    assert "out of memory" in section(content, "without-a-result")
    first = section(page_of(without(evaluated_of(4), SWEPT[0])), "control")
    assert "Its change from each line's smallest s1 on" in first and "computed, s1 = 0.7: 0.00 dB" in first
    only_quoted = page_of(without(evaluated_of(4, (LQ, SWEPT[0], SWEPT[4], OTHER)), SWEPT[0]))
    assert '<section id="control">' not in only_quoted.decode()


def test_the_stroke_of_the_strip_is_the_mean() -> None:
    evaluated = evaluated_of(5)
    scores = evaluated.scores.copy()
    last = (scores["metric"] == "psnr") & (scores["key"] == scores["key"].iloc[-1])
    scores.loc[last, "value"] += 30  # the mean goes 6 dB up, and the median stays
    evaluated = replace(evaluated, scores=scores)
    drawn = strip(evaluated, ())
    places, said = on_axis(drawn, "x")
    strokes = [float(x) for x in re.findall(r'class="mean \w+" d="M([0-9.]+) ', drawn)]
    means = [22 + 6 + 10 * (method.s1 or 0.0) for method in METHODS]
    np.testing.assert_allclose(np.interp(strokes, places, said), means, atol=0.02)
    dots = [float(x) for x in re.findall('cx="([^"]*)"', drawn)]
    of_psnr = scores[(scores["metric"] == "psnr") & (scores["scope"] == "target")]
    np.testing.assert_allclose(np.interp(dots, places, said), of_psnr["value"], atol=0.02)


def test_the_strip_makes_room_for_names() -> None:
    long = Method("A very long name of some other method & its version", "results")
    for methods in (METHODS, (*METHODS, long)):
        drawn = strip(evaluated_of(3, methods), ())
        names = re.findall(r'<text class="y" x="([0-9.]+)"[^>]*>([^<]*)</text>', drawn)
        assert len(names) == len(methods)
        first = min(on_axis(drawn, "x")[0])
        assert all(9 * len(name.replace("&amp;", "&")) < float(end) < first for end, name in names)
    assert names[-1][1] == "A very long name of some …"


def test_control_and_its_chart() -> None:
    text = page_of(evaluated_of(4)).decode()
    control = text.split('<section id="control">')[1].split("</section>")[0]
    assert re.search(
        r"<h3>Locality.*?<p class=\"value\">0\.10<small>", control, re.DOTALL
    )  # 1 dB outside for 10 inside
    assert re.search(r"<h3>Instruction following.*?<p class=\"value\">1\.00<small>", control, re.DOTALL)
    assert "Table 2: 0.33" in control
    absolute, change = re.findall('<svg class="chart".*?</svg>', control, re.DOTALL)
    for chart in (absolute, change):
        drawn = re.findall('<path class="((?:target|remaining)(?: quoted)?)" d="M([^"]*)"', chart)
        assert sorted(kind for kind, _ in drawn) == ["remaining", "remaining quoted", "target", "target quoted"]
        assert all(path.count("L") == 3 for _, path in drawn)
    assert len(re.findall('class="interval ', absolute)) == 8 and "interval" not in change
    assert "target region, computed, s1 = 1.1: 6.00 dB" in change and "s1 = 1.1: 1.02 dB" in change
