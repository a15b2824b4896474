"""D-DFFNet: what goes in, what comes out, where its code and weights come from; and, where INSTRUCTRESTORE_D_DFFNET
names a checkout, against the steps of its own test scripts, with random weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from instructrestore.model.metrics.blur import blur_detector
from instructrestore.model.metrics.d_dffnet import DDFFNet, build, load, prepare
from instructrestore.model.metrics.settings import MetricSettings
from tests.checkouts import D_DFFNET
from tests.dataengine.textures import texture

# A checkout of the same layout, whose network finds the red parts of a photo in focus: lazy imports within its package,
# a constructor that would download, more than one output.
PACKAGE = {
    "PDNet_resnest.py": """
import torch.nn as nn
from model.ours.blocks import difference

class PDnet_ResNest_4F_SL_LA(nn.Module):
    def __init__(self, channel=32):
        super(PDnet_ResNest_4F_SL_LA, self).__init__()
        print("model:PDnet_ResNest_4F_SL_LA")
        from model.ours.backbone.gain import Gain
        self.gain = Gain()
        self.norm = nn.BatchNorm2d(3)
        self.initialize_weights()

    def forward(self, x):
        return self.gain(difference(self.norm(x))), [x], [x]

    def initialize_weights(self):
        raise RuntimeError("no network here")
""",
    "blocks.py": "def difference(x):\n    return x[:, :1] - x[:, 2:]\n",
    "backbone/gain.py": """
import torch
import torch.nn as nn

class Gain(nn.Module):
    def __init__(self):
        super(Gain, self).__init__()
        self.weight = nn.Parameter(torch.full((1,), -1.0))

    def forward(self, x):
        return x * self.weight
""",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "D-DFFNet"
    for name, text in PACKAGE.items():
        path = folder / "model/ours" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def weights(checkout: Path, tmp_path: Path) -> Path:
    network = build(checkout)
    state = network.state_dict()
    state["gain.weight"] = torch.tensor([1.0])  # turns its sign, so that only the trained one is right
    torch.save(state, tmp_path / "D-DFFNet.pth")
    return tmp_path / "D-DFFNet.pth"


def settings(checkout: Path | str, weights: Path | str, **others: Any) -> MetricSettings:
    return MetricSettings(
        blur_detector="d-dffnet", d_dffnet_code=str(checkout), d_dffnet_weights=str(weights), **others
    )


def half_red(height: int, width: int) -> Tensor:
    """Red to the left of the middle, blue to its right; (1, 3, H, W) in [0, 1]."""
    photo = torch.zeros(1, 3, height, width)
    photo[:, 0, :, : width // 2] = 1
    photo[:, 2, :, width // 2 :] = 1
    return photo


@pytest.mark.parametrize("size", [(320, 320), (100, 64), (640, 480)])
def test_what_the_network_finds_in_focus_is_not_blurred(checkout: Path, weights: Path, size: tuple[int, int]) -> None:
    blurred = blur_detector(settings(checkout, weights, device="cpu"))(half_red(*size))
    assert blurred.shape == (1, *size) and blurred.dtype == torch.bool
    assert torch.equal(blurred[0], torch.arange(size[1])[None].expand(size) >= size[1] // 2)


def test_a_batch_is_its_photos_one_by_one(checkout: Path, weights: Path) -> None:
    detector = DDFFNet(settings(checkout, weights, device="cpu"))
    photos = torch.rand(3, 3, 90, 70, generator=torch.Generator().manual_seed(0))
    assert torch.equal(detector(photos), torch.cat([detector(photo[None]) for photo in photos]))
    assert detector(photos[:0]).shape == (0, 90, 70)


def test_the_checkout_shadows_nothing(checkout: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, path = dict(sys.modules), list(sys.path)
    DDFFNet(settings(checkout, weights, device="cpu"))
    assert dict(sys.modules) == before and sys.path == path
    assert "model" not in sys.modules
    assert capsys.readouterr().out == ""
    DDFFNet(settings(checkout, weights, device="cpu"))  # and again


def test_two_checkouts_do_not_mix(checkout: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for name, text in PACKAGE.items():
        path = other / "model/ours" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("-1.0", "-2.0"))
    gains = [float(build(each).state_dict()["gain.weight"]) for each in (checkout, other, checkout)]
    assert gains == [-1.0, -2.0, -1.0]


def test_what_is_missing_is_said_in_one_sentence(checkout: Path, weights: Path, tmp_path: Path) -> None:
    cases = [
        ("", weights, "D-DFFNet needs a checkout of yuxinjin-whu/D-DFFNet: git clone .*--d-dffnet-code"),
        (tmp_path / "none", weights, "none is no checkout of yuxinjin-whu/D-DFFNet: git clone"),
        (checkout, "", "D-DFFNet needs its trained weights: fetch one .*--d-dffnet-weights"),
        (checkout, tmp_path / "none.pth", "there is no file .*none.pth: fetch one"),
    ]
    for code, file, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            DDFFNet(settings(code, file, device="cpu"))
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='no device cuda for D-DFFNet here: set device to "auto" or "cpu"'):
            DDFFNet(settings(checkout, weights, device="cuda"))


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (("from model.ours.blocks", "from absent_package"), "needs the package absent_package, which is not installed"),
        (("class PDnet_ResNest_4F_SL_LA", "class Another"), "of another version .*git checkout d75c1da"),
        (("from model.ours.blocks import difference", "difference ="), "of another version"),
    ],
)
def test_code_that_cannot_be_used_is_said_in_one_sentence(checkout: Path, edit: tuple[str, str], sentence: str) -> None:
    path = checkout / "model/ours/PDNet_resnest.py"
    path.write_text(path.read_text().replace(*edit))
    modules = set(sys.modules)
    with pytest.raises(ValueError, match=sentence) as caught:
        build(checkout)
    assert "\n" not in str(caught.value)
    assert set(sys.modules) == modules


def test_files_that_are_not_its_weights_are_refused_in_one_sentence(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    state = network.state_dict()
    cases: list[tuple[Any, str]] = [
        ({name: value for name, value in state.items() if "running" not in name}, "2 weights .* 1.running_mean"),
        ({**state, "0.weight": torch.zeros(4, 3, 3, 3)}, "1 weights .* 0.weight"),
        ({**state, "0.extra": torch.zeros(1)}, "1 weights .* 0.extra"),
        ({"state_dict": state}, "7 weights are missing"),
        ([1, 2], "7 weights are missing"),
        (network, "holds more than weights .a pickle with code"),  # a pickled object, which could run code
    ]
    for saved, sentence in cases:
        torch.save(saved, tmp_path / "saved.pth")
        with pytest.raises(ValueError, match=sentence) as caught:
            load(network, tmp_path / "saved.pth")
        assert "\n" not in str(caught.value)
    (tmp_path / "saved.pth").write_bytes(b"<html>Google Drive - Quota exceeded</html>")
    with pytest.raises(ValueError, match="fetch D-DFFNet's weights again, from the README of yuxinjin-whu/D-DFFNet"):
        load(network, tmp_path / "saved.pth")


def test_a_file_of_its_weights_is_loaded_whole(tmp_path: Path) -> None:
    trained, network = (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)) for _ in range(2))
    trained(torch.rand(2, 3, 4, 4))  # moves the running means
    torch.save(trained.state_dict(), tmp_path / "saved.pth", _use_new_zipfile_serialization=False)  # as older torch did
    load(network, tmp_path / "saved.pth")
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in network.state_dict().items())


def test_the_network_sees_what_imagenet_s_normalisation_gives() -> None:
    photo = torch.tensor([1.0, 0.5, 0.0])[:, None, None].expand(3, 40, 60)
    seen = prepare(photo)
    assert seen.shape == (3, 320, 320) and seen.dtype == torch.float32
    expected = [(1 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (0 - 0.406) / 0.225]
    assert seen.mean((1, 2)).tolist() == pytest.approx(expected, abs=1e-5)


# Against the code itself.


@pytest.fixture(scope="module")
def real_checkout() -> Path:
    return D_DFFNET.folder


@pytest.fixture(scope="module")
def random_weights(real_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Random weights whose normalisations have seen photos, and whose answers lie on both sides of a half."""
    torch.manual_seed(0)
    network = build(real_checkout)
    photos = torch.stack([prepare(torch.from_numpy(texture(200, 200, seed)).permute(2, 0, 1) / 255) for seed in (0, 1)])
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(photos)
        logits = network.eval()(photos)[0]
    state = network.state_dict()
    state["agg1.conv5.bias"] -= logits.median()
    path = tmp_path_factory.mktemp("d-dffnet") / "D-DFFNet.pth"
    torch.save(state, path)
    yield path
    path.unlink()  # 371 MB


