"""The tiny base: the same bytes from the same seed, SD 2.1's layout, and a photo that can be recognised."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTokenizer

from instructrestore.model.networks.region_controlnet import WEIGHTS_NAME
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.tiny_base import FRAME, SIGNALS, WORDS, build_tiny_base


@pytest.fixture(scope="module")
def pipeline(tiny_base: Path) -> InstructRestorePipeline:
    pipeline = load_pipeline(str(tiny_base), device="cpu")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def picture(height: int = 128, width: int = 192) -> Tensor:
    """A colourful picture (1, 3, H, W) in [0, 1] of soft spots, with nothing finer than 32 pixels."""
    spots = torch.rand(1, 3, height // 32, width // 32, generator=torch.Generator().manual_seed(4))
    return F.interpolate(spots, size=(height, width), mode="bicubic").clamp(0, 1)


def as_image(photo: Tensor) -> Image.Image:
    return Image.fromarray((photo[0].permute(1, 2, 0) * 255).round().byte().numpy())


def test_the_seed_decides_every_byte_and_the_random_state_stays(tiny_base: Path, tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(4)
    torch.manual_seed(7)
    build_tiny_base(tmp_path / "again")
    assert torch.equal(torch.rand(4), expected)
    assert contents(tmp_path / "again") == contents(tiny_base)
    build_tiny_base(tmp_path / "other", seed=1)
    weights, others = (load_file(at / "unet" / WEIGHTS_NAME) for at in (tiny_base, tmp_path / "other"))
    assert weights.keys() == others.keys()
    assert not torch.equal(weights["mid_block.resnets.0.conv1.weight"], others["mid_block.resnets.0.conv1.weight"])


def test_the_layout_is_that_of_sd_2_1(tiny_base: Path, reference_folder: Path) -> None:
    released = reference_folder / "official_model/base_model"
    for part, name, only_size in (
        ("unet", "config.json", {"sample_size", "block_out_channels", "attention_head_dim", "cross_attention_dim"}),
        ("vae", "config.json", {"sample_size", "block_out_channels"}),
        ("scheduler", "scheduler_config.json", {"_class_name"}),
    ):
        theirs, ours = (json.loads((at / part / name).read_text()) for at in (released, tiny_base))
        differing = {key for key in theirs if ours.get(key) != theirs[key]}
        assert differing <= {*only_size, "norm_num_groups", "_diffusers_version"}
    theirs, ours = (set(load_file(at / "unet" / WEIGHTS_NAME)) for at in (released, tiny_base))
    assert ours == theirs
    assert not [name for name in contents(tiny_base) if Path(name).suffix in (".bin", ".pt", ".pkl", ".ckpt")]


def test_the_tokenizer_knows_common_words_whole_and_the_rest_by_letters(tiny_base: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(tiny_base / "tokenizer")
    assert tokenizer.pad_token == "!" and tokenizer.pad_token_id == 0 and tokenizer.model_max_length == 77
    assert tokenizer.tokenize("Make the dog CLEAR") == ["make</w>", "the</w>", "dog</w>", "clear</w>"]
    assert all(len(tokenizer.tokenize(word)) == 1 for word in WORDS.split())
    strange = "qxz ž犬 0.75!"
    ids = tokenizer(strange).input_ids
    assert tokenizer.unk_token_id not in ids[:-1]
    assert tokenizer.decode(ids, skip_special_tokens=False).replace(" ", "").count("qxz") == 1
    padded = tokenizer("a dog", padding="max_length", truncation=True).input_ids
    assert len(padded) == 77 and padded[-1] == 0 and padded[0] == tokenizer.bos_token_id


def test_the_vae_holds_the_mean_colours_of_blocks_and_gives_them_back(pipeline: InstructRestorePipeline) -> None:
    photo = 2 * picture() - 1
    with torch.no_grad():
        posterior = pipeline.vae.encode(photo).latent_dist
        latents = posterior.mean * pipeline.vae.config.scaling_factor
        decoded = pipeline.vae.decode(posterior.mean).sample
    means = F.avg_pool2d(torch.einsum("kc,bchw->bkhw", FRAME, photo), 8)
    assert latents.shape == (1, SIGNALS, 16, 24)
    assert (latents - means).pow(2).mean().sqrt() < 0.1 * means.std()
    assert 0 < posterior.std.max() < 0.05 * posterior.mean.std()
    # Zero padding darkens the border; inside the picture is itself but for little.
    assert (decoded - photo)[..., 8:-8, 8:-8].abs().mean() < 0.05


def test_a_photo_is_recognised_and_its_scale_acts_inside_the_mask_alone(pipeline: InstructRestorePipeline) -> None:
    photo = picture()
    mask = np.zeros((128, 192), bool)
    mask[:, :96] = True

    def restored(instruction: str) -> Tensor:
        result = pipeline(
            as_image(photo),
            instruction,
            masks=[[mask]],
            output_type="pt",
            colour_fix="none",
            num_inference_steps=8,
            generator=torch.Generator().manual_seed(0),
        )
        assert isinstance(result.images, Tensor)
        return result.images

    def likeness(image: Tensor, columns: slice) -> float:
        pair = torch.stack([image[..., columns].flatten(), photo[..., columns].flatten()])
        return float(torch.corrcoef(pair)[0, 1])

    left, right = slice(8, 80), slice(112, 184)
    faithful, loose = (
        restored("make the dog clear"),
        restored("make the dog clear with 0.1 and keep other parts with 1"),
    )
    assert torch.isfinite(faithful).all()
    assert (faithful - photo)[..., 8:-8, 8:-8].abs().mean() < 0.1
    assert likeness(faithful, left) > 0.9 and likeness(faithful, right) > 0.9
    assert likeness(loose, left) < likeness(faithful, left) - 0.2
    assert likeness(loose, right) > likeness(faithful, right) - 0.05


def test_a_predicted_mask_is_neither_empty_nor_full(pipeline: InstructRestorePipeline) -> None:
    for text in ("make the dog clear", "make the old red train clear", "make water clear with 0.5"):
        prediction = pipeline.predict_mask(as_image(picture()), text, generator=torch.Generator().manual_seed(0))
        (mask,) = prediction.masks[0]
        assert mask.shape == (128, 192)
        assert 0.1 < (mask > 0.5).mean() < 0.9
        assert prediction.reports == [[]]
