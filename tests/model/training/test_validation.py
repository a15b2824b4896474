from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from instructrestore.model.training.crops import Crop, CropSettings
from instructrestore.model.training.fixed_crops import fixed_crops
from instructrestore.model.training.held_out_photos import first_of_each_photo
from instructrestore.model.training.validation import ValidationCrops, mask_iou
from instructrestore.shards.index import Dataset
from instructrestore.shards.reading.reader import PhotoReader
from tests.shards.loading import write_dataset


def crop(position: int, caption: str, rows: slice, columns: slice = slice(0, 64)) -> Crop:
    """A crop of 64x64 pixels, 8x8 latent pixels, with a rectangle of mask."""
    mask = np.zeros((64, 64), np.bool_)
    mask[rows, columns] = True
    photo = np.zeros((64, 64, 3), np.uint8)
    return Crop(photo, mask, caption, caption, False, position, 0, "key", 0, 0, ())


def test_mask_iou_by_hand() -> None:
    one = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).bool().reshape(3, 1, 2, 2)
    other = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]).bool().reshape(3, 1, 2, 2)
    assert mask_iou(one, other).tolist() == pytest.approx([1 / 3, 1, 0])


def test_best_mask_without_text_by_hand() -> None:
    # Halves of a photo: everything gives 1/2 + 1/2, either half 1 + 0: the first found of equals stays.
    halves = ValidationCrops([crop(0, "sky", slice(0, 32)), crop(0, "sea", slice(32, 64))])
    assert sum(halves.iou_without_text(8)) == pytest.approx(1)
    # Seven rows in eight and one row: the large one alone is best.
    uneven = ValidationCrops([crop(0, "sky", slice(0, 56)), crop(0, "sea", slice(56, 64))])
    assert uneven.iou_without_text(8) == pytest.approx([1, 0])
    # Nested: the small one within the large one.
    nested = ValidationCrops([crop(0, "man", slice(0, 32)), crop(0, "hat", slice(0, 16))])
    assert nested.iou_without_text(8) == pytest.approx([1, 0.5])
    # Alone in its photo a region needs no text.
    assert ValidationCrops([crop(0, "sky", slice(0, 8)), crop(1, "sea", slice(8, 32))]).iou_without_text(8) == [1, 1]


def test_the_best_mask_without_text_is_sought_in_the_bases_own_cells() -> None:
    # 28 rows are seven cells of 4 px; of cells of 8 px three, since half a cell is too little.
    photo = ValidationCrops([crop(0, "man", slice(0, 28)), crop(0, "hat", slice(0, 16))])
    assert photo.iou_without_text(4) == pytest.approx([1, 4 / 7])
    assert photo.iou_without_text(8) == pytest.approx([1, 2 / 3])


def test_swapped_captions_stay_within_their_photo() -> None:
    own = [crop(0, "a", slice(0, 8)), crop(0, "b", slice(8, 16)), crop(0, "c", slice(16, 24)), crop(1, "d", slice(8))]
    judged = ValidationCrops(own)
    assert [each.caption for each in judged.swapped] == ["b", "c", "a", "d"]
    assert judged.sharing == [True, True, True, False]
    assert [each.mask is mine.mask for each, mine in zip(judged.swapped, own, strict=True)] == [True] * 4


def test_all_regions_of_a_photo_share_one_crop(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", shards=1, photos=6, corrupt=range(1, 2))
    readers = [PhotoReader(Dataset(str(tmp_path / "data")))]
    counts = dataset.index["region_count"].to_pylist()
    photos = [(0, row, counts[row]) for row in range(6)]
    crops, faults = fixed_crops(readers, photos, CropSettings(size=32), seed=5)
    assert len(faults) == 1 and faults[0].startswith("corrupt photo: jpg-000000.tar/")
    assert {each.position for each in crops} == {0, 2, 3, 4, 5}
    for position in (2, 5):
        own = [each for each in crops if each.position == position]
        assert len(own) > 1 and all(np.array_equal(each.photo, own[0].photo) for each in own)
        assert len({each.caption for each in own}) == len(own)
    assert all(each.mask.mean() >= 0.01 for each in crops)
    again, _ = fixed_crops(readers, photos, CropSettings(size=32), seed=5)
    assert all(np.array_equal(a.photo, b.photo) for a, b in zip(crops, again, strict=True))


def test_captions_that_no_instruction_can_hold_are_not_restored() -> None:
    """A data set of another's making must not end a training at its first validation."""
    captions = [(0, "dog " * 200), (0, "the dog"), (1, "\u200b"), (2, "make the cat clear with 0.6"), (2, "the cat")]
    asked = first_of_each_photo([crop(position, caption, slice(0, 8)) for position, caption in captions])
    assert [(each.position, instruction.captions) for each, instruction in asked] == [
        (0, ("the dog",)),
        (2, ("make the cat clear with 0.6",)),
    ]
