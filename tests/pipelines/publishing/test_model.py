"""Pushing a model and pulling it: what restores, with a card, without pickles and without paths of this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import HfApi
from safetensors.numpy import save_file

from instructrestore.model.networks.checkpoint_record import RECORD, check_model, record_bytes, sums_beside
from instructrestore.pipelines.publishing.model_folder import plan_model
from instructrestore.pipelines.publishing.pull import pull
from instructrestore.pipelines.publishing.push import push
from tests.pipelines.publishing.hub_server import Hub

WEIGHTS = "diffusion_pytorch_model.safetensors"


def trained(folder: Path) -> Path:
    """A training's folder with one checkpoint, as the trainer leaves it."""
    place = folder / "checkpoints" / "step-00000500"
    (place / "controlnet").mkdir(parents=True)
    (place / "controlnet" / "config.json").write_text("{}")
    for name in (f"controlnet/{WEIGHTS}", "optimizer.safetensors"):
        save_file({"a": np.arange(6, dtype=np.float32)}, place / name)
    record = {
        "version": 1, "step": 500, "base": "/home/somebody/base",
        "settings": {"batch": 4, "optimizer": {"name": "<b>"}},
        "scaler": {}, "faults": {}, "started_from": ["/home/somebody/base", None], "validation": {"loss": 0.25},
        "base_files": {"unet/config.json": "0" * 64}, "files": sums_beside(place),
    }  # fmt: skip
    (place / RECORD).write_bytes(record_bytes(record))
    return place


def go_there_and_back(api: HfApi, folder: Path, to: Path) -> Path:
    push(plan_model(folder), "model", "me/model", None, False, lambda line: None, api)
    pull("model", "me/model", to, None, lambda line: None, api)
    return to


def test_of_a_training_goes_what_restores(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    place = trained(tmp_path / "training")
    back = go_there_and_back(api, tmp_path / "training", tmp_path / "back")
    there = sorted(path.relative_to(back).as_posix() for path in back.rglob("*") if path.is_file())
    own = [".pulled.json", "README.md", "checksums.sha256", "state.json"]
    assert there == sorted([*own, "controlnet/config.json", f"controlnet/{WEIGHTS}"])
    assert (back / "controlnet" / WEIGHTS).read_bytes() == (place / "controlnet" / WEIGHTS).read_bytes()
    assert check_model(back / "controlnet")["step"] == 500  # the record checks the weights before they are loaded
    files = hub.repositories["model", "me/model"].files().values()
    assert not any(b"somebody" in content for content in files)
    page = (back / "README.md").read_text()
    assert "| validation: loss | 0.25 |" in page and "| `optimizer.name` | \\<b\\> |" in page
    assert [name for name, _ in plan_model(tmp_path / "training").left_out] == ["optimizer.safetensors"]


def test_any_model_goes_as_it_is_with_its_own_card(api: HfApi, tiny_base: Path, tmp_path: Path) -> None:
    back = go_there_and_back(api, tiny_base, tmp_path / "back")
    for path in tiny_base.rglob("*.safetensors"):
        assert (back / path.relative_to(tiny_base)).read_bytes() == path.read_bytes()
    (tmp_path / "own").mkdir()
    save_file({"a": np.zeros(3)}, tmp_path / "own" / WEIGHTS)
    (tmp_path / "own" / "README.md").write_text("mine")
    (tmp_path / "own" / "train.py").write_text("print()")
    plan = plan_model(tmp_path / "own")
    assert plan.left_out == [("train.py", "it is neither weights nor a configuration")]
    assert {file.name: file.bytes for file in plan.files}["README.md"] == 4


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"model.ckpt": b"x", WEIGHTS: b""}, r"model\.ckpt is a pickle, which can run code"),
        ({"unet/pytorch_model.bin": b"x"}, r"pytorch_model\.bin is a pickle"),
        ({"config.json": b"{}"}, "holds no safetensors"),
        ({WEIGHTS: b"not weights at all"}, "the weights in .* are truncated or corrupt"),
    ],
)
def test_pickles_and_what_is_no_model_are_refused(files: dict[str, bytes], sentence: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        plan_model(tmp_path)


def test_a_checkpoint_that_was_damaged_is_not_passed_on(tmp_path: Path) -> None:
    place = trained(tmp_path / "training")
    (place / "controlnet" / WEIGHTS).write_bytes(b"0" * 100)
    with pytest.raises(ValueError, match="is damaged"):
        plan_model(tmp_path / "training")


def test_a_model_with_a_pickle_in_its_list_is_not_pulled(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    api.create_repo("me/bad")
    listed = f"{'0' * 64}  model.bin\n".encode()
    hub.repositories["model", "me/bad"].commit(
        "main", {"model.bin": (b"x", False), "checksums.sha256": (listed, False)}
    )
    with pytest.raises(ValueError, match=r"lists model\.bin, which no model has"):
        pull("model", "me/bad", tmp_path / "back", None, lambda line: None, api)
    hub.repositories["model", "me/bad"].commit("main", {"checksums.sha256": (b"", False)})
    with pytest.raises(ValueError, match="holds no safetensors"):
        pull("model", "me/bad", tmp_path / "back", "main", lambda line: None, api)
