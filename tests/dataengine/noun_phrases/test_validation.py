"""Validation of noun phrases: every fault by example and counter-example, raw outputs of models, CLIP's token count."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.noun_phrases import (
    dam_captions,
    judge_replies,
    osprey_captions,
    osprey_examples,
    pope_captions,
    raw_faults,
    region_phrases,
)
from instructrestore.dataengine.noun_phrases import prompt
from instructrestore.dataengine.noun_phrases.english.caption_length import MAX_CAPTION_TOKENS, clip_tokens
from instructrestore.dataengine.noun_phrases.english.noun_phrase import NounPhrase
from instructrestore.dataengine.noun_phrases.grammar import Grammar
from instructrestore.dataengine.noun_phrases.validation import FAULTS, MAX_REPLY_CHARACTERS, faults, read_answer

VALID = [
    ("the blue sky", "sky", "the sky is blue"),
    ("the cow standing on the field", "cow", "the cow is standing on the field"),
    ("a large field of grass", "field", "a large field of grass"),
    ("Two Dogs", "dogs", "two dogs run"),
    ("people that are walking outside", "people", "people that are walking outside"),
    ("the tracks the trolley is driving on", "tracks", "the tracks the trolley is driving on ."),
    ("a black and white cat and a black dog", "cat", "a black and white cat and a black dog"),
    ("the man's red t-shirt", "t-shirt", "the man 's t-shirt is red"),
    ("two market stands on the street", "stands", "two market stands on the street"),
    ("a can of soda", "can", "a can of soda"),
    ("a framed picture on the wall", "picture", "a framed picture on the wall"),
    ("a sign reading 3.5 miles", "sign", "the sign reads 3.5 miles"),
    ("ein großer Hund", "Hund", "ein großer Hund"),
    ("a small dog, a big dog", "dog", "a small dog, a big dog"),
    ("the answer sheet on the desk", "sheet", "the answer sheet is on the desk"),
    ("a fire hydrant", "fire hydrant", "a firehydrant"),
    ("windshield of a train", "windshield", "windshiled of a train"),
]
FAULTY = [
    ("empty", "", "sky", "the sky"),
    ("empty", "the sky", "  ", "the sky"),
    ("empty", "123", "1", "123"),
    ("not_text", "the sky \x07 above", "sky", "the sky"),
    ("not_text", "the <b>sky</b>", "sky", "the sky"),
    ("not_text", "the sky at https://a.example/b", "sky", "the sky"),
    ("not_text", "**the sky**", "sky", "the sky"),
    ("not_text", "a sky 123 456 789 000", "sky", "the sky"),
    ("leaked_prompt", "Question: what is it, a dog", "dog", "a dog"),
    ("leaked_prompt", "a dog ### Answer", "dog", "a dog"),
    ("leaked_prompt", "noun phrase: a dog", "dog", "a dog"),
    ("leaked_prompt", "Sure, a dog", "dog", "a dog"),
    ("leaked_prompt", "Here is a dog", "dog", "a dog"),
    ("leaked_prompt", "<region1> a dog", "dog", "a dog"),
    ("leaked_prompt", "a dog, Assistant", "dog", "a dog"),
    ("leaked_prompt", 'a dog", "subject": "dog"', "dog", "a dog"),
    ("leaked_prompt", "the blue sky", "sky", "the sky over a town"),
    ("sentence", "the sky is blue", "sky", "the sky is blue"),
    ("sentence", "the cow has a bell", "cow", "the cow has a bell"),
    ("sentence", "a man wears a hat", "man", "a man wears a hat"),
    ("sentence", "a man holding a hat which is red is old", "man", "a man"),
    ("sentence", "a dog. A cat.", "dog", "a dog and a cat"),
    ("sentence", "a dog\nin a field", "dog", "a dog"),
    ("sentence", "what a dog!", "dog", "a dog"),
    ("subject_not_in_phrase", "the blue sky", "cow", "the sky is blue, and a cow"),
    ("subject_not_in_phrase", "the category", "cat", "the cat category"),
    ("subject_not_a_noun", "it on the wall", "it", "it on the wall"),
    ("subject_not_a_noun", "the blue sky", "blue", "the blue sky"),
    ("subject_not_a_noun", "the sky above", "above", "the sky above"),
    ("subject_not_a_noun", "an image of a dog", "image", "an image of a dog"),
    ("subject_not_a_noun", "a picture of a dog", "picture", "a picture of a dog"),
    ("subject_not_a_noun", "two dogs 2", "dogs 2", "two dogs 2"),
    ("repetition", "the the the dog", "dog", "the dog"),
    ("repetition", "dog dog dog", "dog", "a dog"),
    ("repetition", "a dog on a bed on a bed", "dog", "a dog on a bed"),
    ("repetition", "dog and a dog or the dog in dog", "dog", "a dog"),
    ("too_long", "a dog " + "in a red box under some stairs near that town by " * 4, "dog", "a dog"),
    ("too_long", "a very big red old wooden dog", "very big red wooden dog", "a dog"),
    ("too_long", "a dog" + " " * 5000 + "in a box", "dog", "a dog in a box"),
    ("unfaithful", "a fluffy dog", "dog", "a fluffy cat"),
    ("unfaithful", "the horse", "horse", "the house"),
]


@pytest.mark.parametrize(("noun_phrase", "subject", "description"), VALID)
def test_valid_answers_have_no_fault(noun_phrase: str, subject: str, description: str) -> None:
    assert faults(NounPhrase(noun_phrase, subject), description) == ()


@pytest.mark.parametrize(("fault", "noun_phrase", "subject", "description"), FAULTY)
def test_every_fault_is_named(fault: str, noun_phrase: str, subject: str, description: str) -> None:
    assert fault in faults(NounPhrase(noun_phrase, subject), description)


def test_each_fault_has_an_example_and_a_meaning() -> None:
    assert {fault for fault, *_ in FAULTY} | {"not_json", "schema"} == set(FAULTS)
    assert all(meaning and "\n" not in meaning for meaning in FAULTS.values())


def test_faults_come_in_the_order_of_the_table() -> None:
    found = faults(NounPhrase("Answer: the the blue sky is blue", "cow"), "a dog")
    assert found == ("leaked_prompt", "sentence", "subject_not_in_phrase", "repetition", "unfaithful")
    assert sorted(found, key=list(FAULTS).index) == list(found)


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        ('{"noun_phrase": "the blue sky", "subject": "sky"}', NounPhrase("the blue sky", "sky")),
        (' {"subject":" sky ","noun_phrase":"the blue sky"}\n', NounPhrase("the blue sky", "sky")),
        ("", "not_json"),
        ("the blue sky", "not_json"),
        ('{"noun_phrase": "the blue sky", "subject": "sky"', "not_json"),
        ('{"noun_phrase": "the blue sky", "subject": "sky"} Hope it helps!', "not_json"),
        ('Sure! {"noun_phrase": "the blue sky", "subject": "sky"}', "not_json"),
        ('```json\n{"noun_phrase": "the blue sky", "subject": "sky"}\n```', "not_json"),
        ('{"noun_phrase": "a", "subject": "b"}{"noun_phrase": "a", "subject": "b"}', "not_json"),
        ("{'noun_phrase': 'the blue sky', 'subject': 'sky'}", "not_json"),
        ('"sky"', "not_json"),
        ("17", "not_json"),
        ("null", "not_json"),
        ("[" * MAX_REPLY_CHARACTERS, "not_json"),
        ("{" * 1_000_000, "not_json"),
        ('{"noun_phrase": "%s", "subject": "sky"}' % ("a" * MAX_REPLY_CHARACTERS), "not_json"),
        ('["the blue sky", "sky"]', "schema"),
        ("[[1, 2]]", "schema"),
        ("{}", "schema"),
        ('{"noun_phrase": "the blue sky"}', "schema"),
        ('{"noun_phrase": "the blue sky", "subject": "sky", "why": "it is"}', "schema"),
        ('{"noun_phrase": "the blue sky", "subject": "sky", "subject": "sea"}', "schema"),
        ('{"noun_phrase": "the blue sky", "subject": null}', "schema"),
        ('{"noun_phrase": ["the blue sky"], "subject": "sky"}', "schema"),
        ('{"noun_phrase": {"subject": "sky"}, "subject": "sky"}', "schema"),
        ('{"Noun_Phrase": "the blue sky", "subject": "sky"}', "schema"),
    ],
)
def test_replies_are_read_strictly(reply: str, result: NounPhrase | str) -> None:
    assert read_answer(reply) == result


def test_the_prompts_own_examples_are_valid_answers_to_themselves_only() -> None:
    for description, noun_phrase, subject in prompt.EXAMPLES:
        parsed = NounPhrase(noun_phrase, subject)
        assert faults(parsed, description) == ()
        assert "leaked_prompt" in faults(parsed, "three zebras in the rain")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300), st.text(max_size=60), st.text(max_size=300))
def test_any_text_is_judged(noun_phrase: str, subject: str, description: str) -> None:
    found = faults(NounPhrase(noun_phrase, subject), description)
    assert set(found) <= set(FAULTS)
    read = read_answer(json.dumps({"noun_phrase": noun_phrase, "subject": subject}))
    assert read == NounPhrase(noun_phrase.strip(), subject.strip()) or read == "not_json"
    assert isinstance(read_answer(noun_phrase), str)


@pytest.mark.parametrize(
    "unit", ["a", " ", "the ", "dog, ", "a dog that is ", "<", "{", '"', "[", "#", "www", "he is ", ". "]
)
def test_long_text_takes_no_longer(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    start = time.perf_counter()
    assert faults(NounPhrase(text, text), text)
    read_answer(text)
    assert time.perf_counter() - start < 1.0


def test_raw_captions_of_models_are_no_noun_phrases(data_folder: Path) -> None:
    grammar = Grammar()
    captions = pope_captions(data_folder)
    assert all(raw_faults(text, grammar) for text in captions)
    leaking = [text for text in captions if re.search(r"Question|Answer|###", text)]
    assert leaking
    for text in leaking:
        assert raw_faults(text, grammar)
        if re.search(r"(?:Question|Answer)(?: \d+)?:|###", text[:1_000]):
            assert "leaked_prompt" in raw_faults(text, grammar)
    assert all(raw_faults(text, grammar) for text in osprey_captions(data_folder) + osprey_examples(data_folder))
    # Some of these are long noun phrases with a full stop, as they stand.
    described = dam_captions(data_folder)
    assert sum(bool(raw_faults(text, grammar)) for text in described) >= 0.7 * len(described)


def test_raw_replies_in_another_format_are_rejected(data_folder: Path) -> None:
    replies = judge_replies(data_folder)
    assert replies
    assert {read_answer(text) for text in replies} <= {"not_json", "schema"}
    assert all("leaked_prompt" in raw_faults(text, Grammar()) for text in replies if "Assistant 1" in text[:1_000])


def test_noun_phrases_of_people_are_valid(data_folder: Path) -> None:
    """Phrases that the grammar hands on word for word are noun phrases; validation must not reject their like."""
    grammar = Grammar()
    phrases = [text.strip().rstrip(". ").lower() for text in region_phrases(data_folder)]
    plain = [
        text for text in phrases if re.fullmatch(r"(?:the|an?|two|three) \w+ \w+(?: (?:on|in|of|near) the \w+)?", text)
    ]
    plain = [text for text in plain if not re.search(r"\b(?:is|are|has|image|picture|photo|scene|pic)\b", text)]
    assert len(plain) > 100
    assert sum(grammar(text) is not None for text in plain) >= 0.98 * len(plain)


def _clip_tokenizer():
    tokenizer = pytest.importorskip(
        "instant_clip_tokenizer", reason="CLIP's vocabulary: instant-clip-tokenizer (<= 3.12)"
    )
    return tokenizer.Tokenizer()


def test_clip_tokens_are_never_under_the_true_count(data_folder: Path) -> None:
    tokenizer = _clip_tokenizer()
    refcoco = json.loads((data_folder / "refcoco_expr" / "sample_expressions_testA.json").read_text(encoding="utf-8"))
    lvis = json.loads((data_folder / "lvis_val100" / "lvis_val_100.json").read_text(encoding="utf-8"))
    coco = json.loads(
        (data_folder / "coco_tiny" / "annotations" / "instances_val2017.json").read_text(encoding="utf-8")
    )
    texts = [
        *region_phrases(data_folder),
        *(prediction["sent"] for prediction in refcoco["predictions"]),
        *(category["name"].replace("_", " ") for category in (*lvis["categories"], *coco["categories"])),
        *dam_captions(data_folder),
        *osprey_captions(data_folder),
    ]
    true = [len(tokenizer.encode(text)) for text in texts]
    estimates = [clip_tokens(text) for text in texts]
    under = [(text, n, e) for text, n, e in zip(texts, true, estimates, strict=True) if e < n]
    assert len(under) <= 0.0005 * len(texts), under[:5]
    assert all(n - e <= 1 for _, n, e in under), under[:5]
    assert sum(estimates) <= 1.4 * sum(true)
    # Of the answers to long captions none is over the limit.
    answers = [Grammar()(text) for text in dam_captions(data_folder) + osprey_captions(data_folder)]
    assert all(len(tokenizer.encode(parsed.text)) <= MAX_CAPTION_TOKENS for parsed in answers if parsed)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("", 0, 0), ("the blue sky", 3, 3), ("a dog, 12 cats", 5, 6), ("it's", 2, 2), ("été", 1, 6), ("🐕🐕", 2, 9)],
)
def test_clip_tokens_by_example(text: str, least: int, most: int) -> None:
    assert least <= clip_tokens(text) <= most
