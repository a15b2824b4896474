from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from instructrestore.dataengine.judging.judgement import ACTS, from_line, judgement_of, now, region_id, to_line
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import Region
from tests.dataengine.judging.judgements import judged

MASK = {"size": [4, 4], "counts": Mask.from_array(np.eye(4, dtype=np.bool_)).counts}
REGION = "b" * 16
SOUND: list[dict[str, Any]] = [
    {"act": "accept", "region": REGION},
    {"act": "reject", "region": REGION},
    {"act": "caption", "region": REGION, "caption": "the sky at dusk"},
    {"act": "subject", "region": REGION, "subject": "sky"},
    {"act": "merge", "region": REGION, "others": ["c" * 16], "caption": "the sky", "subject": "sky"},
    {"act": "split", "region": REGION},
    {"act": "split", "region": REGION, "by": "masks", "masks": [MASK, MASK]},
    {"act": "mask", "region": REGION, "mask": MASK},
    {"act": "bokeh", "region": REGION, "bokeh": True},
    {"act": "audit", "region": REGION, "mask_right": True, "caption_right": False},
    {"act": "add", "mask": MASK, "caption": "the sky", "subject": "sky"},
    {"act": "reject_photo"},
    {"act": "undo", "of": 1},
]


def test_every_act_survives_its_line() -> None:
    assert {each["act"] for each in SOUND} == set(ACTS)
    for fields in SOUND:
        judgement = judged(**fields)
        line = to_line(judgement)
        assert line.endswith(b"}\n") and line.count(b"\n") == 1
        assert from_line(line) == judgement and to_line(from_line(line)) == line


def test_a_mask_is_the_run_length_object_of_coco() -> None:
    assert b'"mask":{"size":[4,4],"counts":"01400000"}' in to_line(judged("mask", REGION, mask=MASK))


@pytest.mark.parametrize(
    "fields",
    [
        {"act": "nothing"},
        {"act": "accept"},  # no region
        {"act": "accept", "region": "B" * 16},
        {"act": "accept", "region": REGION, "more": 1},
        {"act": "reject_photo", "region": REGION},
        {"act": "accept", "region": REGION, "who": ""},
        {"act": "accept", "region": REGION, "who": "A\x1b[2J"},
        {"act": "accept", "region": REGION, "who": "A" * 65},
        {"act": "accept", "region": REGION, "key": "../../etc/passwd"},
        {"act": "bokeh", "region": REGION, "bokeh": 1},
        {"act": "caption", "region": REGION, "caption": ""},
        {"act": "caption", "region": REGION, "caption": "a\nb"},
        {"act": "caption", "region": REGION, "caption": "\u202eyks"},
        {"act": "caption", "region": REGION, "caption": "sky " * 60},
        {"act": "caption", "region": REGION, "caption": "x" * 10_000},
        {"act": "merge", "region": REGION, "others": [], "caption": "the sky", "subject": "sky"},
        {"act": "split", "region": REGION, "masks": [MASK, MASK]},
        {"act": "split", "region": REGION, "by": "masks", "masks": [MASK]},
        {"act": "mask", "region": REGION, "mask": {"size": [4, 4], "counts": "0"}},
        {"act": "mask", "region": REGION, "mask": {"size": [4, 4], "counts": "`0"}},
        {"act": "mask", "region": REGION, "mask": {"size": [4, True], "counts": MASK["counts"]}},
        {"act": "mask", "region": REGION, "mask": {"size": [60_000, 60_000], "counts": "0"}},
        {"act": "undo", "of": 0},
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(fields: dict[str, Any]) -> None:
    common = {"when": now(), "who": "Ann", "dataset": "0" * 64, "key": "a" * 20, "region": ""}
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        judgement_of({**common, **fields})


@pytest.mark.parametrize("when", ["2026-01-31", "2026-13-31T12:00:00Z", "2026-01-31T12:00:00+01:00"])
def test_a_time_is_utc_to_the_second(when: str) -> None:
    with pytest.raises(ValueError, match="when"):
        judgement_of({"when": when, "who": "A", "dataset": "0" * 64, "key": "a" * 20, "act": "reject_photo"})


def test_a_value_said_twice_is_refused() -> None:
    line = to_line(judged("accept", REGION)).replace(b'{"when"', b'{"who":"Eve","when"')
    with pytest.raises(ValueError, match="twice"):
        from_line(line)


def test_a_regions_name_follows_from_its_mask_and_caption_alone() -> None:
    mask = Mask.from_array(np.eye(4, dtype=np.bool_))
    region = Region("the sky", "sky", mask, bokeh=False, pieces=())
    known = region_id(region)
    assert known == "86e88581591d357d"
    assert region_id(replace(region, subject="air", bokeh=True)) == known
    assert region_id(replace(region, caption="the sea")) != known
    assert region_id(replace(region, mask=Mask.from_array(np.ones((4, 4), np.bool_)))) != known
