"""The weights of LPIPS, CLIPIQA, MUSIQ and MANIQA: missing, damaged and foreign files, and where they come from.

That no code of theirs runs is tested in tests/model/test_weight_files.py.
"""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from instructrestore.model.metrics import iqa_weights
from instructrestore.model.metrics.iqa_weights import ALEXNET, CLIP, LPIPS, MANIQA, MUSIQ, Published, Weights
from instructrestore.model.metrics.settings import MetricSettings
from tests.model.metrics.iqa_files import save, sentence, settings

FILES = (LPIPS, ALEXNET, CLIP, MUSIQ, MANIQA)
of_every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


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
        with pytest.raises(ValueError, match=r"the weights of MANIQA|truncated or corrupt") as error:
            iqa_weights.read(file, "MANIQA", settings(tmp_path))
        assert file.name in sentence(error)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"a": 1.0}, {"params": {"a": torch.zeros(2)}}, torch.zeros(3)])
def test_a_pickle_of_something_else_is_one_sentence(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / MUSIQ.name)
    with pytest.raises(ValueError, match="which are tensors by name: get musiq_koniq") as error:
        iqa_weights.read(MUSIQ, "MUSIQ", settings(tmp_path))
    sentence(error)


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
