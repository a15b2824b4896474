"""LPIPS, CLIPIQA, MUSIQ and MANIQA: pyiqa's own values from weights that never ran any code, and what may be missing.

The trained weights are not at hand: where the extra `iqa` is installed, pyiqa's own metrics are made with random ones,
saved under the published names and layouts, and compared with ours.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import socket
import sys
import tarfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model.metrics import iqa_weights
from model.metrics.iqa_weights import ALEXNET, CLIP, LPIPS, MANIQA, MUSIQ, Published, Weights
from model.metrics.learned import LEAST, LearnedMetric
from model.metrics.metric import BY_NAME, LEARNED
from model.metrics.settings import MetricSettings
from tests.dataengine.textures import texture

FILES = (LPIPS, ALEXNET, CLIP, MUSIQ, MANIQA)
of_every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def settings(weights: Path | str, **others: Any) -> MetricSettings:
    return MetricSettings(iqa_weights=str(weights), **{"device": "cpu", **others})


def photo(height: int, width: int, seed: int = 0) -> Tensor:
    """(1, 3, height, width) in [0, 1]."""
    return torch.from_numpy(texture(height, width, seed=seed).transpose(2, 0, 1).copy())[None].float() / 255


def save(file: Path, state: Any) -> None:
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)


def sentence(error: pytest.ExceptionInfo[ValueError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


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


# Weights that are missing, damaged, foreign or hostile


@of_every_file
def test_a_missing_file_is_named_with_where_to_get_it(file: Published, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="which MUSIQ needs: get it from https://") as error:
        iqa_weights.read(file, "MUSIQ", settings(tmp_path))
    assert file.name in sentence(error) and file.address in sentence(error) and str(tmp_path) in sentence(error)


@of_every_file
def test_what_was_saved_is_what_is_read(file: Published, tmp_path: Path) -> None:
    state = {"module.a.weight": torch.rand(3, 4), "module.b": torch.arange(3)}
    save(tmp_path / file.name, state)
    read = iqa_weights.read(file, "MUSIQ", settings(tmp_path)).state
    if file is not CLIP:
        state = {name.removeprefix("module."): values for name, values in state.items()}  # of DataParallel
    assert read.keys() == state.keys() and all(torch.equal(read[name], state[name]) for name in state)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@of_every_file
def test_damaged_files_are_one_sentence(file: Published, tmp_path: Path) -> None:
    path = tmp_path / file.name
    save(path, {f"layer{number}.weight": torch.rand(40, 40) for number in range(4)})
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    damaged = [b"", b"<html>404</html>", whole[: len(whole) // 2], whole[:-30], whole[20:], bytes(4096)]
    with tarfile.open(tmp_path / "old.tar", "w") as tar:
        tar.add(path, "storages")
    damaged += [(tmp_path / "old.tar").read_bytes(), generator.bytes(500)]
    damaged += [b"\x80\x02" + generator.bytes(60) for _ in range(200)]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"does not hold the weights of MANIQA|truncated or corrupt") as error:
            iqa_weights.read(file, "MANIQA", settings(tmp_path))
        assert file.name in sentence(error)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"a": 1.0}, {"params": {"a": torch.zeros(2)}}, torch.zeros(3)])
def test_a_pickle_of_something_else_is_one_sentence(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / MUSIQ.name)
    with pytest.raises(ValueError, match="which are tensors by name: get musiq_koniq") as error:
        iqa_weights.read(MUSIQ, "MUSIQ", settings(tmp_path))
    sentence(error)


class Burglar:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.trace}'",)


class Program(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*TorchScript archive:UserWarning")
@pytest.mark.parametrize("form", ["pickle", "torch.save", "old torch.save", "among weights", "TorchScript"])
@of_every_file
def test_no_code_ever_runs(file: Published, form: str, tmp_path: Path) -> None:
    path, trace = tmp_path / file.name, tmp_path / "trace"
    payload = Burglar(trace)
    if form == "pickle":
        path.write_bytes(pickle.dumps(payload, protocol=2))
    elif form == "TorchScript":
        torch.jit.save(torch.jit.script(Program()), path)
    else:
        state = {"a": torch.zeros(2), "b": payload} if form == "among weights" else payload
        torch.save(state, path, _use_new_zipfile_serialization=form != "old torch.save")
    with pytest.raises(ValueError, match=r"would run code, which is never done|truncated or corrupt") as error:
        iqa_weights.read(file, "CLIPIQA", settings(tmp_path))
    sentence(error)
    assert not trace.exists()


def test_the_payload_of_the_last_test_would_have_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Burglar(tmp_path / "trace")))  # noqa: S301
    assert (tmp_path / "trace").exists()


def test_a_network_takes_its_own_weights_alone() -> None:
    def filled(state: dict[str, Tensor]) -> nn.Module:
        net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        Weights("MUSIQ", MUSIQ, Path("folder/file"), state).fill(net)
        return net

    own = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).state_dict()
    own["0.weight"] = torch.rand(3, 2)
    assert torch.equal(filled(own).state_dict()["0.weight"], own["0.weight"])
    wrong = {
        r"lacks 0\.bias; get musiq_koniq": {name: values for name, values in own.items() if name != "0.bias"},
        r"has what MUSIQ does not know: extra;": own | {"extra": torch.zeros(1)},
        r"in another shape or type: 0\.weight;": own | {"0.weight": torch.rand(2, 3)},
        r"in another shape or type: 0\.bias;": own | {"0.bias": torch.ones(3, dtype=torch.int64)},
        r"not finite: 1\.running_var;": own | {"1.running_var": torch.tensor([1.0, torch.nan, 1.0])},
        r"lacks 0\.bias, 0\.weight, 1\.bias and 4 more;": {},
    }
    for message, state in wrong.items():
        with pytest.raises(ValueError, match=message) as error:
            filled(state)
        assert sentence(error).startswith("folder/file does not hold the weights of MUSIQ")


# Weights that are fetched


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache and torch's, empty, without the network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


def cached(hub: Path, repository: str, revision: str, file: str) -> None:
    """Puts a file into the hub's cache, as if it had been fetched; all its numbers are 1."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = hub / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / revision).write_text(commit)
    save(folder / "snapshots" / commit / file, {"a": torch.ones(2)})


