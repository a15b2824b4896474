from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from instructrestore.pipelines.evaluation.page.page import page_bytes
from instructrestore.pipelines.evaluation.tables.report import report_of
from tests.pipelines.evaluation.page_by_hand import evaluated_of, key_of, page_of, shown_of

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

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
    assert CHROMIUM, "there is no chromium: install it (Debian: apt-get install chromium)"
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
