"""MUSIQ in bounded memory: the same scores as the plain forward gives, and what becomes of missing or wrong parts.

Everything is tried on a network of MUSIQ's parts written down plainly here, and again on pyiqa's own where the extra
`iqa` is installed; with random weights, for the trained ones are not at hand.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.quality import musiq, quality_gate
from instructrestore.dataengine.quality.musiq import Musiq
from instructrestore.dataengine.quality.musiq_settings import WEIGHTS, MusiqSettings
from instructrestore.dataengine.quality.quality_gate import QualityGate, QualityGateSettings
from instructrestore.dataengine.reporting.statistics import of_index
from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.stage import Drop
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.dataengine.stages import photo_stages
from instructrestore.shards.index import INDEX_SCHEMA
from tests import numerics
from tests.dataengine.quality.test_quality_gate import row_of
from tests.dataengine.textures import texture

WIDTH, HEADS = 24, 8


class PlainAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.scale = HEADS, (WIDTH // HEADS) ** -0.5
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        query, key, value = (
            layer(x).view(*x.shape[:2], HEADS, -1).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        weights = (query @ key.transpose(2, 3) * self.scale).masked_fill(~there[:, None, None, :], -1e3).softmax(3)
        return self.out((weights @ value).transpose(1, 2).reshape(x.shape))


class PlainBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2, self.attention = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), PlainAttention()
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, WIDTH))


class PlainEmbedding(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(count, WIDTH))

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        return x + self.table[places.long()]


class PlainEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.posembed_input, self.scaleembed_input = PlainEmbedding(100), PlainEmbedding(2)
        self.cls = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.transformer = nn.ModuleDict({f"encoderblock_{n}": PlainBlock() for n in range(2)})
        self.encoder_norm = nn.LayerNorm(WIDTH)


class PlainMusiq(nn.Module):
    """MUSIQ with one small scale and few channels; its forward as the paper has it."""

    def __init__(self, pretrained: bool, num_class: int) -> None:
        super().__init__()
        assert not pretrained and num_class == 1
        self.patch_size = 32
        self.data_preprocess_opts = {"longer": 96}
        self.conv_root = nn.Conv2d(3, 4, 7, 2, padding=3, bias=False)
        self.gn_root = nn.GroupNorm(2, 4)
        self.root_pool = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
        self.block1 = nn.Conv2d(4, 6, 3, padding=1)
        self.embedding = nn.Linear(6 * 8 * 8, WIDTH)
        self.transformer_encoder = PlainEncoder()
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = plain_patches(2 * pixels - 1, **self.data_preprocess_opts)
        x = self.block1(self.root_pool(self.gn_root(self.conv_root(tokens[0, :, :-3].view(-1, 3, 32, 32)))))
        x = self.embedding(x.permute(0, 2, 3, 1).flatten(1))[None]
        encoder = self.transformer_encoder
        x = encoder.scaleembed_input(encoder.posembed_input(x, tokens[..., -3]), tokens[..., -2])
        x = torch.cat([encoder.cls, x], 1)
        there = torch.cat([torch.ones_like(tokens[:, :1, -1]), tokens[..., -1]], 1) > 0
        for block in encoder.transformer.values():
            assert isinstance(block, PlainBlock)
            x = x + block.attention(block.norm1(x), there)
            x = x + block.mlp(block.norm2(x))
        return self.head(encoder.encoder_norm(x)[:, 0])


def plain_patches(image: Tensor, longer: int) -> Tensor:
    """(1, 3, H, W) -> (1, N, 3 * 32 * 32 + 3): patches, place in a 10x10 grid, scale, 1 or (to fill up) 0."""
    scale = longer / max(image.shape[2:])
    small = F.interpolate(image, [max(1, round(side * scale)) for side in image.shape[2:]], mode="bicubic")
    found = []
    for number, picture in enumerate((small, image)):
        rows, columns = (math.ceil(side / 32) for side in picture.shape[2:])
        padded = F.pad(picture, (0, columns * 32 - picture.shape[3], 0, rows * 32 - picture.shape[2]))
        place = torch.arange(rows)[:, None] * 10 // rows * 10 + torch.arange(columns) * 10 // columns
        marks = torch.stack(
            [place.flatten(), torch.full((rows * columns,), number), torch.ones(rows * columns)]
        ).float()
        tokens = torch.cat([F.unfold(padded, 32, stride=32), marks[None].to(image.device)], 1)
        found.append(F.pad(tokens, (0, (longer // 32) ** 2 - tokens.shape[2])) if number == 0 else tokens)
    return torch.cat(found, 2).transpose(1, 2)


def random_weights(network: Any, folder: Path) -> None:
    torch.manual_seed(0)
    net = network(pretrained=False, num_class=1)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2)  # scores that tell photos apart
        net.head.weight.mul_(8)
        net.head.bias.fill_(60)
    torch.save(net.state_dict(), folder / WEIGHTS)


@pytest.fixture(params=["plain", pytest.param("pyiqa", marks=pytest.mark.vision)])
def weights(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of random weights for the network that is then used."""
    if request.param == "plain":
        monkeypatch.setattr(musiq, "_pyiqa", lambda: (PlainMusiq, plain_patches))
        monkeypatch.setattr(musiq, "version", lambda package: "0.1.16")
        network = PlainMusiq
    else:
        from pyiqa.archs.musiq_arch import MUSIQ as network  # pyright: ignore[reportMissingImports]
    folder = tmp_path / "random-musiq"
    folder.mkdir()
    random_weights(network, folder)
    return folder


