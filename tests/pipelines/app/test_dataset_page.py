"""The data set's page as a person uses it: a real Chromium on a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route

from instructrestore.dataengine.judging.log import log_path
from instructrestore.dataengine.judging.sampling import draw, queue_path, write_queue
from instructrestore.pipelines import app
from instructrestore.shards.index import Dataset
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import AnnotatedPhoto
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset
from tests.pipelines.app.page_driver import check_access, started, until

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=alert(1)>\u202e" + "very " * 2000
PHOTOS = 120


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page")
    samples = []
    for seed in range(PHOTOS):
        photo, rgb = photo_of(seed, 90, 60, quality=float(seed % 100))
        dog = region_of(photo, 10, 10, 30, 30, f"the dog of photo {seed}", "dog", bokeh=seed % 2 == 0)
        wall = region_of(photo, 50, 0, 40, 60, "a wall", "wall")
        if seed == 0:
            photo, dog = replace(photo, name=HOSTILE, licence=HOSTILE), replace(dog, caption=HOSTILE, subject=HOSTILE)
        samples.append((AnnotatedPhoto(photo, (wall, dog) if seed % 3 else (wall,) if seed else (wall, dog)), rgb))
    write_dataset(folder / "dataset", samples)
    with started(folder, str(folder / "dataset")) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
    page.goto(address)
    page.wait_for_selector(".tile img[src]")
    yield page
    context.close()
    assert faults == []


def found(page: Page) -> str:
    return page.inner_text("#found")


def test_only_what_is_on_the_screen_is_there(page: Page) -> None:
    until(page, lambda: found(page), f"{PHOTOS} photos")
    assert page.locator(".tile").count() < 60
    page.focus("#grid")
    page.keyboard.press("End")
    page.wait_for_selector(f"#tile-{PHOTOS - 1}.active img[src]")
    assert page.locator("#tile-0").count() == 0
    assert page.get_attribute("#grid", "aria-activedescendant") == f"tile-{PHOTOS - 1}"
    assert page.get_attribute(f"#tile-{PHOTOS - 1}", "aria-setsize") == str(PHOTOS)
    page.keyboard.press("Home")
    page.wait_for_selector("#tile-0.active img[src]")


def test_filters_stand_in_the_address(page: Page) -> None:
    page.fill("#caption", "photo 11")
    until(page, lambda: "caption=photo+11" in page.url, True)
    until(page, lambda: found(page) != f"{PHOTOS} photos", True)
    few = found(page)
    page.select_option("[name=bokeh]", "true")
    until(page, lambda: found(page) != few, True)
    fewer, kept = found(page), page.url
    page.reload()
    until(page, lambda: found(page), fewer)
    assert page.url == kept
    assert page.input_value("#caption") == "photo 11"
    page.click("#clear")
    until(page, lambda: found(page), f"{PHOTOS} photos")
    page.go_back()
    until(page, lambda: found(page), fewer)
    page.fill("[name=area_from]", "99")
    until(page, lambda: found(page), "0 photos")
    assert page.locator("#nothing").is_visible()


def test_a_subject_leads_to_its_photos(page: Page) -> None:
    page.fill("#subject-part", "do")
    page.wait_for_selector("#subjects button:has-text('dog')")
    until(page, lambda: page.locator("#subjects button:has-text('wall')").count(), 0)
    page.click("#subjects button:has-text('dog')")
    until(page, lambda: found(page), "80 photos")
    assert page.get_attribute("#subjects button:has-text('dog')", "aria-pressed") == "true"


def test_a_photo_by_keys_alone(page: Page) -> None:
    page.select_option("[name=order]", "-quality")
    until(page, lambda: "order=-quality" in page.url, True)
    page.focus("#grid")
    page.keyboard.press("Enter")
    page.wait_for_selector(".region")
    assert page.inner_text("#photo-title").startswith("photo 99")
    page.keyboard.press("ArrowRight")
    until(page, lambda: page.inner_text("#photo-title").startswith("photo 98"), True)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#region-1.active")
    check_access(page)
    opened = page.url
    page.reload()
    page.wait_for_selector(".region")
    assert page.url == opened
    page.keyboard.press("Escape")
    page.wait_for_selector("#photo", state="hidden")
    assert page.evaluate("document.activeElement.id") == "grid"


def test_regions_are_drawn_and_pointed_at(page: Page) -> None:
    page.focus("#grid")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("#region-1")
    all_of_them = page.locator(".region").count()
    page.wait_for_selector(f"#regions-canvas[data-arrived='{all_of_them}']", state="attached")
    whole = coloured(page)
    assert whole > 1000
    page.uncheck("#region-0 input")
    until(page, lambda: coloured(page) < whole, True)
    box = page.locator("#regions-canvas").bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] * 25 / 90, box["y"] + box["height"] * 25 / 60)
    page.wait_for_selector("#region-1.active")
    page.click("#region-1 summary")
    assert "mask by made" in page.inner_text("#region-1")


def coloured(page: Page) -> int:
    return page.evaluate(
        """() => {
          const canvas = document.getElementById("regions-canvas");
          const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          let count = 0;
          for (let at = 3; at < data.length; at += 4) if (data[at]) count++;
          return count;
        }"""
    )


def test_hostile_texts_are_text(page: Page) -> None:
    page.focus("#grid")
    page.keyboard.press("Enter")
    page.wait_for_selector(".region")
    assert page.locator("#region-list img, #photo-facts img, #photo-title img").count() == 0
    words = page.inner_text("#region-list")
    assert "<img src=x onerror=alert(1)>\\u202e" in words
    assert "\u202e" not in page.inner_text("body")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_it_can_be_reached_by_everybody_on_a_phone_too(page: Page) -> None:
    check_access(page)
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme="light")
    check_access(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator(".tile").nth(1).click()
    page.wait_for_selector(".region")
    check_access(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_all_files_are_asked_for_at_once(page: Page) -> None:
    static = Path(app.__file__).parent / "static" / "dataset"
    modules = {f"dataset/{path.name}" for path in static.glob("*.js")} - {"dataset/main.js"}
    preloaded = page.locator("link[rel=modulepreload]").evaluate_all("(links) => links.map((link) => link.href)")
    names = {address.partition("/static/")[2] for address in preloaded}
    assert {name for name in names if "/" in name} == modules
    loaded = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    origin = page.evaluate("location.origin")
    assert all(address.startswith(origin) for address in loaded)
    scripts = {address.partition("/static/")[2] for address in loaded if address.endswith(".js")}
    assert scripts == names | {"dataset/main.js"}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a data set of three photos with two regions each, and its log."""
    folder = tmp_path_factory.mktemp("judged")
    samples = []
    for seed in range(3):
        photo, rgb = photo_of(seed, 90, 60)
        wall = region_of(photo, 40, 0, 50, 60, "a wall", "wall")
        dog = region_of(photo, 10, 10, 20, 30, "the dog", "dog")
        samples.append((AnnotatedPhoto(photo, (wall, dog)), rgb))
    write_dataset(folder / "dataset", samples)
    with started(folder, str(folder / "dataset")) as address:
        yield address, folder / "dataset.judgements.jsonl"


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log.exists() else []


