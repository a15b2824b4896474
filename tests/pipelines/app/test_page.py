"""The page as a person uses it: a real Chromium on a real server with the small model."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route

from instructrestore.pipelines import app
from tests.pipelines.app.page_driver import TURNED, Driver, mask, photo, started

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started(tmp_path_factory.mktemp("app")) as address:
        yield address


def hold(page: Page, address: str) -> list[Route]:
    """Requests to an address, which wait until they are continued."""
    held: list[Route] = []
    page.route(address, lambda route: held.append(route))
    return held


@pytest.fixture
def driver(browser: Browser, address: str) -> Iterator[Driver]:
    """A person who has just come: a session of their own."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, color_scheme="dark", permissions=["clipboard-read", "clipboard-write"]
    )
    driver = Driver(context.new_page(), address)
    yield driver
    context.close()
    assert driver.faults == []


def test_a_dropped_photo_is_seen_upright(driver: Driver) -> None:
    driver.check_access()
    driver.open("lying.jpg", photo(256, 192, TURNED))
    assert driver.page.inner_text("#photo-name") == "lying.jpg · 192 × 256"
    size = driver.page.evaluate(
        "[document.getElementById('before').naturalWidth, document.getElementById('before').naturalHeight]"
    )
    assert size == [192, 256]
    driver.drop(("not a photo.jpg", b"<svg xmlns='http://www.w3.org/2000/svg'></svg>"))
    driver.page.wait_for_selector(".told.fault")
    assert driver.page.inner_text(".told.fault p").startswith("not a photo.jpg: ")
    assert driver.page.inner_text("#photo-name") == "lying.jpg · 192 × 256"


def test_a_sample_is_taken(driver: Driver) -> None:
    driver.page.locator("#sample-list button").first.click()
    driver.page.wait_for_selector("#part-list button", state="attached")
    assert driver.page.locator("#before").evaluate("(image) => image.complete && image.naturalWidth > 0")


def test_a_click_lights_a_thing_up_and_names_its_region(driver: Driver) -> None:
    driver.open()
    driver.page.mouse.move(*driver.place(0.5, 0.7))
    driver.until(lambda: driver.lit("hover") > 1000, True)
    assert driver.lit() == 0
    driver.page.mouse.click(*driver.place(0.5, 0.7))
    driver.until(lambda: driver.lit() > 1000, True)
    driver.until(driver.text, "make the person clear with 0.7 and keep other parts clear with 1")
    assert driver.share() > 0.1
    driver.check_access()
    driver.page.mouse.click(*driver.place(0.5, 0.7))
    driver.until(driver.lit, 0)
    driver.page.click("#undo")
    driver.until(lambda: driver.lit() > 1000, True)


def test_text_and_regions_follow_each_other(driver: Driver) -> None:
    driver.open()
    page = driver.page
    page.fill("#instruction", "make the helmet clear with 0.6, the flag with 0.9 and the rest with 1.1")
    driver.until(lambda: page.locator(".region").count(), 2)
    names = page.locator(".region input[type=text]")
    assert [names.nth(0).input_value(), names.nth(1).input_value()] == ["the helmet", "the flag"]
    numbers = page.locator(".region input[type=number]")
    assert [numbers.nth(0).input_value(), numbers.nth(1).input_value()] == ["0.6", "0.9"]
    assert page.input_value("#rest .scale input[type=number]") == "1.1"
    names.nth(1).fill("the patch")
    numbers.nth(0).fill("0.5")
    numbers.nth(0).press("Enter")
    page.check("#bokeh")
    written = "make the helmet clear with 0.5, make the patch clear with 0.9 and keep other parts bokeh blur with 1.1"
    driver.until(driver.text, written)

    page.fill("#instruction", "make the dog clear with 0.6 the cat clear")
    driver.until(lambda: page.locator("#mirror mark").count(), 1)
    assert page.inner_text("#instruction-fault").startswith("Expected")
    page.click("#restore")
    assert driver.jobs() == []

    page.fill("#instruction", "make the pers")
    page.press("#instruction", "ArrowDown")
    page.press("#instruction", "Enter")
    driver.until(driver.text, "make the person clear with 0.7")
    driver.until(lambda: names.all_inner_texts() and names.nth(0).input_value(), "the person")


