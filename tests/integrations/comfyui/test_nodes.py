"""The ComfyUI nodes: what ComfyUI asks of them, and whole prompts on the small model, compared with its pipeline."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

import instructrestore
from instructrestore.shards.parsing import parse_toml
from tests.integrations.comfyui.host import (
    Host,
    InterruptProcessingException,
    check_contract,
    comfy_modules,
    load_custom_node,
)

FOLDER = Path(__file__).resolve().parents[3] / "integrations/comfyui"
NODES = ("LoadInstructRestore", "RestoreByInstruction", "MaskByInstruction", "InstructRestoreRegions")
WISH = "make the cat clear with 0.6 and keep other parts clear with 0.9"


class Given:
    """A node of the tests: what is linked from it."""

    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "give"
    given: tuple[Tensor | None, Tensor | None] = (None, None)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"name": ("STRING", {})}}


def given(image: Tensor, mask: Tensor | None = None) -> type:
    """A node class that gives an IMAGE and a MASK."""
    mask = torch.zeros(1, 64, 64) if mask is None else mask  # what Load Image gives beside a JPEG
    return type("Given", (Given,), {"give": lambda self, name: (image, mask)})


@pytest.fixture(scope="module")
def nodes() -> Iterator[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        for name, module in comfy_modules().items():
            patch.setitem(sys.modules, name, module)
        yield load_custom_node(FOLDER).NODE_CLASS_MAPPINGS


@pytest.fixture(scope="module")
def loaded(nodes: dict[str, Any]) -> Host:
    host = Host(dict(nodes))
    host.run({"1": loading()}, "1")
    return host


@pytest.fixture
def host(loaded: Host) -> Host:
    """A ComfyUI that has loaded the model before."""
    return Host(dict(loaded.nodes), kept=dict(loaded.kept))


@pytest.fixture(scope="module")
def photo() -> Tensor:
    """An IMAGE of 160x128 with a cat's head."""
    return torch.from_numpy(skimage.data.chelsea()[40:168, 90:250].copy())[None] / 255


def loading(**inputs: Any) -> dict[str, Any]:
    inputs = {"base": "small", "checkpoint": "", "device": "as ComfyUI", "dtype": "float32"} | inputs
    return {"class_type": "LoadInstructRestore", "inputs": inputs}


def restoring(**inputs: Any) -> dict[str, Any]:
    own = {"pipe": ["1", 0], "image": ["2", 0], "instruction": WISH, "seed": 3, "steps": 0, "guidance": 0.0}
    own |= {"upscale": 1.0, "rest": "restored", "feather": 0}
    return {"class_type": "RestoreByInstruction", "inputs": own | inputs}


def finding(**inputs: Any) -> dict[str, Any]:
    return {
        "class_type": "MaskByInstruction",
        "inputs": {"pipe": ["1", 0], "image": ["2", 0], "instruction": WISH, "seed": 3} | inputs,
    }


def region(caption: str, scale: float, **inputs: Any) -> dict[str, Any]:
    own = {"caption": caption, "scale": scale, "others": 1.0, "bokeh": False}
    return {"class_type": "InstructRestoreRegions", "inputs": own | inputs}


def prompt(host: Host, image: Tensor, mask: Tensor | None = None, **nodes: dict[str, Any]) -> dict[str, Any]:
    """A prompt whose node 1 loads the model and 2 gives the image and the mask; the others as `n3`, `n4`, ..."""
    host.nodes["Given"] = given(image, mask)
    photo = {"class_type": "Given", "inputs": {"name": str(id(image)) + str(id(mask))}}
    return {"1": loading(), "2": photo} | {name[1:]: node for name, node in nodes.items()}


@pytest.mark.parametrize("name", NODES)
def test_a_node_has_what_comfyui_reads(nodes: dict[str, Any], name: str) -> None:
    check_contract(nodes[name])


