"""The card of a model that a training made: what it was trained with, how it did, how it is used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from instructrestore.shards.plain_text import markdown_text, yaml_text

_PAPER = "[arXiv 2503.24357](https://arxiv.org/abs/2503.24357)"


def model_card(name: str, record: Mapping[str, Any]) -> str:
    """`README.md` as Hugging Face reads it. record: of a training's checkpoint; empty for any other model.

    It names no licence: whose photos and base the weights were learnt from decides that, and its owner knows.
    """
    front = {
        "pipeline_tag": "image-to-image",
        "library_name": "instructrestore",
        "tags": ["image-restoration", "instructrestore", "controlnet"],
    }
    lines = [
        "---",
        *(f"{key}: {yaml_text(value)}" for key, value in front.items()),
        "---",
        "",
        f"# {markdown_text(name)}",
        "",
    ]
    lines += [
        f"A model for region-customised image restoration by instruction ({_PAPER}), for the program InstructRestore.",
        "The weights are safetensors; `checksums.sha256` has the hash of every file.",
        "",
        "```",
        "instructrestore pull model OWNER/NAME folder",
        'instructrestore restore dog.jpg "make the dog clear with 0.6" --base BASE --checkpoint folder',
        "```",
        "",
    ]
    if record:
        lines += ["## Training", "", *_training(record)]
    lines += [
        "## Licence",
        "",
        "Not stated here: it follows from the base and from the photos that were learnt from.",
        "",
    ]
    return "\n".join(lines)


def _training(record: Mapping[str, Any]) -> list[str]:
    rows = [("steps", record.get("step")), ("small model", record.get("small"))]
    base = record.get("base")
    if isinstance(base, str) and not PurePath(base).is_absolute():
        rows.append(("base", base))
    scores = record.get("validation") or {}
    rows += [(f"validation: {key}", value) for key, value in scores.items()]
    cells = [f"| {markdown_text(str(key))} | {markdown_text(str(value))} |" for key, value in rows if value is not None]
    settings = [(key, value) for key, value in _flat(record.get("settings", {})) if value is not None]
    cells += [f"| {_code(key)} | {markdown_text(str(value))} |" for key, value in settings]
    return ["| | |", "|---|---|", *cells, ""]


def _flat(settings: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in settings.items():
        found += _flat(value, f"{above}{key}.") if isinstance(value, Mapping) else [(f"{above}{key}", value)]
    return found


def _code(name: str) -> str:
    return f"`{name}`" if re.fullmatch(r"[\w.]+", name) else markdown_text(name)
