from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter
from skimage import data

from pipelines.evaluation.method import OURS, SCORE_COLUMNS, Evaluated, Method
from pipelines.evaluation.page.page import page_bytes
from pipelines.evaluation.page.pictures import encoded, outline, view_of
from pipelines.evaluation.page.shown import ShownPhoto, choose_photos, main_method
from pipelines.evaluation.tables.report import Report, report_of
from tests.html_page import Page

ATTACK = "<img src=x onerror=alert(1)>"
SWEPT = tuple(Method(OURS, "model", s1, 1.0) for s1 in (0.5, 0.7, 0.8, 0.9, 1.1))
LQ, OTHER = Method("LQ", "runner"), Method("SeeSR", "results")
METHODS = (LQ, *SWEPT, OTHER)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def evaluated_of(
    photos: int,
    methods: tuple[Method, ...] = METHODS,
    name: str = "photo",
    caption: str = "the cup",
    bokeh: bool = False,
) -> Evaluated:
    """Photo k is k dB better than photo 0 by every method, and s1 raises the target by 10 dB and the rest by 1."""
    rows = []
    for method in methods:
        for k in range(photos):
            s1 = method.s1 or 0.0
            figures = {
                ("target", "psnr"): 20 + k + 10 * s1,
                ("remaining", "psnr"): 25 + k + s1,
                ("full", "psnr"): 22 + k + 5 * s1,
                ("target", "ssim"): 0.5 + 0.01 * k + 0.2 * s1,
                ("remaining", "bokeh_iou"): 0.3 + 0.01 * k,
            }
            for (scope, metric), value in figures.items():
                own = (method.title, method.s1, method.s2, key_of(k), f"{name} {k}.png", f"{caption} {k}")
                rows.append((*own, scope, metric, value))
    scores = pd.DataFrame(rows, columns=list(SCORE_COLUMNS))
    configuration = {"sampling": {"steps": 50}, "note": f"{ATTACK}</pre>"}
    return Evaluated("photos", photos, bokeh, methods, scores, {}, configuration)


def key_of(number: int) -> str:
    return f"{number:08x}"


@cache
def pictures() -> tuple[Image.Image, ...]:
    """Real photos of different shapes."""
    loaded = (data.astronaut(), data.coffee(), data.chelsea())
    return tuple(Image.fromarray(rgb).resize((rgb.shape[1] // 4, rgb.shape[0] // 4)) for rgb in loaded)


def shown_of(evaluated: Evaluated, key: str) -> ShownPhoto:
    number = int(key, 16)
    hq = pictures()[number % len(pictures())]
    mask = np.zeros(hq.size[::-1], bool)
    mask[10:40, 20:60] = True
    blurs = {m.title: hq.filter(ImageFilter.GaussianBlur(2 - (m.s1 or 0.0))) for m in evaluated.methods if m != LQ}
    own = evaluated.scores[evaluated.scores["key"] == key].iloc[0]
    lq = hq.filter(ImageFilter.GaussianBlur(4))
    return ShownPhoto(key, own["photo"], own["caption"], lq, hq, mask, tuple(blurs.items()))


def page_of(evaluated: Evaluated, count: int = 12) -> bytes:
    report = report_of(evaluated)
    shown = [shown_of(evaluated, key) for key in choose_photos(evaluated, count)]
    return page_bytes(evaluated, report, shown)


def decoded(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))))


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
        f"{ATTACK} ?",
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


