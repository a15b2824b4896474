from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from instructrestore.dataengine.running.lock import locked
from instructrestore.model.restoring.tiny_base import build_tiny_base
from instructrestore.model.training.checkpoints import CheckpointFolder
from instructrestore.model.training.settings import TrainingSettings
from instructrestore.model.training.trainer import learning_rate
from instructrestore.model.training.worker import TrainingWorker
from instructrestore.pipelines.cli import app, main
from instructrestore.pipelines.training.command import parse_datasets
from tests.conftest import ROOT
from tests.pipelines.training.runs import command, job_of, losses, metrics, run, small
from tests.shards.loading import write_dataset

# JPEG's roundings and Poisson's draws jump: on another processor, at one photo in some steps. Without them the losses
# are smooth functions of the weights, and 20 steps on different processors stay within 2e-6 of each other.
SMOOTH = {stage: {"gaussian_probability": 1.0, "jpeg_quality": (100.0, 100.0)} for stage in ("first", "second")}
# Steps 1, 6, 11 and 16 of the small settings with this degradation.
GOLDEN_NOISE = [0.263336, 0.266571, 0.392631, 0.178086]
GOLDEN_MASK = [1.33703, 0.602648, 0.35676, 0.350995]
# Twice or more what they move by where every weight of the base is off by the unit round-off, the larger of two draws:
# 1e-7, 2.4e-5, 1.1e-3, 3.9e-4 and 9e-8, 1.5e-4, 9.8e-3, 1.4e-2. AdamW moves a weight whose gradient is nothing but
# rounding by a whole step, and from there the runs part.
NOISE_WITHIN = [1e-5, 5e-4, 3e-3, 3e-3]
MASK_WITHIN = [1e-5, 2e-3, 3e-2, 3e-2]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "dataset"
    write_dataset(folder, shards=2, photos=6)
    return folder


