from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from instructrestore.dataengine.judging.apply import Judged, apply, subject_of
from instructrestore.dataengine.judging.judgement import Judgement, region_id
from instructrestore.dataengine.judging.log import LogEntry, standing
from instructrestore.shards.rle import Mask, union
from instructrestore.shards.sample import Agreement, AnnotatedPhoto, Correction, Region, from_json, to_json
from tests.dataengine.judging.judgements import judged
from tests.dataengine.small_dataset import photo_of, region_of

PHOTO, _ = photo_of(1, 64, 48)
SKY = replace(region_of(PHOTO, 0, 0, 64, 20, "the blue sky", "sky"), agreement=Agreement(30.0, "clip"))
DOG = region_of(PHOTO, 4, 24, 20, 20, "a brown dog", "dog")
CAT = region_of(PHOTO, 40, 26, 10, 10, "a cat", "cat", bokeh=True)
SAMPLE = AnnotatedPhoto(PHOTO, (SKY, DOG, CAT))


def box(x: int, y: int, w: int, h: int) -> Mask:
    return region_of(PHOTO, x, y, w, h, "x", "x").mask


def rle(mask: Mask) -> dict[str, Any]:
    return {"size": [mask.height, mask.width], "counts": mask.counts}


def on(region: Region, act: str, **fields: Any) -> Judgement:
    return judged(act, region_id(region), key=PHOTO.key, **fields)


def after(*judgements: Judgement, sample: AnnotatedPhoto = SAMPLE) -> Judged:
    """What becomes of the sample, checked to be a record like any other."""
    entries = [LogEntry(number, each) for number, each in enumerate(judgements, 1)]
    found = apply(sample, standing(entries))
    if found.record:
        assert from_json(to_json(found.record)) == found.record
        areas = [region.mask.area() for region in found.record.regions]
        assert areas == sorted(areas, reverse=True) and all(areas)
        for region in found.record.regions:
            assert np.array_equal(union([piece.mask for piece in region.pieces]).array(), region.mask.array())
    return found


def regions(*judgements: Judgement, sample: AnnotatedPhoto = SAMPLE) -> dict[str, Region]:
    found = after(*judgements, sample=sample)
    assert found.record and not found.lost
    return {region.caption: region for region in found.record.regions}


def test_what_changes_nothing_leaves_the_record_as_it_is() -> None:
    said = (
        on(SKY, "accept"),
        on(SKY, "audit", mask_right=False, caption_right=True),
        on(CAT, "bokeh", bokeh=True),
        on(DOG, "caption", caption="a brown dog"),
        on(DOG, "subject", subject="Dog"),
        on(DOG, "mask", mask=rle(DOG.mask)),
    )
    assert after(*said) == Judged(SAMPLE, (), ())


def test_a_caption_brings_its_own_subject_and_takes_the_score_away() -> None:
    sky = regions(on(SKY, "caption", caption="the grey sea at dusk"))["the grey sea at dusk"]
    assert sky.subject == "sea" and sky.agreement is None
    assert sky.pieces == SKY.pieces  # what models said stays said
    assert sky.corrections == (Correction("caption", "Ann", "2026-01-31T12:00:00Z"),)


@pytest.mark.parametrize(
    ("caption", "before", "subject"),
    [
        ("two brown dogs", "dog", "dog"),
        ("a fire truck", "fire truck", "fire truck"),
        ("the red boat on the sea", "car", "boat"),
        ("<b>&</b>", "car", "car"),
    ],
)
def test_a_subject_stays_while_it_stands_in_the_caption(caption: str, before: str, subject: str) -> None:
    assert subject_of(caption, before) == subject


def test_subject_and_bokeh() -> None:
    found = regions(on(DOG, "subject", subject="Hound"), on(DOG, "bokeh", bokeh=True))
    assert (found["a brown dog"].subject, found["a brown dog"].bokeh) == ("hound", True)
    assert [each.act for each in found["a brown dog"].corrections or ()] == ["subject", "bokeh"]


def test_rejected_regions_go_and_a_photo_without_any_goes_too() -> None:
    assert list(regions(on(DOG, "reject"))) == ["the blue sky", "a cat"]
    assert after(on(DOG, "reject"), on(SKY, "reject"), on(CAT, "reject")).record is None
    assert after(judged("reject_photo", key=PHOTO.key)) == Judged(None, (1,), ())


