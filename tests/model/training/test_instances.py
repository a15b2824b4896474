"""Single pieces in training: a stated share of the samples, each named alone in what its crop shows, reproducibly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from instructrestore.model.referring.parser import parse_reference
from instructrestore.model.referring.pieces import measured
from instructrestore.model.referring.resolving import resolve
from instructrestore.model.training.crops import Crop, Cropper, CropSettings
from instructrestore.model.training.settings import TrainingSettings, small_masks
from instructrestore.shards.reading.reader import Triplet
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import Piece
from tests.model.training.test_crops import triplet_of

SIZE = 64
PLACES = ((4, 10, 12, 30), (24, 10, 12, 18), (46, 30, 14, 30))  # left, top, width, height


def masks() -> list[np.ndarray]:
    made = [np.zeros((SIZE, SIZE), np.bool_) for _ in PLACES]
    for mask, (left, top, width, height) in zip(made, PLACES, strict=True):
        mask[top : top + height, left : left + width] = True
    return made


def three_dogs(position: int) -> Triplet:
    whole = triplet_of(np.logical_or.reduce(masks()), "the dogs", position)
    pieces = tuple(Piece(Mask.from_array(mask), "made") for mask in masks())
    region = dataclasses.replace(whole.region, pieces=pieces)
    return dataclasses.replace(whole, region=region, regions=(region,))


def crop(position: int, instances: float, flip: float = 0.5) -> Crop:
    return Cropper(CropSettings(size=SIZE, flip=flip), instances=instances)(three_dogs(position))


def test_the_caption_names_its_mask_alone_in_the_crop_as_it_was_cut_and_mirrored() -> None:
    seen = set()
    for position in range(60):
        made = crop(position, 1.0)
        own = [mask[:, ::-1] if _mirrored(made) else mask for mask in masks()]
        numbers = resolve(parse_reference(made.caption), measured(own, made.photo), {}).numbers
        assert np.array_equal(made.mask, np.logical_or.reduce([own[number] for number in numbers])), made.caption
        assert 0 < len(numbers) < 3
        seen.add((numbers, _mirrored(made)))
    assert len({numbers for numbers, _ in seen if len(numbers) == 1}) == 3
    assert {len(numbers) for numbers, _ in seen} == {1, 2}
    assert {mirrored for _, mirrored in seen} == {False, True}


def _mirrored(made: Crop) -> bool:
    return bool(made.photo[0, 0, 0] > made.photo[0, -1, 0])  # red grows to the right


def test_the_share_is_the_stated_one_and_the_rest_is_as_without() -> None:
    plain = [crop(position, 0.0) for position in range(300)]
    mixed = [crop(position, 0.3) for position in range(300)]
    single = [made.mask.sum() < whole.mask.sum() for made, whole in zip(mixed, plain, strict=True)]
    assert 0.22 < np.mean(single) < 0.38
    for made, whole, alone in zip(mixed, plain, single, strict=True):
        if not alone:
            assert made.caption == whole.caption and np.array_equal(made.photo, whole.photo)


def test_a_sample_depends_on_its_position_alone() -> None:
    cropper = Cropper(CropSettings(size=SIZE), instances=0.5)
    first = [cropper(three_dogs(position)) for position in range(20)]
    again = [cropper(three_dogs(position)) for position in range(10, 20)]  # a run that went on from there
    for one, other in zip(first[10:], again, strict=True):
        assert one.caption == other.caption and np.array_equal(one.mask, other.mask)


def test_a_region_of_one_piece_is_never_changed() -> None:
    one = triplet_of(masks()[0], "the dog", 3)
    settings = CropSettings(size=SIZE)
    single, plain = Cropper(settings, instances=1.0)(one), Cropper(settings)(one)
    assert single.caption == plain.caption and np.array_equal(single.mask, plain.mask)


def test_a_decoder_of_names_cannot_learn_single_things() -> None:
    with pytest.raises(ValueError, match="tells names apart, not single things"):
        TrainingSettings.model_validate({**small_masks().model_dump(), "instances": 0.3})
