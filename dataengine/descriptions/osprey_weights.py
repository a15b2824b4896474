"""Finds and loads Osprey's code and weights: every tensor comes from the files, or one sentence says which does not.

The vision tower is LAION's ConvNeXt-L, from a file of its own. Osprey's code loads it with strict=False, and what it
loads is lost on the meta device on which transformers 5 builds a model. `from_pretrained` continues without tensors
that it does not find, and so does 4.31 without those of this tower that are called gamma. So the tower is loaded and
compared here, tensor by tensor.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from instructrestore.dataengine.descriptions.osprey_settings import OspreySettings
from instructrestore.dataengine.weights.model_weights import explaining, fetch_file, find_folder, named, require_whole
from instructrestore.shards.errors import first_line

_TOWER = "model.vision_tower.vision_tower."  # the prefix of the tower in Osprey's weights
_CODE = ("osprey.model.language_model.osprey_llama", "osprey.mm_utils", "osprey.constants")


def import_code(checkout: str | None) -> list[ModuleType]:
    """The modules of Osprey's package that are used, from the folder or as installed."""
    path = list(sys.path)
    if checkout is not None:
        sys.path.insert(0, str(Path(checkout).expanduser().resolve()))
    try:
        modules = [importlib.import_module(name) for name in _CODE]
    except (ImportError, RuntimeError, OSError) as error:  # torchvision built for another torch is a RuntimeError
        where = f"in {checkout}" if checkout else "as an installed package"
        raise ValueError(
            f"Osprey's code cannot be imported {where} ({first_line(error)}): install it and what it needs as "
            "docs/annotators.md says, or name a folder with its code in descriptions.osprey.checkout"
        ) from error
    finally:
        sys.path[:] = path
    found = Path(str(modules[0].__file__)).resolve()
    if checkout is not None and Path(checkout).expanduser().resolve() not in found.parents:
        raise ValueError(f"Osprey has already been loaded from {found.parents[3]} instead of {checkout}: restart")
    return modules


def find_weights(model: str, revision: str) -> tuple[Path, str]:
    """The folder of the weights, fetched if necessary, and their name (`model_weights.find_folder`)."""
    patterns = ["*.json", "tokenizer.model", "model*.safetensors", "pytorch_model*.bin"]
    return find_folder(model, revision, patterns, f"the Osprey weights {model}")


def find_tower(settings: OspreySettings) -> Path:
    """The file of the vision tower's weights, fetched if necessary."""
    tower, name = settings.vision_tower, settings.vision_tower_file
    file = Path(tower).expanduser()
    if file.is_file():
        return file
    what = f"the weights of Osprey's vision tower, {name} of {tower}"
    return fetch_file(tower, name, settings.vision_tower_revision, what, "file")


def load_model(llama: ModuleType, folder: Path, tower: Path, dtype: torch.dtype) -> Any:
    """Osprey's model on the CPU, with every weight from the folder and those of the vision tower from its file."""
    if not (folder / "config.json").is_file():  # transformers would continue with 7 billion random weights
        raise ValueError(f"{folder} has no config.json, and so no Osprey weights: fetch them again")
    with explaining(
        f"{folder} does not hold the Osprey weights that its config.json describes, or {tower} no vision tower: fetch "
        "them again"
    ):
        config = llama.OspreyConfig.from_pretrained(str(folder))
        config.mm_vision_tower = str(tower)
        with warnings.catch_warnings():
            # Its constructor loads the tower, which is lost on the meta device that from_pretrained builds it on.
            warnings.filterwarnings("ignore", message=".*copying from a non-meta parameter", category=UserWarning)
            model, info = llama.OspreyLlamaForCausalLM.from_pretrained(
                str(folder), config=config, dtype=dtype, local_files_only=True, output_loading_info=True
            )
    require_whole([key for key in info["missing_keys"] if not key.startswith(_TOWER)], folder, "Osprey")
    lacking = frozenset(key.removeprefix(_TOWER) for key in info["missing_keys"])
    _load_tower(model.get_vision_tower().vision_tower, tower, lacking, folder)
    model.mask_extractor.float()  # as Osprey's code does, piece by piece, when first called
    return model.eval()


def _load_tower(module: torch.nn.Module, file: Path, lacking: frozenset[str], folder: Path) -> None:
    """Gives the vision tower the file's weights. lacking: the weights that the folder does not hold; the others must
    equal the file's up to rounding, because the language model cannot use the features of another tower."""
    with explaining(f"{file} is not a file of weights: fetch it again"):
        weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    state = module.state_dict()
    missing = sorted(name for name in state if name not in weights)
    if missing:
        raise ValueError(f"{file} lacks {named(missing)}: it does not hold the vision tower of Osprey")
    wrong = sorted(name for name in state if weights[name].shape != state[name].shape)
    if wrong:
        raise ValueError(f"{file} has other shapes for {named(wrong)}: it does not hold the vision tower of Osprey")
    other = sorted(name for name in state if name not in lacking and not _alike(state[name], weights[name]))
    if other:
        raise ValueError(
            f"{folder} holds a vision tower that is not that of {file}, in {named(other)}: give the file that these "
            "weights were trained with"
        )
    module.load_state_dict({name: weights[name] for name in state})
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, weights[name].to(tensor.dtype)), name


def _alike(one: Tensor, other: Tensor) -> bool:
    """Equal up to rounding to bfloat16, in which Osprey's code trains and saves."""
    return torch.allclose(one.float(), other.float(), rtol=2**-7, atol=1e-6)


def load_tokenizer(folder: Path) -> Any:
    """Osprey's tokenizer with its own two tokens. legacy: the demo runs on transformers 4.31, whose fast tokenizer puts
    a space before text that follows a special token, whatever the tokenizer's settings say."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), legacy=True, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise ValueError(f"{folder} has no readable tokenizer: fetch it again ({first_line(error)})") from error
    tokenizer.add_tokens(["<mask>", "<pos>"], special_tokens=True)
    return tokenizer