def scorer(weights: Path, **settings: Any) -> Musiq:
    return Musiq(MusiqSettings(weights=str(weights), **{"device": "cpu", "revision": "seed 0", **settings}))


def tensor(rgb: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None].float() / 255


@pytest.mark.parametrize("size", [(160, 224), (224, 160), (97, 300), (33, 32), (500, 40)])
def test_the_score_is_that_of_the_network_s_own_forward(weights: Path, size: tuple[int, int]) -> None:
    metric = scorer(weights)
    photo = tensor(texture(*size))
    with torch.inference_mode():
        expected = metric.net(photo)
        with numerics.nudged(metric.net):
            bound = numerics.between(expected, metric.net(photo))
    expected = float(expected)
    assert metric.score(photo) == pytest.approx(expected, abs=bound)
    assert metric.score(tensor(texture(*size, seed=9))) != pytest.approx(expected, abs=1e-3)


def test_patches_embedded_some_at_a_time_give_the_same_score(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metric, photo = scorer(weights), tensor(texture(250, 330))
    whole = metric.score(photo)
    with numerics.nudged(metric.net):
        bound = numerics.between(torch.tensor(whole), torch.tensor(metric.score(photo)))
    for some in (1, 7, 64):
        monkeypatch.setattr(musiq, "PATCHES_AT_ONCE", some)
        assert metric.score(photo) == pytest.approx(whole, abs=bound)


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operation made."""

    found = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else [result]:
            if isinstance(each, Tensor):
                self.found = max(self.found, each.numel())
        return result


def test_memory_grows_with_the_pixels_and_not_with_their_square(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(musiq, "PATCHES_AT_ONCE", 8)  # so that what is held of all patches is the most
    metric, photo = scorer(weights), tensor(texture(1024, 512))
    most = (32 * 16 + 49 + 144) * (3 * 32 * 32 + 3)  # the patches themselves, with those of the small scales
    with torch.inference_mode(), Largest() as ours, Largest() as theirs:
        metric.score(photo)
        assert ours.found <= most
        metric.net(photo)
        assert theirs.found > most


def test_the_same_photo_has_the_same_score_however_it_lies_in_memory(weights: Path) -> None:
    photo = texture(130, 170)
    first = scorer(weights)
    score = first(photo)
    assert 0 < score < 100
    assert score == first(np.asfortranarray(photo)) == scorer(weights)(photo.copy())


def test_scores_stay_within_0_and_100(weights: Path) -> None:
    metric = scorer(weights)
    for bias, expected in ((500.0, 100.0), (-500.0, 0.0)):
        with torch.no_grad():
            metric.net.head.bias.fill_(bias)
        assert metric(texture(64, 64)) == expected


def test_the_record_says_metric_code_and_weights(weights: Path, tmp_path: Path) -> None:
    settings = MusiqSettings(weights=str(weights), revision="seed 0", device="cpu")
    row = row_of(tmp_path, texture(120, 160))
    gate = QualityGate(QualityGateSettings(short_side=0, score=0, metric="musiq", musiq=settings))
    [kept] = gate([row])
    assert isinstance(kept, Row) and kept.photo and row.photo
    assert kept.photo.quality_metric == "musiq koniq10k, pyiqa 0.1.16, random-musiq@seed 0"
    assert kept.photo.quality == round(scorer(weights)(texture(120, 160)), 2)
    [dropped] = QualityGate(gate.settings.model_copy(update={"score": kept.photo.quality}))([row])
    assert dropped == Drop("quality score", f"{kept.photo.quality:g}")


def test_versions_of_musiq_are_one_metric_in_the_statistics() -> None:
    names = [f"musiq koniq10k, pyiqa 0.1.{n}, chaofengc/IQA-PyTorch-Weights@main" for n in (15, 16)]
    assert of_index([INDEX_SCHEMA.empty_table()], "x", names).table_1.metric == "MUSIQ"
    assert (
        of_index([INDEX_SCHEMA.empty_table()], "x", ["embedded", *names]).table_1.metric == "embedded score and MUSIQ"
    )


def test_the_embedded_gate_is_what_it_was_and_musiq_s_follows_its_settings() -> None:
    def identity(gate: QualityGateSettings) -> str:
        return next(s.identity for s in photo_stages(BuildSettings(quality_gate=gate)) if s.name == "quality gate")

    assert identity(QualityGateSettings()) == digest(
        "quality gate",
        photo_file.REVISION,
        [quality_gate.REVISION, {"short_side": 512, "score": 60.0, "metric": "embedded"}],
    )
    gates = [
        QualityGateSettings(),
        QualityGateSettings(metric="musiq"),
        QualityGateSettings(metric="musiq", musiq=MusiqSettings(revision="other")),
        QualityGateSettings(metric="musiq", musiq=MusiqSettings(weights="some/where")),
    ]
    assert len({identity(gate) for gate in gates}) == len(gates)
    for gate in gates:
        assert QualityGateSettings.model_validate(gate.model_dump(mode="json")) == gate


# What can be missing or wrong


def one_sentence(weights: Path | str, message: str, **settings: Any) -> None:
    with pytest.raises(ValueError, match=message) as error:
        Musiq(MusiqSettings(weights=str(weights), **settings))
    assert "\n" not in str(error.value)


class Burglar:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("fault", ["absent", "truncated", "empty", "other shapes", "no weights", "code"])
def test_weights_that_are_not_of_one_piece_are_one_sentence(weights: Path, fault: str) -> None:
    file, trace = weights / WEIGHTS, weights / "trace"
    state = torch.load(file, weights_only=True)
    if fault == "absent":
        file.unlink()
    elif fault == "truncated":
        file.write_bytes(file.read_bytes()[:-5000])
    elif fault == "empty":
        file.write_bytes(b"")
    elif fault == "other shapes":
        torch.save(state | {"head.weight": torch.zeros(10, 3)}, file)
    elif fault == "no weights":
        torch.save([1, 2], file)
    else:
        file.write_bytes(pickle.dumps(Burglar(trace), protocol=2))
    one_sentence(weights, "weights of MUSIQ")
    assert not trace.exists()


def test_another_version_s_arithmetic_is_noticed(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, patches = musiq._pyiqa()

    class Other(network):
        def forward(self, *args: Any) -> Tensor:
            return super().forward(*args) + 0.1

    monkeypatch.setattr(musiq, "_pyiqa", lambda: (Other, patches))
    one_sentence(weights, r"computes MUSIQ differently from this program .*: install pyiqa 0\.1\.16")


def test_a_gpu_that_is_not_there_is_one_sentence(weights: Path) -> None:
    one_sentence(weights, "there is no device cuda:99 for MUSIQ here", device="cuda:99")


@pytest.mark.parametrize("name", ["chaofengc/IQA-PyTorch-Weights", "no such folder", "a/b/c"])
def test_weights_that_cannot_be_fetched_are_one_sentence(
    name: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    one_sentence(name, "cannot be fetched from the hub at revision main")


def test_the_hub_s_weights_are_known_by_their_commit(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--someone--musiq" / "snapshots" / commit
    snapshot.parent.mkdir(parents=True)
    weights.rename(snapshot)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    name = Musiq(MusiqSettings(weights="someone/musiq", device="cpu")).name
    assert name == f"musiq koniq10k, pyiqa 0.1.16, someone/musiq@{commit}"


@pytest.mark.gpu
def test_a_gpu_gives_nearly_the_same(weights: Path) -> None:
    photo = texture(300, 400)
    assert scorer(weights, device="cuda")(photo) == pytest.approx(scorer(weights)(photo), abs=0.05)