def test_all_nodes_have_a_name_to_be_shown(nodes: dict[str, Any]) -> None:
    module = sys.modules[nodes[NODES[0]].__module__.rpartition(".")[0]]
    assert tuple(nodes) == NODES
    assert set(module.NODE_DISPLAY_NAME_MAPPINGS) == set(NODES)


def test_the_registry_can_read_what_it_asks_for() -> None:
    config = parse_toml((FOLDER / "pyproject.toml").read_bytes(), "pyproject.toml")
    assert re.fullmatch(r"[a-z]([a-z0-9]|[-._](?=[a-z0-9]))*", config["project"]["name"])
    assert config["project"]["version"] == instructrestore.__version__
    assert config["tool"]["comfy"]["PublisherId"] and config["tool"]["comfy"]["DisplayName"] == "InstructRestore"


def test_an_image_is_restored_as_the_pipeline_restores_it(host: Host, photo: Tensor) -> None:
    image, mask, report = host.run(prompt(host, photo, n3=restoring()), "3")
    pipe = host.kept[next(iter(host.kept))][0]
    output = pipe(photo[0].permute(2, 0, 1), WISH, generator=torch.Generator().manual_seed(3), output_type="pt")
    assert torch.equal(image, output.images.permute(0, 2, 3, 1))
    assert torch.equal(mask, torch.from_numpy(output.masks[0]))
    assert report.splitlines()[0] == WISH
    assert host.progress == [(1, 1)]


def test_a_model_that_was_loaded_for_comfyui_serves_outside_of_its_inference_mode(host: Host) -> None:
    pipe = host.kept[next(iter(host.kept))][0]
    assert not any(weights.is_inference() for weights in pipe.unet.parameters())


def test_images_of_a_batch_come_out_as_they_do_alone(host: Host, photo: Tensor) -> None:
    both = torch.cat([photo, photo.flip(2)])
    images, masks, _ = host.run(prompt(host, both, n3=restoring(steps=2)), "3")
    assert host.progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for place in range(2):
        image, mask, _ = host.run(prompt(host, both[place : place + 1].clone(), n3=restoring(steps=2)), "3")
        assert torch.equal(images[place], image[0])
        assert torch.equal(masks[place], mask[0])


def test_settings_are_the_models_own_or_those_that_are_asked_for(host: Host, photo: Tensor) -> None:
    image, mask, _ = host.run(prompt(host, photo, n3=restoring(upscale=1.5, steps=2, guidance=2.0)), "3")
    assert image.shape == (1, 192, 240, 3) and mask.shape == (1, 192, 240)
    assert host.progress == [(1, 2), (2, 2)]
    with pytest.raises(ValueError, match="guidance_scale"):
        host.run(prompt(host, photo, n3=restoring(guidance=0.5)), "3")


def test_masks_are_found_for_every_region_and_for_all_together(host: Host, photo: Tensor) -> None:
    two = "make the cat clear with 0.6, make the wall clear with 1.1 and keep other parts clear with 1"
    both = torch.cat([photo, photo.flip(2)])
    whole, each, report = host.run(prompt(host, both, n3=finding(instruction=two)), "3")
    assert whole.shape == (2, 128, 160) and each.shape == (4, 128, 160)
    assert torch.equal(whole[1], each[2:].amax(0))
    assert report.splitlines()[0] == two
    assert host.progress == [(1, 2), (2, 2)]


def test_masks_that_were_found_restore_again(host: Host, photo: Tensor) -> None:
    """In one step, and so with one mask, found or linked is the same."""
    found, used, _ = host.run(prompt(host, photo, n3=restoring()), "3")
    asked = prompt(host, photo, n3=finding(), n4=restoring(mask=["3", 1]))
    linked, mask, _ = host.run(asked, "4")
    assert (linked - found).abs().max() < 0.02
    assert torch.allclose(mask, used, atol=0.05)