@pytest.fixture(scope="module")
def whole(dataset: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of the small settings."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run(job_of(dataset, out, tiny_base, small()))
    return out


def weights(out: Path) -> dict[str, torch.Tensor]:
    latest = CheckpointFolder(out / "checkpoints", 3).latest()
    assert latest
    return latest.trained()


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_every_step_has_its_row_and_the_loss_is_equation_1(whole: Path) -> None:
    rows = [row for row in metrics(whole) if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    for row in rows:
        assert row["loss"] == pytest.approx(row["noise"] + 1.0 * row["mask"], rel=1e-5)  # tiny: lambda is 1
        assert 0 <= row["iou"] <= 1 and row["gradient"] > 0


def test_validation_judges_photos_that_were_never_trained_on(whole: Path) -> None:
    judged = [row for row in metrics(whole) if "held_out" in row]
    assert [row["step"] for row in judged] == [3, 6]
    assert 1 <= judged[0]["held_out"]["photos"] <= 3
    assert judged[0]["held_out"]["loss"] > 0 and judged[0]["held_out"]["iou_without_text"] > 0


def test_pictures_and_tensorboard_show_how_it_goes(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    settings = small(steps=2, validation={"every": 2, "restored": 2, "steps": 2})
    rows = run(job_of(dataset, tmp_path / "out", tiny_base, settings))
    with Image.open(tmp_path / "out/pictures/step-00000002.png") as sheet:
        assert sheet.width > 3 * 192 and sheet.height > 2 * 192  # LQ, result and HQ of two regions, enlarged
    assert 0 < rows[-1]["psnr_inside"] < 60 and 0 < rows[-1]["psnr_outside"] < 60
    events = EventAccumulator(str(tmp_path / "out/tensorboard")).Reload()
    assert [event.step for event in events.Scalars("training/loss")] == [1, 2]
    assert [event.value for event in events.Scalars("training/loss")] == pytest.approx(losses(rows), rel=1e-6)
    assert [event.step for event in events.Scalars("held_out/iou")] == [2]
    assert [event.step for event in events.Images("held_out")] == [2]


def test_goes_on_bit_for_bit_where_it_was(dataset: Path, whole: Path, tiny_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = job_of(dataset, out, tiny_base, small())

    class Stopped(Exception):
        pass

    from instructrestore.model.training import trainer

    def rate(step: int, *others: Any) -> float:
        if step == 5:  # one step after the checkpoint of step 4
            raise Stopped
        return learning_rate(step, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "learning_rate", rate)
        with pytest.raises(Stopped):
            run(job)
    assert losses(metrics(out)) == losses(metrics(whole))[:5]
    assert losses(run(job)) == losses(metrics(whole))
    assert equal(weights(out), weights(whole))


@pytest.mark.slow
def test_killed_at_any_step_it_ends_with_the_same_weights(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    settings = small(steps=12, checkpoint_every=3, loader_workers=1, validation={"every": 100})
    run(job_of(dataset, tmp_path / "whole", tiny_base, settings))
    out, rng = tmp_path / "out", np.random.default_rng()
    line = command(dataset, out, tiny_base, settings, tmp_path / "settings.toml")
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed_at = []
    for _ in range(2):
        begin = metrics(out)[-1]["step"] if killed_at else 0
        stop = begin + int(rng.integers(1, 4))
        process = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            if (out / "metrics.jsonl").exists() and (rows := metrics(out)) and rows[-1]["step"] >= stop:
                break
            time.sleep(0.01)
        assert process.poll() is None, "the run ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed_at.append(metrics(out)[-1]["step"])
    subprocess.run(line, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert losses(metrics(out)) == losses(metrics(tmp_path / "whole")), f"killed at {killed_at}"
    assert equal(weights(out), weights(tmp_path / "whole"))


def test_ctrl_c_leaves_a_checkpoint_of_the_last_step(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    settings = small(steps=500, checkpoint_every=1000, validation={"every": 1000})
    line = command(dataset, tmp_path / "out", tiny_base, settings, tmp_path / "settings.toml")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end:
        if (tmp_path / "out/metrics.jsonl").exists() and len(metrics(tmp_path / "out")) >= 2:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.decode() == "instructrestore: interrupted; run the same command again to continue\n"
    last = CheckpointFolder(tmp_path / "out/checkpoints", 3).latest()
    assert last and last.step == metrics(tmp_path / "out")[-1]["step"]


def test_twenty_steps_have_these_losses(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    """A change of these numbers is a change of what a run learns: it must be meant."""
    settings = small(steps=20, validation={"every": 100}, log_every=20, degradation=SMOOTH)
    rows = run(job_of(dataset, tmp_path / "out", tiny_base, settings))
    noise = [row["noise"] for row in rows if "noise" in row]
    mask = [row["mask"] for row in rows if "mask" in row]
    assert (np.abs(np.divide(noise[::5], GOLDEN_NOISE) - 1) <= NOISE_WITHIN).all(), noise[::5]
    assert (np.abs(np.divide(mask[::5], GOLDEN_MASK) - 1) <= MASK_WITHIN).all(), mask[::5]
    assert mask[-1] < mask[0]


def test_micro_batches_and_gradient_checkpointing_change_nothing(
    dataset: Path, whole: Path, tiny_base: Path, tmp_path: Path
) -> None:
    for name, values in {"parts": {"micro_batch": 2}, "less": {"gradient_checkpointing": True}}.items():
        rows = run(job_of(dataset, tmp_path / name, tiny_base, small(**values)))
        assert losses(rows) == pytest.approx(losses(metrics(whole)), abs=1e-5)


@pytest.mark.compiled
@pytest.mark.timeout(3600)
def test_compiled_networks_learn_the_same(dataset: Path, whole: Path, tiny_base: Path, tmp_path: Path) -> None:
    rows = run(job_of(dataset, tmp_path / "out", tiny_base, small(compile=True, steps=6)))
    assert losses(rows) == pytest.approx(losses(metrics(whole)), abs=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_gpu_learns_as_the_cpu_does(dtype: str, dataset: Path, whole: Path, tiny_base: Path, tmp_path: Path) -> None:
    """Not exactly: the degradation's noise comes from the device's own generator."""
    settings = small(dtype=dtype, loader_workers=2)
    rows = run(job_of(dataset, tmp_path / "out", tiny_base, settings), TrainingWorker(torch.device("cuda")))
    assert losses(rows) == pytest.approx(losses(metrics(whole)), rel=0.15)


@pytest.mark.slow
def test_half_precision_follows_full_precision(dataset: Path, whole: Path, tiny_base: Path, tmp_path: Path) -> None:
    rows = run(job_of(dataset, tmp_path / "out", tiny_base, small(dtype="bfloat16")))
    assert losses(rows) == pytest.approx(losses(metrics(whole)), rel=0.05)
    assert {tensor.dtype for tensor in weights(tmp_path / "out").values()} == {torch.float32}


def test_the_moving_average_is_exported_and_the_run_goes_on_from_the_weights(
    dataset: Path, whole: Path, tiny_base: Path, tmp_path: Path
) -> None:
    settings = small(optimizer={"ema": 0.5})
    rows = run(job_of(dataset, tmp_path / "out", tiny_base, settings))
    assert losses(rows) == losses(metrics(whole))
    last = CheckpointFolder(tmp_path / "out/checkpoints", 3).latest()
    assert last and equal(last.trained(), weights(whole)) and not equal(last.trained(), last.exported("controlnet"))
    # Of six steps with decay 1/2 the average lies nearer to the last weights than to the first.
    first = load_file(tiny_base / "controlnet/diffusion_pytorch_model.safetensors")
    name = "mask_decoder.final_conv.weight"
    to_last = (last.exported("controlnet")[name] - last.trained()[name]).norm()
    assert to_last < (last.exported("controlnet")[name] - first[name]).norm()

    constant = {"ema": 0.5, "schedule": "constant"}
    run(job_of(dataset, tmp_path / "once", tiny_base, small(optimizer=constant)))
    for steps in (3, 6):
        run(job_of(dataset, tmp_path / "twice", tiny_base, small(optimizer=constant, steps=steps)))
    once, twice = (CheckpointFolder(tmp_path / name / "checkpoints", 3).latest() for name in ("once", "twice"))
    assert (
        once
        and twice
        and equal(once.exported("controlnet"), twice.exported("controlnet"))
        and equal(once.trained(), twice.trained())
    )

    half = tmp_path / "half"
    run(job_of(dataset, half, tiny_base, small(optimizer={"ema": 0.5}, steps=4, checkpoint_every=4)))
    # A cosine goes by the run's length, so that a run of 4 steps is not the beginning of one of 6.
    with pytest.raises(ValueError, match="another steps"):
        run(job_of(dataset, half, tiny_base, settings))


def test_keeps_the_last_checkpoints_and_the_best(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    settings = small(steps=6, checkpoint_every=1, keep=2, validation={"every": 2})
    run(job_of(dataset, tmp_path / "out", tiny_base, settings))
    known = CheckpointFolder(tmp_path / "out/checkpoints", 2)
    best = known.best()
    assert best
    assert {each.step for each in known.all()} == {5, 6, best.step}
    judged = {row["step"]: row["held_out"]["loss"] for row in metrics(tmp_path / "out") if "held_out" in row}
    assert best.step == min(judged, key=lambda step: judged[step])


def test_a_checkpoint_restores_photos(whole: Path, tiny_base: Path, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "photo.png")
    last = CheckpointFolder(whole / "checkpoints", 3).latest()
    assert last
    arguments = ["restore", str(tmp_path / "photo.png"), "make the dog clear with 0.7", "--base", str(tiny_base)]
    arguments += ["--checkpoint", str(last.folder), "--out", str(tmp_path / "out"), "--steps", "2"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "out/photo.png").size == (64, 64)


def test_unusable_triplets_are_counted_said_and_passed_over(tiny_base: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", shards=2, photos=6, corrupt=range(0, 4), empty=(5,))
    said: list[str] = []
    settings = small(steps=4, validation={"share": 0}, checkpoint_every=4)
    rows = run(job_of(tmp_path / "data", tmp_path / "out", tiny_base, settings), said=said)
    assert len(losses(rows)) == 4
    last = CheckpointFolder(tmp_path / "out/checkpoints", 3).latest()
    assert last and last.state["faults"]["corrupt photo"] > 0
    assert any("unusable triplets skipped so far: corrupt photo" in line for line in said)


def test_a_data_set_of_corrupt_photos_ends_in_one_sentence(tiny_base: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", shards=1, photos=4, corrupt=range(4))
    settings = small(loader_workers=1, validation={"share": 0})
    with pytest.raises(ValueError, match="100 triplets in a row are unusable, the last: corrupt photo"):
        run(job_of(tmp_path / "data", tmp_path / "out", tiny_base, settings))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda data: (data / "jpg-000001.tar").unlink(), "jpg-000001.tar"),
        (lambda data: (data / "jpg-000001.tar").write_bytes(b"short"), "jpg-000001.tar"),
        (lambda data: (data / "index.parquet").write_bytes(b"PAR1"), "index.parquet"),
        (lambda data: (data / "dataset.json").unlink(), "dataset.json"),
    ],
)
def test_a_broken_data_set_is_one_sentence_at_the_start(
    damage: Any, sentence: str, tiny_base: Path, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "data", shards=2, photos=3)
    damage(tmp_path / "data")
    with pytest.raises(ValueError, match=sentence) as raised:
        run(job_of(tmp_path / "data", tmp_path / "out", tiny_base, small()))
    assert "\n" not in str(raised.value)


def test_other_data_or_settings_are_refused_when_it_goes_on(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    run(job_of(dataset, tmp_path / "out", tiny_base, small(steps=2)))
    before = metrics(tmp_path / "out")
    assert run(job_of(dataset, tmp_path / "out", tiny_base, small(steps=2))) == before  # there is nothing left to do
    longer: dict[str, Any] = {"steps": 4, "optimizer": {"schedule": "constant"}}
    run(job_of(dataset, tmp_path / "longer", tiny_base, small(**{**longer, "steps": 2})))
    with pytest.raises(ValueError, match="started with another mask_weight and seed"):
        run(job_of(dataset, tmp_path / "longer", tiny_base, small(**longer, seed=3, mask_weight=2)))
    write_dataset(tmp_path / "other", shards=1, photos=8, name="b")
    with pytest.raises(ValueError, match="other data sets"):
        run(job_of(tmp_path / "other", tmp_path / "longer", tiny_base, small(**longer)))
    build_tiny_base(tmp_path / "base", seed=7)
    with pytest.raises(ValueError, match="started with another base"):
        run(job_of(dataset, tmp_path / "longer", tmp_path / "base", small(**longer)))
    assert len(losses(run(job_of(dataset, tmp_path / "longer", tiny_base, small(**longer))))) == 4


def test_a_loss_that_is_no_number_stops_the_run(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    settings = small(steps=20, optimizer={"learning_rate": 1e30, "schedule": "constant", "warmup": 0})
    with pytest.raises(ValueError, match=r"no longer (a number|numbers) at step \d+: train into another folder"):
        run(job_of(dataset, tmp_path / "out", tiny_base, settings))
    known = CheckpointFolder(tmp_path / "out/checkpoints", 3).all()
    assert all(bool(tensor.isfinite().all()) for each in known for tensor in each.trained().values())


def test_a_base_that_predicts_something_unknown_is_refused(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    path = base / "scheduler/scheduler_config.json"
    path.write_text(path.read_text().replace('"epsilon"', '"flow"'))
    with pytest.raises(ValueError, match="the base predicts flow, which is none of epsilon"):
        run(job_of(dataset, tmp_path / "out", base, small()))


def test_photos_without_a_usable_region_are_not_judged_by(tiny_base: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", shards=2, photos=6, empty=range(0, 12, 3), corrupt=range(1, 2))
    said: list[str] = []
    settings = small(steps=1, validation={"share": 0.5, "photos": 12})
    run(job_of(tmp_path / "data", tmp_path / "out", tiny_base, settings), said=said)
    assert any(line.startswith("left out of validation: ") for line in said)
    run(job_of(tmp_path / "data", tmp_path / "none", tiny_base, small(steps=1, validation={"share": 0})), said=said)
    assert any("nothing is held out" in line for line in said)


def test_one_run_at_a_time_in_a_folder(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    with locked(tmp_path, forks=True):
        line = command(dataset, tmp_path, tiny_base, small(), tmp_path / "settings.toml")
        ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == f"instructrestore: another run is at work in {tmp_path}\n"


def test_learning_rate_rises_then_falls_to_a_twentieth() -> None:
    chosen = TrainingSettings.model_validate(
        {"optimizer": {"learning_rate": 2.0, "schedule": "cosine", "warmup": 10}}
    ).optimizer
    rates = [learning_rate(step, 1000, chosen) for step in range(1001)]
    assert rates[0] == pytest.approx(0.2, rel=1e-3) and max(rates) == pytest.approx(2, rel=1e-3)
    assert rates[-1] == pytest.approx(0.1) and rates[500] == pytest.approx(1.05)
    assert learning_rate(999, 1000, TrainingSettings().optimizer) == 5e-5


def test_mixed_data_sets_and_their_shares() -> None:
    both = parse_datasets("a", ["s3://bucket/b:0.75"])
    assert [(path, float(share)) for path, share in both] == [("a", 0.25), ("s3://bucket/b", 0.75)]
    assert [float(share) for _, share in parse_datasets("a", [])] == [1.0]
    for mixed, sentence in (
        (["b"], "DATASET:SHARE"),
        (["b:x"], "number"),
        (["b:1"], "leave nothing"),
        (["a:0.5"], "twice"),
    ):
        with pytest.raises(ValueError, match=sentence):
            parse_datasets("a", mixed)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "--preset", "tiny"], "is not a data set"),
        (["nowhere"], "which base?"),
        (["nowhere", "--preset", "huge"], "there is no preset 'huge'; there are stage1, stage2, tiny"),
        (["nowhere", "--preset", "tiny", "--set", "batchh=3"], "batchh"),
        (["nowhere", "--preset", "tiny", "--set", "batch=0"], "batch"),
        (["nowhere", "--preset", "tiny", "--resume", "maybe"], "--resume must be auto or never"),
        (["nowhere", "--preset", "tiny", "--workers", "3"], "cannot be divided among 3 workers"),
        (["nowhere", "--preset", "tiny", "--device", "abacus"], "unknown device"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.delenv("INSTRUCTRESTORE_BASE", raising=False)
    monkeypatch.setattr("sys.argv", ["instructrestore", "train", *arguments, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and sentence in said and said.count("\n") == 1