def test_the_page_stays_small_whatever_the_photos() -> None:
    noise = np.random.default_rng(0)
    loud = [Image.fromarray(noise.integers(0, 256, (320, 320, 3), dtype=np.uint8)) for _ in range(4)]
    for limit in (400_000, 100_000):
        files = encoded(loud, limit)
        assert limit / 3 < sum(map(len, files)) <= limit
        opened = [Image.open(io.BytesIO(file)) for file in files]
        assert len({picture.size for picture in opened}) == 1
        assert all(picture.quantization == opened[0].quantization for picture in opened)  # type: ignore[attr-defined]
    assert Image.open(io.BytesIO(encoded([Image.new("RGB", (3000, 1500))])[0])).size == (1024, 512)
    evaluated = evaluated_of(3)
    shown = []
    for k in range(3):
        rgb = [Image.fromarray(noise.integers(0, 256, (512, 512, 3), dtype=np.uint8)) for _ in range(8)]
        titles = [method.title for method in (*SWEPT, OTHER)]
        results = tuple(zip(titles, rgb[2:], strict=True))
        shown.append(ShownPhoto(key_of(k), "p", "c", rgb[0], rgb[1], np.ones((512, 512), bool), results))
    assert len(page_bytes(evaluated, report_of(evaluated), shown)) < 12_500_000


def test_an_outline_runs_along_the_region_and_round_its_holes() -> None:
    mask = np.zeros((100, 200), bool)
    assert outline(mask) == ""
    mask[20:60, 0:90] = True  # at the photo's edge
    mask[30:40, 20:40] = False
    rings = [
        np.array([point.split() for point in ring.split("L")], float) for ring in re.findall("M([^Z]*)Z", outline(mask))
    ]
    assert len(rings) == 2
    np.testing.assert_allclose([rings[0].min(0), rings[0].max(0)], [(0, 20), (90, 60)], atol=1)
    np.testing.assert_allclose([rings[1].min(0), rings[1].max(0)], [(20, 30), (40, 40)], atol=1)


