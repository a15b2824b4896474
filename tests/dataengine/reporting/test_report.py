from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from instructrestore.dataengine.reporting import report, statistics
from instructrestore.dataengine.running.stage_summary import StageSummary
from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import AnnotatedPhoto
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset
from tests.html_page import Page

ATTACK = '<script>alert("x")</script>'
SUMMARIES = [
    StageSummary("intake", 12, 9, {"corrupt photo": 2}, {"OSError: <b>disk</b>": 1}, {}),
    StageSummary("masks", 9, 3, {"no region": 6}, {}, {"island": 4321}),
]


def hostile_dataset(folder: Path, photos: int) -> Dataset:
    samples = []
    for seed in range(photos):
        photo, rgb = photo_of(seed, 90, 60, name=f"{ATTACK} {seed}.png", licence=ATTACK, source="a & b")
        regions = (
            region_of(photo, 0, 0, 40, 40, f"the {ATTACK} of number {seed}", f"{ATTACK}"),
            region_of(photo, 40, 10, 20, 20, "新しい猫 & a 🐈", "猫", bokeh=True),
        )
        samples.append((AnnotatedPhoto(photo, regions), rgb))
    return write_dataset(folder / "set", samples)


def written(folder: Path, dataset: Dataset, settings: str = 'preset = "embedded"', samples: int = 24) -> str:
    path = folder / "report.html"
    report.write_report(path, dataset, statistics.of_dataset(dataset), SUMMARIES, settings, samples)
    return path.read_text("utf-8")


def test_all_text_from_data_is_escaped(tmp_path: Path) -> None:
    text = written(tmp_path, hostile_dataset(tmp_path, 3), f"# {ATTACK}\na = '</pre>'")
    page = Page(text)
    assert not page.all("script") and not page.all("b")
    assert f"the {ATTACK} of number 2" in page.text  # shown as it was written
    assert page.text.count(ATTACK) > 3 * 3
    assert "OSError: <b>disk</b>: 1" in page.text
    assert "新しい猫 & a 🐈" in page.text
    assert any(ATTACK in image["alt"] for image in page.all("img"))


def test_what_would_act_is_seen(tmp_path: Path) -> None:
    photo, rgb = photo_of(1, 90, 60, name="\x1b[2Jname", licence="\u202emine\x9b", source="a\x07b")
    region = region_of(photo, 0, 0, 40, 40, "the \x1b]0;owned\x07 dog", "dog")
    dataset = write_dataset(tmp_path / "set", [(AnnotatedPhoto(photo, (region,)), rgb)])
    text = written(tmp_path, dataset, "# \x1b\na = 1")
    assert not {char for char in text if char != "\n" and unicodedata.category(char) in ("Cc", "Zl", "Zp")}
    assert "\u202e" not in text
    page = Page(text)
    assert "the \\x1b]0;owned\\x07 dog" in page.text and "\\u202emine\\x9b" in page.text
    assert "# \\x1b\na = 1" in page.text


def test_it_needs_nothing_from_outside(tmp_path: Path) -> None:
    text = written(tmp_path, hostile_dataset(tmp_path, 2))
    page = Page(text)
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    style = text.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'") and f"'sha256-{digest}'" in policy and "unsafe" not in policy
    assert "url(" not in style and "@import" not in style
    for _, attributes in page.elements:
        assert "style" not in attributes  # the policy would refuse it
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert attributes.get("href", "#").startswith("#")
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "iframe", "object", "embed", "form", "base"})


def test_figures_of_stages_and_links(tmp_path: Path) -> None:
    page = Page(written(tmp_path, hostile_dataset(tmp_path, 3)))
    for words in ("corrupt photo: 2", "no region: 6", "island: 4,321", "RefCOCOg", "208,960", "embedded score"):
        assert words in page.text
    anchors = {attributes.get("id") for _, attributes in page.elements}
    links = [link["href"][1:] for link in page.all("a")]
    assert len(links) > 5 and set(links) <= anchors
    assert all(image.get("alt") for image in page.all("img"))


def test_samples_are_spread_over_the_data_set_and_the_same_every_time(tmp_path: Path) -> None:
    dataset = hostile_dataset(tmp_path, 11)
    text = written(tmp_path, dataset, samples=3)
    shown = [int(number) for number in re.findall(r"of number (\d+)", text)]
    assert shown == [0, 5, 10]
    assert text == written(tmp_path, dataset, samples=3)


def test_an_empty_data_set_says_so(tmp_path: Path) -> None:
    page = Page(written(tmp_path, write_dataset(tmp_path / "set", [])))
    assert "No photo was kept" in page.text and "corrupt photo: 2" in page.text
    assert not page.all("img")


def test_a_damaged_photo_is_named_and_the_report_still_written(tmp_path: Path) -> None:
    dataset = hostile_dataset(tmp_path, 3)
    place = dataset.index["photo_offset"][1].as_py()
    shard = tmp_path / "set" / "png-000000.tar"
    data = bytearray(shard.read_bytes())
    data[place + 40 : place + 400] = bytes(360)
    shard.write_bytes(data)
    page = Page(written(tmp_path, dataset))
    assert "corrupt photo" in page.text.split("Samples")[-1]
    assert len([image for image in page.all("img") if "jpeg" in image["src"]]) == 2


def test_the_file_stays_small_whatever_the_photos(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    samples = []
    for seed in range(6):
        photo, _ = photo_of(seed, 640, 640)
        rgb = noise.integers(0, 256, (640, 640, 3), dtype=np.uint8)
        samples.append((AnnotatedPhoto(photo, (region_of(photo, 0, 0, 99, 99, "noise", "noise"),)), rgb))
    dataset = write_dataset(tmp_path / "set", samples)
    for _, rgb in samples:
        picture = report.Image.fromarray(rgb)
        for limit in (20_000, 100_000):
            assert len(report._jpeg(picture, limit)) <= limit
    assert len(written(tmp_path, dataset)) < 8_000_000


@pytest.mark.parametrize("names", [["cat"], ["x" * 300], ["", "  "], ["\x00", "猫"], ["a", "b c", "it's", "50%"]])
def test_word_clouds_of_odd_vocabularies(names: list[str]) -> None:
    subjects = [statistics.Count(name, 5 - place, 0.1) for place, name in enumerate(names)]
    cloud = report.word_cloud(subjects)
    if not any(name.strip("\x00 ") for name in names):
        assert cloud is None
        return
    assert cloud is not None and np.asarray(cloud)[..., 3].any()
    again = report.word_cloud(subjects)
    assert again is not None and again.tobytes() == cloud.tobytes()


def test_no_subjects_no_cloud() -> None:
    assert report.word_cloud([]) is None
