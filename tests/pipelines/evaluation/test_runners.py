"""The compared methods that this program runs: what is asked for, and that results are what the networks give.

Networks have random weights: the published ones are not at hand. Real-ESRGAN's is written down plainly here, with the
names of its published weights, and compared with what spandrel makes of them where the extra `compare` is installed.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_upscale import StableDiffusionUpscalePipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pipelines.evaluation.runners.names import KINDS, Run, parse_run
from pipelines.evaluation.runners.photos import MAX_PIXELS, shrunk
from pipelines.evaluation.runners.runner import Runner, load_runner
from pipelines.evaluation.runners.x4_upscaler import X4Upscaler

CPU = torch.device("cpu")


def small_photo(height: int, width: int, seed: int = 0) -> Tensor:
    """(1, 3, height, width) in [0, 1], of whole levels: something smooth with noise on it."""
    coarse = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed + 1))
    smooth = F.interpolate(coarse, (height, width), mode="bicubic")
    return ((0.2 + 0.6 * smooth + 0.05 * noise).clamp(0, 1) * 255).round() / 255


def as_photo(pixels: Tensor) -> NDArray[np.uint8]:
    return (pixels[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def enlarged(small: Tensor, factor: int = 4) -> NDArray[np.uint8]:
    """As a test set's LQ photo is made of the degraded small one."""
    return as_photo(F.interpolate(small, scale_factor=factor, mode="bicubic"))


def levels_apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


# What is asked for


def test_a_run_is_read_from_what_was_typed() -> None:
    assert parse_run("lq") == Run("lq")
    assert parse_run(" real-esrgan = weights/RealESRGAN_x4plus.pth ") == Run(
        "real-esrgan", "weights/RealESRGAN_x4plus.pth"
    )
    assert parse_run("x4-upscaler=owner/name") == Run("x4-upscaler", "owner/name")
    assert parse_run("x4-upscaler=owner/name@refs/pr/5") == Run("x4-upscaler", "owner/name", "refs/pr/5")
    assert parse_run("x4-upscaler=./owner/name@main") == Run("x4-upscaler", "./owner/name@main")
    assert parse_run("network=a/b@c.pth") == Run("network", "a/b@c.pth")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seesr", "knows no method 'seesr'.*lq, real-esrgan.*--results NAME=FOLDER"),
        ("", "knows no method ''"),
        ("=x.pth", "knows no method ''"),
        ("lq=x", "lq takes no place"),
        ("real-esrgan", "needs its weights: real-esrgan=FILE"),
        ("x4-upscaler=", "needs its weights: x4-upscaler=FOLDER"),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected) as caught:
        parse_run(text)
    assert "\n" not in str(caught.value)


def test_rows_are_called_as_in_the_tables() -> None:
    assert Run("lq").title == "LQ"
    assert Run("real-esrgan", "some/file.pth").title == "Real-ESRGAN"
    assert Run("network", "some/SwinIR-L_x4.safetensors").title == "SwinIR-L_x4"
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_names_are_read_without_torch() -> None:
    code = (
        "import sys, pipelines.evaluation.runners.names; print([m for m in ('torch', 'diffusers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_run_is_told_by_its_weights_and_not_by_where_they_are(tmp_path: Path) -> None:
    for name, data in (("a.pth", b"one"), ("b.pth", b"one"), ("c.pth", b"two")):
        (tmp_path / name).write_bytes(data)
    a, b, c = (Run("real-esrgan", str(tmp_path / name)).identity() for name in ("a.pth", "b.pth", "c.pth"))
    assert a == b != c
    assert Run("network", str(tmp_path / "a.pth")).identity() != a
    assert Run("x4-upscaler", "o/n", "1").identity() != Run("x4-upscaler", "o/n", "2").identity()
    assert Run("real-esrgan", str(tmp_path / "a.pth")).record()["place"] == "a.pth"
    with pytest.raises(ValueError, match=r"there is no file .*d\.pth"):
        Run("real-esrgan", str(tmp_path / "d.pth")).identity()


def test_a_folder_is_told_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text("{}")
    run = Run("x4-upscaler", str(tmp_path))
    before = run.identity()
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"is never read")
    (tmp_path / "x4-upscaler-ema.safetensors").write_bytes(b"nor this")
    assert run.identity() == before
    (tmp_path / "unet" / "config.json").write_text('{"a": 1}')
    assert run.identity() != before


