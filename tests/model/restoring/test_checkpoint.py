"""Loading: what loads, what it becomes, and one sentence for everything that cannot be loaded."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import huggingface_hub
import pytest
import torch
import transformers
from diffusers import ControlNetModel, DDIMScheduler, UNet2DConditionModel, UniPCMultistepScheduler
from safetensors.torch import load_file, save_file

from instructrestore.model.networks.region_controlnet import WEIGHTS_NAME, RegionControlNet
from instructrestore.model.restoring.checkpoint import load_base, load_controlnet, load_pipeline
from tests.permissions import as_anybody

Damage = Callable[[Path], None]


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    """The tiny base, to be damaged: files are links, so whatever changes one must replace it."""
    return Path(shutil.copytree(tiny_base, tmp_path / "base", copy_function=os.link))


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def edit(path: Path, **values: Any) -> None:
    replace(path, json.dumps({**json.loads(path.read_text()), **values}).encode())


def test_the_tiny_base_loads_with_nothing_else_and_every_weight(tiny_base: Path) -> None:
    pipeline = load_pipeline(str(tiny_base), device="cpu")
    for name in ("vae", "unet", "controlnet"):
        saved = load_file(tiny_base / name / WEIGHTS_NAME)
        loaded = getattr(pipeline, name).state_dict()
        assert saved.keys() == loaded.keys()
        assert all(torch.equal(saved[key], loaded[key]) for key in saved)
    assert not any(part.training for part in (pipeline.vae, pipeline.unet, pipeline.controlnet, pipeline.text_encoder))


def test_the_reference_base_loads_with_the_release_checkpoint(reference_folder: Path) -> None:
    folder = reference_folder / "official_model"
    pipeline = load_pipeline(str(folder / "base_model"), str(folder / "controlnet"), device="cpu")
    saved = load_file(folder / "controlnet" / WEIGHTS_NAME)
    assert pipeline.controlnet.config.mask_channels == saved["mask_decoder.final_conv.weight"].shape[1]
    # PNDM is what the base names; the release samples with UniPC on its schedule.
    assert isinstance(pipeline.scheduler, UniPCMultistepScheduler)
    theirs = json.loads((folder / "base_model/scheduler/scheduler_config.json").read_text())
    assert all(pipeline.scheduler.config[key] == theirs[key] for key in ("beta_start", "beta_end", "steps_offset"))


def test_a_saved_pipeline_keeps_its_scheduler(base: Path) -> None:
    config = base / "scheduler/scheduler_config.json"
    edit(config, _class_name="DDIMScheduler")
    assert isinstance(load_pipeline(str(base), device="cpu").scheduler, DDIMScheduler)
    edit(base / "model_index.json", _class_name="StableDiffusionPipeline")
    assert isinstance(load_pipeline(str(base), device="cpu").scheduler, UniPCMultistepScheduler)


def test_a_checkpoint_may_be_the_folder_or_hold_it(base: Path, tiny_base: Path, tmp_path: Path) -> None:
    shutil.rmtree(base / "controlnet")
    other = RegionControlNet.from_pretrained(tiny_base / "controlnet")
    with torch.no_grad():
        other.conv_in.bias.fill_(0.25)
    other.save_pretrained(tmp_path / "stage1/controlnet")
    for checkpoint in (tmp_path / "stage1", tmp_path / "stage1/controlnet"):
        pipeline = load_pipeline(str(base), str(checkpoint), device="cpu")
        assert torch.equal(pipeline.controlnet.conv_in.bias, other.conv_in.bias)
    with pytest.raises(ValueError, match="has no controlnet folder of its own"):
        load_pipeline(str(base), device="cpu")


def test_a_base_loads_without_a_controlnet_as_the_pipeline_has_it(base: Path, tiny_base: Path) -> None:
    shutil.rmtree(base / "controlnet")
    parts = load_base(str(base), dtype="bfloat16", device="cpu")
    pipeline = load_pipeline(str(tiny_base), dtype="bfloat16", device="cpu")
    for name in ("vae", "text_encoder", "unet"):
        loaded, expected = getattr(parts, name), getattr(pipeline, name).state_dict()
        assert not loaded.training
        assert loaded.state_dict().keys() == expected.keys()
        assert all(torch.equal(value, expected[key]) for key, value in loaded.state_dict().items())
    assert parts.tokenizer.get_vocab() == pipeline.tokenizer.get_vocab()
    assert dict(parts.scheduler.config) == dict(pipeline.scheduler.config)
    pickled("vae", WEIGHTS_NAME, "vae.pt")(base)
    with pytest.raises(ValueError, match="as a pickle"):
        load_base(str(base), device="cpu")


def test_a_controlnet_loads_onto_its_base_and_no_other(base: Path, tiny_base: Path) -> None:
    parts = load_base(str(tiny_base), dtype="bfloat16", device="cpu")
    saved = load_file(base / "controlnet" / WEIGHTS_NAME)
    for checkpoint in (base, base / "controlnet"):
        loaded = load_controlnet(str(checkpoint), parts, device="cpu")
        assert not loaded.training
        assert loaded.state_dict().keys() == saved.keys()
        assert all(torch.equal(value, saved[key]) for key, value in loaded.state_dict().items())
    for damage, message in (
        (
            narrower_controlnet,
            r"was made for another base: its block_out_channels is \[32, 32, 32, 32\], the unet's \[",
        ),
        (plain_controlnet, "a ControlNet without a mask decoder"),
        (without("controlnet/config.json"), "the controlnet is missing"),
    ):
        damage(base)
        with pytest.raises(ValueError, match=message) as raised:
            load_controlnet(str(base), parts, device="cpu")
        assert "\n" not in str(raised.value)


def test_what_was_made_in_memory_takes_a_controlnet_too(tiny_base: Path) -> None:
    """The unet's configuration then has tuples where a file has lists."""
    parts = load_base(str(tiny_base), device="cpu")
    config = {key: tuple(value) if isinstance(value, list) else value for key, value in parts.unet.config.items()}
    made = dataclasses.replace(parts, unet=UNet2DConditionModel.from_config(config))
    load_controlnet(str(tiny_base), made, device="cpu")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_network_gets_the_dtype(tiny_base: Path, dtype: str) -> None:
    pipeline = load_pipeline(str(tiny_base), dtype=dtype, device="cpu")
    for part in (pipeline.vae, pipeline.unet, pipeline.controlnet, pipeline.text_encoder):
        assert {parameter.dtype for parameter in part.parameters()} == {getattr(torch, dtype)}