@pytest.mark.parametrize(
    "box", [(0, 0, 10, 10), (190, 90, 200, 100), (40, 20, 160, 60), (0, 0, 200, 100), (7, 3, 8, 4)]
)
def test_the_view_holds_the_region(box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    mask = np.zeros((100, 200), bool)
    mask[top:bottom, left:right] = True
    view = view_of(mask)
    share = 1 / view.zoom
    slack = 1e-3
    assert 1 <= view.zoom <= 8
    assert -slack <= view.left <= left / 200 + slack and right / 200 <= view.left + share + slack <= 1 + 2 * slack
    assert -slack <= view.top <= top / 100 + slack and bottom / 100 <= view.top + share + slack <= 1 + 2 * slack
    assert view_of(np.zeros((5, 5), bool)).zoom == 1


STEPS = """
const photos = [...document.querySelectorAll(".photo")];
const of = (photo) => ({
  value: photo.querySelector("input[type=range]").value,
  text: photo.querySelector("input[type=range]").getAttribute("aria-valuetext"),
  chosen: [...photo.querySelectorAll(".chosen")].map((layer) => layer.dataset.title),
  result: photo.querySelector(".chosen .frame").style.getPropertyValue("--shown"),
  hq: photo.querySelector(".hq .frame").style.getPropertyValue("--shown"),
  left: photo.querySelector(".label.left").hidden ? "" : photo.querySelector(".label.left").textContent,
  right: photo.querySelector(".label.right").hidden ? "" : photo.querySelector(".label.right").textContent,
  line: photo.querySelector(".line").style.left,
  classes: photo.className,
});
const state = () => ({
  photos: photos.map(of),
  pressed: [...document.querySelectorAll(".tools [aria-pressed=true]")].map((button) => button.textContent),
  boxes: [...document.querySelectorAll(".tools input")].map((box) => [box.checked, box.indeterminate]),
});
const found = [state()];
const slide = (photo, value) => {
  const range = photo.querySelector("input[type=range]");
  range.value = value;
  range.dispatchEvent(new Event("input"));
};
const drag = (photo, ...places) => {
  const stage = photo.querySelector(".stage");
  const box = stage.getBoundingClientRect();
  const held = new Set();
  stage.setPointerCapture = (id) => held.add(id);
  stage.hasPointerCapture = (id) => held.has(id);
  places.forEach((place, number) => stage.dispatchEvent(new PointerEvent(number ? "pointermove" : "pointerdown", {
    pointerId: 1, button: 0, clientX: box.left + place * box.width, clientY: box.top + 5,
  })));
};
slide(photos[0], 130); found.push(state());
document.querySelector('.tools [data-method="SeeSR"]').click(); found.push(state());
document.querySelector('.tools [data-value="200"]').click(); found.push(state());
drag(photos[1], 0.25); found.push(state());
drag(photos[1], 0.75, -0.3); found.push(state());
photos[1].querySelector('[data-check="zoomed"]').click(); found.push(state());
document.querySelector('.tools [data-check="outlined"]').click(); found.push(state());
const told = document.createElement("pre");
told.id = "found";
told.textContent = JSON.stringify(found);
document.body.append(told);
"""


def dumped(folder: Path, page: bytes) -> str:
    """The document as chromium has it after the scripts ran."""
    if CHROMIUM is None:
        pytest.skip("no chromium here")
    path = folder / "page.html"
    path.write_bytes(page)
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", "--dump-dom")
    done = subprocess.run([CHROMIUM, *flags, path.as_uri()], capture_output=True, timeout=100, check=True)
    return done.stdout.decode()


def test_the_script_runs_under_its_own_policy(tmp_path: Path) -> None:
    document = dumped(tmp_path, page_of(evaluated_of(3)))
    assert '<html lang="en" class="live">' in document
    assert document.count('aria-valuetext="s1 = 0.8 on the left 50 percent, LQ on the right"') == 3


def test_the_script_wipes_switches_and_tells_what_is_seen(tmp_path: Path) -> None:
    evaluated = evaluated_of(3)
    report = report_of(evaluated)
    shown = [shown_of(evaluated, key_of(k)) for k in range(3)]
    shown[2] = replace(shown[2], results=shown[2].results[:-1])  # SeeSR failed on it
    text = page_bytes(evaluated, report, shown).decode()
    text = re.sub("<meta http-equiv[^>]*>", "", text).replace("</body>", f"<script>{STEPS}</script></body>")
    document = dumped(tmp_path, text.encode())
    (told,) = re.findall('<pre id="found">(.*?)</pre>', document, re.DOTALL)
    first, slid, switched, at_hq, dragged, back, zoomed, bare = json.loads(told.replace("&amp;", "&"))

    main = "InstructRestore s1=0.8 s2=1"
    one = first["photos"][0]
    assert (one["value"], one["chosen"], one["line"]) == ("50", [main], "50%")
    assert (one["left"], one["right"]) == ("s1 = 0.8", "LQ")
    assert (one["result"], one["hq"]) == ("50%", "0%")
    assert first["pressed"] == ["s1 = 0.8", "LQ | result"] and first["boxes"] == [[True, False], [False, False]]

    one = slid["photos"][0]
    assert (one["left"], one["right"], one["line"]) == ("HQ", "s1 = 0.8", "30%")
    assert (one["result"], one["hq"]) == ("100%", "30%")
    assert slid["photos"][1] == first["photos"][1] and slid["pressed"] == ["s1 = 0.8"]

    assert [photo["chosen"] for photo in switched["photos"]] == [["SeeSR"], ["SeeSR"], [main]]
    assert switched["photos"][0]["right"] == "SeeSR" and switched["pressed"] == ["SeeSR"]

    assert [photo["text"] for photo in at_hq["photos"]] == ["HQ"] * 3
    assert (at_hq["photos"][0]["left"], at_hq["photos"][0]["right"]) == ("HQ", "")
    assert at_hq["pressed"] == ["SeeSR", "HQ"]

    assert dragged["photos"][1]["value"] == "125" and dragged["photos"][0]["value"] == "200"
    assert back["photos"][1]["value"] == "70"  # beyond the left edge the drag goes on between LQ and the result
    assert (back["photos"][1]["left"], back["photos"][1]["right"]) == ("SeeSR", "LQ")

    assert [("zoomed" in photo["classes"]) for photo in zoomed["photos"]] == [False, True, False]
    assert zoomed["boxes"] == [[True, False], [False, True]]
    assert not any("outlined" in photo["classes"] for photo in bare["photos"]) and bare["boxes"][0] == [False, False]
