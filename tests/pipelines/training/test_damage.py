"""Weights whose bytes have changed since they were written: a sentence that names the file, whoever reads them."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from instructrestore.model.networks.checkpoint_record import RECORD, read_record, record_bytes
from instructrestore.model.networks.region_controlnet import WEIGHTS_NAME
from instructrestore.model.restoring.base_record import check_recorded, write_record
from instructrestore.model.restoring.checkpoint import load_base, load_controlnet, load_pipeline
from instructrestore.model.restoring.small_model import SUMS
from instructrestore.model.training.checkpoints import TrainingCheckpoint, last_of_run
from instructrestore.pipelines.training.command import TrainingOptions
from instructrestore.pipelines.training.command import run as train
from instructrestore.pipelines.training.training_run import TrainingRun
from tests.pipelines.training.runs import job_of, losses, run, small
from tests.shards.loading import write_dataset

LEARNING: dict[str, Any] = {"batch": 2, "train_base": True, "validation": {"share": 0}}
CONSTANT = {"schedule": "constant"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "dataset"
    write_dataset(folder, shards=2, photos=6)
    return folder


@pytest.fixture(scope="module")
def trained(dataset: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, with a checkpoint after each; not to be written to."""
    out = tmp_path_factory.mktemp("trained") / "out"
    run(job_of(dataset, out, tiny_base, longer(2)))
    return out


def longer(steps: int) -> Any:
    return small(**LEARNING, steps=steps, checkpoint_every=1, optimizer={**CONSTANT, "ema": 0.5})


def copied(trained: Path, dataset: Path, base: Path, out: Path, steps: int = 3) -> TrainingRun:
    shutil.copytree(trained, out)
    return job_of(dataset, out, base, longer(steps))


def last_of(job: TrainingRun) -> TrainingCheckpoint:
    last = job.checkpoints.latest()
    assert last
    return last