def test_loading_says_nothing_and_leaves_the_libraries_logging_alone(
    base: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = [library.utils.logging.get_verbosity() for library in (diffusers, transformers)]
    load_pipeline(str(base), device="cpu")
    edit(base / "unet/config.json", layers_per_block=1)
    edit(base / "controlnet/config.json", layers_per_block=1)
    with pytest.raises(ValueError):  # noqa: PT011 (which is tested below)
        load_pipeline(str(base), device="cpu")
    assert capfd.readouterr() == ("", "")
    assert [library.utils.logging.get_verbosity() for library in (diffusers, transformers)] == before
    assert transformers.utils.logging.is_progress_bar_enabled() and diffusers.utils.logging.is_progress_bar_enabled()


def without(name: str) -> Damage:
    return lambda base: (base / name).unlink()


def configured(name: str, **values: Any) -> Damage:
    return lambda base: edit(base / name, **values)


def written(name: str, content: bytes) -> Damage:
    return lambda base: replace(base / name, content)


def truncated(name: str) -> Damage:
    return lambda base: replace(base / name, (base / name).read_bytes()[:-1000])


def pickled(part: str, weights: str, pickle: str) -> Damage:
    return lambda base: (base / part / weights).rename(base / part / pickle) and None


def rekeyed(name: str, lose: str = "", gain: str = "") -> Damage:
    def damage(base: Path) -> None:
        weights = load_file(base / name)
        if lose:
            del weights[lose]
        if gain:
            weights[gain] = torch.zeros(3)
        (base / name).unlink()
        save_file(weights, base / name, {"format": "pt"})

    return damage


def narrower_controlnet(base: Path) -> None:
    unet = UNet2DConditionModel(**{**UNet2DConditionModel.load_config(base / "unet"), "block_out_channels": [32] * 4})
    shutil.rmtree(base / "controlnet")
    RegionControlNet.from_unet(unet, mask_channels=32).save_pretrained(base / "controlnet")


def plain_controlnet(base: Path) -> None:
    shutil.rmtree(base / "controlnet")
    ControlNetModel.from_unet(UNet2DConditionModel.from_pretrained(base / "unet")).save_pretrained(base / "controlnet")


FAULTS: dict[str, tuple[Damage, str]] = {
    "no index": (without("model_index.json"), "is not a saved pipeline"),
    "index of nothing": (written("model_index.json", b"[]"), "is not a configuration"),
    "no unet": (lambda base: shutil.rmtree(base / "unet"), "the unet is missing"),
    "no text encoder": (without("text_encoder/config.json"), "the text_encoder is missing"),
    "no tokenizer": (lambda base: shutil.rmtree(base / "tokenizer"), "the tokenizer is missing"),
    "broken tokenizer": (written("tokenizer/tokenizer.json", b"{}"), "is not of the text encoder's kind"),
    "tokenizer of another kind": (
        written("tokenizer/tokenizer.json", b'{"version": "1.0", "added_tokens": [], "model": {"type": "Foo"}}'),
        "is not of the text encoder's kind",
    ),
    "no scheduler": (lambda base: shutil.rmtree(base / "scheduler"), "the scheduler is missing"),
    "unknown scheduler": (
        configured("scheduler/scheduler_config.json", _class_name="Magic"),
        "unknown scheduler, Magic",
    ),
    "impossible scheduler": (configured("scheduler/scheduler_config.json", beta_schedule="odd"), "do not fit together"),
    "index of brackets": (written("model_index.json", b"[" * 200_000), "index.json is not valid JSON: it is nested"),
    "vae of brackets": (written("vae/config.json", b'{"a":' * 200_000), "config.json is not valid JSON: it is nested"),
    "vae of two minds": (written("vae/config.json", b'{"_class_name": 1, "_class_name": 2}'), "'_class_name' twice"),
    "text settings of brackets": (written("tokenizer/tokenizer_config.json", b"[" * 200_000), "do not fit together"),
    "broken json": (written("vae/config.json", b"{"), "is not valid JSON"),
    "binary json": (written("vae/config.json", b"\xff\xfe\x00"), "is not valid JSON"),
    "no weights": (without(f"vae/{WEIGHTS_NAME}"), "there are no weights in"),
    "pickled unet": (pickled("unet", WEIGHTS_NAME, "diffusion_pytorch_model.bin"), "as a pickle"),
    "pickled text": (pickled("text_encoder", "model.safetensors", "pytorch_model.bin"), "as a pickle"),
    "pickled controlnet": (pickled("controlnet", WEIGHTS_NAME, "last.ckpt"), "as a pickle .last.ckpt."),
    "pickled vae": (pickled("vae", WEIGHTS_NAME, "vae.pt"), "as a pickle"),
    "truncated unet": (truncated(f"unet/{WEIGHTS_NAME}"), "unet are truncated or corrupt"),
    "truncated text": (truncated("text_encoder/model.safetensors"), "text_encoder are truncated or corrupt"),
    "truncated controlnet": (truncated(f"controlnet/{WEIGHTS_NAME}"), "controlnet are truncated or corrupt"),
    "no safetensors": (written(f"vae/{WEIGHTS_NAME}", b"version https://git-lfs"), "vae are truncated or corrupt"),
    "empty weights": (written(f"vae/{WEIGHTS_NAME}", b""), "vae are truncated or corrupt"),
    "missing key": (rekeyed(f"unet/{WEIGHTS_NAME}", lose="conv_in.bias"), "lack conv_in.bias"),
    "surplus key": (rekeyed(f"vae/{WEIGHTS_NAME}", gain="extra"), "does not know: extra"),
    "missing text key": (rekeyed("text_encoder/model.safetensors", lose="final_layer_norm.bias"), "lack final_layer_"),
    "surplus text key": (rekeyed("text_encoder/model.safetensors", gain="extra"), "does not know: extra"),
    "missing mask key": (rekeyed(f"controlnet/{WEIGHTS_NAME}", lose="mask_decoder.final_conv.bias"), "lack mask_dec"),
    "other text layers": (configured("text_encoder/config.json", num_hidden_layers=3), "and 13 more"),
    "other shapes": (configured("vae/config.json", block_out_channels=[32, 32, 32, 32]), "do not fit together"),
    "other text shapes": (configured("text_encoder/config.json", intermediate_size=32), "do not fit together"),
    "nonsense value": (configured("text_encoder/config.json", hidden_act=3), "do not fit together"),
    "sdxl": (configured("unet/config.json", addition_embed_type="text_time"), "unet .* of another architecture"),
    "inpainting": (configured("unet/config.json", in_channels=9), "unet .* of another architecture"),
    "sd 3": (configured("text_encoder/config.json", architectures=["CLIPTextModelWithProjection"]), "of another archi"),
    "16-channel vae": (configured("vae/config.json", latent_channels=16), "latent_channels is 16, not 4"),
    "vae of 16x": (configured("vae/config.json", block_out_channels=[16] * 5), "does not reduce a photo 8 times"),
    "text width": (configured("unet/config.json", cross_attention_dim=1024), "gives 64 numbers .* takes 1024"),
    "narrow controlnet": (narrower_controlnet, "was made for another base: its block_out_channels"),
    "plain controlnet": (plain_controlnet, "a ControlNet without a mask decoder"),
    "other tokenizer": (configured("tokenizer/tokenizer_config.json", model_max_length=512), "texts of 512"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence(base: Path, fault: str) -> None:
    damage, message = FAULTS[fault]
    damage(base)
    with pytest.raises(ValueError, match=message) as raised:
        load_pipeline(str(base), device="cpu")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600


def test_old_clip_files_with_token_positions_load(base: Path) -> None:
    rekeyed("text_encoder/model.safetensors", gain="embeddings.position_ids")(base)
    load_pipeline(str(base), device="cpu")


def test_names_that_lead_nowhere(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        ValueError, match="someone/no-such-base is not a folder here and cannot be fetched from the hub"
    ):
        load_pipeline("someone/no-such-base")
    with pytest.raises(ValueError, match=r"the checkpoint someone/none is not a folder .* at revision v2"):
        load_pipeline(str(tiny_base), "someone/none", checkpoint_revision="v2")
    with pytest.raises(ValueError, match="there is no folder /no/such/folder"):
        load_pipeline("/no/such/folder")
    with pytest.raises(ValueError, match="is a file: name the folder"):
        load_pipeline(str(tiny_base), str(tiny_base / "controlnet" / WEIGHTS_NAME))
    with pytest.raises(ValueError, match="which has no revision main"):
        load_pipeline(str(tiny_base), base_revision="main")
    with pytest.raises(ValueError, match="unknown dtype 'int8'"):
        load_pipeline(str(tiny_base), dtype="int8")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        load_pipeline(str(tiny_base), device="gpu")
    with pytest.raises(ValueError, match="there is no device cuda:99 here"):
        load_pipeline(str(tiny_base), device="cuda:99")


def test_a_hub_id_leads_to_its_snapshot(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, with the hub's own cache as it would lie after a download."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--someone--tiny"
    shutil.copytree(tiny_base, cached / "snapshots" / commit, copy_function=os.link)
    (cached / "refs").mkdir()
    (cached / "refs/v1").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    pipeline = load_pipeline("someone/tiny", base_revision="v1", device="cpu")
    assert pipeline.controlnet.config.mask_channels == 64
    with pytest.raises(ValueError, match="cannot be fetched from the hub at revision v2"):
        load_pipeline("someone/tiny", base_revision="v2", device="cpu")
    shutil.rmtree(cached / "snapshots" / commit / "controlnet")
    assert load_base("someone/tiny", revision="v1", device="cpu").unet.config == pipeline.unet.config


@pytest.mark.parametrize("name", ["", "unet", "vae/config.json", f"unet/{WEIGHTS_NAME}", "tokenizer"])
def test_what_may_not_be_read_is_named(tiny_base: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(tiny_base, tmp_path / "copy"))
    (copy / name).chmod(0)
    try:
        with as_anybody(), pytest.raises(ValueError, match=r"may not be read|cannot be read") as raised:
            load_pipeline(str(copy), device="cpu")
        assert "\n" not in str(raised.value)
    finally:
        (copy / name).chmod(0o755)
