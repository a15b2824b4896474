"""As much of ComfyUI as a node meets, written from reading it: what it loads, asks, checks and calls, in what order.

ComfyUI itself is no package that installs. What stands in for its modules `comfy.utils` and `comfy.model_management`
has the signatures of the real ones.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

WIDGETS = {"STRING": str, "INT": int, "FLOAT": float, "BOOLEAN": bool}


class InterruptProcessingException(Exception):
    pass


class ProgressBar:
    def __init__(self, total: int, node_id: str | None = None) -> None:
        self.total, self.current = total, 0

    def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
        self.total = self.total if total is None else total
        self.current = min(value, self.total)
        Host.running.progress.append((self.current, self.total))
        Host.running.interrupted |= self.current == Host.running.interrupt_at

    def update(self, value: int) -> None:
        self.update_absolute(self.current + value)


def throw_exception_if_processing_interrupted() -> None:
    if Host.running.interrupted:
        Host.running.interrupted = False
        raise InterruptProcessingException


def comfy_modules() -> dict[str, ModuleType]:
    comfy, utils, management = (ModuleType(name) for name in ("comfy", "comfy.utils", "comfy.model_management"))
    utils.__dict__["ProgressBar"] = ProgressBar
    management.__dict__.update(
        InterruptProcessingException=InterruptProcessingException,
        throw_exception_if_processing_interrupted=throw_exception_if_processing_interrupted,
        get_torch_device=lambda: torch.device("cpu"),
        unload_all_models=lambda: None,
    )
    comfy.__dict__.update(__path__=[], utils=utils, model_management=management)
    return {module.__name__: module for module in (comfy, utils, management)}


def load_custom_node(folder: Path) -> ModuleType:
    """The module of a folder in `custom_nodes`, which has no name to be imported by: ComfyUI makes it from the path."""
    name = str(folder).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class Host:
    """Runs prompts: node number -> {"class_type", "inputs"}; an input that comes from a node is [its number, output].

    Results of nodes whose inputs stay are kept from prompt to prompt, as ComfyUI keeps them.
    """

    nodes: dict[str, Any]
    progress: list[tuple[int, int]] = field(default_factory=list)
    interrupted: bool = False
    interrupt_at: int | None = None
    kept: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    running: Host = field(init=False, repr=False)

    def run(self, prompt: dict[str, Any], node: str) -> tuple[Any, ...]:
        """What a node gives, once the prompt is found valid. Raises what ComfyUI shows."""
        for number, each in prompt.items():
            faults = self.faults(prompt, number)
            assert not faults, f"{each['class_type']}: {faults}"
        Host.running, self.progress = self, []
        with torch.inference_mode():
            result = self._result(prompt, node)
        assert isinstance(result, tuple)
        for kind, value in zip(self.nodes[prompt[node]["class_type"]].RETURN_TYPES, result, strict=True):
            check_value(kind, value)
        return result

    def faults(self, prompt: dict[str, Any], number: str) -> list[str]:
        """Why ComfyUI would not take a node's inputs."""
        node = self.nodes[prompt[number]["class_type"]]
        given, declared = prompt[number]["inputs"], node.INPUT_TYPES()
        found = [f"{name} is missing" for name in declared["required"] if name not in given]
        described = {**declared["required"], **declared.get("optional", {})}
        check = getattr(node, "VALIDATE_INPUTS", None)
        checked = inspect.signature(check).parameters if check else {}
        for name, value in given.items():
            kind, options = (*described[name], {})[:2]
            if isinstance(value, list):
                source = self.nodes[prompt[value[0]]["class_type"]].RETURN_TYPES[value[1]]
                found += [f"{name} takes {kind}, not {source}"] if source != kind else []
            elif isinstance(kind, list):
                found += [f"{name} is none of {kind}"] if value not in kind else []
            elif name not in checked:
                found += [f"{name} is too small"] if "min" in options and value < options["min"] else []
                found += [f"{name} is too large"] if "max" in options and value > options["max"] else []
        if check:
            linked = {name: None if isinstance(given[name], list) else given[name] for name in checked if name in given}
            answer = check(**linked)
            found += [] if answer is True else [str(answer)]
        return found

    def _result(self, prompt: dict[str, Any], number: str) -> tuple[Any, ...]:
        key = repr(self._signature(prompt, number))
        if key not in self.kept:
            inputs = {
                name: self._result(prompt, value[0])[value[1]] if isinstance(value, list) else value
                for name, value in prompt[number]["inputs"].items()
            }
            node = self.nodes[prompt[number]["class_type"]]
            throw_exception_if_processing_interrupted()
            result = getattr(node(), node.FUNCTION)(**inputs)
            self.kept[key] = result
        return self.kept[key]

    def _signature(self, prompt: dict[str, Any], number: str) -> Any:
        inputs = prompt[number]["inputs"]
        return prompt[number]["class_type"], {
            name: (self._signature(prompt, value[0]), value[1]) if isinstance(value, list) else value
            for name, value in sorted(inputs.items())
        }


def check_value(kind: str, value: Any) -> None:
    """That an output is what nodes of others take for that type."""
    if kind in ("IMAGE", "MASK"):
        assert isinstance(value, torch.Tensor) and value.dtype == torch.float32 and value.device.type == "cpu"
        assert value.ndim == (4 if kind == "IMAGE" else 3)
        assert kind == "MASK" or value.shape[-1] == 3
        assert value.min() >= 0 and value.max() <= 1
    elif kind in WIDGETS:
        assert isinstance(value, WIDGETS[kind])


def check_contract(node: Any) -> None:
    """That a node class has what ComfyUI reads of it, and that its parts fit together."""
    declared = node.INPUT_TYPES()
    assert "required" in declared and set(declared) <= {"required", "optional", "hidden"}
    described = {**declared["required"], **declared.get("optional", {})}
    assert len(described) == len(declared["required"]) + len(declared.get("optional", {}))
    for name, description in described.items():
        assert isinstance(description, tuple) and 1 <= len(description) <= 2, name
        kind, options = (*description, {})[:2]
        assert isinstance(options, dict)
        if isinstance(kind, list):
            assert options["default"] in kind
        elif kind in WIDGETS:
            default = options["default"]
            assert isinstance(default, WIDGETS[kind]), name
            assert options.get("min", default) <= default <= options.get("max", default)
        else:
            assert isinstance(kind, str) and kind.isupper() and "default" not in options
    called = inspect.signature(getattr(node, node.FUNCTION)).parameters
    assert list(called)[1:] == list(described)
    for name in declared.get("optional", {}):
        assert called[name].default is None
    assert isinstance(node.RETURN_TYPES, tuple) and all(isinstance(kind, str) for kind in node.RETURN_TYPES)
    assert len(node.RETURN_NAMES) == len(node.RETURN_TYPES)
    assert len(getattr(node, "OUTPUT_TOOLTIPS", node.RETURN_NAMES)) == len(node.RETURN_TYPES)
    assert node.CATEGORY and node.DESCRIPTION
    if hasattr(node, "VALIDATE_INPUTS"):
        assert set(inspect.signature(node.VALIDATE_INPUTS).parameters) <= set(described)
