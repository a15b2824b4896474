"""Presets, which are functions that return settings; settings from a preset, a TOML file and assignments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ValidationError

from instructrestore.dataengine.settings import BuildSettings
from instructrestore.dataengine.sources import SourceSettings, parse_source
from instructrestore.shards.errors import first_error
from instructrestore.shards.parsing import parse_toml, read_bounded

Settings = TypeVar("Settings", bound=BaseModel)  # with a field `preset`
_MOST_BYTES = 1 << 20  # of a settings file
Presets = Mapping[str, Callable[[], Settings]]
_SEAL = "# sha256 of the lines above: "


def embedded() -> BuildSettings:
    """The paper's gate and rounds with the embedded annotators: nothing is downloaded, no GPU, no server."""
    values = {"preset": "embedded", "quality_gate": {"metric": "brisque"}, "merge": {"synonyms": True}}
    return with_values(BuildSettings(), values)


def demo() -> BuildSettings:
    """`embedded` with a gate for small photos: short side above 256 px, score above 40."""
    return with_values(embedded(), {"preset": "demo", "quality_gate": {"short_side": 256, "score": 40.0}})


def paper() -> BuildSettings:
    """The paper's annotators (section 3.1): MUSIQ, Semantic-SAM, Osprey, Qwen2.5-7B and then -72B, on GPUs of 80 GB.

    Semantic-SAM's checkouts and checkpoint must be supplied, since they are on no hub (docs/annotators.md).
    """
    small = _started("Qwen/Qwen2.5-7B-Instruct", "a09a35458c702b33eeacc393d103063234e8bc28")
    large = _started("Qwen/Qwen2.5-72B-Instruct", "495f39366efef23836d0cfae4fbe635880d2be31", tensor_parallel=4)
    return with_values(
        embedded(),
        {
            "preset": "paper",
            "quality_gate": {
                "metric": "musiq",
                "musiq": {"revision": "0df2df423c65f6a64209309695f3845727431027"},
            },
            "masks": {"segmenter": "semantic_sam"},
            "descriptions": {
                "describer": "osprey",
                # No commit of Osprey-7b itself is known here: set descriptions.osprey.revision.
                "osprey": {"vision_tower_revision": "654d0f80ff73c58e7281a3ca7dc425589049e2e1"},
            },
            "noun_phrases": {
                "small": {"kind": "server", "server": small},
                "large": {"kind": "server", "strict": False, "server": large},
            },
            "merge": {"synonyms": False},
            "run": {"stages": {"quality gate": _gpu(0.25), "masks": _gpu(0.5), "descriptions": _gpu(1)}},
        },
    )


def modern() -> BuildSettings:
    """Newer equivalents: SAM 2.1 and Qwen3-VL-8B, which writes descriptions and noun phrases and answers the rounds.
    None of their licences forbids commercial use."""
    model = _started("Qwen/Qwen3-VL-8B-Instruct", "0c351dd01ed87e9c1b53cbc748cba10e6187ff3b", max_model_len=8192)
    return with_values(
        embedded(),
        {
            "preset": "modern",
            "quality_gate": {"metric": "embedded"},  # as in 0.1: another score would redo its costly stages
            "masks": {
                "segmenter": "sam2",
                "sam2": {"revision": "665f8e2ad61cf5f53d65644ff27c8ee525124610", "dtype": "bfloat16"},
            },
            "descriptions": {
                "describer": "vision_language",
                "vision_language": {"noun_phrases": True, "server": {**model, "requests_in_flight": 32}},
            },
            "noun_phrases": {
                "small": {"kind": "server", "server": model},
                "large": {"kind": "server", "strict": False, "server": model},
            },
            "merge": {"synonyms": False},
            "run": {
                "stages": {
                    "masks": _gpu(0.5),
                    # Workers prepare pictures and wait for the server: 3 answers, 6 tries, 600 s each.
                    "descriptions": {"cpus": 0.5, "part_limit_s": 20_000, "row_limit_s": 12_000},
                }
            },
        },
    )


def _started(model: str, revision: str, **vllm: Any) -> dict[str, Any]:
    """A model that the build serves with vLLM for as long as it needs it."""
    # Each server has hundreds of requests in flight, so a single one may take a while.
    asking = {"requests_in_flight": 512, "timeout_s": 600}
    return {"where": "started", "model": model, "revision": revision, "vllm": vllm, **asking}


def _gpu(share: float) -> dict[str, Any]:
    """A worker with this share of a GPU, and CPUs to decode and post-process."""
    return {"cpus": 2, "gpus": share}


