"""A language model's reply is a stranger's data: an instruction that can be written and read again, or a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrestore.model.instruction.parser import parse
from instructrestore.pipelines.understanding.prompt import CANNOT, SCHEMA
from instructrestore.pipelines.understanding.reply import Inexpressible, Unusable, instruction_of
from tests.pipelines.understanding.replying_server import CANONICAL, GOOD


def with_caption(caption: str) -> str:
    return json.dumps({**GOOD, "regions": [{"caption": caption, "scale": 1}]})


def test_a_sound_reply_is_its_instruction_with_two_decimals() -> None:
    assert str(instruction_of(json.dumps(GOOD))) == CANONICAL
    long = json.dumps({**GOOD, "others": 1.1000000001}).replace("0.9", "0.8999999762")
    assert str(instruction_of(long)) == CANONICAL


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("", "not valid JSON"),
        ("Sure! Here is the JSON.", "not valid JSON"),
        ('{"kind": "restore", "regions": [', "not valid JSON"),
        ("[" * 5000, "too deeply"),
        ("[]", "no values by name"),
        ('{"kind": "restore", "kind": "other"}', "twice"),
        (json.dumps({**GOOD, "note": "x"}), "note: Extra"),
        (json.dumps({**GOOD, "others": "1"}), "others: "),
        (json.dumps({**GOOD, "bokeh": 1}), "bokeh: "),
        (json.dumps({**GOOD, "others": 4.1}), "others: "),
        (json.dumps({**GOOD, "others": -0.1}), "others: "),
        (json.dumps(GOOD).replace("1.1", "NaN"), "NaN"),
        (json.dumps(GOOD).replace("1.1", "1e999"), "1e999"),
        (json.dumps({**GOOD, "regions": []}), "names no region"),
        (json.dumps({**GOOD, "regions": GOOD["regions"] * 2}), "there twice"),
        (json.dumps({**GOOD, "regions": GOOD["regions"] * 17}), "regions: "),
        (json.dumps({**GOOD, "kind": "delete everything"}), '"kind" is none'),
        (with_caption("the dog " * 40), "regions.0.caption: "),
        (with_caption("the dog\u202e"), "control characters"),
        (with_caption("the dog\x1b[31m"), "control characters"),
        (with_caption("   "), "not in English"),
        (with_caption("天空"), "not in English"),
        (json.dumps(GOOD) + " " * 20_000, "longer than 20000"),
    ],
)  # fmt: skip
def test_what_was_not_asked_for_is_unusable(reply: str, said: str) -> None:
    with pytest.raises(Unusable) as error:
        instruction_of(reply)
    assert said in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("kind", CANNOT)
def test_a_kind_that_is_no_restoration_is_said_in_our_words(kind: str) -> None:
    with pytest.raises(Inexpressible) as error:
        instruction_of(json.dumps({**GOOD, "kind": kind}))
    assert str(error.value) == CANNOT[kind]


def test_a_caption_that_holds_a_wish_stays_a_caption() -> None:
    instruction = instruction_of(with_caption("the dog clear with 0.1, blur the background and make the cat"))
    assert len(instruction.regions) == 1 and not instruction.bokeh
    assert parse(str(instruction)) == instruction


captions = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60) | st.sampled_from(
    ["a dog", 'the "x" sign', "it"]
)
scales = st.floats(allow_nan=False, allow_infinity=False) | st.floats(0, 4)
replies = st.fixed_dictionaries(
    {
        "kind": st.just("restore"),
        "regions": st.lists(st.fixed_dictionaries({"caption": captions, "scale": scales}), max_size=3),
        "others": scales,
        "bokeh": st.booleans(),
    }
)


@settings(max_examples=40)
@given(replies)
def test_whatever_is_taken_can_be_written_and_read_again(reply: dict[str, Any]) -> None:
    try:
        instruction = instruction_of(json.dumps(reply))
    except Unusable:
        return
    assert parse(str(instruction)) == instruction
    assert all(0 <= region.scale <= 4 and len(region.caption) <= 120 for region in instruction.regions)


@settings(max_examples=40)
@given(
    st.text(max_size=200)
    | st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), st.lists).map(json.dumps)
)
def test_any_other_text_is_unusable_and_nothing_worse(reply: str) -> None:
    with pytest.raises(Unusable):
        instruction_of(reply)


def test_the_schema_asks_for_what_is_checked() -> None:
    assert set(SCHEMA["properties"]) == set(GOOD) == set(SCHEMA["required"])
