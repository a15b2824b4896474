"""Category names as phrases, the colour describer, and the stage that chooses between them."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageColor
from pydantic import ValidationError

from instructrestore.dataengine.descriptions.annotated import phrase_of
from instructrestore.dataengine.descriptions.colour import MULTICOLOURED, ColourDescriber
from instructrestore.dataengine.descriptions.describe import Describe, DescribeSettings
from instructrestore.dataengine.noun_phrases import validation
from instructrestore.dataengine.noun_phrases.parser import Parser, ParserAnswer, ParserSettings, Question
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.running.stage import Drop
from instructrestore.pretrained.colour_terms import TERMS, ColourTerms, term_of
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import Answer, Photo, Piece
from tests import real_photos

NOUNS = ("area", "patch", "strip", "spot")
SUBJECTS = {f"{colour} {noun}" for colour in (*TERMS, MULTICOLOURED) for noun in NOUNS}


@pytest.mark.parametrize(
    ("label", "phrase"),
    [
        ("sky-other-merged", "the sky"),
        ("wall-brick", "the brick wall"),
        ("floor-wood", "the wooden floor"),
        ("window-blind", "the window blind"),
        ("door-stuff", "the door"),
        ("dining table", "the dining table"),
        ("playingfield", "the playing field"),
        ("aerosol_can", "the aerosol can"),
        ("bow_(decorative_ribbons)", "the bow"),
        ("monitor_(computer_equipment) computer_monitor", "the computer monitor"),
        ("ping-pong_ball", "the ping-pong ball"),
        ("bow-tie", "the bow-tie"),
        ("French_toast", "the french toast"),
        ("river/stream", "the river"),
        ("door, double door", "the door"),
        ("person_2", "the person"),
        ("a red car", "a red car"),
        ("Élan", "the élan"),
    ],
)
def test_category_names_become_phrases(label: str, phrase: str) -> None:
    assert phrase_of(label) == phrase


@pytest.mark.parametrize(
    "label", ["", " ", "other", "things", "void", "unlabeled", "12", "???", "(x)", "other-merged", "A", "the other"]
)
def test_a_name_that_says_nothing_gives_no_phrase(label: str) -> None:
    assert phrase_of(label) == ""


@given(st.text(max_size=60))
def test_any_label_gives_nothing_or_one_line(label: str) -> None:
    phrase = phrase_of(label)
    assert phrase == " ".join(phrase.split())
    assert not phrase or len(phrase.split()) >= 2


def test_the_names_of_coco_and_lvis_become_valid_noun_phrases(data_folder: Path) -> None:
    names: list[str] = []
    for path in ("panoptic_sample/panoptic_coco_categories.json", "lvis_val100/lvis_val_100.json"):
        read = json.loads((data_folder / path).read_text())
        names += [each["name"] for each in (read["categories"] if isinstance(read, dict) else read)]
    phrases = sorted({phrase_of(name) for name in names})
    assert all(phrases)
    answers = Parser(ParserSettings())([Question(phrase, 1) for phrase in phrases])
    assert all(isinstance(each, ParserAnswer) for each in answers)
    wrong = [each.question.description for each in answers if isinstance(each, ParserAnswer) and each.answer.faults]
    assert len(wrong) <= 0.01 * len(phrases), wrong


@pytest.mark.parametrize(
    ("css", "term"),
    [
        ("black", "black"), ("white", "white"), ("whitesmoke", "white"), ("dimgray", "dark grey"), ("gray", "grey"),
        ("silver", "light grey"), ("red", "red"), ("crimson", "red"), ("maroon", "dark red"), ("hotpink", "pink"),
        ("pink", "pink"), ("orange", "orange"), ("darkorange", "orange"), ("saddlebrown", "brown"),
        ("chocolate", "brown"), ("tan", "light brown"), ("gold", "yellow"), ("yellow", "yellow"), ("olive", "green"),
        ("wheat", "pale yellow"), ("green", "green"), ("lime", "green"), ("forestgreen", "green"),
        ("darkgreen", "dark green"), ("palegreen", "light green"), ("blue", "blue"), ("steelblue", "blue"),
        ("navy", "dark blue"), ("midnightblue", "dark blue"), ("skyblue", "light blue"), ("lightblue", "light blue"),
        ("purple", "purple"), ("blueviolet", "purple"), ("indigo", "dark purple"), ("plum", "light purple"),
    ],
)  # fmt: skip
def test_colours_have_the_names_people_give_them(css: str, term: str) -> None:
    rgb = np.array(ImageColor.getrgb(css), np.uint8)
    assert TERMS[int(term_of(rgb))] == term
    assert TERMS[int(ColourTerms()(rgb.reshape(1, 1, 3))[0, 0])] == term


def test_every_grey_is_a_grey_from_dark_to_light() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    assert [name for name, _ in itertools.groupby(TERMS[index] for index in term_of(ramp))] == [
        "black", "dark grey", "grey", "light grey", "white",
    ]  # fmt: skip


def canvas(css: str = "white") -> NDArray[np.uint8]:
    return np.full((300, 400, 3), ImageColor.getrgb(css), np.uint8)


def rectangle(top: int, left: int, bottom: int, right: int) -> NDArray[np.bool_]:
    """A mask of the canvas."""
    mask = np.zeros((300, 400), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def phrases(rgb: NDArray[np.uint8], *masks: NDArray[np.bool_]) -> list[str]:
    return [each.text for each in ColourDescriber()(rgb, masks)]


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ((5, 5, 60, 60), "in the upper left"), ((5, 170, 60, 230), "at the top"),
        ((5, 330, 60, 390), "in the upper right"), ((120, 5, 180, 60), "on the left"),
        ((120, 170, 180, 230), "in the middle"), ((120, 330, 180, 390), "on the right"),
        ((240, 5, 295, 60), "in the lower left"), ((240, 170, 295, 230), "at the bottom"),
        ((240, 330, 295, 390), "in the lower right"), ((0, 0, 90, 400), "across the top"),
        ((220, 0, 300, 400), "across the bottom"), ((0, 0, 300, 80), "along the left side"),
        ((0, 160, 300, 240), "down the middle"), ((0, 0, 300, 400), "across most"),
    ],
)  # fmt: skip
def test_places(box: tuple[int, int, int, int], place: str) -> None:
    assert phrases(canvas(), rectangle(*box))[0].endswith(f" {place} of the photo")


def test_looks() -> None:
    rgb = canvas("skyblue")
    noise = np.random.default_rng(0).integers(0, 2, (110, 400, 1), np.uint8)
    rgb[190:] = np.where(noise, np.uint8(255), np.uint8(110)) * np.array([0.1, 1, 0.1])
    rgb[20:24, 100:300] = ImageColor.getrgb("red")
    ys, xs = np.mgrid[:300, :400]
    disc = (ys - 120) ** 2 + (xs - 200) ** 2 < 24**2
    rgb[disc] = ImageColor.getrgb("orange")
    frame = ~rectangle(40, 40, 260, 360)
    found = phrases(
        rgb, rectangle(0, 0, 190, 400), rectangle(190, 0, 300, 400), rectangle(20, 100, 24, 300), disc, frame
    )
    assert found[0] == "a large smooth light blue area across the top of the photo"
    assert found[1].startswith("a large textured green area")
    assert found[1].endswith("across the bottom of the photo")
    assert found[2] == "a small red strip at the top of the photo"
    assert found[3] == "a small smooth round orange patch in the middle of the photo"
    assert found[4].endswith("around the edges of the photo")


def test_two_colours_and_many() -> None:
    rgb = canvas("blue")
    rgb[:, 250:] = ImageColor.getrgb("white")
    two = ColourDescriber()(rgb, [rectangle(0, 0, 300, 400)])[0]
    assert two.subject == "blue area"
    assert " blue area mixed with white " in two.text
    for column, css in enumerate(("red", "blue", "green", "yellow")):
        rgb[:, 100 * column : 100 * column + 100] = ImageColor.getrgb(css)
    assert ColourDescriber()(rgb, [rectangle(0, 0, 300, 400)])[0].subject == "multicoloured area"


def test_regions_that_look_alike_are_told_apart_by_place() -> None:
    row = [rectangle(130, left, 150, left + 15) for left in (230, 150, 190)]
    column = [rectangle(top, 10, top + 15, 25) for top in (115, 175)]
    found = phrases(canvas("navy"), *row, *column)
    assert [re.split(" smooth| small| dark", phrase)[0] for phrase in found] == [
        "the rightmost", "the leftmost", "the second", "the topmost", "the lowest",
    ]  # fmt: skip
    assert found[2].endswith(" dark blue spot from the left in the middle of the photo")
    many = phrases(canvas("navy"), *[rectangle(130, 150 + 3 * n, 132, 152 + 3 * n) for n in range(30)])
    assert len(set(many)) == 30
    same = phrases(canvas("navy"), *[rectangle(130, 150, 170, 190)] * 3)
    assert len(set(same)) == 3


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_any_photo_and_masks_give_valid_distinct_phrases(height: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 256, (height, width, 3), np.uint8)
    masks = [random.random((height, width)) < share for share in (0.02, 0.5, 1.0)]
    for mask in masks:
        mask[random.integers(height), random.integers(width)] = True
    check(rgb, masks)


def test_one_pixel_of_a_large_photo_is_described() -> None:
    rgb = np.zeros((3000, 4000, 3), np.uint8)
    rgb[2900, 100] = 255, 0, 0
    mask = np.zeros((3000, 4000), np.bool_)
    mask[2900, 100] = True
    assert phrases(rgb, mask)[0].endswith("spot in the lower left of the photo")
    check(np.zeros((1, 60_000, 3), np.uint8), [np.ones((1, 60_000), np.bool_)])


def check(rgb: NDArray[np.uint8], masks: list[NDArray[np.bool_]]) -> list[str]:
    """Valid, distinct and repeatable. Returns the phrases."""
    found = ColourDescriber()(rgb, masks)
    assert found == ColourDescriber()(rgb, masks)
    assert len({each.text for each in found}) == len(masks)
    for each in found:
        assert each.subject in SUBJECTS
        assert validation.faults(each, each.text) == ()
    return [each.text for each in found]


def test_the_subjects_are_few_enough_for_the_ranks_to_keep() -> None:
    assert len(SUBJECTS) < 150


def test_real_photos_and_mattes(data_folder: Path) -> None:
    for path in real_photos.present(data_folder, real_photos.ANIMALS):
        rgb = np.asarray(Image.open(path).convert("RGB"))
        inside = np.asarray(Image.open(real_photos.matte_of(path)).convert("L")) >= 128
        front, behind = check(rgb, [inside, ~inside])
        assert front != behind


def test_real_photos_of_many_regions(data_folder: Path) -> None:
    for path in real_photos.present(data_folder, real_photos.COCO_VALIDATION[:8]):
        rgb = np.asarray(Image.open(path).convert("RGB"))
        height, width = rgb.shape[:2]
        tiles = [np.zeros((height, width), np.bool_) for _ in range(48)]
        for n, tile in enumerate(tiles):
            top, left = height * (n // 8) // 6, width * (n % 8) // 8
            tile[top : height * (n // 8 + 1) // 6, left : width * (n % 8 + 1) // 8] = True
        check(rgb, tiles)


def row_of(path: Path, *pieces: Piece) -> Row:
    """A row of a small grey photo, which is written to `path`."""
    data = io.BytesIO()
    Image.fromarray(np.full((30, 40, 3), 120, np.uint8)).save(data, "png")
    path.write_bytes(data.getvalue())
    sha256 = hashlib.sha256(data.getvalue()).hexdigest()
    photo = Photo(
        key=sha256[:20],
        sha256=sha256,
        name="a.png",
        source="test",
        licence="",
        url="",
        width=40,
        height=30,
        bytes=len(data.getvalue()),
        format="png",
        perceptual_hash="0" * 16,
    )
    return Row(SourcePhoto(str(path), "a.png", "test"), photo, pieces)


MASK = Mask.from_array(np.ones((30, 40), np.bool_))
NAMED = Piece(MASK, "annotated", "wall-brick")
NAMELESS = Piece(MASK, "annotated", "other")
CAPTION = Piece(MASK, "annotated", "a dog on the sand", "annotated", "a dog on the sand", "dog")
BARE = Piece(MASK, "colour 1")


def test_the_stage_keeps_the_sources_words_and_describes_the_rest(tmp_path: Path) -> None:
    [row] = Describe(DescribeSettings(describer="colour"))([row_of(tmp_path / "a.png", NAMED, CAPTION, BARE, NAMELESS)])
    assert isinstance(row, Row)
    named, caption, bare, nameless = row.pieces
    assert (named.description, named.describer, named.noun_phrase) == ("the brick wall", "annotated", "")
    given = Answer("annotated", "", 0, "a dog on the sand", "dog")
    assert caption == dataclasses.replace(CAPTION, answers=(given,))
    for piece in (bare, nameless):
        assert piece.subject == "grey area"
        assert piece.noun_phrase == piece.description
        assert piece.describer.startswith("colour")
        assert [(answer.round, answer.noun_phrase) for answer in piece.answers] == [(0, piece.noun_phrase)]
    assert bare.noun_phrase != nameless.noun_phrase
    assert row.counts == {}


def test_the_stage_reads_no_photo_that_it_need_not_look_at(tmp_path: Path) -> None:
    row = row_of(tmp_path / "a.png", NAMED, CAPTION)
    (tmp_path / "a.png").unlink()
    [kept] = Describe(DescribeSettings(describer="colour"))([row])
    assert isinstance(kept, Row)
    assert len(kept.pieces) == 2
    with pytest.raises(OSError, match=r"a\.png"):
        Describe(DescribeSettings(describer="colour", reuse_annotations=False))([row])


def test_without_a_describer_pieces_without_words_are_counted_and_removed(tmp_path: Path) -> None:
    stage = Describe(DescribeSettings(describer="annotated"))
    [some, none] = stage(
        [row_of(tmp_path / "a.png", NAMED, BARE, NAMELESS), row_of(tmp_path / "b.png", BARE, NAMELESS)]
    )
    assert isinstance(some, Row)
    assert [piece.description for piece in some.pieces] == ["the brick wall"]
    assert some.counts == {"no label": 2}
    # BARE's mask is no annotation.
    assert (some.held, some.lost) == (1, {"no label": 1})
    assert isinstance(none, Drop)
    assert (none.reason, none.lost) == ("no described region", {"no label": 1})


def test_the_sources_words_can_be_left_aside(tmp_path: Path) -> None:
    [row] = Describe(DescribeSettings(describer="colour", reuse_annotations=False))(
        [row_of(tmp_path / "a.png", NAMED, CAPTION)]
    )
    assert isinstance(row, Row)
    assert {piece.subject for piece in row.pieces} == {"grey area"}
    with pytest.raises(ValidationError, match="reuse_annotations"):
        DescribeSettings(describer="annotated", reuse_annotations=False)