def test_merged_regions_are_their_union_and_keep_their_pieces() -> None:
    merge = on(CAT, "merge", others=[region_id(DOG)], caption="two animals", subject="Animals", who="Ben")
    found = regions(merge)
    assert list(found) == ["the blue sky", "two animals"]
    merged = found["two animals"]
    assert merged.mask.area() == DOG.mask.area() + CAT.mask.area()
    assert (merged.subject, merged.bokeh, merged.pieces) == ("animals", False, CAT.pieces + DOG.pieces)
    assert [(each.act, each.who) for each in merged.corrections or ()] == [("merge", "Ben")]
    for others in ([region_id(CAT)], ["0" * 16]):  # with itself, with one that is not there
        assert after(on(CAT, "merge", others=others, caption="x", subject="x")).lost == (1,)


def test_a_split_by_pieces_undoes_a_merge() -> None:
    merge = on(DOG, "merge", others=[region_id(CAT)], caption="two animals", subject="animals")
    merged = regions(merge)["two animals"]
    found = regions(merge, on(merged, "split", by="pieces"))
    assert {caption: (each.mask, each.subject, each.pieces) for caption, each in found.items()} == {
        caption: (each.mask, each.subject, each.pieces)
        for caption, each in {"the blue sky": SKY, "a brown dog": DOG, "a cat": CAT}.items()
    }


def test_a_split_into_connected_pieces() -> None:
    merge = on(DOG, "merge", others=[region_id(CAT)], caption="two animals", subject="animals")
    merged = regions(merge)["two animals"]
    found = after(merge, on(merged, "split")).record
    assert found
    assert [(each.caption, each.mask) for each in found.regions[1:]] == [
        ("two animals", DOG.mask),
        ("two animals", CAT.mask),
    ]
    assert [each.pieces for each in found.regions[1:]] == [DOG.pieces, CAT.pieces]
    assert after(on(DOG, "split")).lost == (1,)  # it is one piece


def test_a_split_by_masks() -> None:
    left, right = box(0, 0, 30, 20), box(32, 0, 30, 20)
    found = after(on(SKY, "split", by="masks", masks=[rle(left), rle(right)])).record
    assert found
    assert {each.mask for each in found.regions if each.subject == "sky"} == {left, right}
    assert all(each.pieces[0].segmenter == "judge Ann" for each in found.regions if each.subject == "sky")


def test_a_brushed_mask_says_who_drew_it() -> None:
    merge = on(DOG, "merge", others=[region_id(CAT)], caption="two animals", subject="animals")
    merged = regions(merge)["two animals"]
    brushed = box(4, 24, 50, 10)
    found = regions(merge, on(merged, "mask", mask=rle(brushed)))["two animals"]
    assert found.mask == brushed
    assert [(each.segmenter, each.noun_phrase) for each in found.pieces] == [
        ("judge Ann", "a brown dog"),
        ("judge Ann", "a cat"),
        ("judge Ann", "two animals"),
    ]
    assert found.pieces[2].answers[0].revision == "Ann"
    assert after(on(DOG, "mask", mask={"size": [8, 8], "counts": Mask.from_array(np.eye(8) > 0).counts})).lost == (1,)


def test_a_new_region_is_added_once() -> None:
    add = judged("add", key=PHOTO.key, mask=rle(box(30, 30, 5, 5)), caption="a red ball", subject="Ball")
    found = after(add, add)
    assert found.record and found.changes == (1,) and found.lost == ()
    ball = found.record.regions[-1]
    assert (ball.caption, ball.subject, ball.pieces[0].describer) == ("a red ball", "ball", "judge Ann")


def test_a_judge_who_saw_the_region_before_it_was_renamed_is_heard() -> None:
    rename = on(DOG, "caption", caption="a wolf", who="Ben")
    assert regions(rename, on(DOG, "bokeh", bokeh=True))["a wolf"].bokeh
    wolf = regions(rename)["a wolf"]
    assert regions(rename, on(wolf, "bokeh", bokeh=True))["a wolf"].bokeh
    assert list(regions(rename, on(DOG, "reject"))) == ["the blue sky", "a cat"]


def test_judgements_of_regions_that_are_gone_are_counted() -> None:
    found = after(on(DOG, "reject"), on(DOG, "caption", caption="a wolf"), judged("accept", "0" * 16, key=PHOTO.key))
    assert (found.changes, found.lost) == ((1,), (2, 3))


def test_an_undone_judgement_was_never_made() -> None:
    undo = judged("undo", key=PHOTO.key, of=1)
    assert after(on(DOG, "reject"), undo) == Judged(SAMPLE, (), ())
