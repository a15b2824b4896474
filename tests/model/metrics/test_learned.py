"""LPIPS, CLIPIQA, MUSIQ and MANIQA: pyiqa's own values, and a pyiqa that is not there.

The trained weights are not at hand: where the extra `iqa` is installed, pyiqa's own metrics are made with random ones,
saved under the published names and layouts, and compared with ours.
"""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from instructrestore.model.metrics.iqa_weights import ALEXNET, CLIP, LPIPS, MANIQA, MUSIQ
from instructrestore.model.metrics.learned import LEAST, LearnedMetric
from instructrestore.model.metrics.metric import BY_NAME, LEARNED
from instructrestore.model.metrics.settings import MetricSettings
from tests import numerics
from tests.dataengine.textures import texture
from tests.model.metrics.iqa_files import save, sentence, settings


def photo(height: int, width: int, seed: int = 0) -> Tensor:
    """(1, 3, height, width) in [0, 1]."""
    return torch.from_numpy(texture(height, width, seed=seed).transpose(2, 0, 1).copy())[None].float() / 255


# pyiqa that is not there, or not as it should be


@pytest.fixture
def forgotten() -> Iterator[None]:
    """pyiqa not imported yet; afterwards as before."""

    def taken() -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "pyiqa"}

    before = taken()
    yield
    taken()
    sys.modules.update(before)


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("name", LEARNED)
def test_without_pyiqa_the_sentence_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(ValueError, match=r'needs pyiqa: pip install "instructrestore\[iqa\]", or leave') as error:
        LearnedMetric(name, settings("unused"))
    assert sentence(error).startswith(BY_NAME[name].title) and f"leave {name} out" in sentence(error)


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist\\nmore')", "needs pyiqa.*torchvision::nms"),
        ("raise OSError('libcudart.so: cannot open')", "needs pyiqa.*libcudart"),
        ("class LPIPS: pass", r"makes LPIPS in another way .*: install pyiqa 0\.1\.16"),
    ],
)
def test_a_pyiqa_that_does_not_work_is_one_sentence(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archs = tmp_path / "pyiqa" / "archs"
    archs.mkdir(parents=True)
    for package in (archs.parent, archs):
        (package / "__init__.py").write_text("")
    (archs / "lpips_arch.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        LearnedMetric("lpips", settings(tmp_path))
    sentence(error)


# pyiqa's own values

TERMS = 9 * 512  # of the longest sum: the last convolutions of CLIP's ResNet-50
VARIANT = {"maniqa": "maniqa-pipal"}  # where it is not the one of pyiqa's that has the same name
RN50 = (1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, 512, 8, 12)


def _untrained(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """pyiqa's own metric, with random weights."""
    import pyiqa  # pyright: ignore[reportMissingImports]
    import timm  # pyright: ignore[reportMissingImports]
    import torchvision  # pyright: ignore[reportMissingImports]
    from pyiqa.archs import clip_model  # pyright: ignore[reportMissingImports]

    torch.manual_seed(LEARNED.index(name))
    alexnet, vit = torchvision.models.alexnet, timm.create_model
    monkeypatch.setattr(torchvision.models, "alexnet", lambda weights: alexnet())
    monkeypatch.setattr(timm, "create_model", lambda model, pretrained: vit(model))
    if name == "clipiqa":
        state = clip_model.CLIP(*RN50).state_dict()
        for key in state:
            if "bn" in key and key.endswith(("weight", "running_var")):
                state[key].uniform_(0.5, 1.5)  # random ones are 0, so that nothing comes through
        arch = import_module("pyiqa.archs.clipiqa_arch")
        monkeypatch.setattr(arch, "load", lambda *_: clip_model.build_model(state).float())
    metric = pyiqa.create_metric(VARIANT.get(name, name), pretrained=False, device="cpu")
    with torch.no_grad():
        if name == "lpips":
            for layer in metric.net.lins:
                for weight in layer.parameters():
                    weight.abs_()  # as the trained ones, or distances were negative
        elif name == "musiq":
            metric.net.head.weight.mul_(20)
            metric.net.head.bias.fill_(60)
        elif name == "maniqa":
            metric.net.fc_score[3].bias.fill_(0.5)  # or the last ReLU may leave 0 of everything
            metric.net.test_sample = 1
    return metric


def _publish(name: str, net: Any, folder: Path) -> None:
    """Saves pyiqa's network as its weights are published."""
    state = {key: values.clone() for key, values in net.state_dict().items()}
    if name == "lpips":
        save(folder / LPIPS.name, {f"lin{n}.model.1.weight": state[f"lin{n}.model.1.weight"] for n in range(5)})
        trunk = {f"features.{key.split('.', 2)[2]}": state[key] for key in state if key.startswith("net.")}
        save(folder / ALEXNET.name, trunk | {"classifier.6.bias": torch.zeros(1000)})
    elif name == "clipiqa":
        clip = {key: values.clone() for key, values in net.clip_model[0].state_dict().items()}
        save(folder / CLIP.name, clip | {"context_length": torch.tensor(77)})
    else:
        save(folder / {"musiq": MUSIQ, "maniqa": MANIQA}[name].name, state)


def few_crops(maniqa: LearnedMetric) -> None:
    """One crop for the 20, each of which takes seconds on a CPU."""
    net: Any = maniqa._net
    assert net.test_sample == 20
    net.test_sample = 1


class Pair:
    """pyiqa's metric, and ours of the same weights."""

    def __init__(self, name: str, theirs: Any, folder: Path) -> None:
        self.name, self.theirs, self.folder = name, theirs, folder
        self.ours = LearnedMetric(name, settings(folder))
        if name == "maniqa":
            few_crops(self.ours)

    def expected(self, results: Tensor, hq: Tensor) -> Tensor:
        return self.theirs(results, hq if self.name == "lpips" else None).flatten().double()


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.vision) for name in LEARNED])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        theirs = _untrained(request.param, patch)
        _publish(request.param, theirs.net, folder)
    yield Pair(request.param, theirs, folder)
    shutil.rmtree(folder)  # half a gigabyte