@pytest.mark.checkouts
def test_the_answer_is_that_of_its_own_test_script(real_checkout: Path, random_weights: Path) -> None:
    """test.py: the image file, resized by torchvision's `F.resize` (Pillow's, for a Pillow image), `ToTensor`,
    `Normalize`, the model, the sigmoid, `F.interpolate` to the image's size; test_iou.py: cut at a half, 1 minus."""
    detector = DDFFNet(settings(real_checkout, random_weights, device="cpu"))
    network = build(real_checkout)
    network.load_state_dict(torch.load(random_weights, weights_only=True))
    for height, width in ((320, 320), (240, 333), (512, 400)):
        rgb = texture(height, width, seed=height)
        image = Image.fromarray(rgb).resize((320, 320), Image.Resampling.BILINEAR)
        values = torch.from_numpy(np.array(image).transpose(2, 0, 1)).float().div(255)
        for channel, (mean, deviation) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
            values[channel] = (values[channel] - mean) / deviation
        with torch.no_grad():
            predictions, _, _ = network(values[None])
            predictions = F.interpolate(torch.sigmoid(predictions), size=(height, width), mode="nearest")
        expected = 1 - (predictions > 0.5).float()
        found = detector(torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255)
        assert 0.02 < expected.mean() < 0.98
        assert torch.equal(found, expected[:, 0].bool())


@pytest.mark.checkouts
def test_dffnet_s_plain_resnest_is_not_taken_for_it(real_checkout: Path, tmp_path: Path) -> None:
    state = {
        name: value for name, value in build(real_checkout).state_dict().items() if "spatial_attention" not in name
    }
    torch.save(state, tmp_path / "saved.pth")
    with pytest.raises(ValueError, match=r"4 weights .* agg1.spatial_attention1.0.weight"):
        load(build(real_checkout), tmp_path / "saved.pth")