PRESETS: dict[str, Callable[[], BuildSettings]] = {
    "embedded": embedded,
    "demo": demo,
    "paper": paper,
    "modern": modern,
}


def with_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """The settings, overridden by nested `values`. Raises ValueError, in one sentence, for invalid ones."""
    try:
        return type(settings).model_validate(_overlaid(settings.model_dump(), values))
    except ValidationError as error:
        complaint = first_error(error)
        several = complaint.removeprefix("the text: ")  # a combination that is not allowed
        raise ValueError(several if several != complaint else f"setting {complaint}") from None


def _overlaid(base: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in values.items():
        below = merged.get(key)
        merged[key] = _overlaid(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def read_build_settings(preset: str, config: Path | None, assignments: Sequence[str]) -> BuildSettings:
    """`read_settings` for a build."""
    return read_settings(PRESETS, preset, config, assignments)


def build_settings(
    sources: Sequence[str],
    exclude: Sequence[str],
    preset: str,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    limit: int | None = None,
    address: str | None = None,
) -> BuildSettings:
    """The settings of a build of these sources, which take the place of the settings' own; their exclude lists stay.

    exclude: sources of photos to leave out. limit, address: over the settings' own, unless None.
    """
    settings = read_build_settings(preset, config, assignments)
    wanted = [parse_source(text).anchored() for text in sources]
    unwanted = [parse_source(text).anchored().model_copy(update={"exclude": True}) for text in exclude]
    if wanted:
        wanted += [source for source in settings.sources if source.exclude]
    if wanted or unwanted:
        settings = settings.model_copy(update={"sources": (*(wanted or settings.sources), *unwanted)})
    values = {"limit": limit, "run": {"address": address} if address else None}
    return with_values(settings, {name: value for name, value in values.items() if value is not None})


def read_settings(presets: Presets[Settings], preset: str, config: Path | None, assignments: Sequence[str]) -> Settings:
    """A preset, overridden by a TOML file and then by `a.b=c` assignments.

    A file may name the preset to start from. Raises ValueError, in one sentence.
    """
    values: dict[str, Any] = {}
    if config:
        try:
            values = parse_toml(read_bounded(config, _MOST_BYTES), str(config))
        except FileNotFoundError:
            raise ValueError(f"there is no settings file {config}") from None
        except OSError as error:
            raise ValueError(f"{config} cannot be read as TOML: {error}") from None
        preset = values.get("preset") or preset  # settings that began as none have an empty one
    if not isinstance(preset, str) or preset not in presets:
        raise ValueError(f"there is no preset {preset!r}; there are {', '.join(presets)}")
    settings = with_values(presets[preset](), {**values, "preset": preset})
    for assignment in assignments:
        settings = with_values(settings, _assignment(assignment))
    if settings.model_dump()["preset"] != preset:
        raise ValueError("choose a preset with --preset or in the settings file, not with --set")
    return settings


def read_sources(text: bytes, name: str) -> tuple[SourceSettings, ...]:
    """The sources named in the text of a settings file. Raises ValueError, in one sentence that names the file."""
    sources = parse_toml(text, name).get("sources", ())
    try:
        return tuple(SourceSettings.model_validate(each) for each in sources)
    except ValidationError as error:
        raise ValueError(f"{name} has a source that cannot be used: {first_error(error)}") from None
    except TypeError:
        raise ValueError(f"{name} does not list sources as a build writes them") from None


def sealed(text: str) -> str:
    """The text of a settings file with its hash as a last line, a comment."""
    return f"{text}{_SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n"


def is_sealed(text: str) -> bool:
    """Whether a settings file is as `sealed` made it. One that has no hash was made by version 0.1."""
    body, mark, found = text.rpartition(_SEAL)
    return not mark or f"{hashlib.sha256(body.encode()).hexdigest()}\n" == found


def _assignment(text: str) -> dict[str, Any]:
    """`a.b=c` as {"a": {"b": c}}; c is read as TOML if it is valid TOML, otherwise as text."""
    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")):
        raise ValueError(f"--set takes NAME=VALUE as in quality_gate.score=55, not {text!r}")
    try:
        parsed: Any = parse_toml(f"value = {value}", text)["value"]
    except ValueError:
        parsed = value
    for name in reversed(path.split(".")):
        parsed = {name.strip("\"'"): parsed}
    return parsed


def to_toml(settings: BaseModel) -> str:
    """The settings as a TOML file, from which they can be read again."""
    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))