def test_a_region_is_brushed_boxed_loaded_and_changed(driver: Driver) -> None:
    driver.open()
    page = driver.page
    page.keyboard.press("b")
    driver.drag((0.2, 0.5), (0.6, 0.5))
    driver.until(lambda: driver.share() > 0.02, True)
    brushed = driver.share()
    page.keyboard.press("e")
    driver.drag((0.4, 0.5), (0.7, 0.5))
    driver.until(lambda: 0 < driver.share() < brushed, True)
    erased = driver.share()
    page.click("#mask-grow")
    driver.until(lambda: driver.share() > erased, True)
    page.click("#mask-shrink")
    driver.until(lambda: abs(driver.share() - erased) < 0.02, True)
    page.click("#mask-feather")
    page.click("#mask-invert")
    driver.until(lambda: driver.share() > 0.8, True)
    page.click("#mask-clear")
    driver.until(driver.share, 0.0)

    page.click("#add-region")
    page.keyboard.press("Control+a")
    page.keyboard.type("the box")
    page.click("[data-tool=box]")
    driver.drag((0.25, 0.25), (0.75, 0.75))
    driver.until(lambda: abs(driver.share() - 0.25) < 0.01, True)
    page.click("#add-region")
    page.set_input_files("#mask-file", {"name": "text.txt", "mimeType": "image/png", "buffer": b"no picture"})
    page.wait_for_selector(".told.fault")
    page.set_input_files("#mask-file", {"name": "mask.png", "mimeType": "image/png", "buffer": mask(128, 96)})
    driver.until(lambda: abs(driver.share() - 0.5) < 0.01, True)
    page.wait_for_selector(".told", state="detached")
    assert page.inner_text(".region.active .notes") == "The mask of 128x96 was scaled to the photo's size."
    assert "All regions are marked" not in (page.get_attribute("#find", "title") or "")
    assert page.locator(".region").count() == 3
    for _ in range(20):
        page.keyboard.press("Escape")
        page.click("#panes", position={"x": 3, "y": 300})
        page.keyboard.press("Control+z")
    driver.until(lambda: page.locator(".region").count(), 0)


