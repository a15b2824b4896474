"""Plain wishes: what photographers type, and the direction of the scales that the words give."""

from __future__ import annotations

import pytest

from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.model.instruction.parser import parse
from instructrestore.model.instruction.plain_wishes import HELD, NEUTRAL, PLAIN, STRENGTHS

Scales = list[tuple[str, float]]

WISHES: list[tuple[str, Scales, float, bool]] = [
    # text, regions, scale of the others, bokeh
    ("sharpen the dog a little, leave the background soft", [("the dog", 0.9)], 1, True),
    ("make the cat much clearer", [("the cat", 0.7)], 1, False),
    ("blur the background more behind the woman", [("the woman", 1)], 0.7, True),
    ("keep the text as it is", [("the text", 1.1)], 1, False),
    ("restore the face strongly and leave the rest alone", [("the face", 0.7)], 1.1, False),
    ("sharpen the dog a lot and the sky a little", [("the dog", 0.7), ("the sky", 0.9)], 1, False),
    ("Please slightly sharpen the eyes and blur everything else a bit.", [("the eyes", 0.9)], 0.9, True),
    ("blur everything except the dog", [("the dog", 1)], 0.8, True),
    ("keep everything as it is but sharpen the bird", [("the bird", 0.8)], 1.1, False),
    ("keep everything but the bird as it is", [("the bird", 1)], 1.1, False),
    ("Could you make the old lady's face look sharper, please?", [("the old lady's face", 0.8)], 1, False),
    ("sharpen the background", [("the background", 0.8)], 1, False),
    ("sharpen the background, keep the dog as it is", [("the dog", 1.1)], 0.8, False),
    ("make the dog clear and make the background clear", [("the dog", 1), ("the background", 1)], 1, False),
    ("sharpen the background, leave the rest alone", [("the background", 0.8)], 1.1, False),
    ("make the dog clear and the background softer", [("the dog", 1)], 0.8, True),
    ("keep the dog sharp, the background soft", [("the dog", 1)], 1, True),
    ("keep the bokeh behind the dog", [("the dog", 1)], 1, True),
    ("keep the soft background and sharpen the flower", [("the flower", 0.8)], 1, True),
    ("don’t touch the sky, sharpen the bird a lot", [("the sky", 1.1), ("the bird", 0.7)], 1, False),
    ("Sharpen the bird without touching the rest", [("the bird", 0.8)], 1.1, False),
    ("sharpen the dog but not the cat", [("the dog", 0.8), ("the cat", 1.1)], 1, False),
    ("make the building sharper, but not too much", [("the building", 0.9)], 1, False),
    ("sharpen only the bird", [("the bird", 0.8)], 1, False),
    ("only sharpen the bird", [("the bird", 0.8)], 1, False),
    (
        "restore the face. Leave the hair natural. Blur the background!",
        [("the face", 0.8), ("the hair", 1.1)],
        0.8,
        True,
    ),
    ("make the sky less clear", [("the sky", 1.1)], 1, False),
    ("make the dog as clear as possible and blur the rest a little", [("the dog", 0.5)], 0.9, True),
    ("make the text sharp and readable", [("the text", 1)], 1, False),
    ("make the dog a little clearer with 0.6", [("the dog", 0.6)], 1, False),
    ("bring out the details in the fur; keep the background out of focus", [("the fur", 0.8)], 1, True),
    ("leave the watermark alone, restore everything else", [("the watermark", 1.1)], 0.8, False),
    ("keep the trees soft and sharpen the deer", [("the trees", 1.1), ("the deer", 0.8)], 1, False),
    ("sharpen dog, leave rest", [("dog", 0.8)], 1, False),
    ("sharpen the dog a little keep the rest as it is", [("the dog", 0.9)], 1.1, False),
    ("make the dog clear with 0.6 and keep other parts blur with 0.5", [("the dog", 0.6)], 0.5, True),
    (
        "keep the eyes, the mouth and the rest of the face sharp",
        [("the eyes, the mouth and the rest of the face", 1)],
        1,
        False,
    ),
]


@pytest.mark.parametrize(("text", "regions", "others", "bokeh"), WISHES)
def test_plain_wishes(text: str, regions: Scales, others: float, bokeh: bool) -> None:
    expected = Instruction(tuple(RegionScale(caption, scale) for caption, scale in regions), others, bokeh)
    assert parse(text) == expected
    assert parse(text.upper()).others == others


def scale(text: str) -> float:
    return parse(text).regions[0].scale


def test_the_stronger_the_word_the_lower_the_scale() -> None:
    sharpened = [scale(f"sharpen the dog {how}") for how in ("a little", "", "a lot", "as much as possible")]
    assert sharpened == sorted(sharpened, reverse=True) and len(set(sharpened)) == 4
    blurred = [parse(f"blur the background {how} behind the dog").others for how in ("a bit", "", "more", "extremely")]
    assert blurred == sorted(blurred, reverse=True) and len(set(blurred)) == 4
    assert blurred[0] < parse("keep the background blurred behind the dog").others == 1, "1 is the weakest blur"
    assert max(sharpened) < scale("make the dog clear") == 1 < scale("keep the dog as it is")


def test_every_scale_of_the_vocabulary_is_in_the_useful_range() -> None:
    assert all(0.5 <= value <= 1.2 for value in (NEUTRAL, PLAIN, HELD, *STRENGTHS.values()))


@pytest.mark.parametrize("phrase", STRENGTHS)
def test_each_strength_stands_behind_what_it_is_about(phrase: tuple[str, ...]) -> None:
    assert parse(f"sharpen the dog {' '.join(phrase)}, leave the rest").regions == (
        RegionScale("the dog", STRENGTHS[phrase]),
    )
