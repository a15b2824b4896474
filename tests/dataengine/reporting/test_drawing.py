from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from instructrestore.dataengine.reporting import drawing
from instructrestore.pipelines.building.dataset_commands import show
from instructrestore.shards.sample import AnnotatedPhoto
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset


def far_apart(colours: list[tuple[int, int, int]]) -> float:
    """The least distance between any two colours."""
    points = np.array(colours, float)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return float(gaps[~np.eye(len(points), dtype=bool)].min())


def as_seen_without_green_cones(colours: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Deuteranopia as simulated by Machado, Oliveira and Fernandes (2009), severity 1."""
    matrix = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]])
    linear = (np.array(colours) / 255) ** 2.2
    seen = np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.2) * 255
    return [(int(r), int(g), int(b)) for r, g, b in seen]


def test_colours_are_distinct() -> None:
    assert far_apart(drawing.colours(7)) > 60
    assert far_apart(as_seen_without_green_cones(drawing.colours(7))) > 30
    assert far_apart(drawing.colours(24)) > 15
    assert drawing.colours(24)[:7] == drawing.colours(7)
    assert drawing.colours(0) == []


def test_regions_are_tinted_in_their_colours_and_the_rest_is_left_alone() -> None:
    photo, rgb = photo_of(1, 300, 200)
    sample = AnnotatedPhoto(
        photo,
        (region_of(photo, 20, 20, 100, 150, "the left", "left"), region_of(photo, 180, 20, 100, 150, "it", "right")),
    )
    drawn = np.asarray(drawing.overlay(rgb, sample, 1600)).astype(float)
    inside = [np.s_[30:50, 30:50], np.s_[30:50, 190:210]]
    for place, colour in zip(inside, drawing.colours(2), strict=True):
        before = np.abs(rgb[place] - np.array(colour, float)).mean()
        after = np.abs(drawn[place] - np.array(colour, float)).mean()
        assert after < 0.75 * before  # nearer to its colour, yet
        assert np.std(drawn[place]) > 0.3 * np.std(rgb[place])  # the photo still shows
    assert np.array_equal(drawn[:, 135:165], rgb[:, 135:165])


def test_a_small_region_inside_a_large_one_lies_on_top_whatever_the_order() -> None:
    photo, rgb = photo_of(2, 200, 200)
    large, small = region_of(photo, 0, 0, 200, 200, "wall", "wall"), region_of(photo, 60, 60, 80, 80, "cat", "cat")
    nothing = region_of(photo, 0, 0, 0, 0, "nothing", "nothing")
    place = np.s_[66:76, 66:76]
    for regions, number in (((large, small), 1), ((small, large), 0)):
        without = tuple(nothing if region is small else region for region in regions)
        under, both = (
            np.asarray(drawing.overlay(rgb, AnnotatedPhoto(photo, drawn), 1600))[place].astype(float)
            for drawn in (without, regions)
        )
        # What lies on top moves what was there by one share of the way to its own colour.
        way = np.array(drawing.colours(2)[number]) - under
        assert np.abs(both - under - drawing.OPACITY * way).max() < 1.5


def test_bokeh_is_marked() -> None:
    photo, rgb = photo_of(3, 200, 200)
    plain, marked = (
        drawing.draw(rgb, AnnotatedPhoto(photo, (region_of(photo, 30, 30, 120, 120, "cat", "cat", bokeh=flag),)))
        for flag in (False, True)
    )
    assert not np.array_equal(np.asarray(plain)[:200, :200], np.asarray(marked)[:200, :200])
    assert not np.array_equal(np.asarray(plain)[200:], np.asarray(marked)[200:])


@pytest.mark.parametrize(("width", "height"), [(400, 300), (300, 400)])
def test_the_legend_lies_outside_the_photo_and_grows_with_the_captions(width: int, height: int) -> None:
    photo, rgb = photo_of(4, width, height)
    sizes = []
    for caption in ("a cat", "a cat " + "that lies on a very long red sofa " * 40):
        sample = AnnotatedPhoto(photo, (region_of(photo, 10, 10, 50, 50, caption, "cat"),))
        picture = drawing.draw(rgb, sample)
        # The photo's part of the picture is the overlay: no caption is written on it.
        assert picture.crop((0, 0, width, height)).tobytes() == drawing.overlay(rgb, sample, 1600).tobytes()
        sizes.append(picture.size)
    assert sizes[1][0] == sizes[0][0] and sizes[1][1] > sizes[0][1] + 100
    legend = np.asarray(picture.crop((width, 0, *picture.size) if width < height else (0, height, *picture.size)))
    lines = legend.max(axis=2).min(axis=1) < 128
    assert np.count_nonzero(np.diff(lines.astype(int)) == 1) > 15  # many lines of ink


def test_different_captions_are_written_differently() -> None:
    photo, rgb = photo_of(5, 300, 200)
    first, again, other = (
        drawing.draw(rgb, AnnotatedPhoto(photo, (region_of(photo, 0, 0, 99, 99, caption, "cat"),)))
        for caption in ("a red cat", "a red cat", "a tan cat")
    )
    assert first.tobytes() == again.tobytes()
    assert first.size == other.size and first.tobytes() != other.tobytes()


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=120))
def test_any_text_can_be_written(text: str) -> None:
    photo, rgb = photo_of(6, 60, 40)
    sample = AnnotatedPhoto(photo, (region_of(photo, 0, 0, 30, 30, text, text),))
    assert drawing.draw(rgb, sample).height > 40


@pytest.mark.parametrize(
    "caption", ["lone \ud800 surrogate", "新しい猫", "🐈‍⬛ a cat", "עברית", "a\nb\x00c", "w" * 500]
)
def test_odd_text_does_not_stop_it(caption: str) -> None:
    photo, rgb = photo_of(6, 60, 40)
    drawing.draw(rgb, AnnotatedPhoto(photo, (region_of(photo, 0, 0, 30, 30, caption, caption),)))


def test_no_line_is_wider_than_its_column() -> None:
    font = drawing._font(15)
    lines = drawing._wrap("some words and one" + "very" * 40 + "long word, then more", font, 120)
    assert max(font.getlength(line) for line in lines) <= 120
    assert "".join(lines).replace(" ", "") == "somewordsandone" + "very" * 40 + "longword,thenmore"


def test_odd_shapes_and_no_regions() -> None:
    for width, height in ((1, 1), (2, 900), (900, 2), (3000, 40)):
        photo, rgb = photo_of(7, width, height)
        whole = region_of(photo, 0, 0, width, height, "everything", "thing")
        empty = region_of(photo, 0, 0, 0, 0, "nothing", "thing")
        for regions in ((), (whole,), (whole, empty)):
            picture = drawing.draw(rgb, AnnotatedPhoto(photo, regions), max_side=800)
            assert min(picture.size) > 1


def test_large_photos_are_scaled_and_a_wrong_size_is_refused() -> None:
    photo, rgb = photo_of(8, 400, 200)
    sample = AnnotatedPhoto(photo, tuple(region_of(photo, 8 * n, 0, 8, 99, f"bar {n}", "bar") for n in range(30)))
    assert drawing.overlay(rgb, sample, 100).size == (100, 50)
    with pytest.raises(ValueError, match="its record says 400x200"):
        drawing.overlay(rgb[:-1], sample, 100)


def test_show_writes_the_photo_a_key_prefix_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = []
    for seed in range(20):  # more than 16 keys: two of them begin with the same digit
        photo, rgb = photo_of(seed, 90, 60)
        samples.append((AnnotatedPhoto(photo, (region_of(photo, 0, 0, 30, 30, "a cat", "cat"),)), rgb))
    folder = str(write_dataset(tmp_path / "set", samples).path)
    sample, rgb = samples[3]
    key = sample.photo.key
    monkeypatch.chdir(tmp_path)
    path = show(folder, key[:12])
    assert path.resolve() == tmp_path / f"{key}.png"
    assert Image.open(path).tobytes() == drawing.draw(rgb, sample).tobytes()
    assert show(folder, key, str(tmp_path / "mine.png")).name == "mine.png"
    assert show(folder, key, str(tmp_path / "set")) == tmp_path / "set" / f"{key}.png"
    firsts = [s.photo.key[0] for s, _ in samples]
    shared = next(first for first in firsts if firsts.count(first) > 1)
    with pytest.raises(ValueError, match=f"{firsts.count(shared)} photos .* begins with '{shared}'"):
        show(folder, shared)
    with pytest.raises(ValueError, match="no photos"):
        show(folder, "not a key")
    with pytest.raises(ValueError, match="no folder"):
        show(folder, key, str(tmp_path / "missing" / "a.png"))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f"{key}.png", "mine.png", "set"])
