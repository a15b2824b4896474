"""Runs in which the mask decoder alone learns, on a frozen classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from instructrestore.model.networks.text_mask_decoder import CELL, TextMaskDecoder
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.training.crops import Crop, Neighbour
from instructrestore.model.training.masks import LEAST_SHOWN, MaskPreparation
from instructrestore.model.training.settings import TrainingSettings, small, small_masks
from instructrestore.model.training.worker import TrainingWorker
from instructrestore.pipelines.building.presets import with_values
from instructrestore.pipelines.training.training_run import TrainingRun, open_networks, train
from instructrestore.pretrained import installed
from tests.pipelines.training.runs import job_of, losses, run
from tests.shards.loading import write_dataset

pytest.importorskip(installed.BACKBONE_PACKAGE, reason="the image classifier: pip install -e .")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "dataset"
    write_dataset(folder, shards=2, photos=3)
    return folder


def masks(**values: Any) -> TrainingSettings:
    few = {
        "steps": 2,
        "batch": 2,
        "loader_workers": 0,
        "log_every": 1,
        "mask_channels": 32,
        "dtype": "float32",
        "validation": {"share": 0},
    }
    return with_values(with_values(small_masks(), few), values)


def job(dataset: Path, out: Path, base: Path, settings: TrainingSettings) -> TrainingRun:
    return job_of(dataset, out, base, settings)


def test_it_learns_and_nothing_else_does(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    begun = job(dataset, tmp_path / "out", tiny_base, masks(validation={"share": 0.3, "every": 2, "photos": 1}))
    assert all(np.isfinite(losses(run(begun))))
    latest = begun.checkpoints.latest()
    assert latest and latest.validation_loss
    before, after = load_pipeline(tiny_base), load_pipeline(tiny_base, latest.folder)
    known = before.controlnet.state_dict()
    for name, value in after.controlnet.state_dict().items():
        if not name.startswith("mask_decoder."):
            assert torch.equal(known[name], value), name
    decoder = after.controlnet.mask_decoder
    assert isinstance(decoder, TextMaskDecoder)
    names = after.controlnet.config["mask_names"]
    assert len(names) == len(set(names)) == len(decoder.name_texts) and decoder.own.abs().sum() > 0
    found = after.predict_mask(np.zeros((64, 64, 3), np.uint8), f"make the {names[0]} clear", generator=None)
    assert found.masks[0].shape == (1, 64, 64)


def steps_apart(dataset: Path, out: Path, base: Path, settings: TrainingSettings, stop: int) -> TrainingRun:
    """A run that is stopped after so many steps, and taken up again to its end."""
    begun = job(dataset, out, base, settings)
    asked: list[int] = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) > stop

    assert train(begun, TrainingWorker(torch.device("cpu")), None, stopped) == stop
    run(begun)
    return begun


def test_a_run_goes_on_where_it_was(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    check_resume(masks(steps=3, optimizer={"warmup": 1}), 1, dataset, tiny_base, tmp_path)


@pytest.mark.slow
def test_fifty_steps_go_on_exactly_with_backbone_average_and_bfloat16(
    dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    settings = masks(steps=50, batch=1, absent=1, dtype="bfloat16", optimizer={"ema": 0.9})
    check_resume(settings, 23, dataset, tiny_base, tmp_path)


def check_resume(settings: TrainingSettings, stop: int, dataset: Path, base: Path, folder: Path) -> None:
    whole = job(dataset, folder / "whole", base, settings)
    run(whole)
    parts = steps_apart(dataset, folder / "parts", base, settings, stop)
    one, other = (each.checkpoints.latest() for each in (whole, parts))
    assert one and other and one.step == other.step == settings.steps
    for mine, theirs in ((one.trained(), other.trained()), (one.exported("controlnet"), other.exported("controlnet"))):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_all_that_a_crop_shows_is_asked_for_and_some_that_its_photo_does_not(
    dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    settings = masks(absent=2)
    base, controlnet = open_networks(job(dataset, tmp_path / "out", tiny_base, settings), _here())
    size = settings.crop.size

    def mask(rows: slice) -> np.ndarray:
        made = np.zeros((size, size), np.bool_)
        made[rows] = True
        return made

    config = {**controlnet.config, "mask_names": ["dog", "sky", "car", "tree", "cup"]}
    prepare = MaskPreparation(base, settings, config)
    speck = np.zeros((size, size), np.bool_)
    speck[: int(size * LEAST_SHOWN / 2)] = True
    others = (Neighbour("the sky", "sky", mask(slice(0, 64))), Neighbour("the cup", "cup", speck & False))
    crop = Crop(
        np.full((size, size, 3), 99, np.uint8), mask(slice(256, 512)), "the brown dog", "dog", False, 7, 0, "k", 0, 0,
        (), others,
    )  # fmt: skip
    alone = replace(crop, neighbours=(), position=8)
    batch = prepare([crop, alone])
    assert batch.asked.sum(1).tolist() == [4, 3]  # dog, sky and two absent; dog and two absent
    areas = batch.masks.sum((2, 3))
    assert areas[0].tolist() == [(256 // CELL) * (size // CELL), (64 // CELL) * (size // CELL), 0, 0]
    assert areas[1, 1:].sum() == 0
    assert batch.names[0].sum((1, 2)).tolist() == [*areas[0, :2].tolist(), 0, 0, 0]
    # The same crop asks for the same; validation for its own region alone.
    assert torch.equal(prepare([crop]).texts, batch.texts[:1])
    assert prepare([crop], 50).texts.shape[1] == 1


def _here() -> TrainingWorker:
    return TrainingWorker(torch.device("cpu"))


def test_crops_know_their_neighbours_where_they_are_asked_for(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    from instructrestore.pipelines.training.training_run import open_data

    for settings, wanted in ((masks(), True), (with_values(small(), {"validation": {"share": 0}}), False)):
        stream, _, _ = open_data(job(dataset, tmp_path / settings.preset, tiny_base, settings), _here())
        crops = [crop for _, batch in zip(range(4), stream.micro_batches(), strict=False) for crop in batch]
        assert any(crop.neighbours for crop in crops) == wanted
        for crop in crops:
            assert all(each.mask.shape == crop.mask.shape for each in crop.neighbours)


def test_what_cannot_be_learnt_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="the mask decoder alone can be learnt where it is a TextMaskDecoder"):
        masks(mask_decoder="MaskDecoder")
    with pytest.raises(ValueError, match="the mask decoder sees photos at 512 px"):
        masks(crop={"size": 256})
