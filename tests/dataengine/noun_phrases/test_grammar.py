"""The embedded grammar: the paper's examples, forms of English, properties on any text, agreement with people."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.noun_phrases import (
    agreement,
    dam_captions,
    factual_cases,
    gold_subject,
    osprey_captions,
    pope_captions,
    region_phrases,
)
from instructrestore.dataengine.noun_phrases.english.caption_length import MAX_CAPTION_TOKENS, clip_tokens
from instructrestore.dataengine.noun_phrases.english.noun_phrase import NounPhrase, fold
from instructrestore.dataengine.noun_phrases.english.verbs import FINITE, present_participle
from instructrestore.dataengine.noun_phrases.english.words import (
    ADVERBS,
    COMPOUNDS,
    DETERMINERS,
    PLAIN_ADJECTIVES,
    PREPOSITIONS,
)
from instructrestore.dataengine.noun_phrases.grammar import Grammar
from instructrestore.dataengine.noun_phrases.validation import faults

GRAMMAR = Grammar()
STRICT = Grammar(strict=True)

PAPER = [
    ("the sky is blue", "the blue sky", "sky"),
    ("the cow is standing on the field", "the cow standing on the field", "cow"),
    ("a large field of grass", "a large field of grass", "field"),
]
FORMS = [
    # copula: adjectives in front, everything else behind
    ("two containers are behind the plate .", "two containers behind the plate", "containers"),
    ("the wall is black and white.", "the black and white wall", "wall"),
    ("the clock is green in colour", "the green clock", "clock"),
    ("a chair is empty", "an empty chair", "chair"),
    ("the bus is full of people", "the bus full of people", "bus"),
    ("The legs of the table are brown.", "the brown legs of the table", "legs"),
    ("The skis are predominantly black with a sleek design. They feature", "the predominantly black skis with a sleek "
     "design", "skis"),
    # progressive, passive, have, simple present
    ("man is wearing sneakers", "man wearing sneakers", "man"),
    ("The engine is attached to the wing", "the engine attached to the wing", "engine"),
    ("the monitor has been switched on", "the monitor switched on", "monitor"),
    ("the bird has a beak", "the bird with a beak", "bird"),
    ("a girl wears a green shirt", "a girl wearing a green shirt", "girl"),
    ("the boy stands in front of a television", "the boy standing in front of a television", "boy"),
    ("a man lies on the couch", "a man lying on the couch", "man"),
    # openings
    ("there is a wooden chair with its back to us.", "a wooden chair with its back to us", "chair"),
    ("This is a tree trunk", "a tree trunk", "tree trunk"),
    ("A seagull appears to be in mid-flight above the sea.", "a seagull in mid-flight above the sea", "seagull"),
    ("At the right edge of the image, a blonde woman is seen.", "a blonde woman", "woman"),
    ("on top of the stop sign is a one way sign", "a one way sign", "sign"),
    ("The image shows a man riding a wave.", "a man riding a wave", "man"),
    ("A close-up of a red rose.", "a red rose", "rose"),
    ("The focus of this region is a young man with a beard.", "a young man with a beard", "man"),
    ("It is sunny. There is a bench near the tree.", "a bench near the tree", "bench"),
    ("In this image we can see a man who wears a red hat.", "a man who wears a red hat", "man"),
    ("The region shows the handle of the cup.", "the handle of the cup", "handle"),
    ("The region is the left front wheel of a car.", "the left front wheel of a car", "wheel"),
    ("What appears to be a bird on a branch", "a bird on a branch", "bird"),
    ("the sign reads main street", "the sign reading main street", "sign"),
    ("a painting of a dog on the wall", "a painting of a dog on the wall", "painting"),
    ("a photo of a dog", "a dog", "dog"),
    ("a black and white photo of a man's face", "a man's face", "face"),
    ("The image is a black and white photo of the dogs’ bowl.", "the dogs' bowl", "bowl"),
    ("a black and white image of two dogs", "two dogs", "dogs"),
    ("an old, black and white, grainy picture of a train", "a train", "train"),
    ("a color photo of a man", "a man", "man"),
    ("a close up of a man's face", "a man's face", "face"),
    ("a black and white photo on the wall", "a black and white photo on the wall", "photo"),
    ("the black and white cat", "the black and white cat", "cat"),
    # relative clauses and modifiers stay
    ("metal poles that make a fence", "metal poles that make a fence", "poles"),
    ("a truck loaded with bananas", "a truck loaded with bananas", "truck"),
    ("the snow covered ground near trees", "the snow covered ground near trees", "ground"),
    ("the girl's jacket is purple", "the girl's purple jacket", "jacket"),
    # quantities name no thing, containers and parts do
    ("a group of people walking on the grass", "a group of people walking on the grass", "people"),
    ("a bunch of bananas", "a bunch of bananas", "bananas"),
    ("a pair of shoes", "a pair of shoes", "shoes"),
    ("bits of ice left on the ground", "bits of ice left on the ground", "ice"),
    ("a pair of pieces of cake", "a pair of pieces of cake", "cake"),
    ("a bottle of wine", "a bottle of wine", "bottle"),
    ("head of the person", "head of the person", "head"),
    # gerunds and participles as modifiers of nouns
    ("a wooden cutting board on a counter", "a wooden cutting board on a counter", "cutting board"),
    ("a painting hanging on a wall", "a painting hanging on a wall", "painting"),
    ("a painted wall", "a painted wall", "wall"),
    ("a man painting a wall", "a man painting a wall", "man"),
    ("the broken fridge", "the broken fridge", "fridge"),
    ("a can of soda", "a can of soda", "can"),
    ("tall, green grass", "tall, green grass", "grass"),
    ("trees and bushes growing on a lawn", "trees and bushes growing on a lawn", "trees"),
    ("a a a dog dog", "a dog", "dog"),
    ("THE DOG IS BLACK", "the black dog", "dog"),
]  # fmt: skip
NOTHING = [
    "", " ", "...", "12 34", "\x00", "the the", "and of", "green", "it is sunny", "he is wearing it",
    "there are no people", "this is an outdoor scene",
]  # fmt: skip


@pytest.mark.parametrize("apostrophe", "'’ʼ＇‛´`′")
def test_apostrophes_of_all_kinds_are_one(apostrophe: str) -> None:
    assert GRAMMAR(f"a man{apostrophe}s face") == NounPhrase("a man's face", "face")
    assert GRAMMAR(f"a black and white photo of a man{apostrophe}s face") == NounPhrase("a man's face", "face")


@pytest.mark.parametrize(("description", "noun_phrase", "subject"), PAPER + FORMS)
def test_forms_of_english(description: str, noun_phrase: str, subject: str) -> None:
    assert GRAMMAR(description) == NounPhrase(noun_phrase, subject)


@pytest.mark.parametrize("description", NOTHING)
def test_no_noun_phrase_is_none(description: str) -> None:
    assert GRAMMAR(description) is None
    assert STRICT(description) is None


def test_strict_rules_give_a_shorter_phrase() -> None:
    assert STRICT("the brown cow is standing on the field") == NounPhrase("the brown cow", "cow")
    assert STRICT("the sky is blue") == NounPhrase("the blue sky", "sky")
    assert STRICT("the top of the tower") == NounPhrase("the top of the tower", "tower")
    assert STRICT("a red red xkcdq truck truck that is parked") == NounPhrase("a red truck", "truck")


def test_captions_are_cut_at_joints_to_fit() -> None:
    things = ("hat", "cane", "scarf", "parrot", "lantern", "violin", "telescope", "barometer", "bicycle", "violet")
    parsed = GRAMMAR("a man " + " ".join(f"with a heavy {thing} near the {thing}stand" for thing in things))
    assert parsed is not None
    assert clip_tokens(parsed.text) <= MAX_CAPTION_TOKENS
    assert parsed.text.startswith("a man with a heavy hat near the hatstand with a heavy cane")
    assert parsed.text.split()[-1] not in PREPOSITIONS | DETERMINERS


_SENTENCES = st.lists(
    st.sampled_from(
        sorted(PREPOSITIONS | DETERMINERS | ADVERBS | set(FINITE))
        + sorted(PLAIN_ADJECTIVES)
        + [
            "dog",
            "men",
            "grass",
            "sky",
            ",",
            ".",
            "and",
            "that",
            "who",
            "is",
            "are",
            "has",
            "there",
            "riding",
            "parked",
        ]
        * 20
        + ["man 's", "``", "''", "\n", "image", "of", "a", "the"] * 10
    ),
    max_size=25,
).map(" ".join)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=200), _SENTENCES))
def test_any_text_gives_a_valid_answer_or_none(description: str) -> None:
    for grammar in (GRAMMAR, STRICT):
        parsed = grammar(description)
        if parsed is None:
            continue
        assert faults(parsed, description) == ()
        assert parsed.subject in parsed.text.casefold()
        assert grammar(description) == parsed
        again = GRAMMAR(parsed.text)
        assert again is not None
        assert again.subject == parsed.subject


@pytest.mark.parametrize(
    "unit",
    ["a", " ", "the ", "a dog ", "dog, ", "of the ", "that is ", "and ", "'s ", "n't ", ". ", "-", "a.b", "painted ",
     "``", "there is ", "in the ", "man holding a hat ", "\n", "é", "group of "],
)  # fmt: skip
def test_long_input_takes_no_longer(unit: str) -> None:
    described = unit * (100_000 // len(unit))
    start = time.perf_counter()
    for grammar in (GRAMMAR, STRICT):
        grammar(described)
    assert time.perf_counter() - start < 1.0


@pytest.mark.parametrize(
    ("many", "one"),
    [("Dogs", "dog"), ("men", "man"), ("Women", "woman"), ("people", "person"), ("children", "child"), ("buses", "bus"),
     ("bus", "bus"), ("grass", "grass"), ("grasses", "grass"), ("glasses", "glasses"), ("glass", "glass"),
     ("benches", "bench"), ("dishes", "dish"), ("boxes", "box"), ("houses", "house"), ("horses", "horse"),
     ("knives", "knife"), ("leaves", "leaf"), ("cookies", "cookie"), ("cities", "city"), ("ties", "tie"),
     ("tomatoes", "tomato"), ("shoes", "shoe"), ("tennis", "tennis"), ("pants", "pants"), ("skis", "skis"),
     ("Stop Signs", "stop sign"), ("firemen", "fireman"), ("specimen", "specimen"), ("", "")],
)  # fmt: skip
def test_fold(many: str, one: str) -> None:
    assert fold(many) == one


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=30), st.text("aeimnopsuxz y", max_size=12)))
def test_fold_twice_is_fold(subject: str) -> None:
    assert fold(fold(subject)) == fold(subject)
    assert fold(subject.upper().lower()) == fold(subject.lower())


def test_word_lists_are_well_formed() -> None:
    assert all(compound.count("_") >= 1 for compound in COMPOUNDS)
    assert present_participle("holds") == "holding"
    assert present_participle("sits") == present_participle("sat") == "sitting"
    assert present_participle("lies") == "lying"
    assert present_participle("rides") == "riding"
    assert present_participle("carries") == "carrying"


def test_gold_is_the_head_named_first() -> None:
    assert gold_subject("a clock face on a tower", "( face , on , tower ) , ( clock , v:have , face )") == "clock"
    assert gold_subject("two dogs", "( dogs:1 , is , 2 )") == "dog"
    assert gold_subject("a cat", "( zebra )") is None


def test_agreement_with_people(data_folder: Path) -> None:
    cases = factual_cases(data_folder, GRAMMAR)
    for half in (cases[0::2], cases[1::2]):
        judged, _, last_word = agreement(case for case in half if case.construction != "X of Y")
        assert judged > 0.9 * len(half)
        assert last_word >= 0.92
        # "head of the person" and all: the scene graph's head is often the whole there.
        assert agreement(half)[2] >= 0.90
        # Word for word: "white bed" is not "bed".
        assert agreement(half)[1] >= 0.86


def test_real_descriptions_become_valid_noun_phrases(data_folder: Path) -> None:
    for described, least in (
        (region_phrases(data_folder), 0.95),
        (dam_captions(data_folder), 0.95),
        (osprey_captions(data_folder), 0.95),
        (pope_captions(data_folder), 0.97),
    ):
        for grammar in (GRAMMAR, STRICT):
            answers = [(text, grammar(text)) for text in described]
            assert all(not faults(parsed, text) for text, parsed in answers if parsed is not None)
            assert sum(parsed is not None for _, parsed in answers) >= least * len(described)