def test_a_run_says_beforehand_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Run("lq").check()
    Run("x4-upscaler", "owner/name").check()
    (tmp_path / "weights.pth").write_bytes(b"weights")
    monkeypatch.setitem(sys.modules, "spandrel", module_from_spec(ModuleSpec("spandrel", None)))
    Run("network", str(tmp_path / "weights.pth")).check()
    for run, expected in (
        (Run("real-esrgan", str(tmp_path / "no.pth")), r"there is no file .*no\.pth: .* BSD-3-Clause, .*github"),
        (Run("network", str(tmp_path)), "there is no file .*: check its name"),
    ):
        with pytest.raises(ValueError, match=expected):
            run.check()
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ValueError, match=r"network needs spandrel: pip install .*compare"):
        Run("network", str(tmp_path / "weights.pth")).check()


# LQ photos


def test_lq_is_the_photo_itself() -> None:
    photos = [enlarged(small_photo(8, 12, seed)) for seed in range(2)]
    results = load_runner("lq")(photos, [1, 2])
    assert all(np.array_equal(one, other) for one, other in zip(results, photos, strict=True))
    assert not any(np.shares_memory(one, other) for one, other in zip(results, photos, strict=True))


@pytest.mark.parametrize("factor", [2, 4])
def test_an_enlarged_photo_is_shrunk_to_what_it_was(factor: int) -> None:
    small = small_photo(40, 56)
    apart = (shrunk(enlarged(small, factor), factor) - small).abs() * 255
    assert apart.mean() < 0.5 and apart.max() < 2.5  # levels; rounding and clipping of the enlarged photo
    blurred = F.interpolate(F.interpolate(small, scale_factor=factor, mode="bicubic"), (40, 56), mode="area")
    assert (blurred - small).abs().mean() * 255 > 4 * apart.mean()


def test_a_photo_with_detail_of_its_own_is_shrunk_without_aliasing() -> None:
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::3] = 255  # every third column: at a quarter of the size only their mean can be left
    pixels = torch.from_numpy(stripes.copy()).permute(2, 0, 1)[None] / 255
    folded = F.interpolate(pixels, (24, 24), mode="bicubic")
    assert (shrunk(stripes, 4)[..., 2:-2] - 1 / 3).abs().max() < 0.1 < 0.3 < (folded - 1 / 3).abs().max()


def test_a_small_photo_is_continued_to_whole_blocks() -> None:
    photo = enlarged(small_photo(9, 15))
    plain, continued = shrunk(photo, 4), shrunk(photo, 4, multiple=8)
    assert plain.shape == (1, 3, 9, 15) and continued.shape == (1, 3, 16, 16)
    assert torch.equal(continued[..., :9, :15], plain)
    assert torch.equal(continued[..., 9:, :15], plain[..., 8:9, :].expand(-1, -1, 7, -1))


@pytest.mark.parametrize(
    ("photo", "factor", "expected"),
    [
        (np.zeros((30, 32, 3), np.uint8), 4, "32x30 cannot be shrunk by 4.*multiple of 4"),
        (np.zeros((32, 33, 3), np.uint8), 2, "33x32 cannot be shrunk by 2"),
        (np.zeros((32, 32), np.uint8), 4, r"not \(32, 32\) uint8"),
        (np.zeros((32, 32, 3), np.float32), 4, "float32"),
        (np.zeros((1, MAX_PIXELS + 4, 3), np.uint8), 1, "over the 4194304 pixels"),
    ],
)
def test_photos_that_no_network_takes_are_one_sentence(photo: Any, factor: int, expected: str) -> None:
    with pytest.raises(ValueError, match=expected) as caught:
        shrunk(photo, factor)
    assert "\n" not in str(caught.value)


# Stable Diffusion's x4 upscaler, tiny, in diffusers' own classes

WIDTH = 16
VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": (8, 8, 16),
    "latent_channels": 4,
    "norm_num_groups": 4,
    "scaling_factor": 0.08333,
}