@pytest.mark.parametrize("file", [LPIPS, CLIP, MUSIQ, MANIQA], ids=lambda file: file.name)
def test_files_come_from_their_own_hub_or_from_the_copy_that_is_named(file: Published, hub: Path) -> None:
    default = MetricSettings()
    with pytest.raises(ValueError, match="cannot be fetched from the hub at revision main") as error:
        iqa_weights.read(file, "CLIPIQA", default)
    assert file.origin in sentence(error)
    cached(hub, file.origin, "main", file.name)
    assert iqa_weights.read(file, "CLIPIQA", default).state["a"].sum() == 2

    copy = MetricSettings(iqa_weights="someone/copy", iqa_revision="v1")
    with pytest.raises(ValueError, match=r"someone/copy .* at revision v1"):
        iqa_weights.read(file, "CLIPIQA", copy)
    cached(hub, "someone/copy", "v1", "README.safetensors")
    with pytest.raises(ValueError, match=r"someone/copy has no .*, which CLIPIQA needs: get it from https://hugg"):
        iqa_weights.read(file, "CLIPIQA", copy)
    cached(hub, "someone/copy", "v1", file.name)
    assert iqa_weights.read(file, "CLIPIQA", copy).state["a"].sum() == 2


def test_alexnet_is_fetched_once_and_only_as_torchvision_published_it(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = hub / "published.pth"
    torch.save({"a": torch.ones(2)}, source)
    there = Published(ALEXNET.name, source.as_uri())
    monkeypatch.setattr(iqa_weights, "ALEXNET", there)
    with pytest.raises(ValueError, match=r"alexnet.*cannot be fetched: .*get it from file.* into a folder") as error:
        iqa_weights.read(there, "LPIPS", MetricSettings())
    sentence(error)  # another sha256 than torchvision's
    place = hub / "torch" / "hub" / "checkpoints" / ALEXNET.name
    assert not place.exists()
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    monkeypatch.setattr(iqa_weights, "ALEXNET_SHA256", digest[:16])
    assert iqa_weights.read(there, "LPIPS", MetricSettings()).path == place
    source.unlink()
    assert iqa_weights.read(there, "LPIPS", MetricSettings()).state["a"].sum() == 2
    place.unlink()
    with pytest.raises(ValueError, match="cannot be fetched: check the connection"):
        iqa_weights.read(there, "LPIPS", MetricSettings())


@pytest.mark.parametrize("name", ["no such folder", "a/b/c", "/nowhere/at/all"])
@of_every_file
def test_what_is_no_folder_and_no_hub_id_is_one_sentence(file: Published, name: str, hub: Path) -> None:
    with pytest.raises(ValueError, match=f"there is no folder {name}") as error:
        iqa_weights.read(file, "LPIPS", settings(name))
    sentence(error)


# pyiqa's own values

VARIANT = {"maniqa": "maniqa-pipal"}  # where it is not the one of pyiqa's that has the same name
RN50 = (1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, 512, 8, 12)


def _pyiqa() -> Any:
    try:
        import pyiqa  # pyright: ignore[reportMissingImports]

        return pyiqa
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch is a RuntimeError
        pytest.skip(f"pyiqa is not usable here: {str(error).splitlines()[0]}")


def _untrained(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """pyiqa's own metric, with random weights."""
    pyiqa = _pyiqa()
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


@pytest.fixture(scope="module", params=LEARNED)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    _pyiqa()
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
    scale = 100 if pair.name == "musiq" else 1
    assert (values - pair.expected(results, hq)).abs().max() <= 1e-6 * scale
    alone = torch.cat([pair.ours(results[[n]], hq[[n]]) for n in range(len(hq))])
    assert (values - alone).abs().max() <= 1e-6 * scale
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


def test_the_files_are_those_of_pyiqa_s_metrics() -> None:
    _pyiqa()
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
