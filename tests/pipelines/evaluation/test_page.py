from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

import numpy as np

from instructrestore.pipelines.evaluation.methods.method import OURS, Method
from instructrestore.pipelines.evaluation.page.page import page_bytes
from instructrestore.pipelines.evaluation.page.shown import choose_photos, main_method
from instructrestore.pipelines.evaluation.tables.report import Report, report_of
from tests.html_page import Page
from tests.pipelines.evaluation.page_by_hand import (
    ATTACK,
    LQ,
    METHODS,
    OTHER,
    SWEPT,
    decoded,
    evaluated_of,
    key_of,
    page_of,
    shown_of,
)


def test_it_needs_nothing_from_outside_and_allows_nothing_else() -> None:
    content = page_of(evaluated_of(6))
    page, text = Page(content), content.decode()
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    for tag in ("style", "script"):
        (inner,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
        assert "url(" not in inner and "@import" not in inner and "http" not in inner and "eval" not in inner
    for _, attributes in page.elements:
        assert "style" not in attributes and "srcset" not in attributes  # the policy would refuse them
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
        assert attributes.get("href", "#").startswith("#")
    assert {tag for tag, _ in page.elements}.isdisjoint({"link", "iframe", "object", "embed", "form", "base"})


def test_ids_are_unique_and_links_lead_somewhere() -> None:
    page = Page(page_of(evaluated_of(6)))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"][1:] for tag, attributes in page.elements if tag in ("a", "use")}
    assert {"control", "table-2", "table-3", "photos", f"photo-{key_of(3)}", f"region-{key_of(3)}"} <= links <= set(ids)
    assert all(image.get("alt") for image in page.all("img"))
    assert all(box.get("aria-label") for box in page.all("input") if box["type"] == "range")


def test_all_text_from_data_is_escaped() -> None:
    hostile = Method(f"Theirs {ATTACK}", "results")
    evaluated = evaluated_of(4, (*METHODS, hostile), f'{ATTACK}"', f"the {ATTACK}")
    evaluated = replace(evaluated, testset=f"{ATTACK} \udc80", failed={hostile.title: {f"no file {ATTACK}": 1}})
    page = Page(page_of(evaluated))
    assert len(page.all("img")) == 4 * (2 + len(METHODS)) and not any(image["src"] == "x" for image in page.all("img"))
    assert len(page.all("script")) == 1
    for text in (
        f"{ATTACK} \\udc80",
        f"the {ATTACK} 2",
        f'{ATTACK}" 1.png',
        f"no file {ATTACK}",
        hostile.title,
        f"{ATTACK}</pre>",
    ):
        assert text in page.text
    assert any(ATTACK in image["alt"] for image in page.all("img"))


def test_same_input_same_bytes() -> None:
    assert page_of(evaluated_of(5)) == page_of(evaluated_of(5))


def test_every_photo_has_lq_every_result_and_hq_and_its_own_scores() -> None:
    evaluated = evaluated_of(3)
    report = report_of(evaluated)
    shown = [shown_of(evaluated, key_of(k)) for k in range(3)]
    shown[1] = replace(shown[1], results=shown[1].results[:-1])  # SeeSR failed on it
    page = Page(page_bytes(evaluated, report, shown))
    sources = iter(page.all("img"))
    for photo in shown:
        for picture, of in [(photo.lq, "LQ"), *((p, title) for title, p in photo.results), (photo.hq, "HQ")]:
            image = next(sources)
            assert image["alt"].startswith(photo.name) and image["alt"].endswith(of)
            found = decoded(image["src"])
            assert found.size == picture.size == (int(image["width"]), int(image["height"]))
            assert np.abs(np.asarray(found, int) - np.asarray(picture, int)).mean() < 4
    assert next(sources, None) is None
    assert len(page.all("figure", "result")) == 3 * 6 - 1
    assert len(page.all("figure", "chosen")) == 3
    assert all(f["data-title"] == main_method(evaluated).title for f in page.all("figure", "chosen"))  # type: ignore[union-attr]
    text = re.sub(r"\s+", " ", page.text)
    for k in range(3):
        assert f"{20 + k + 8:.2f}LQ {20 + k:.2f}" in text  # the target's PSNR at s1 = 0.8, and of LQ


def test_the_headline_gives_means_and_their_intervals() -> None:
    page = page_of(evaluated_of(6), 1).decode()
    headline = page.split('<dl class="figures">')[1].split("</dl>")[0]
    found = dict(re.findall("<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", headline))
    assert found["Photos"] == "6"
    for title, mean, digits in (("Target PSNR", 20 + 2.5 + 8, 2), ("Full PSNR", 22 + 2.5 + 4, 2)):
        told = re.fullmatch(r"([0-9.]+) dB<small>(.*?)</small><small>95%: ([0-9.]+)–([0-9.]+)</small>", found[title])
        assert told is not None and told[1] == f"{mean:.{digits}f}" and told[2] == SWEPT[2].title
        below, above = mean - float(told[3]), float(told[4]) - mean
        assert 0.8 < below < 2 and 0.8 < above < 2  # 1.96 sd / sqrt(6) = 1.4
    assert found["Locality"].startswith("0.10<") and found["Instruction following"].startswith("1.00<")


def test_quoted_rows_are_set_apart_and_the_best_computed_one_is_bold() -> None:
    text = page_of(evaluated_of(4)).decode()
    table = text.split('<section id="table-2">')[1].split("</section>")[0]
    computed, quoted = (
        re.findall(f'<tbody class="{o}">(.*?)</tbody>', table, re.DOTALL) for o in ("computed", "quoted")
    )
    assert len(computed) == len(quoted) == 1
    assert table.index('class="computed"') < table.index('class="quoted"')
    assert "Computed here" in computed[0] and "quoted" not in computed[0].lower()
    assert "Quoted from the paper, not computed here" in quoted[0]
    rows = quoted[0].split("<tr>")[1:]
    assert len(rows) == 4 and all('<small class="tag">quoted</small>' in row for row in rows)
    assert "29.71" in rows[0] and "<strong>" not in quoted[0]
    assert re.findall("<strong>([^<]*)</strong>", computed[0])[:2] == ["32.50", "0.7350"]  # of s1 = 1.1, the mean of 4
    assert "higher is better" in table and "lower is better" in table
    assert re.search(r'<td><strong>32\.50</strong><small title="95% confidence interval">\d\d\.\d\d–\d\d\.\d\d', table)


def test_paired_tests_are_folded_under_their_table() -> None:
    text = page_of(evaluated_of(12), 1).decode()
    table = text.split('<section id="table-2">')[1].split("</section>")[0]
    tests = re.findall("<details>.*?</details>", table, re.DOTALL)
    assert len(tests) == 1 and "s1 = 1.1 against s1 = 0.9" in tests[0]
    # s1 raises the target by 10 dB and the rest by 1, in every photo: too few of them are no proof
    first = tests[0].split("s1 = 0.7 against s1 = 0.5")[1].split("</tr>")[0]
    assert "<strong>+2.00</strong>" in first and "<strong>+0.20</strong>" in first
    assert re.search("<small>p = 0.0[0-4]", first)
    few = page_of(evaluated_of(4), 1).decode().split("s1 = 0.7 against s1 = 0.5")[1].split("</tr>")[0]
    assert "<td>+2.00<small>" in few and "<strong>" not in few


def test_a_bokeh_set_and_one_without_the_model() -> None:
    ours = Method(OURS, "model", 1.0, 1.0)
    bokeh = evaluated_of(3, (LQ, ours, OTHER), bokeh=True)
    page = Page(page_of(bokeh))
    assert "table-4" in {a.get("id") for _, a in page.elements} and "Bokeh IoU" in page.text
    assert main_method(bokeh) == ours and "PSNR outside the region" in page.text
    others = evaluated_of(3, (LQ, OTHER))
    page = Page(page_of(others))
    assert main_method(others) == OTHER and "table-3" in {a.get("id") for _, a in page.elements}
    assert not page.all("div", "control")


def test_the_page_speaks_of_a_method_that_has_figures() -> None:
    evaluated = evaluated_of(4)
    assert main_method(evaluated) == SWEPT[2]  # the paper's scales
    without = evaluated.scores[evaluated.scores["method"] != SWEPT[2].title]
    assert main_method(replace(evaluated, scores=without)) in (SWEPT[1], SWEPT[3])
    theirs = evaluated.scores[evaluated.scores["method"].isin([LQ.title, OTHER.title])]
    assert main_method(replace(evaluated, scores=theirs)) == OTHER
    assert main_method(replace(evaluated, scores=theirs[theirs["method"] == LQ.title])) is None


def test_an_evaluation_without_a_result_still_has_its_page() -> None:
    nothing = evaluated_of(3, (LQ, OTHER))
    nothing = replace(nothing, scores=nothing.scores.iloc[:0], failed={OTHER.title: {"no such file": 3}})
    assert choose_photos(nothing) == []
    page = Page(page_bytes(nothing, Report((), (), None), ()))
    assert "no such file" in page.text and not page.all("img")


def test_photos_shown_are_the_extremes_and_an_even_spread() -> None:
    evaluated = evaluated_of(100)
    mixed = evaluated.scores.sample(frac=1, random_state=3)
    order = list(dict.fromkeys(mixed["key"]))
    chosen = choose_photos(replace(evaluated, scores=mixed), 12)
    assert len(chosen) == 12 and [key for key in order if key in chosen] == chosen
    assert {key_of(k) for k in (0, 1, 98, 99)} <= set(chosen)
    places = sorted(order.index(key) for key in chosen)
    assert max(np.diff(places)) < 25
    assert choose_photos(evaluated_of(5), 12) == [key_of(k) for k in range(5)]
    assert len(choose_photos(evaluated_of(9), 1)) == 1
    text = Page(page_of(evaluated_of(8), 6)).text
    for k, badge in ((0, "worst"), (1, "2nd worst"), (6, "2nd best"), (7, "best")):
        assert f"the cup {k} {badge}" in text