def upscaler_parts() -> dict[str, Any]:
    """The parts of a pipeline as stable-diffusion-x4-upscaler has them, but small, from random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=7,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(WIDTH, 2 * WIDTH),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=WIDTH,
            attention_head_dim=8,
            num_class_embeds=1000,
        )
        vae = AutoencoderKL(**VAE)
        words = {"!": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}
        text = CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            bos_token_id=1,
            eos_token_id=2,
        )
        return {
            "unet": unet,
            "vae": vae,
            "text_encoder": CLIPTextModel(text),
            "tokenizer": CLIPTokenizer(vocab=words, merges=[], pad_token="!", model_max_length=77),  # pyright: ignore[reportArgumentType]
            "scheduler": DDIMScheduler(beta_start=0.0001, beta_end=0.02, prediction_type="v_prediction"),
            "low_res_scheduler": DDPMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="scaled_linear"),
        }


@pytest.fixture(scope="module")
def upscaler_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upscaler")
    StableDiffusionUpscalePipeline(**upscaler_parts()).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def upscaler(upscaler_folder: Path) -> X4Upscaler:
    return X4Upscaler(str(upscaler_folder), None, CPU, steps=4)


def test_the_upscaler_gives_what_the_pipeline_gives(upscaler: X4Upscaler) -> None:
    small = small_photo(16, 24)
    photo = enlarged(small)
    (result,) = upscaler([photo], [5])
    assert result.dtype == np.uint8 and result.shape == photo.shape == (64, 96, 3)
    pipeline = StableDiffusionUpscalePipeline(**upscaler_parts())
    pipeline.set_progress_bar_config(disable=True)

    def plainly(seed: int, guidance: float) -> NDArray[np.uint8]:
        output: Any = pipeline(
            prompt="",
            image=shrunk(photo, 4),
            num_inference_steps=4,
            guidance_scale=guidance,
            noise_level=20,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
        )
        return (output.images[0] * 255).round().astype(np.uint8)

    assert np.array_equal(result, plainly(5, 1.0))
    assert levels_apart(result, plainly(5, 9.0)) <= 1  # guidance between two empty prompts does nothing
    assert levels_apart(result, plainly(6, 1.0)) > 1


def test_upscaled_photos_depend_on_their_seeds_and_on_no_other_photo(upscaler: X4Upscaler) -> None:
    photos = [enlarged(small_photo(16, 16, seed)) for seed in range(3)]
    together = upscaler(photos, [1, 2, 3])
    for photo, seed, result in zip(photos, (1, 2, 3), together, strict=True):
        assert np.array_equal(upscaler([photo], [seed])[0], result)
    assert not np.array_equal(upscaler(photos[:1], [4])[0], together[0])
    with pytest.raises(ValueError, match="zip"):
        upscaler(photos, [1])


def test_an_upscaled_photo_has_its_size_whatever_the_networks_halve(upscaler: X4Upscaler) -> None:
    photo = enlarged(small_photo(17, 21))
    assert upscaler([photo], [0])[0].shape == (68, 84, 3)
    with pytest.raises(ValueError, match="66x64 cannot be shrunk"):
        upscaler([np.zeros((64, 66, 3), np.uint8)], [0])


def test_a_loaded_upscaler_is_asked_for_by_name(upscaler_folder: Path) -> None:
    run = parse_run(f"x4-upscaler={upscaler_folder}")
    runner: Runner = load_runner(run.name, run.place, run.revision, "cpu")
    photo = enlarged(small_photo(8, 8))
    assert runner([photo], [0])[0].shape == photo.shape


def broken(folder: Path, source: Path, part: str, change: dict[str, Any] | None, config: str = "config.json") -> str:
    """A copy of the pipeline with a part's configuration changed, or without its weights."""
    for file in source.rglob("*"):
        if file.is_file() and not (change is None and file.suffix == ".safetensors" and file.parent.name == part):
            place = folder / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    if change is not None:
        path = folder / part / config
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return str(folder)


@pytest.mark.parametrize(
    ("part", "change", "config", "expected"),
    [
        ("unet", None, "", "there are no weights in .*unet"),
        (".", {"_class_name": "StableDiffusionPipeline"}, "model_index.json", "is a StableDiffusionPipeline, not a"),
        ("scheduler", {"_class_name": "os"}, "scheduler_config.json", "wants the scheduler os"),
        ("unet", {"block_out_channels": [16, 64]}, "config.json", "not of one piece|belong to another"),
        ("text_encoder", {"vocab_size": 9}, "config.json", "not of one piece|belong to another"),
    ],
)
def test_pipelines_that_are_not_whole_are_one_sentence(
    tmp_path: Path, upscaler_folder: Path, part: str, change: dict[str, Any] | None, config: str, expected: str
) -> None:
    with pytest.raises(ValueError, match=expected) as caught:
        load_runner("x4-upscaler", broken(tmp_path / "broken", upscaler_folder, part, change, config), None, "cpu")
    assert "\n" not in str(caught.value)


def test_a_pipeline_with_cut_or_pickled_weights_is_one_sentence(tmp_path: Path, upscaler_folder: Path) -> None:
    folder = Path(broken(tmp_path / "broken", upscaler_folder, "unet", {}))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="truncated or corrupt"):
        load_runner("x4-upscaler", str(folder), None, "cpu")
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ValueError, match=r"as a pickle .* can run code"):
        load_runner("x4-upscaler", str(folder), None, "cpu")


