from __future__ import annotations

from dataclasses import replace

from instructrestore.dataengine.reporting import annotation_counts
from instructrestore.dataengine.running.stage_summary import StageSummary
from tests.html_page import Page

SUMMARIES = [
    StageSummary("intake", 4, 3, {"corrupt photo": 1}, {}, {}, 20, {"dropped: corrupt photo": 5}),
    StageSummary("noun phrases", 7, 7, {}, {}, {}),
    StageSummary(
        "masks",
        3,
        2,
        {"no region": 1},
        {},
        {"mask scaled to the photo": 2, "island dropped": 1},
        15,
        {"empty <mask>": 1, "too small": 4},
    ),
    StageSummary("jpg shards", 1, 1, {}, {}, {}, 7),
    StageSummary("png shards", 1, 1, {}, {}, {}, 3),
]


def test_in_is_kept_and_lost_from_the_sources_on() -> None:
    found = annotation_counts.of_stages(SUMMARIES, {"crowd": 3, "annotation of no photo": 0})
    assert [(each.stage, each.held, each.kept, each.lost, each.reasons) for each in found] == [
        ("sources", 23, 20, 3, (("crowd", 3),)),
        ("intake", 20, 15, 5, (("dropped: corrupt photo", 5),)),
        ("masks", 15, 10, 5, (("too small", 4), ("empty <mask>", 1))),
        ("jpg shards", 7, 7, 0, ()),
        ("png shards", 3, 3, 0, ()),
    ]


def test_stages_of_before_that_did_not_count_give_no_table() -> None:
    for number, held in ((0, 8), (2, 0), (2, 9), (3, 0)):
        old = [replace(stage, held=held, lost={}) if n == number else stage for n, stage in enumerate(SUMMARIES)]
        assert annotation_counts.of_stages(old, {}) == []


def test_annotations_that_belong_to_no_photo_at_all_are_told() -> None:
    [only] = annotation_counts.of_stages([StageSummary("intake", 4, 4, {}, {}, {})], {"annotation of no photo": 9})
    assert (only.stage, only.held, only.kept, only.lost) == ("sources", 9, 0, 9)


def test_sources_without_annotations_have_no_table() -> None:
    assert annotation_counts.of_stages([StageSummary("intake", 4, 4, {}, {}, {})], {}) == []
    assert annotation_counts.of_stages([], {}) == []


def test_text_from_data_is_escaped() -> None:
    text = annotation_counts.html(annotation_counts.of_stages(SUMMARIES, {}))
    assert "<mask>" not in text
    assert "too small 4, empty <mask> 1; of those kept: mask scaled to the photo 2" in Page(text).text
