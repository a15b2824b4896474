"""An instance segmenter for `--segments`: small random weights in the real class, given things to see."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

from instructrestore.model.restoring.locating import Seen, by_caption
from instructrestore.pipelines.inference.instance_segments import InstanceSegmenter
from instructrestore.pipelines.inference.photo_parts import PhotoParts
from instructrestore.pipelines.inference.segment_models import chosen_segments
from instructrestore.pipelines.inference.segment_settings import InstanceSettings, shown_name

NAMES = {0: "person", 1: "Dog", 2: "a word that COCO lacks"}
SIDE = 64


def tiny_mask2former(names: dict[int, str]) -> Mask2FormerForUniversalSegmentation:
    torch.manual_seed(0)
    backbone = SwinConfig(image_size=SIDE, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4)
    backbone.out_features = ["stage1", "stage2", "stage3", "stage4"]
    config = Mask2FormerConfig(
        backbone_config=backbone,
        num_queries=6,
        hidden_dim=32,
        mask_feature_size=32,
        feature_size=32,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=32,
        encoder_feedforward_dim=16,
        id2label=names,
        label2id={word: number for number, word in names.items()},
    )
    return Mask2FormerForUniversalSegmentation(config).eval()


def save(folder: Path, names: dict[int, str]) -> Path:
    tiny_mask2former(names).save_pretrained(folder)
    size = {"shortest_edge": SIDE, "longest_edge": 2 * SIDE}
    processor = {"image_processor_type": "Mask2FormerImageProcessor", "size": size, "size_divisor": 32}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("weights") / "tiny-instances", NAMES)


def test_its_weights_are_known_by_their_kind(folder: Path) -> None:
    chosen = chosen_segments(str(folder), "cpu")
    assert chosen == InstanceSettings(str(folder), "Mask2Former", "cpu")
    assert shown_name(chosen) == "Mask2Former (tiny-instances)"


class Sees(torch.nn.Module):
    """In place of the network: two people that touch, and a thing that has no name here."""

    def forward(self, pixel_values: torch.Tensor, pixel_mask: torch.Tensor) -> object:
        assert pixel_values.shape == (1, 3, 64, 128)
        masks = torch.full((1, 4, 16, 32), -9.0)
        masks[0, 0, 4:15, 2:10] = 9
        masks[0, 1, 4:15, 10:20] = 9
        masks[0, 2, :4] = 9
        masks[0, 3, :4, :4] = 9
        logits = torch.full((1, 4, 4), -9.0)
        for query, name in enumerate((0, 0, 2, 3)):  # 3: nothing
            logits[0, query, name] = 9
        return type("Answer", (), {"class_queries_logits": logits, "masks_queries_logits": masks})


def test_things_that_touch_are_told_apart_at_their_places(folder: Path) -> None:
    parts = PhotoParts(chosen_segments(str(folder), "cpu"))
    assert isinstance(parts.segmenter, InstanceSegmenter)
    parts.segmenter._model = Sees()  # pyright: ignore[reportAttributeAccessIssue]
    rgb = np.full((500, 900, 3), 128, np.uint8)
    right, left = parts.segmenter(rgb)
    high, wide = 500 / 16, 900 / 32  # of the masks' cells, in pixels of the photo, which was stretched to 64x128
    for mask, first, last in ((left.mask, 2, 10), (right.mask, 10, 20)):
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        assert columns[[0, -1]] == pytest.approx([first * wide, last * wide], abs=wide / 4)
        assert rows[[0, -1]] == pytest.approx([4 * high, 15 * high], abs=high / 4)
    segments = parts(rgb)
    assert [np.count_nonzero(each.mask) for each in segments[:2]] == [right.mask.sum(), left.mask.sum()]
    assert all({"person", "man"} <= each.names for each in segments[:2])
    found = by_caption("the left person", Seen(rgb, {}, segments), "segments")
    assert np.array_equal(found.mask, left.mask)
    assert not found.report


def test_random_weights_see_what_they_see(folder: Path) -> None:
    things = InstanceSegmenter(InstanceSettings(str(folder), "Mask2Former", "cpu", threshold=0.0))(
        np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    )
    assert things
    assert all(thing.mask.shape == (60, 90) and thing.mask.any() and 0 < thing.name <= 1 for thing in things)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("no config", r"there is no .*config\.json: name the folder of a model of transformers"),
        ("another kind", r"is a model of the kind 'bert': take SAM 2\.1, Mask2Former or MaskFormer"),
        ("no processor", r"does not hold the Mask2Former weights that its config\.json describes"),
        ("other names", r"knows no name of COCO: take weights that were trained on COCO"),
    ],
)
def test_weights_that_do_not_do_are_one_sentence(fault: str, sentence: str, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    if fault in ("no config", "another kind"):
        folder.mkdir()
        if fault == "another kind":
            (folder / "config.json").write_text('{"model_type": "bert"}')
    else:
        save(folder, {0: "nothing of COCO"} if fault == "other names" else NAMES)
        if fault == "no processor":
            (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=sentence):
        PhotoParts(chosen_segments(str(folder), "cpu")).segmenter  # noqa: B018
