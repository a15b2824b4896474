"""Hostile texts on the pages, in a real Chromium: nothing runs, nothing is asked of another machine, nothing is an
element, and the page keeps its width."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from instructrestore.shards.plain_text import visible_line
from tests.dataengine.hostile_dataset import ATTACKS, PHOTOS, write_hostile
from tests.pipelines.app.page_driver import started, until

pytestmark = pytest.mark.browser
# Elements and attributes that no page of the app has, and addresses that data gave.
INJECTED = """() => [...document.querySelectorAll("*")].filter((each) =>
  each.matches("body script:not([src]), iframe, object, embed, base, body style, body link, body meta, marquee") ||
  [...each.attributes].some((one) => one.name.startsWith("on") && one.name !== "on") ||
  ["src", "href", "action"].some((name) => /javascript|evil\\.example/i.test(each.getAttribute(name) ?? ""))
).map((each) => each.outerHTML)"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page")
    write_hostile(folder / "dataset")
    with started(folder, str(folder / "dataset")) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    faults: list[str] = []
    origin = "/".join(address.split("/")[:3])
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
    page.on("popup", lambda _: faults.append("a window"))
    page.on(
        "request", lambda asked: None if asked.url.startswith((origin, "data:", "blob:")) else faults.append(asked.url)
    )
    page.goto(address)
    yield page
    inside = page.evaluate(INJECTED)
    assert inside == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not set(page.inner_text("body")) & set("\x1b\x07\x00\x9b\u202e\u2066")
    context.close()
    assert faults == []


def test_every_photo_of_a_data_set_is_read_and_none_acts(page: Page) -> None:
    page.wait_for_selector(".tile img[src]")
    page.focus("#grid")
    page.keyboard.press("Enter")
    titles, shown = set[str](), ""
    for _ in range(PHOTOS):
        until(page, lambda: page.inner_text("#photo-title") in titles, False)
        page.wait_for_selector(".region")
        titles.add(page.inner_text("#photo-title"))
        for summary in page.locator("#region-list summary").all():
            summary.click()
        shown += page.inner_text("body")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("ArrowRight")
    together = " ".join(shown.split())
    for name in ("script", "attribute", "end of an element", "template", "markup"):
        assert ATTACKS[name] in together, name
    assert visible_line(ATTACKS["escape"]) in together


def test_names_of_photos_that_are_opened_are_text(page: Page, address: str) -> None:
    page.goto("/".join(address.split("/")[:3]) + "/")
    page.wait_for_selector("#files", state="attached")
    file = io.BytesIO()
    Image.new("RGB", (128, 96), (90, 120, 60)).save(file, "PNG")
    names = [
        ATTACKS[name][:120].replace("/", "") + ".png" for name in ("script", "attribute", "template", "order", "link")
    ]
    page.set_input_files(
        "#files", [{"name": name, "mimeType": "image/png", "buffer": file.getvalue()} for name in names]
    )
    until(page, lambda: page.locator("#photos li").count(), len(names))
    titles = page.locator("#photos button").evaluate_all("(all) => all.map((each) => each.title)")
    assert len(set(titles)) == len(names)
    assert all(visible_line(title) == title for title in titles)
