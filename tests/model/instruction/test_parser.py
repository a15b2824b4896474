"""Templates, several regions, quotes, the release's own parser, and errors with their place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from instructrestore.model.instruction.instruction import Instruction, RegionScale, control_text, unet_text
from instructrestore.model.instruction.parser import parse

Scales = list[tuple[str, float]]


def instruction(regions: Scales, others: float = 1, bokeh: bool = False) -> Instruction:
    return Instruction(tuple(RegionScale(caption, scale) for caption, scale in regions), others, bokeh)


FLOWER = "the red flower"
TEMPLATES = [
    ("make {} clear with 0.8, and make other parts with 1.2", instruction([(FLOWER, 0.8)], 1.2)),
    ("make {} clear with 0.8 and keep other parts clear with 1.2", instruction([(FLOWER, 0.8)], 1.2)),
    ("make {} clear with 0.8 and keep other parts with 1.2", instruction([(FLOWER, 0.8)], 1.2)),
    ("make {} clear with 0.8, and keep other parts bokeh blur with 0.6", instruction([(FLOWER, 0.8)], 0.6, True)),
    (
        "make {} clear with 0.8 and keep the bokeh blur of other parts with 0.6",
        instruction([(FLOWER, 0.8)], 0.6, True),
    ),
    (
        "make {} clear with 0.8 and keep the bokeh blur of other parts with the 0.6",
        instruction([(FLOWER, 0.8)], 0.6, True),
    ),
    ("Make {} clear", instruction([(FLOWER, 1)])),
    ("make {} clear and keep other parts bokeh blur", instruction([(FLOWER, 1)], 1, True)),
    ("make {} clear and keep other part bokeh blur", instruction([(FLOWER, 1)], 1, True)),
    ("make {} clear and keep other parts clear", instruction([(FLOWER, 1)])),
    ("make {} clear and keep other parts", instruction([(FLOWER, 1)])),
    ("make {} clear, keep other parts clear with 0.7", instruction([(FLOWER, 1)], 0.7)),
    ("keep other parts clear with 0.7, make {} clear with 1.1", instruction([(FLOWER, 1.1)], 0.7)),
    (
        "make {} clear with 0.6, make the sky clear with 1.1 and keep other parts clear with 1",
        instruction([(FLOWER, 0.6), ("the sky", 1.1)]),
    ),
]
WAYS_OF_WRITING: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "upper case": str.upper,
    "no commas": lambda text: text.replace(",", ""),
    "full stop": lambda text: text + ".",
    "exclamation": lambda text: f"Please {text}, please!",
    "white space": lambda text: f" \n {text.replace(' ', '  ')}\t\r\n",
    "lines": lambda text: text.replace(" and ", "\n"),
    "sentences": lambda text: text.replace(", and ", ". ").replace(" and ", ". "),
    "comma before and": lambda text: text.replace(" and ", ", and "),
}


@pytest.mark.parametrize("way", WAYS_OF_WRITING)
@pytest.mark.parametrize(("template", "expected"), TEMPLATES)
def test_templates_in_every_way_of_writing(template: str, expected: Instruction, way: str) -> None:
    found = parse(WAYS_OF_WRITING[way](template.format(FLOWER)))
    assert [caption.lower() for caption in found.captions] == list(expected.captions)
    assert [region.scale for region in found.regions] == [region.scale for region in expected.regions]
    assert (found.others, found.bokeh) == (expected.others, expected.bokeh)


def test_a_verb_goes_on_holding_for_what_follows() -> None:
    expected = instruction([("the dog", 0.6), ("the sky", 1.1)], 0.9)
    assert parse("make the dog clear with 0.6, the sky with 1.1, and the rest with 0.9") == expected
    assert parse("make the dog clear with 0.6 and the sky clear with 1.1 and other parts with 0.9.") == expected
    assert parse("make the dog clear and the sky clear") == instruction([("the dog", 1), ("the sky", 1)])


@pytest.mark.parametrize(
    ("text", "scale"),
    [
        *[(text, 0.8) for text in ("0.8", "80%", "80 %", "80 percent", "0,8", ".8", "0.80000000000000004")],
        *[(text, 0.8) for text in ("the 0.8", "scale 0.8", "a scale of 0.8")],
        *[("1.", 1), ("0", 0), ("4", 4), ("400%", 4), ("12.5%", 0.125), ("1,125", 1.125)],
    ],
)
def test_ways_to_write_a_scale(text: str, scale: float) -> None:
    for end in ("", ".", ", keep other parts", ",keep other parts clear with 1", " and keep other parts"):
        assert parse(f"make the dog clear with {text}{end}").regions == (RegionScale("the dog", scale),)


def test_a_comma_between_digits_is_a_decimal_one_and_any_other_a_separator() -> None:
    assert parse("make the dog clear with 0,8,make the cat clear with 1,1, keep other parts clear with 0,9") == (
        instruction([("the dog", 0.8), ("the cat", 1.1)], 0.9)
    )


@pytest.mark.parametrize(
    "caption",
    [
        "clear sky",
        "the clear and bright sky",
        "a man with a red hat and the woman",
        "a bus with 2, 3 or 4 doors",
        "the dog's nose",
        'the 15" laptop',
        "the dogs' bowls",
        "the U.S. Army truck",
        "the sign of Washington D.C.",
        "a little, brown dog",
        "player number 7",
        "player number 07",
        "the car from the 90s",
        "the man with 3D",
        "the clock at 10.30",
        "the rest of the cake",
        'the "open and keep out, make 1" sign',
        "café à la crème",
        "the background",
        "the whole photo",
        "The Eiffel Tower",
        "the {caption}",
    ],
)
def test_captions_that_need_no_quotes(caption: str) -> None:
    expected = instruction([(caption, 0.5)], 1.1)
    assert parse(f"make {caption} clear with 0.5 and keep other parts clear with 1.1") == expected
    assert str(expected) == f"make {caption} clear with 0.5 and keep other parts clear with 1.1" or '"' in caption


@pytest.mark.parametrize(
    ("quoted", "caption"),
    [
        ('"the shop and keep fit sign"', "the shop and keep fit sign"),
        ("'the dog, keep other parts with 0.5'", "the dog, keep other parts with 0.5"),
        ("“the rest”", "the rest"),
        ("‘the dog’s nose and keep’", "the dog’s nose and keep"),
        (r'"a \"clear\" sign, C:\dir\\"', 'a "clear" sign, C:\\dir\\'),
        ('" the   dog "', "the dog"),
        ('"it"', "it"),
        ('"dog."', "dog."),
    ],
)
def test_quotes_hold_a_caption_together(quoted: str, caption: str) -> None:
    assert parse(f"make {quoted} clear with 0.5, keep other parts") == instruction([(caption, 0.5)])
    assert parse(f"sharpen {quoted} with 0.5") == instruction([(caption, 0.5)])


def test_quoted_captions_in_a_row_are_regions_of_one_scale() -> None:
    expected = instruction([("the dog", 0.7), ("the cat", 0.7), ("x", 0.7)])
    assert parse('make "the dog", "the cat" and "x" clear with 0.7') == expected
    assert parse('make the "in" and "out" signs clear').captions == ('the "in" and "out" signs',)


def test_accepted_by_the_release_is_read_as_the_release_reads_it(reference_folder: Path) -> None:
    rows = json.loads((reference_folder / "official_model/parse_table.json").read_text("utf-8"))
    accepted = [row for row in rows if row["ok"]]
    assert accepted
    for row in accepted:
        if "keep other parts" in row["main_prompt"]:
            # The release takes one of two wishes for the other parts into the caption: a slip nobody means.
            with pytest.raises(ValueError, match="expected the other parts to be named once"):
                parse(row["instruction"])
            continue
        found = parse(row["instruction"])
        assert unet_text(found.captions, found.bokeh) == row["main_prompt"]
        assert control_text(found.captions[0], found.bokeh) == row["parser_control_prompt"]
        assert [region.scale for region in found.regions] == [row["s1_inner"]]
        assert found.others == row["s2_outer"]


ERRORS = [
    # text, what was expected, the character (from 1), what stands there
    ("make the dog clear with -1 and keep other parts", "a scale such as", 25, "-1 and keep other parts"),
    ("make the dog clear with nan", "a scale such as", 25, "nan"),
    ("make the dog clear with inf", "a scale such as", 25, "inf"),
    ("make the dog clear with 1.0.0", "a scale such as", 25, "1.0.0"),
    ("make the dog clear with 1/2", "a scale such as", 25, "1/2"),
    ("make the dog clear with 1e-1", "a scale such as", 25, "1e-1"),
    ("make the dog clear with 三", "a scale such as", 25, "三"),
    ("make the dog clear with ٨", "a scale from 0 to 4", 25, "٨"),
    ("sharpen the dog with ½", "a scale such as", 22, "½"),
    ("sharpen the dog with %80", "a scale such as", 22, "%80"),
    ("make the dog clear with care", "a scale such as", 25, "care"),
    ("make the dog clear with", "a scale such as", 24, None),
    ("make the dog clear and keep other parts with nan", "a scale such as", 46, "nan"),
    ("make the dog clear and keep other parts with care", "a scale such as", 46, "care"),
    ("make the dog clear with 4.01", "a scale from 0 to 4", 25, "4.01"),
    ("make the dog clear with 500%", "a scale from 0 to 4", 25, "500%"),
    (f"make the dog clear with {'9' * 400}", "a scale from 0 to 4", 25, "9" * 27 + "..."),
    ("make the dog clear 0.8", "'with' before the scale", 20, "0.8"),
    ("make the dog clear (0.8)", "'with' before the scale", 20, "(0.8)"),
    ("sharpen the dog by 50%", "'with' before the scale", 20, "50%"),
    ("sharpen the dog 0.8", "'with' before the scale", 17, "0.8"),
    ("sharpen the dog with 0.8x", "a scale such as", 22, "0.8x"),
    ("sharpen the dog with -1", "a scale such as", 22, "-1"),
    ("make the dog with 0.8", "'clear'", 14, "with 0.8"),
    ("make the dog brighter", "'clear'", 22, None),
    ("make clear", "a caption", 6, "clear"),
    ("make", "a caption", 5, None),
    ('make "" clear', "a caption", 6, '"" clear'),
    ('make "\u200b" clear', "a caption that can be seen", 6, '"\u200b" clear'),
    ("sharpen it", "a caption", 9, "it"),
    ("the dog", "a verb such as", 1, "the dog"),
    ("...", "a verb such as", 4, None),
    ("sharpen the dog and", "another wish", 20, None),
    ("Sharpen eyes. The sky stays.", "a verb, or quotes", 15, "The sky stays."),
    ("sharpen the dog a lot, the cat", "a verb before this caption", 31, None),
    ('make " the dog clear', "a closing quote", 6, '" the dog clear'),
    ("make “the dog clear", "a closing quote", 6, "“the dog clear"),
    ("make the\x07dog clear", "no control character", 9, "\x07dog clear"),
    ("keep other parts with 1", "a region besides the other parts", 24, None),
    ("blur the background", "a region besides the other parts", 20, None),
    ("blur the dog", "'the background' or 'the rest'", 6, "the dog"),
    ("sharpen the dog, make the Dog clear with 0.5", "one scale for each caption", 23, "the Dog clear with 0.5"),
    ("slightly sharpen the dog a lot", "one word for how much", 18, "the dog a lot"),
    (
        "make dog clear and keep other parts clear with 2 and keep other parts bokeh blur",
        "the other parts to be named once",
        59,
        "other parts bokeh blur",
    ),
    (f"make {'d' * 501} clear", "a caption of at most 500 characters", 6, "d" * 27 + "..."),
]


@pytest.mark.parametrize(("text", "expected", "character", "found"), ERRORS)
def test_errors_say_what_was_expected_and_where(text: str, expected: str, character: int, found: str | None) -> None:
    with pytest.raises(ValueError, match=r"^expected ") as raised:
        parse(text)
    message = str(raised.value)
    assert message.startswith(f"expected {expected}")
    assert "\n" not in message and len(message) < 200
    ending = "the end of the instruction" if found is None else repr(found)
    assert message.endswith(f"at character {character}, found {ending}")


def test_what_is_no_text_is_refused() -> None:
    for empty in ("", " \n\t", "\u3000"):
        with pytest.raises(ValueError, match="found an empty text"):
            parse(empty)
    with pytest.raises(ValueError, match="must be text, not int"):
        parse(5)  # pyright: ignore[reportArgumentType]


def test_one_caption_twice_is_one_region_if_the_scales_agree() -> None:
    assert parse("make the dog clear with 0.5 and make The Dog clear with 50%") == instruction([("the dog", 0.5)])
    assert parse("blur the rest behind the dog, sharpen the dog") == instruction([("the dog", 0.8)], 0.8, True)