def flip(path: Path, place: int = -5) -> None:
    """One bit of one byte; the fifth from the end is a weight's."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << 4
    path.write_bytes(data)


def one_sentence(caught: pytest.ExceptionInfo[ValueError], *words: str) -> None:
    said = str(caught.value)
    assert "\n" not in said
    for word in words:
        assert word in said


FILES = ("optimizer", "trained", f"controlnet/{WEIGHTS_NAME}", f"unet/{WEIGHTS_NAME}", "controlnet/config.json")


@pytest.mark.parametrize("name", FILES)
def test_a_run_does_not_go_on_from_a_damaged_checkpoint(
    name: str, trained: Path, dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    job = copied(trained, dataset, tiny_base, tmp_path / "out")
    folder = last_of(job).folder
    path = folder / (name if "/" in name else f"{name}.safetensors")
    flip(path)
    with pytest.raises(ValueError, match="is damaged") as caught:
        run(job)
    one_sentence(caught, str(path), f"remove the folder {folder}, and the checkpoint before it is used")
    path.unlink()
    with pytest.raises(ValueError, match="is gone") as caught:
        run(job)
    one_sentence(caught, str(path))
    assert last_of(job).folder == folder, "nothing is removed in silence"
    if name == FILES[0]:
        shutil.rmtree(folder)
        assert last_of(job).step == 1
        assert len(losses(run(job))) == 3


def test_a_record_that_was_changed_anywhere_is_refused_or_says_the_same(trained: Path, tmp_path: Path) -> None:
    folder, draw = Path(last_of_run(str(trained))), random.Random(0)
    whole, copy = read_record(folder), tmp_path / folder.name
    copy.mkdir()
    data, refused, same = (folder / RECORD).read_bytes(), 0, 0
    for _ in range(300):
        damaged = bytearray(data)
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        (copy / RECORD).write_bytes(damaged)
        try:
            state = read_record(copy)
        except ValueError as error:
            refused += str(copy / RECORD) in str(error) and "\n" not in str(error)
        else:
            same += all(state[name] == value for name, value in whole.items())  # a space, or the name of the sum
    assert refused + same == 300 and refused > 200


@pytest.mark.parametrize("part", ["controlnet", "unet"])
def test_a_damaged_checkpoint_does_not_restore(part: str, trained: Path, tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "out")
    folder = Path(last_of_run(str(tmp_path / "out")))
    assert load_pipeline(tiny_base, folder)
    flip(folder / part / WEIGHTS_NAME)
    for place in (folder, folder / "controlnet"):
        with pytest.raises(ValueError, match="is damaged") as caught:
            load_pipeline(tiny_base, place)
        one_sentence(caught, str(folder / part / WEIGHTS_NAME), "copy it again")
    base = load_base(str(tiny_base))
    with pytest.raises(ValueError, match="is damaged"):
        load_controlnet(str(folder), base) if part == "controlnet" else load_base(
            str(tiny_base), checkpoint=str(folder)
        )


def test_checkpoints_without_a_record_are_read_as_before(
    trained: Path, dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """Those of earlier programs, of the release, and of diffusers."""
    job = copied(trained, dataset, tiny_base, tmp_path / "out")
    folder = last_of(job).folder
    state = json.loads((folder / RECORD).read_text())
    earlier = {name: value for name, value in state.items() if name not in ("files", "sha256", "base_files")}
    (folder / RECORD).write_text(json.dumps(earlier))
    flip(folder / "optimizer.safetensors")
    assert load_pipeline(tiny_base, folder)
    assert len(losses(run(job))) == 3
    assert last_of(job).state["base_files"] == state["base_files"]
    shutil.copytree(folder / "controlnet", tmp_path / "alone/controlnet")
    flip(tmp_path / "alone/controlnet" / WEIGHTS_NAME)
    assert load_pipeline(tiny_base, tmp_path / "alone")


@pytest.mark.parametrize("name", [f"vae/{WEIGHTS_NAME}", "text_encoder/model.safetensors", f"unet/{WEIGHTS_NAME}"])
def test_a_run_does_not_go_on_with_a_base_that_has_changed(
    name: str, trained: Path, dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """Of which nothing was known but what it was at the start."""
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    job = copied(trained, dataset, base, tmp_path / "out")
    flip(base / name)
    with pytest.raises(ValueError, match="the run was started with another base") as caught:
        run(job)
    one_sentence(caught, str(base / name), "where it was damaged, bring it back")
    flip(base / name)
    assert len(losses(run(job))) == 3


def test_a_base_that_says_what_it_is_is_compared_wherever_it_is_loaded(tiny_base: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    check_recorded(base)
    write_record(base)
    assert load_pipeline(base) and load_base(str(base))
    for name in (f"vae/{WEIGHTS_NAME}", f"unet/{WEIGHTS_NAME}", f"controlnet/{WEIGHTS_NAME}"):
        flip(base / name)
        with pytest.raises(ValueError, match="is damaged") as caught:
            load_pipeline(base)
        one_sentence(caught, str(base / name), f"copy or make the folder {base} again")
        flip(base / name)
    (base / SUMS).write_text("[" * 3)
    with pytest.raises(ValueError, match=SUMS):
        load_base(str(base))


def test_a_base_that_a_run_made_is_made_again_and_the_run_goes_on(dataset: Path, tmp_path: Path) -> None:
    def go_on(steps: int) -> str:
        settings = small(batch=2, steps=steps, optimizer=CONSTANT, validation={"share": 0})
        said = io.StringIO()
        assert train(TrainingOptions(str(dataset), tmp_path, settings, device="cpu"), Console(file=said)) == steps
        return said.getvalue()

    assert "made again" not in go_on(1)
    path = tmp_path / "tiny-base/unet" / WEIGHTS_NAME
    whole = path.read_bytes()
    flip(path)
    assert go_on(2).replace("\n", "").count("the base is made again: ") == 1
    assert path.read_bytes() == whole


def test_a_checkpoint_says_which_small_model_it_was_trained_on(
    trained: Path, dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    mine, other = tmp_path / "small-11111111", tmp_path / "small-22222222"
    for base in (mine, other):
        shutil.copytree(tiny_base, base)
        write_record(base)
    job = job_of(dataset, tmp_path / "out", mine, small(**LEARNING, steps=1))
    run(job)
    assert last_of(job).state["small"] == mine.name
    folder = last_of(job).folder
    assert load_pipeline(mine, folder) and load_pipeline(tiny_base, folder)
    with pytest.raises(ValueError, match="trained on another version of the small model, small-11111111") as caught:
        load_pipeline(other, folder)
    one_sentence(caught, "this one is small-22222222", str(mine))
    state = {name: value for name, value in read_record(folder).items() if name != "small"}
    (folder / RECORD).write_bytes(record_bytes(state))
    assert load_pipeline(other, folder)


@pytest.fixture
def umask() -> Iterator[Any]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_what_a_run_writes_may_be_read_by_whom_the_umask_says(
    mask: int, dataset: Path, tiny_base: Path, tmp_path: Path, umask: Any
) -> None:
    umask(mask)
    settings = small(batch=2, steps=1, optimizer={"ema": 0.5}, validation={"restored": 0})
    job = job_of(dataset, tmp_path / "out", tiny_base, settings)
    run(job)
    load_pipeline(tiny_base).save_pretrained(tmp_path / "saved")
    for folder in (job.out, tmp_path / "saved"):
        for path in [folder, *folder.rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~mask, path