def come(browser: Browser, address: str, who: str) -> Page:
    """Somebody who begins to judge."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(address)
    page.wait_for_selector(".tile img[src]")
    page.click("#judge")
    page.fill("dialog input", who)
    page.keyboard.press("Enter")
    page.wait_for_selector(".region.active")
    return page


def test_two_people_judge_by_keys(browser: Browser, judged: tuple[str, Path]) -> None:
    address, log = judged
    ann = come(browser, address, "Ann")
    bob = come(browser, address, "Bob")
    check_access(ann)
    assert ann.inner_text("#photo-title") != bob.inner_text("#photo-title")
    ann.keyboard.press("a")
    ann.wait_for_selector("#region-1.active")
    assert [line["act"] for line in lines(log)] == ["accept"]
    before = ann.inner_text("#photo-title")
    ann.keyboard.press("r")
    until(ann, lambda: ann.inner_text("#photo-title") != before, True)  # led on, past Bob's photo
    assert ann.inner_text("#photo-title") != bob.inner_text("#photo-title")
    ann.keyboard.press("u")
    until(ann, lambda: ann.inner_text("#photo-title"), before)
    assert [line["act"] for line in lines(log)] == ["accept", "reject", "undo"]

    bob.keyboard.press("e")
    bob.fill("dialog input", "the grey dog")
    bob.keyboard.press("Enter")
    until(bob, lambda: bob.locator(".caption").all_inner_texts()[0].endswith("the grey dog"), True)
    bob.keyboard.press("d")
    bob.wait_for_selector("#brush-canvas:not([hidden])")
    box = bob.locator("#brush-canvas").bounding_box()
    assert box
    bob.mouse.move(box["x"] + 15, box["y"] + 15)
    bob.mouse.down()
    bob.mouse.move(box["x"] + 60, box["y"] + 30, steps=4)
    bob.mouse.up()
    bob.keyboard.press("Enter")
    until(bob, lambda: [line["act"] for line in lines(log)][3:], ["caption", "mask"])
    drawn = lines(log)[-1]
    mask = Mask(*drawn["mask"]["size"], drawn["mask"]["counts"])
    dog = np.zeros((60, 90), bool)
    dog[10:40, 10:30] = True
    added = mask.array() & ~dog
    assert (mask.array() & dog).sum() == dog.sum()
    assert 200 < added.sum() < 3000
    assert {(line["who"]) for line in lines(log)} == {"Ann", "Bob"}
    for page in (ann, bob):
        page.context.close()


def test_an_audit_takes_an_answer_for_the_region_that_it_asks_for(browser: Browser, tmp_path: Path) -> None:
    """Keys that come before the next photo does judge nothing; Undo leads back to what was judged last."""
    place = tmp_path / "dataset"
    samples = []
    for seed in range(6):
        photo, rgb = photo_of(seed, 90, 60)
        samples.append((AnnotatedPhoto(photo, (region_of(photo, 10, 10, 30, 30, f"the dog {seed}", "dog"),)), rgb))
    write_dataset(place, samples)
    write_queue(queue_path(str(place)), draw(Dataset(str(place)), 6, 0))
    log = Path(log_path(str(place)))
    with started(tmp_path, str(place)) as address:
        page = browser.new_context().new_page()
        page.goto(address)
        page.wait_for_selector(".tile img[src]")
        page.click("#audit")
        page.fill("dialog input", "Ann")
        page.keyboard.press("Enter")
        page.wait_for_selector("#region-0.active")
        first = page.inner_text("#photo-title")
        waiting: list[Route] = []
        page.route(re.compile(r"/dataset/photos/[0-9a-f]+$"), lambda route: waiting.append(route))
        page.keyboard.press("x")
        until(page, lambda: len(waiting), 1)
        page.keyboard.press("y")
        until(page, lambda: "the next photo is coming" in page.inner_text("#told"), True)
        assert [line["act"] for line in lines(log)] == ["audit"]
        waiting[0].continue_()
        page.unroute_all()
        until(page, lambda: page.inner_text("#photo-title") != first, True)
        page.keyboard.press("u")
        until(page, lambda: page.inner_text("#photo-title"), first)
        page.wait_for_selector("#region-0.active")
        page.keyboard.press("y")
        until(page, lambda: [line["act"] for line in lines(log)], ["audit", "undo", "audit"])
        before, _, after = lines(log)
        assert (before["key"], before["region"]) == (after["key"], after["region"])
        assert (before["mask_right"], after["mask_right"]) == (False, True)
        page.context.close()
