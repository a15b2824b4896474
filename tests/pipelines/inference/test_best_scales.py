"""`find_scales` and `restore --auto` with the tiny base: the answer, its record, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import instructrestore
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.pipelines.inference.aims import AIMS, Measures, measure
from instructrestore.pipelines.inference.best_scales import PREVIEW_STEPS, FoundScales, find_scales
from instructrestore.pipelines.inference.restorer import as_asked
from instructrestore.pipelines.inference.scale_search import MOST_TRIALS
from instructrestore.pipelines.pictures.restored_photo import read_record
from tests.dataengine.photos.test_photo_file import scene
from tests.pipelines.restoration.test_files import Ended, photo, pixels, run

__all__ = ["run"]  # a fixture
DOG = "make the dog clear"


@pytest.fixture(scope="module")
def pipe(tiny_base: Path) -> InstructRestorePipeline:
    made = InstructRestorePipeline.from_pretrained(tiny_base)
    made.set_progress_bar_config(disable=True)
    return made


def check(found: FoundScales, aim: str) -> None:
    """The answer is admitted and better than the default of as many steps, or it is the default."""
    best, default = found.best, found.default
    assert default.scales == (1.0,) * len(default.scales)
    assert default.others == 1
    assert best == default or (best.admitted and best.score > default.score)
    for trial in found.trials:
        reference = next(each for each in found.trials if each.steps == trial.steps).measures
        assert trial.admitted == AIMS[aim].admits(trial.measures, reference, found.lq)


@pytest.mark.parametrize("aim", AIMS)
def test_the_answer_is_the_pipeline_s_own(pipe: InstructRestorePipeline, aim: str) -> None:
    """And two runs are the same; few steps are tried with all of them."""
    lq = scene(64, 96, 1)
    found = find_scales(pipe, lq, DOG, aim, seed=3, num_inference_steps=1, guidance_scale=1, output_type="pt")
    check(found, aim)
    assert 9 <= len(found.trials) <= MOST_TRIALS
    generator = torch.Generator("cpu").manual_seed(found.seed)
    again = pipe(lq, found.instruction, num_inference_steps=1, guidance_scale=1, generator=generator, output_type="pt")
    assert torch.equal(torch.as_tensor(found.output.images), torch.as_tensor(again.images))
    written = (np.asarray(again.images[0]).transpose(1, 2, 0) * 255).round().astype(np.uint8)
    assert measure(written, lq) == found.best.measures
    if aim == "natural":
        other = find_scales(pipe, lq, DOG, aim, seed=3, num_inference_steps=1, guidance_scale=1)
        assert (other.trials, other.instruction) == (found.trials, found.instruction)


def test_many_steps_are_tried_with_few(pipe: InstructRestorePipeline) -> None:
    steps = PREVIEW_STEPS + 1
    found = find_scales(
        pipe, scene(64, 96, 2), DOG, "detail", seeds=3, num_inference_steps=steps, guidance_scale=1, rest="keep"
    )
    check(found, "detail")
    assert found.best.steps == steps
    assert found.instruction.others == 1  # the rest is kept
    previews = [trial for trial in found.trials if trial.steps == PREVIEW_STEPS]
    assert len(previews) <= MOST_TRIALS + 2
    assert 1 <= len(found.trials) - len(previews) <= 2
    assert [trial.seed for trial in previews[-2:]] == [1, 2]
    assert {trial.seed for trial in previews[:-2]} == {0}


def test_measures_of_known_pictures() -> None:
    lq = scene(64, 96, 1)
    same = measure(lq, lq)
    assert same.psnr == 100
    darker = measure(np.where(lq >= 10, lq - 10, lq + 10).astype(np.uint8), lq)
    assert darker.psnr == pytest.approx(20 * np.log10(25.5))
    assert measure(np.full_like(lq, 80), lq).detail == 0 < same.detail


def test_bounds() -> None:
    lq, default = Measures(60, 40, 100, 1), Measures(50, 50, 30, 2)
    near, far = Measures(0, 0, 29.01, 0), Measures(0, 99, 28.99, 0)
    for aim in ("natural", "detail"):
        assert AIMS[aim].admits(near, default, lq)
        assert not AIMS[aim].admits(far, default, lq)
    assert AIMS["faithful"].admits(Measures(0, 45, 1, 0), default, lq)
    assert not AIMS["faithful"].admits(Measures(0, 44.9, 99, 0), default, lq)
    assert not AIMS["faithful"].admits(Measures(0, 39.9, 99, 0), Measures(0, 10, 20, 0), lq)


def test_files_and_their_record(run: Callable[..., Ended]) -> None:
    photo("a.jpg", seed=1)
    asked = ["a.jpg", DOG, "--auto", "detail", "--seeds", "2", "--out", "o", "--save-mask", "--compare"]
    ended = run(*asked)
    assert ended.status == 0, ended.err + ended.out
    record = read_record(Path("o/a.png"))
    auto = record["auto"]
    assert (auto["aim"], auto["seeds"], auto["seed"]) == ("detail", 2, 0)
    assert auto["instruction"] == "make the dog clear with 1 and keep other parts clear with 1"
    chosen, default = auto["tried"][auto["chosen"]], auto["tried"][0]
    assert chosen["measures"]["detail"] >= default["measures"]["detail"]
    assert chosen["admitted"]
    assert chosen["seed"] == record["seed"]
    assert chosen["scales"] == [region["scale"] for region in record["regions"]]
    assert chosen["others"] == record["others"]
    assert f"in {len(auto['tried'])} trials" in ended.out
    again = run("a.jpg", record["instruction"], "--seed", str(record["seed"]), "--out", "same")
    assert again.status == 0
    assert (pixels("o/a.png") == pixels("same/a.png")).all()
    assert "already there" in run(*asked, "--skip-existing").out
    assert as_asked({**record, "seed": 9, "others": 0.9}) == as_asked(record)  # what was found
    assert as_asked({**record, "auto": {**auto, "aim": "natural"}}) != as_asked(record)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([DOG, "--auto", "best"], "--auto must be one of natural, faithful, detail, not 'best'"),
        (
            [f"{DOG} with 0.6", "--auto", "natural"],
            "the instruction gives 'the dog' 0.6: leave it out",
        ),
        ([f"{DOG} and keep other parts with 0.8", "--auto", "natural"], "the instruction gives the other parts 0.8"),
        ([f"{DOG} and keep other parts bokeh blur", "--auto", "detail"], "the instruction blurs the other parts"),
        ([DOG, "--auto", "natural", "--sweep", "0.5,1"], "leave out --mask-only and --sweep"),
        ([DOG, "--auto", "natural", "--scale-map", "a.jpg"], "a scale map gives them"),
        ([DOG, "--auto", "natural", "--seeds", "0"], "the number of seeds must be from 1 to 16, not 0"),
        ([DOG, "--seeds", "2"], "say with --auto what is best"),
        (["--shards", "x", "--auto", "natural"], "--auto works with photo files"),
    ],
)
def test_what_is_refused(run: Callable[..., Ended], words: list[str], sentence: str) -> None:
    photo("a.jpg")
    ended = run(*([] if words[0] == "--shards" else ["a.jpg"]), *words)
    assert ended.status == 2
    assert sentence in ended.err
    assert not Path("restored").exists()


def test_from_python(pipe: InstructRestorePipeline) -> None:
    assert instructrestore.find_scales is find_scales
    lq = scene(64, 96, 1)
    with pytest.raises(ValueError, match=r"must be from 1 to 16, not 17"):
        find_scales(pipe, lq, DOG, seeds=17)
    with pytest.raises(ValueError, match=r"aim must be one of natural, faithful, detail, not 'best'"):
        find_scales(pipe, lq, DOG, "best")
    with pytest.raises(ValueError, match=r"the seed must be a whole number"):
        find_scales(pipe, lq, DOG, seed=-1)
