"""The punctuation, digits, blanks and quotes of every script, read as their ASCII sisters."""

from __future__ import annotations

import contextlib
import sys
import unicodedata

import pytest

from instructrestore.model.instruction.characters import NOTHING, closing_quotes, reading, without_nothing
from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.model.instruction.parser import parse

EVERY = [chr(code) for code in range(sys.maxunicode + 1)]
DOG_AND_CAT = Instruction((RegionScale("the dog", 0.6), RegionScale("the cat", 0.7)))


def in_category(*categories: str) -> list[str]:
    return [character for character in EVERY if unicodedata.category(character) in categories]


@pytest.mark.parametrize(
    ("characters", "ascii_sister"),
    [
        ("，﹐︐､、،՝፣᠂꓾߸\u2e41", ","),
        ("；﹔\u037e\u0387؛፤꛶", ";"),
        ("：﹕፥", ":"),
        ("。．﹒｡।॥۔።։…", "."),
        ("？﹖؟⸮՞፧‽¿", "?"),
        ("！﹗՜¡‼", "!"),
        ("–—―‒⸺〜﹘", "—"),
        ("‐‑－﹣־", "-"),
        ("％﹪٪", "%"),
        ("٫", "."),
        ("’ʼ＇´′‛", "'"),
        ("\u00a0\u2007\u202f\u3000\u1680፡", " "),
        ("\u2028\u2029", "\n"),
        ("\u00ad\u200b\u200e\u200f\u202a\u202c\u2066\u2069\u2060\ufeff", NOTHING),
        ("•\u00b7‣●▪■→➔", ","),
        ("０٠۰०๐𝟎", "0"),
        ("ｍ", "m"),
    ],
)
def test_characters_and_their_ascii_sisters(characters: str, ascii_sister: str) -> None:
    assert {character: reading(character) for character in characters} == dict.fromkeys(characters, ascii_sister)


def test_one_character_is_one_so_that_places_stay() -> None:
    assert all(len(reading(character)) == 1 for character in EVERY)
    text = "".join(in_category("Nd"))
    assert reading(text).isascii() and reading(text).isdigit()


def test_letters_symbols_and_emoji_are_left_as_they_are() -> None:
    for text in ("é犬Ωд", "🐶❤⚽", "👨\u200d👩\u200d👧", "½²", "§‰٬"):
        assert reading(text).replace(NOTHING, "\u200d") == text
        assert without_nothing(text) == text


@pytest.mark.parametrize("between", ["{}", " {}", "{} ", " {} "])
def test_no_mark_of_any_script_lets_a_wish_swallow_the_next(between: str) -> None:
    """Every sign and blank there is, between two wishes: both of them, or an error."""
    both = 0
    signs = in_category("Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Zs", "Zl", "Zp", "Cf", "Sm", "Sk", "Sc", "So")
    for mark in signs:
        with contextlib.suppress(ValueError):
            found = parse(f"make the dog clear with 0.6{between.format(mark)}make the cat clear with 0.7")
            assert found.captions == DOG_AND_CAT.captions, (mark, unicodedata.name(mark))
            assert (found == DOG_AND_CAT) == (reading(mark) != "%"), mark
            both += 1
    assert both > 700


@pytest.mark.parametrize("mark", "，、；：。．！？،؛؟।॥۔։՝።፣፤·;—–•▪→·|/＋･｡︐﹐﹔")
def test_the_marks_of_every_script_part_wishes(mark: str) -> None:
    assert parse(f"make the dog clear with 0.6{' ' if mark in '|/＋' else ''}{mark} make the cat clear with 0.7") == (
        DOG_AND_CAT
    )
    assert parse(f"{mark} make the dog clear with 0.6 {mark} the cat with 0.7 {mark}") == DOG_AND_CAT


@pytest.mark.parametrize(
    "scale",
    ["０．６", "٠٫٦", "۰٫۶", "०.६", "٦٠٪", "６０％", "60﹪", "0，6", "0،6", "\u200f0.6\u200e", "\u20660.6\u2069"],
)
def test_scales_in_the_digits_of_every_script(scale: str) -> None:
    for after in ("", ".", "، make the cat clear with 0.7", "。make the cat clear with 0.7"):
        assert parse(f"make the dog clear with {scale}{after}").regions[0] == RegionScale("the dog", 0.6)


@pytest.mark.parametrize(
    "text", ["make the dog cl\u00adear with\u00a00.6", "\ufeffmake\u3000the dog\u200b clear with 0.6\u202c"]
)
def test_what_shows_nothing_is_read_as_nothing(text: str) -> None:
    assert parse(text) == Instruction((RegionScale("the dog", 0.6),))


def test_captions_stay_as_they_stand_but_for_what_shows_nothing() -> None:
    for caption in ("the dog’s nose", "犬、猫", "the “open” sign", "👨\u200d👩\u200d👧", "Ｔｏｋｙｏ tower"):
        assert parse(f"make {caption} clear").captions == (caption,)
    assert parse("make the wa\u00adter\u200bfall clear").captions == ("the waterfall",)
    hidden = RegionScale("the wa\u00adter")
    assert parse(str(Instruction((hidden,)))).regions == (hidden,), "an instruction made by code is read back as it is"


@pytest.mark.parametrize(
    "quotes", ["«»", "»«", "‹›", "„“", "„”", "””", "‚‘", "「」", "『』", "｢｣", "〝〞", "＂＂", "❝❞", "﹁﹂"]
)
def test_quotation_marks_of_all_languages(quotes: str) -> None:
    opening, closing = quotes
    assert closing in closing_quotes(opening)
    caption = "the shop, keep fit and make 1"
    assert parse(f"make {opening}{caption}{closing} clear with 0.5").regions == (RegionScale(caption, 0.5),)


def test_places_in_messages_are_those_of_the_text() -> None:
    text = "make\u200b the dog\u00ad clear with ０.６、 make the cat clear with nan"
    with pytest.raises(ValueError, match=f"a scale such as .* at character {text.index('nan') + 1}, found 'nan'"):
        parse(text)


def test_lists_of_wishes_need_no_marks_at_the_end() -> None:
    for bullet in ("", "• ", "- ", "* ", "– ", "▪ "):
        text = "\n".join(f"{bullet}{wish}" for wish in ("enhance the dog with 0.6", "enhance the cat with 0.7"))
        assert parse(text) == DOG_AND_CAT