def test_an_upscaler_without_its_tokenizer_is_one_sentence(tmp_path: Path, upscaler_folder: Path) -> None:
    folder = Path(broken(tmp_path / "broken", upscaler_folder, "tokenizer", {}, "tokenizer_config.json"))
    for file in (folder / "tokenizer").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="token"):
        load_runner("x4-upscaler", str(folder), None, "cpu")


def test_places_that_are_no_pipeline_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no folder"):
        load_runner("x4-upscaler", str(tmp_path / "nowhere" / "at all"))
    with pytest.raises(ValueError, match="is not a saved pipeline: there is no"):
        load_runner("x4-upscaler", str(tmp_path))
    with pytest.raises(ValueError, match="a folder, which has no revision"):
        load_runner("x4-upscaler", str(tmp_path), "main")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        load_runner("x4-upscaler", str(tmp_path), None, "gpu")


# Real-ESRGAN and other networks, where spandrel is installed


class Dense(nn.Module):
    def __init__(self, width: int, growth: int = 32) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4, self.conv5 = (
            nn.Conv2d(width + number * growth, width if number == 4 else growth, 3, padding=1) for number in range(5)
        )

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen.append(F.leaky_relu(conv(torch.cat(seen, 1)), 0.2))
        return x + 0.2 * self.conv5(torch.cat(seen, 1))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = Dense(width), Dense(width), Dense(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDB(nn.Module):
    """Real-ESRGAN's network (Wang et al. 2021, Fig. 4) with the names of its published weights.

    scale: 4, or 2 or 1, where 2x2 or 4x4 pixels are first laid side by side as channels.
    """

    def __init__(self, scale: int = 4, width: int = 16, blocks: int = 2) -> None:
        super().__init__()
        self.shuffle = 4 // scale
        self.conv_first = nn.Conv2d(3 * self.shuffle**2, width, 3, padding=1)
        self.body = nn.Sequential(*(Residual(width) for _ in range(blocks)))
        self.conv_body, self.conv_up1, self.conv_up2, self.conv_hr = (
            nn.Conv2d(width, width, 3, padding=1) for _ in range(4)
        )
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first(F.pixel_unshuffle(x, self.shuffle) if self.shuffle > 1 else x)
        x = x + self.conv_body(self.body(x))
        for conv in (self.conv_up1, self.conv_up2):
            x = F.leaky_relu(conv(F.interpolate(x, scale_factor=2)), 0.2)
        return self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2))


def random_network(scale: int = 4) -> RRDB:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(scale)
        network = RRDB(scale).eval()
        with torch.no_grad():
            for weights in network.parameters():
                weights.mul_(2 if weights.ndim > 1 else 1)  # a result that spreads over the levels
            network.state_dict()["conv_last.bias"].add_(0.5)
    return network


@pytest.fixture(scope="module")
def spandrel() -> Any:
    try:
        import spandrel  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch is a RuntimeError
        pytest.skip(f"spandrel is not usable here (extra compare): {str(error).splitlines()[0]}")
    return spandrel


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the published one is: the weights' running mean under a name of its own."""
    file = tmp_path_factory.mktemp("weights") / "RealESRGAN_x4plus.pth"
    torch.save({"params_ema": random_network().state_dict()}, file)
    return file


@pytest.mark.usefixtures("spandrel")
@pytest.mark.parametrize("scale", [4, 2, 1])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_results_are_what_the_network_gives(tmp_path: Path, scale: int, suffix: str) -> None:
    network = random_network(scale)
    file = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"params_ema": network.state_dict(), "step": 7}, file)
    else:
        save_file(network.state_dict(), file)
    photo = enlarged(small_photo(24, 32))
    (result,) = load_runner("real-esrgan", str(file), None, "cpu")([photo], [0])
    with torch.inference_mode():
        expected = as_photo(network(shrunk(photo, scale)))
    assert result.shape == photo.shape and result.std() > 10
    assert levels_apart(result, expected) <= 1
    assert (result != expected).mean() < 1e-3


@pytest.mark.usefixtures("spandrel")
def test_a_result_depends_on_its_photo_alone(weights: Path) -> None:
    runner = load_runner("real-esrgan", str(weights), None, "cpu")
    photos = [enlarged(small_photo(*size, seed)) for seed, size in enumerate([(16, 16), (16, 24), (16, 16)])]
    together = runner(photos, [1, 2, 3])
    for photo, result in zip(photos, together, strict=True):
        assert np.array_equal(runner([photo], [9])[0], result)
    assert not np.array_equal(together[0], together[2])
    with pytest.raises(ValueError, match="34x32 cannot be shrunk by 4"):
        runner([np.zeros((32, 34, 3), np.uint8)], [0])