def several(name: str) -> tuple[Tensor, Tensor]:
    """Results and HQ photos that differ, three of each; of MANIQA, which takes seconds for each, two."""
    sizes = (2, 230, 240) if name == "maniqa" else (3, 70, 96)
    hq = torch.cat([photo(*sizes[1:], seed=seed) for seed in range(sizes[0])])
    return (hq + 0.1 * torch.randn(hq.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1), hq


def test_values_are_pyiqa_s_and_the_same_alone_and_in_a_batch(pair: Pair) -> None:
    results, hq = several(pair.name)
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.random.get_rng_state()
    values = pair.ours(results, hq)
    assert values.dtype == torch.float64 and values.shape == (len(hq),)
    assert not values.requires_grad
    net: Any = pair.ours._net
    with numerics.nudged(net, *(net.clip_model if pair.name == "clipiqa" else [])):
        bound = numerics.between(values, pair.ours(results, hq), TERMS)
    assert (values - pair.expected(results, hq)).abs().max() <= bound
    alone = torch.cat([pair.ours(results[[n]], hq[[n]]) for n in range(len(hq))])
    assert (values - alone).abs().max() <= bound
    assert values.std() > 1e-5  # photos that differ have values that differ
    assert torch.equal(before, torch.random.get_rng_state())


def test_nothing_is_fetched_unpickled_or_trained(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    load = torch.load

    def careful(*args: Any, **options: Any) -> Any:
        assert options["weights_only"] is True
        return load(*args, **options)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(torch.jit, "load", refuse)
    monkeypatch.setattr(torch, "load", careful)
    arch = sys.modules[type(pair.ours._net).__module__]
    names, before = vars(arch).copy(), torch.random.get_rng_state()
    net: Any = LearnedMetric(pair.name, settings(pair.folder))._net
    assert torch.equal(before, torch.random.get_rng_state())
    nets = [net, *(net.clip_model if pair.name == "clipiqa" else [])]
    assert not any(module.training for each in nets for module in each.modules())
    assert not any(parameter.requires_grad for each in nets for parameter in each.parameters())
    assert all(vars(arch)[name] is value for name, value in names.items())  # pyiqa is left as it was


def test_what_is_compared_with_and_what_is_not(pair: Pair) -> None:
    results, hq = several(pair.name)
    results, hq = results[:1], hq[:1]
    values = pair.ours(results, hq)
    if pair.name == "lpips":
        assert pair.ours(hq, hq).item() == 0
        assert pair.ours(hq, results).item() == pytest.approx(values.item(), abs=1e-9) and values.item() > 0
        assert pair.ours(hq.lerp(results, 0.5), hq).item() < values.item()  # nearer
    else:
        assert torch.equal(pair.ours(results, torch.zeros_like(hq)), values)
    metric = BY_NAME[pair.name]
    assert metric.low <= values.item() <= metric.high or pair.name == "musiq"


def test_the_smallest_photo_and_one_that_is_too_small(pair: Pair) -> None:
    small, black = photo(LEAST, LEAST), torch.zeros(1, 3, LEAST, 70)  # black is what lies outside a region
    for result in (small, black):
        assert pair.ours(result, result.flip(3)).isfinite().all()
    with pytest.raises(ValueError, match=r"needs photos of at least 32x32 pixels, and one has 40x31"):
        pair.ours(photo(31, 40), photo(31, 40))
    with pytest.raises(ValueError, match="64x64"):
        pair.ours(photo(64, 64), photo(64, 80))


def test_a_file_of_the_metric_that_is_absent_or_another_network_s(pair: Pair, tmp_path: Path) -> None:
    files = sorted(pair.folder.iterdir())
    for absent in files:
        folder = tmp_path / absent.name
        folder.mkdir()
        for file in files:
            if file != absent:
                (folder / file.name).symlink_to(file)
        with pytest.raises(ValueError, match=f"has no {absent.name}, which {BY_NAME[pair.name].title} needs") as error:
            LearnedMetric(pair.name, settings(folder))
        sentence(error)
        save(folder / absent.name, {"features.other.weight": torch.ones(3)})
        with pytest.raises(ValueError, match=r"does not hold the weights of .* it lacks .* more; get ") as error:
            LearnedMetric(pair.name, settings(folder))
        sentence(error)


@pytest.mark.vision
def test_the_files_are_those_of_pyiqa_s_metrics() -> None:
    from pyiqa.default_model_configs import DEFAULT_CONFIGS  # pyright: ignore[reportMissingImports]

    options = {name: DEFAULT_CONFIGS[VARIANT.get(name, name)]["metric_opts"] for name in LEARNED}
    assert (options["lpips"]["net"], options["lpips"]["version"]) == ("alex", "0.1")
    assert options["musiq"]["pretrained"] == "koniq10k"
    assert options["maniqa"] == {"type": "MANIQA", "train_dataset": "pipal"}
    assert options["clipiqa"] == {"type": "CLIPIQA"}
    keys = {"lpips": ("0.1_alex", LPIPS), "musiq": ("koniq10k", MUSIQ), "maniqa": ("pipal", MANIQA)}
    for name, (key, file) in keys.items():
        urls = import_module(f"pyiqa.archs.{name}_arch").default_model_urls
        assert urls[key] == f"{file.address}/resolve/main/{file.name}"


@pytest.mark.gpu
def test_a_gpu_gives_nearly_the_same(pair: Pair) -> None:
    results, hq = several(pair.name)
    on_gpu = LearnedMetric(pair.name, settings(pair.folder, device="cuda"))
    if pair.name == "maniqa":
        few_crops(on_gpu)
    assert on_gpu(results, hq).tolist() == pytest.approx(pair.ours(results, hq).tolist(), rel=1e-3)


def test_a_gpu_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="there is no device cuda:99 here") as error:
        LearnedMetric("lpips", MetricSettings(device="cuda:99"))
    sentence(error)
