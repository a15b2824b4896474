"""The trainer: resumed is the same as uninterrupted, it learns what is drawn, other settings are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.annotator.panoptic import PanopticPhoto
from instructrestore.dataengine.annotator.reduction import COARSE, FINE, SCENE, Reduced
from instructrestore.dataengine.annotator.training import CHECKPOINT, HeadSettings, HeadTrainer, view_loss
from instructrestore.dataengine.annotator.views import ViewStore

TINY = HeadSettings(steps=6, batch=2, views=2, channels=8, warmup=1, learning_rate=1e-2)
SKY, GRASS = (next(i for i, name in enumerate(coco_names()) if name.word == word) for word in ("sky", "grass"))


class DrawnViews(ViewStore):
    """Random maps in which one channel tells sky, above, from grass, below."""

    def __init__(self) -> None:
        pass

    def make(self, photo: PanopticPhoto, view: int) -> None:
        pass

    def read(self, photo: PanopticPhoto, view: int) -> tuple[Reduced, torch.Tensor, torch.Tensor]:
        random = torch.Generator().manual_seed(int(photo.key) * 10 + view)
        labels = torch.full((8, 8), SKY, dtype=torch.uint8)
        labels[4:] = GRASS
        fine = torch.randn(4, 4, FINE, generator=random)
        fine[:2, :, 0], fine[2:, :, 0] = 3, -3
        coarse, scene = (torch.randn(n, n, c, generator=random) for n, c in ((2, COARSE), (1, SCENE)))
        evidence = torch.full((2, len(coco_names()), 2, 2), -9.2)
        return Reduced(fine, coarse, scene, evidence), labels, labels.int()


def trainer(settings: HeadSettings = TINY) -> HeadTrainer:
    torch.manual_seed(7)
    text = torch.nn.functional.normalize(torch.randn(len(coco_names()), 384), dim=1)
    photos = [PanopticPhoto(str(number), Path(), Path(), {}) for number in range(4)]
    return HeadTrainer(settings, text, photos, DrawnViews())


def test_resumed_is_the_same_as_uninterrupted(tmp_path: Path) -> None:
    whole = trainer()
    losses = [whole.train_step() for _ in range(6)]
    begun = trainer()
    assert [begun.train_step() for _ in range(3)] == losses[:3]
    begun.save(tmp_path)
    resumed = trainer()
    assert resumed.resume(tmp_path)
    assert resumed.step == 3
    assert [resumed.train_step() for _ in range(3)] == losses[3:]
    for one, other in zip(whole.averaged.parameters(), resumed.averaged.parameters(), strict=True):
        assert torch.equal(one, other)


def test_it_learns_what_is_drawn() -> None:
    learner = trainer(replace(TINY, steps=40, dropout=0.0))
    for _ in range(40):
        learner.train_step()
    features, labels, _ = learner.store.read(PanopticPhoto("99", Path(), Path(), {}), 1)  # never trained on
    best = learner.averaged(features)[0].argmax(0)
    assert (best == labels[::2, ::2]).float().mean() > 0.9


def test_other_settings_and_damage_are_said(tmp_path: Path) -> None:
    begun = trainer()
    assert not begun.resume(tmp_path)
    begun.save(tmp_path)
    with pytest.raises(ValueError, match="other settings: batch"):
        trainer(replace(TINY, batch=3)).resume(tmp_path)
    assert trainer(replace(TINY, steps=9)).resume(tmp_path)  # longer is no other training
    whole = (tmp_path / CHECKPOINT).read_bytes()
    for place in (-5, whole.index(b'\\"seed\\"') + 10):  # of a weight, and of a setting
        (tmp_path / CHECKPOINT).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="is damaged; remove it to begin again"):
            trainer().resume(tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(b"no")
    with pytest.raises(ValueError, match="damaged"):
        trainer().resume(tmp_path)


def test_loss_counts_a_small_thing_like_a_large_one() -> None:
    """With area_power 1 every name in the photo weighs the same: half right, however the halves are distributed."""
    labels = torch.full((4, 4), SKY, dtype=torch.uint8)
    labels[3, 3] = GRASS
    settings = HeadSettings(smoothing=0.0, area_power=1.0, presence=0.0)
    logits = torch.zeros(len(coco_names()), 2, 2)
    even = view_loss(logits, torch.zeros(len(logits)), labels, settings)
    assert even == pytest.approx(torch.log(torch.tensor(133.0)).item(), rel=1e-5)
    logits[SKY] = 20.0  # every pixel sky, surely: the grass is wrong by 20
    assert view_loss(logits, torch.zeros(len(logits)), labels, settings) == pytest.approx(10.0, rel=0.01)
    nothing = torch.full((4, 4), 255, dtype=torch.uint8)
    assert view_loss(logits, torch.zeros(len(logits)), nothing, settings) == 0