@pytest.mark.usefixtures("spandrel")
def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    for name, data in (("zip.pth", {"params": Harmful()}), ("plain.pth", None)):
        file = tmp_path / name
        if data:
            torch.save(data, file)
        else:
            file.write_bytes(pickle.dumps(Harmful(), protocol=2))
        with pytest.raises(ValueError, match=f"{name} is damaged.*more than tensors, which could run code") as caught:
            load_runner("real-esrgan", str(file))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("spandrel")
def test_files_that_hold_no_such_network_are_one_sentence(tmp_path: Path, weights: Path) -> None:
    state = random_network().state_dict()
    lacking = {name: values for name, values in state.items() if name != "conv_hr.bias"}
    grey = {**state, "conv_first.weight": state["conv_first.weight"][:, :1].clone()}
    infinite = {**state, "conv_last.bias": torch.full((3,), torch.inf) - torch.inf}
    files: dict[str, Any] = {"lacking": lacking, "grey": grey, "other": {"weight": torch.ones(1)}, "infinite": infinite}
    for name, tensors in files.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
    (tmp_path / "cut.pth").write_bytes(weights.read_bytes()[:5000])
    (tmp_path / "empty.pth").write_bytes(b"")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    (tmp_path / "weights.onnx").write_bytes(b"onnx")
    for name, expected in {
        "lacking.safetensors": "are not whole: fetch them again",
        "grey.safetensors": "for photos that are not RGB",
        "other.safetensors": "of no network that spandrel",
        "cut.pth": "is damaged: fetch it again",
        "empty.pth": "is damaged: fetch it again",
        "list.pth": "there are no named tensors in",
        "weights.onnx": r"is neither \.safetensors nor \.pth",
        "nowhere.pth": "there is no file .* are at https://github.com/xinntao/Real-ESRGAN",
    }.items():
        with pytest.raises(ValueError, match=expected) as caught:
            load_runner("real-esrgan", str(tmp_path / name))
        assert "\n" not in str(caught.value)
    runner = load_runner("real-esrgan", str(tmp_path / "infinite.safetensors"), None, "cpu")
    with pytest.raises(ValueError, match="no finite values"):
        runner([enlarged(small_photo(8, 8))], [0])


def test_a_network_for_x8_is_one_sentence(tmp_path: Path, spandrel: Any) -> None:
    from spandrel.architectures.Compact import Compact  # pyright: ignore[reportMissingImports]

    file = tmp_path / "x8.safetensors"
    save_file(Compact(num_feat=8, num_conv=2, upscale=8).state_dict(), file)
    with pytest.raises(ValueError, match="a network for x8; an LQ photo is enlarged x4 at the most"):
        load_runner("real-esrgan", str(file))


def test_another_network_is_not_called_real_esrgan(tmp_path: Path, spandrel: Any) -> None:
    from spandrel.architectures.DnCNN import DnCNN  # pyright: ignore[reportMissingImports]

    network = DnCNN(in_nc=3, out_nc=3, nc=8, nb=17, act_mode="R").eval()
    file = tmp_path / "dncnn_color.safetensors"
    save_file(network.state_dict(), file)
    with pytest.raises(ValueError, match=r"holds DnCNN and not Real-ESRGAN.*--run network=dncnn_color\.safetensors"):
        load_runner("real-esrgan", str(file))
    photo = enlarged(small_photo(8, 12))
    (result,) = load_runner("network", str(file), None, "cpu")([photo], [0])
    with torch.inference_mode():
        pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 255
        assert levels_apart(result, as_photo(network(pixels))) <= 1


def test_without_spandrel_the_sentence_says_what_to_install(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ValueError, match=r'needs spandrel: pip install "instructrestore\[compare\]"') as caught:
        load_runner("real-esrgan", str(weights))
    assert "\n" not in str(caught.value)


def test_safetensors_of_the_network_have_the_published_names(weights: Path) -> None:
    """The names that RealESRGAN_x4plus.pth has, of which spandrel tells the network."""
    names = set(torch.load(weights, weights_only=True)["params_ema"])
    assert {
        "conv_first.weight",
        "body.0.rdb1.conv1.weight",
        "conv_body.weight",
        "conv_up1.bias",
        "conv_hr.bias",
    } < names
