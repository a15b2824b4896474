"""Merging regions by subject, against cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from instructrestore.dataengine.merging.merge import Merge, MergeSettings, merge_pieces
from instructrestore.dataengine.merging.scored_regions import LOW, judged
from instructrestore.dataengine.noun_phrases.parser import PhraseResult
from instructrestore.dataengine.photos.row import ANNOTATED, Row, SourcePhoto
from instructrestore.dataengine.running.stage import Drop
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import Answer, Piece


def piece(start: int, stop: int, noun_phrase: str = "", subject: str = "", description: str = "") -> Piece:
    array = np.zeros((4, 20), np.bool_)
    array[:, start:stop] = True
    answers = (Answer("m", "r", 1, noun_phrase, subject),) if noun_phrase else ()
    return Piece(Mask.from_array(array), "s", description, "d", noun_phrase, subject, answers)


def test_one_subject_is_one_region_and_its_mask_the_union() -> None:
    regions = merge_pieces(
        [piece(0, 3, "the red dog", "dog"), piece(5, 9, "a dog", "Dogs"), piece(12, 20, "sky", "sky")]
    )
    assert [(r.caption, r.subject, r.mask.area()) for r in regions] == [("sky", "sky", 32), ("dog", "dog", 28)]
    assert len(regions[1].pieces) == 2, "pieces are kept"
    assert regions[1].mask.array()[0].nonzero()[0].tolist() == [0, 1, 2, 5, 6, 7, 8]


def test_the_caption_stays_where_the_pieces_say_the_same() -> None:
    (region,) = merge_pieces([piece(0, 3, "the red dog", "dog"), piece(5, 9, "the red dog", "dog")])
    assert region.caption == "the red dog"


def test_overlapping_pieces_are_counted_once() -> None:
    (region,) = merge_pieces([piece(0, 5, "a", "a"), piece(3, 8, "a", "a")])
    assert region.mask.area() == 8 * 4


def row(*pieces: Piece) -> Row:
    return Row(SourcePhoto("u", "n", "s"), pieces=pieces)


def test_the_stage_gives_pieces_their_phrases_and_counts_what_has_none() -> None:
    answer = Answer("m", "r", 1, "the big cow", "cow")
    phrases = {
        "cow!": PhraseResult("the big cow", "cow", "", (answer,)),
        "??": PhraseResult("", "", "invalid noun phrase: empty", ()),
    }
    found = Merge(MergeSettings())(
        [row(piece(0, 4, description="cow!"), piece(4, 5, description="??"), piece(9, 12, "a cow", "cow"))], phrases
    )[0]
    assert isinstance(found, Row)
    assert found.pieces == ()
    (region,) = found.regions
    assert (region.caption, region.pieces[0].noun_phrase, region.pieces[0].answers) == ("cow", "the big cow", (answer,))
    assert found.counts == {"invalid noun phrase: empty": 1, "merged into another region": 1}


def test_a_photo_without_a_valid_region_is_dropped() -> None:
    phrases = {"??": PhraseResult("", "", "rare subject", ())}
    assert Merge(MergeSettings())([row(piece(0, 4, description="??"))], phrases) == [
        Drop("no valid region", "rare subject")
    ]


def drawn(*args: int | str) -> Piece:
    return replace(piece(*args), segmenter=ANNOTATED)  # type: ignore[arg-type]


def test_annotations_without_a_phrase_are_lost_and_merged_ones_are_not() -> None:
    phrases = {"??": PhraseResult("", "", "rare subject", ())}
    silent = replace(piece(0, 4, description="??"))
    kept = row(drawn(0, 3, "a dog", "dog"), drawn(5, 9, "the dog", "dog"), replace(silent, segmenter=ANNOTATED), silent)
    lost = row(replace(silent, segmenter=ANNOTATED), silent)
    assert (kept.held, lost.held) == (3, 1)
    [found, dropped] = Merge(MergeSettings())([kept, lost], phrases)
    assert isinstance(found, Row) and isinstance(dropped, Drop)
    assert (found.held, found.lost, found.counts["rare subject"]) == (2, {"rare subject": 1}, 2)
    assert dropped.lost == {"rare subject": 1}


def test_annotations_of_regions_that_do_not_fit_their_words_are_lost() -> None:
    regions = merge_pieces([drawn(0, 3, "a dog", "dog"), drawn(5, 9, "the dog", "dog"), piece(12, 20, "sky", "sky")])
    scored = replace(row(), regions=regions)
    assert [region.subject for region in regions] == ["sky", "dog"] and scored.held == 2
    found = [judged(scored, scores, "judge", 50) for scores in ([90, 90], [10, 90], [90, 10], [10, 10])]
    assert [each.lost for each in found] == [{}, {}, {LOW: 2}, {LOW: 2}]
    assert [each.held for each in found if isinstance(each, Row)] == [2, 2, 0]