def test_strengths_steps_and_seed_reach_the_model(driver: Driver) -> None:
    driver.open()
    page = driver.page
    page.fill("#instruction", "make the person clear with 0.6")
    driver.until(lambda: page.locator(".region").count(), 1)
    found = driver.restore("#find")
    assert found["kind"] == "mask"
    driver.until(lambda: driver.lit() > 0, True)
    page.locator(".region input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    driver.until(lambda: "0.65" in driver.text(), True)
    assert page.locator(".region input[type=range]").get_attribute("aria-valuetext") == "0.65, more detail"
    page.click("#more summary")
    page.fill("#seed", "7")
    page.fill("#setting-num_inference_steps", "2")
    page.press("#setting-num_inference_steps", "Enter")
    preview = driver.restore("#preview")
    assert preview["asked"]["preview"]
    full = driver.restore()
    assert full["asked"]["seed"] == 7 and full["asked"]["settings"]["num_inference_steps"] == 2
    assert full["instruction"] == "make the person clear with 0.65 and keep other parts clear with 1"
    assert not full["asked"]["preview"]
    driver.until(lambda: "second" in page.inner_text("#expected"), True)


def test_a_job_is_cancelled_and_run_again(driver: Driver) -> None:
    driver.open()
    page = driver.page
    page.fill("#instruction", "make the person clear with 0.6")
    driver.until(lambda: page.locator(".region").count(), 1)
    page.click("#more summary")
    page.fill("#setting-num_inference_steps", "300")
    page.press("#setting-num_inference_steps", "Enter")
    page.click("#restore")
    page.locator("#running progress").wait_for()
    driver.check_access()
    page.click("#running button")
    driver.until(lambda: [job["state"] for job in driver.jobs()], ["cancelled"])
    driver.until(lambda: page.locator(".result:has-text('Cancelled')").count(), 1)
    page.click(".result button:has-text('Run again')")
    driver.until(lambda: page.locator("#running li").count(), 1)
    page.reload()
    page.locator("#running progress").wait_for()
    page.click("#running button")
    driver.until(lambda: [job["state"] for job in driver.jobs()], ["cancelled", "cancelled"])


def test_fifty_regions_and_as_many_as_there_may_be(driver: Driver) -> None:
    driver.open()
    page = driver.page

    def things(count: int) -> str:
        return ", ".join(f"make thing {number} clear with 0.6" for number in range(count))

    page.fill("#instruction", things(50))
    driver.until(lambda: page.locator(".region").count(), 50)
    driver.check_access()
    driver.restore("#preview")
    driver.until(lambda: [job["state"] for job in driver.jobs()], ["done"])
    page.fill("#instruction", things(64))
    driver.until(lambda: page.locator(".region").count(), 64)
    page.click("#add-region")
    driver.until(lambda: "delete one first" in page.inner_text("#told"), True)
    page.fill("#instruction", things(65))
    driver.until(lambda: "64" in page.inner_text("#instruction-fault"), True)
    assert page.locator(".region").count() == 64
    assert page.locator("#restore").is_visible()


def test_a_photo_of_24_megapixels_stays_workable(driver: Driver) -> None:
    page = driver.page
    page.set_input_files("#files", {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": photo(6000, 4000)})
    page.wait_for_selector("#part-list button", state="attached", timeout=60_000)
    size = page.evaluate("[document.getElementById('overlay').width, document.getElementById('overlay').height]")
    assert size[0] * size[1] < 2e6
    page.mouse.click(*driver.place(0.5, 0.7))
    driver.until(lambda: driver.lit() > 1000, True)
    page.keyboard.press("b")
    driver.drag((0.2, 0.3), (0.6, 0.4))
    driver.restore("#preview")
    page.wait_for_selector("#wipe")


def test_a_result_is_compared(driver: Driver) -> None:
    driver.open()
    page = driver.page
    page.mouse.click(*driver.place(0.5, 0.7))
    driver.restore()
    wipe = page.locator("#wipe")
    wipe.wait_for()
    driver.check_access()
    cut = page.locator("#after").evaluate("(image) => image.style.clipPath")
    wipe.press("ArrowRight")
    assert wipe.get_attribute("aria-valuenow") == "52"
    assert page.locator("#after").evaluate("(image) => image.style.clipPath") != cut
    page.click("[data-look=side]")
    page.wait_for_selector("#after-two")
    page.click("[data-look=result]")
    page.wait_for_selector("#after")
    page.keyboard.down("f")
    page.wait_for_selector("#after", state="hidden")
    page.keyboard.up("f")
    page.wait_for_selector("#after")
    page.keyboard.press("4")
    driver.until(lambda: page.inner_text("#zoom"), "400%")
    page.keyboard.press("1")
    driver.until(lambda: page.inner_text("#zoom"), "100%")
    page.mouse.move(*driver.place(0.5, 0.5))
    page.mouse.wheel(0, -200)
    driver.until(lambda: page.inner_text("#zoom") != "100%", True)
    page.click("[data-look=difference]")
    driver.until(lambda: page.inner_text("#difference-says").startswith("Outside the regions the diff"), True)
    page.click("#difference-inside")
    driver.until(lambda: " Inside the difference is " in page.inner_text("#difference-says"), True)
    assert page.inner_text("#label-left") == "Difference everywhere, 8 times brighter"
    assert driver.lit("difference") == 256 * 192

    sweep = driver.restore("#sweep")
    assert [result["scale"] for result in sweep["results"] if result["kind"] == "image"] == [0.5, 0.7, 0.9, 1.1]
    page.wait_for_selector("#sheet button")
    page.wait_for_selector("#zooms", state="hidden")
    driver.check_access()
    page.click("#sheet [data-scale='0.9']")
    driver.until(driver.text, "make the person clear with 0.9 and keep other parts clear with 1")
    page.wait_for_selector("#sheet", state="hidden")


def test_a_result_is_kept_and_can_be_made_again(driver: Driver) -> None:
    driver.open()
    page = driver.page
    page.mouse.click(*driver.place(0.5, 0.7))
    driver.restore()
    with page.expect_download() as download:
        page.click(".result.shown button:has-text('Save')")
    saved = Image.open(download.value.path())
    assert saved.size == (256, 192)
    page.click(".result.shown button:has-text('Command line')")
    needs = "It needs photo.jpg and mask-1.png beside it; “Save its mask” gives the masks."
    driver.until(lambda: page.inner_text(".told p"), f"The command line is copied. {needs}")
    command = page.evaluate("navigator.clipboard.readText()")
    assert command.startswith("instructrestore restore photo.jpg") and "--mask mask-1.png" in command
    with page.expect_download() as download:
        page.click(".result.shown button:has-text('Save its mask')")
    assert download.value.suggested_filename == "mask-1.png"
    assert Image.open(download.value.path()).size == (256, 192)
    page.click(".result.shown button:has-text('Python')")
    driver.until(lambda: "import" in page.evaluate("navigator.clipboard.readText()"), True)
    page.click(".result.shown button:has-text('Record')")
    driver.until(lambda: page.inner_text(".told p"), "The record is copied.")
    assert isinstance(json.loads(page.evaluate("navigator.clipboard.readText()")), dict)

    page.fill("#instruction", "make the flag clear")
    driver.until(lambda: page.locator(".region").count() and page.input_value(".region input[type=text]"), "the flag")
    page.click(".result.shown button:has-text('This wish again')")
    driver.until(driver.text, "make the person clear with 0.7 and keep other parts clear with 1")
    driver.until(lambda: driver.share() > 0.1, True)


def test_the_rest_is_left_exactly_as_it_is(driver: Driver) -> None:
    driver.open()
    page = driver.page
    page.mouse.click(*driver.place(0.5, 0.7))
    page.check("#careful-faces")
    page.click("text=Left exactly as it is")
    assert not page.is_visible("#careful-faces")
    page.fill("#rest-feather", "6")
    page.press("#rest-feather", "Enter")
    job = driver.restore()
    assert job["asked"]["rest"] == "keep" and job["asked"]["feather"] == 6
    assert "careful" not in job["asked"]["settings"]
    page.click("[data-look=difference]")
    driver.until(
        lambda: page.inner_text("#difference-says"), "Outside the regions no pixel differs. The regions are grey."
    )


def test_small_faces_and_lettering_are_held_closer(driver: Driver) -> None:
    driver.open()
    page = driver.page
    page.mouse.click(*driver.place(0.5, 0.7))
    for kind in ("text", "faces"):
        page.check(f"#careful-{kind}")
    job = driver.restore()
    assert job["asked"]["settings"]["careful"] == "faces,text" and "--careful faces,text" in job["command"]
    page.uncheck("#careful-text")
    page.uncheck("#careful-faces")
    page.click(".result.shown button:has-text('This wish again')")
    driver.until(lambda: page.is_checked("#careful-text") and page.is_checked("#careful-faces"), True)


@pytest.mark.parametrize(
    ("format", "kind"), [("jpeg", "JPEG"), ("webp", "WEBP"), ("tiff", "TIFF"), ("original", "JPEG")]
)
def test_a_result_is_saved_in_any_format(driver: Driver, format: str, kind: str) -> None:
    driver.open()
    page = driver.page
    page.mouse.click(*driver.place(0.5, 0.7))
    driver.restore()
    page.select_option(".result.shown select", format)
    with page.expect_download() as download:
        page.click(".result.shown button:has-text('Save')")
    assert Image.open(download.value.path()).format == kind


def test_a_reload_loses_nothing(driver: Driver) -> None:
    driver.open()
    page = driver.page
    page.keyboard.press("b")
    driver.drag((0.3, 0.5), (0.6, 0.5))
    page.fill(".region input[type=text]", "the suit")
    driver.until(lambda: "the suit" in driver.text(), True)
    driver.restore()
    share = driver.share()
    driver.until(lambda: page.evaluate("Object.values(localStorage).some((kept) => kept.includes('the suit'))"), True)
    page.reload()
    page.wait_for_selector("#part-list button", state="attached")
    driver.until(driver.text, "make the suit clear with 0.7 and keep other parts clear with 1")
    assert driver.share() == share
    assert page.locator(".result").count() == 1


def test_a_folder_is_restored_with_one_wish(driver: Driver) -> None:
    page = driver.page
    driver.drop(("one.jpg", photo()), ("two.jpg", photo(192, 256)), ("three.jpg", b"no photo at all"))
    page.wait_for_selector(".told.fault")
    assert page.inner_text(".told.fault p").startswith("three.jpg: ")
    page.click(".told button")
    page.wait_for_selector(".told", state="detached")
    driver.until(lambda: page.locator("#folder tbody tr").count(), 2)
    page.fill("#instruction", "make the person clear with 0.6")
    driver.until(lambda: page.locator(".region").count(), 1)
    driver.check_access()
    asked = hold(page, "**/folders")
    page.click("text=Restore all")
    driver.until(lambda: page.locator("#folder tbody tr:has-text('Asking')").count(), 2)
    assert page.locator("#folder button.accent").is_disabled()
    driver.until(lambda: len(asked), 1)
    asked.pop().continue_()
    page.wait_for_selector("#folder tbody tr:has-text('Asking')", state="detached")
    page.evaluate("localStorage.clear()")
    page.reload()
    driver.until(lambda: page.locator("#folder tbody tr:has-text('Done')").count(), 2, 90)
    assert "2 done" in page.inner_text("#folder [role=status]")
    with page.expect_download() as download:
        page.click("text=All as a zip")
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as archive:
        assert sorted(Path(name).stem for name in archive.namelist()) == ["one", "two"]
    page.locator("#folder tbody tr button:has-text('Compare')").first.click()
    page.wait_for_selector("#wipe")


def test_the_page_loads_all_its_files_at_once(driver: Driver) -> None:
    """None waits for another one's imports, and nothing comes from elsewhere."""
    loaded = driver.page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    static = Path(app.__file__).parent / "static"
    modules = {path.name for path in static.glob("*.js")} - {"docs.js", "main.js"}
    preloaded = driver.page.locator("link[rel=modulepreload]").evaluate_all("(links) => links.map((link) => link.href)")
    assert {address.rpartition("/")[2] for address in preloaded} == modules
    assert all(address.startswith(driver.page.url.partition("#")[0]) for address in loaded)


def test_the_machine_and_the_model_are_named(driver: Driver) -> None:
    driver.until(lambda: "ready" in driver.page.inner_text("#status"), True, 60)
    words = driver.page.inner_text("#status")
    assert "Model: small" in words and ("CPU: " in words or "GPU: " in words) and "GB" in words


def test_names_and_captions_are_never_markup(driver: Driver) -> None:
    markup = "<img src=x onerror=alert(1)>"
    page = driver.page
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    driver.open(f"{markup}.jpg")
    page.fill("#instruction", f'make "{markup}" clear with 0.6')
    driver.until(lambda: page.locator(".region").count(), 1)
    driver.restore("#preview")
    driver.drop(("other.jpg", photo()), ("third.jpg", photo()))
    driver.until(lambda: page.locator("#photos img").count(), 3)
    assert page.locator("[onerror]").count() == 0 and dialogs == []
    assert "onerror=alert(1)" in page.inner_text("#folder")


def test_everything_of_mine_is_removed(driver: Driver) -> None:
    driver.open()
    page = driver.page
    page.click("#menu summary")
    page.click("#delete-all")
    page.click("dialog .danger")
    page.wait_for_selector("#welcome")
    assert json.loads(page.evaluate("fetch('api/v1/photos').then((answer) => answer.text())")) == {"photos": []}


def test_a_photo_is_marked_and_restored_by_keyboard_alone(driver: Driver) -> None:
    page = driver.page

    def tab_to(selector: str) -> None:
        for _ in range(90):
            page.keyboard.press("Tab")
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"Tab never came to {selector}")

    tab_to("#sample-list button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#part-list button", state="attached")
    assert page.evaluate("document.activeElement.id") == "panes"
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    driver.until(lambda: driver.share() > 0, True)
    tab_to("#restore")
    page.keyboard.press("Enter")
    driver.until(lambda: [job["state"] for job in driver.jobs()], ["done"], 60)
    page.wait_for_selector("#wipe")
    tab_to("#wipe")


def test_a_phone_shows_all_of_it(browser: Browser, address: str) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, color_scheme="light", has_touch=True, is_mobile=True
    )
    driver = Driver(context.new_page(), address)
    driver.check_access()
    driver.open()
    page = driver.page
    page.touchscreen.tap(*driver.place(0.5, 0.7))
    driver.until(lambda: driver.share() > 0.1, True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    driver.check_access()
    page.tap("#restore")
    page.wait_for_selector("#wipe", timeout=60_000)
    low = page.locator("#panel").bounding_box()
    page.tap("#grip")
    high = page.locator("#panel").bounding_box()
    assert low and high and high["height"] > low["height"]
    driver.check_access()
    context.close()
    assert driver.faults == []
