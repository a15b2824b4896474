"""Real-ESRGAN and other networks of one pass, where spandrel (extra `compare`) is installed.

Networks have random weights: the published ones are not at hand. Real-ESRGAN's is written down plainly here, with the
names of its published weights, and compared with what spandrel makes of them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from instructrestore.pipelines.evaluation.methods.photos import shrunk
from instructrestore.pipelines.evaluation.methods.restorers import load_method
from instructrestore.pipelines.evaluation.methods.spec import MethodSpec
from tests.pipelines.evaluation.small_photos import as_photo, enlarged, levels_apart, small_photo


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
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the published one is: the weights' running mean under a name of its own."""
    file = tmp_path_factory.mktemp("weights") / "RealESRGAN_x4plus.pth"
    torch.save({"params_ema": random_network().state_dict()}, file)
    return file


@pytest.mark.vision
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
    (result,) = load_method(MethodSpec("real-esrgan", str(file)), "cpu")([photo], [0])
    with torch.inference_mode():
        expected = as_photo(network(shrunk(photo, scale)))
    assert result.shape == photo.shape and result.std() > 10
    assert levels_apart(result, expected) <= 1
    assert (result != expected).mean() < 1e-3


@pytest.mark.vision
def test_a_result_depends_on_its_photo_alone(weights: Path) -> None:
    runner = load_method(MethodSpec("real-esrgan", str(weights)), "cpu")
    photos = [enlarged(small_photo(*size, seed)) for seed, size in enumerate([(16, 16), (16, 24), (16, 16)])]
    together = runner(photos, [1, 2, 3])
    for photo, result in zip(photos, together, strict=True):
        assert np.array_equal(runner([photo], [9])[0], result)
    assert not np.array_equal(together[0], together[2])
    with pytest.raises(ValueError, match="34x32 cannot be shrunk by 4"):
        runner([np.zeros((32, 34, 3), np.uint8)], [0])


@pytest.mark.vision
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
        "lacking.safetensors": "are incomplete: fetch them again",
        "grey.safetensors": "for photos that are not RGB",
        "other.safetensors": "does not hold the weights of a network that spandrel",
        "cut.pth": "is damaged or not a file of weights .*: fetch it again",
        "empty.pth": "holds no weights as torch saves them: fetch it again",
        "list.pth": "there are no named tensors in",
        "weights.onnx": r"is neither \.safetensors nor \.pth",
        "nowhere.pth": "there is no file .* are at https://github.com/xinntao/Real-ESRGAN",
    }.items():
        with pytest.raises(ValueError, match=expected) as caught:
            load_method(MethodSpec("real-esrgan", str(tmp_path / name)))
        assert "\n" not in str(caught.value)
    runner = load_method(MethodSpec("real-esrgan", str(tmp_path / "infinite.safetensors")), "cpu")
    with pytest.raises(ValueError, match="values that are not finite"):
        runner([enlarged(small_photo(8, 8))], [0])


@pytest.mark.vision
def test_a_network_for_x8_is_one_sentence(tmp_path: Path) -> None:
    from spandrel.architectures.Compact import Compact  # pyright: ignore[reportMissingImports]

    file = tmp_path / "x8.safetensors"
    save_file(Compact(num_feat=8, num_conv=2, upscale=8).state_dict(), file)
    with pytest.raises(ValueError, match="a network for x8; LQ photos are enlarged by x4 at most"):
        load_method(MethodSpec("real-esrgan", str(file)))


@pytest.mark.vision
def test_another_network_is_not_called_real_esrgan(tmp_path: Path) -> None:
    from spandrel.architectures.DnCNN import DnCNN  # pyright: ignore[reportMissingImports]

    network = DnCNN(in_nc=3, out_nc=3, nc=8, nb=17, act_mode="R").eval()
    file = tmp_path / "dncnn_color.safetensors"
    save_file(network.state_dict(), file)
    with pytest.raises(ValueError, match=r"holds DnCNN and not Real-ESRGAN.*--run network=dncnn_color\.safetensors"):
        load_method(MethodSpec("real-esrgan", str(file)))
    photo = enlarged(small_photo(8, 12))
    (result,) = load_method(MethodSpec("network", str(file)), "cpu")([photo], [0])
    with torch.inference_mode():
        pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 255
        assert levels_apart(result, as_photo(network(pixels))) <= 1


def test_without_spandrel_the_sentence_says_what_to_install(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ValueError, match=r'needs spandrel: pip install "instructrestore\[compare\]"') as caught:
        load_method(MethodSpec("real-esrgan", str(weights)))
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
