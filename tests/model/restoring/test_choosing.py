"""Single things through the pipeline, with the tiny base: what is chosen is what a given mask of it would be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.locating import PhotoSegment
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from tests.model.restoring.test_pipeline import photo, restore, seeded

LEFT = np.zeros((64, 96), np.bool_)
LEFT[16:48, 8:32] = True
RIGHT = LEFT[:, ::-1].copy()
WISH = "make the left dog clear with 0.5 and keep other parts clear with 1"


@pytest.fixture(scope="module")
def pipe(tiny_base: Path) -> InstructRestorePipeline:
    loaded = load_pipeline(str(tiny_base), device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


def dogs(rgb: NDArray[np.uint8]) -> list[PhotoSegment]:
    assert rgb.dtype == np.uint8 and rgb.shape == (64, 96, 3)
    return [PhotoSegment(mask, frozenset({"dog"})) for mask in (RIGHT, LEFT)]


def test_a_chosen_segment_restores_as_its_mask_does_from_the_same_noise(pipe: InstructRestorePipeline) -> None:
    given = restore(pipe, photo(), WISH, masks=[[LEFT]])
    assert np.array_equal(restore(pipe, photo(), WISH, locate="segments", segmenter=dogs), given)
    assert not np.array_equal(restore(pipe, photo(), WISH), given)
    one = "make the dog clear with 0.5 and keep other parts clear with 1"
    pointed = restore(pipe, photo(), one, points=[[(20, 30)]], locate="segments", segmenter=dogs)
    assert np.array_equal(pointed, restore(pipe, photo(), one, masks=[[LEFT]]))


def test_photos_of_a_batch_choose_each_for_themselves(pipe: InstructRestorePipeline) -> None:
    pictures = [photo(seed=1), photo(seed=2)]
    wishes = [WISH, "make the dog clear"]
    generators = [seeded(3), seeded(4)]
    both = pipe.predict_mask(pictures, wishes, generator=generators, locate="segments", segmenter=dogs).masks
    assert np.array_equal(both[0], LEFT[None])
    plain = pipe.predict_mask(pictures, wishes, generator=[seeded(3), seeded(4)]).masks
    assert np.array_equal(both[1], plain[1])


def test_boxes_and_points_go_together(pipe: InstructRestorePipeline) -> None:
    found = pipe.predict_mask(
        photo(),
        "make the dog clear",
        points=[[(20, 30)]],
        boxes=[[(62, 14, 28, 36)]],
        locate="segments",
        segmenter=dogs,
    )
    assert np.array_equal(found.masks[0][0] > 0.5, LEFT | RIGHT)


def test_what_the_decoder_finds_is_reported_by_the_caption_that_was_asked(pipe: InstructRestorePipeline) -> None:
    found = pipe.predict_mask(photo(), "make the left dog clear", locate="segments", segmenter=lambda rgb: [])
    assert not found.masks[0].any() and found.reports[0] == ["no region found for 'the left dog'"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"points": [(1, 2)]}, "a point is x,y"),
        ({"points": [[(1, 2)], [(3, 4)]]}, "one list of points for each photo, 1 in all"),
        ({"boxes": [[(90, 0, 20, 20)]]}, "the box 90,0,20,20 lies outside the photo of 96x64"),
        ({"points": [[(1, 2)]], "masks": [[LEFT]]}, "not both"),
        ({"locate": "segments"}, "locate=segments needs a segmenter"),
        ({"locate": "here"}, "setting locate: "),
    ],
)
def test_what_cannot_be_used_is_one_sentence(pipe: InstructRestorePipeline, options: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        pipe(photo(), "make the dog clear", generator=torch.Generator().manual_seed(0), **options)