def test_regions_in_a_row_are_one_instruction(host: Host, photo: Tensor) -> None:
    row = {"n3": region("the cat", 0.6), "n4": region("the wall", 1.1, others=0.8, bokeh=True, regions=["3", 0])}
    asked = prompt(host, photo, **row, n5=restoring(instruction="", regions=["4", 0]))
    _, text = host.run(asked, "4")
    assert text == "make the cat clear with 0.6, make the wall clear with 1.1 and keep other parts bokeh blur with 0.8"
    image, mask, report = host.run(asked, "5")
    assert report.splitlines()[0] == text
    written, same, _ = host.run(prompt(host, photo, n3=restoring(instruction=text)), "3")
    assert torch.equal(image, written) and torch.equal(mask, same)


def test_a_region_with_a_mask_stands_beside_one_that_is_found(host: Host, photo: Tensor) -> None:
    left = torch.zeros(1, 64, 80)
    left[:, :, :40] = 1
    row = {"n3": region("the cat", 0.6), "n4": region("the wall", 1.1, regions=["3", 0], mask=["2", 1])}
    asked = prompt(host, photo, left, **row, n5=restoring(regions=["4", 0]), n6=finding(regions=["4", 0]))
    _, mask, _ = host.run(asked, "5")
    _, found, _ = host.run(asked, "6")
    assert mask[0, :, :70].min() > 0.99
    assert np.allclose(mask[0, :, 90:], found[0, :, 90:], atol=0.05)


def test_an_interrupt_ends_it_at_the_next_step(host: Host, photo: Tensor) -> None:
    host.interrupt_at = 2
    with pytest.raises(InterruptProcessingException):
        host.run(prompt(host, photo, n3=restoring(steps=5)), "3")
    assert host.progress == [(1, 5), (2, 5)]


def test_what_cannot_be_read_is_said_before_anything_runs(host: Host, photo: Tensor) -> None:
    asked = prompt(host, photo, n3=restoring(instruction="make the cat clear with"), n4=region("the cat", 1))
    (fault,) = host.faults(asked, "3")
    assert fault == "expected a scale such as 0.8 at character 24, found the end of the instruction"
    asked["3"]["inputs"]["regions"] = ["4", 0]  # whose text counts then, and not this one
    assert host.faults(asked, "3") == []


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (None, "the mask is Load Image's stand-in for a picture without transparency: .*"),
        (torch.ones(1, 90, 20), "the mask is 20x90 and the image 160x128: .*"),
        (torch.ones(3, 128, 160), "the mask is a batch of 3, and wanted are 1"),
    ],
)
def test_a_mask_that_does_not_fit_is_said_in_a_sentence(
    host: Host, photo: Tensor, mask: Tensor | None, sentence: str
) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        host.run(prompt(host, photo, mask, n3=restoring(mask=["2", 1])), "3")


def test_other_mistakes_are_sentences_too(host: Host, photo: Tensor) -> None:
    ones = torch.ones(1, 128, 160)
    both = {"n3": region("the cat", 0.6, mask=["2", 1]), "n4": restoring(regions=["3", 0], mask=["2", 1])}
    with pytest.raises(ValueError, match="masks are linked to the regions and to this node: unlink one of them"):
        host.run(prompt(host, photo, ones, **both), "4")
    with pytest.raises(ValueError, match="each region needs its own caption, but 'the Cat' is there twice"):
        host.run(
            prompt(host, photo, n3=region("the cat", 1.0), n4=region("the Cat", 0.5, regions=["3", 0])),
            "4",
        )
    with pytest.raises(ValueError, match="a photo of 32x128 is too small"):
        host.run(prompt(host, photo[:, :, :32], n3=restoring()), "3")
    with pytest.raises(ValueError, match=r"an image is .*: convert it to RGB"):
        host.run(prompt(host, photo[..., :1], n3=restoring()), "3")
    with pytest.raises(ValueError, match="nowhere"):
        host.run({"1": loading(base="./nowhere")}, "1")


def test_transparency_is_left_out_and_said(host: Host, photo: Tensor) -> None:
    image, _, report = host.run(prompt(host, torch.cat([photo, photo[..., :1]], -1), n3=restoring()), "3")
    assert image.shape == (1, 128, 160, 3)
    assert "the image's transparency is left out" in report.splitlines()
