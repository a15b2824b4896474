"""Presets: functions that return settings; and settings from a preset, a TOML file and assignments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ValidationError

from dataengine.settings import BuildSettings
from dataengine.sources import SourceSettings
from shards.sample import first_error

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

Settings = TypeVar("Settings", bound=BaseModel)  # with a field `preset`
Presets = Mapping[str, Callable[[], Settings]]


def embedded() -> BuildSettings:
    """The paper's gate and rounds with the embedded annotators: nothing is downloaded, no GPU, no server."""
    return BuildSettings()


def demo() -> BuildSettings:
    """`embedded` with a gate for small photos: short side above 256 px, score above 40."""
    return with_values(embedded(), {"preset": "demo", "quality_gate": {"short_side": 256, "score": 40.0}})


PRESETS: dict[str, Callable[[], BuildSettings]] = {"embedded": embedded, "demo": demo}


def with_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """The settings with nested `values` laid over them. Raises ValueError, in one sentence, for what is not valid."""
    try:
        return type(settings).model_validate(_overlaid(settings.model_dump(), values))
    except ValidationError as error:
        complaint = first_error(error)
        several = complaint.removeprefix("the text: value error, ")  # settings that do not go together
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


def read_settings(presets: Presets[Settings], preset: str, config: Path | None, assignments: Sequence[str]) -> Settings:
    """A preset, a TOML file laid over it, and `a.b=c` assignments over both.

    A file that names a preset begins from that one. Raises ValueError in one sentence.
    """
    values: dict[str, Any] = {}
    if config:
        try:
            values = tomllib.loads(config.read_text("utf-8"))
        except FileNotFoundError:
            raise ValueError(f"there is no settings file {config}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise ValueError(f"{config} cannot be read as TOML: {error}") from None
        preset = values.get("preset", preset)
    if not isinstance(preset, str) or preset not in presets:
        raise ValueError(f"there is no preset {preset!r}; there are {', '.join(presets)}")
    settings = with_values(presets[preset](), {**values, "preset": preset})
    for assignment in assignments:
        settings = with_values(settings, _assignment(assignment))
    if settings.model_dump()["preset"] != preset:
        raise ValueError("a preset is chosen by --preset or in the settings file, not by --set")
    return settings


def read_sources(path: Path) -> tuple[SourceSettings, ...]:
    """The sources that a settings file names."""
    return tuple(SourceSettings.model_validate(each) for each in tomllib.loads(path.read_text("utf-8"))["sources"])


def _assignment(text: str) -> dict[str, Any]:
    """`a.b=c` as {"a": {"b": c}}; c is read as TOML where it is that, else as text."""
    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")):
        raise ValueError(f"--set takes NAME=VALUE as in quality_gate.score=55, not {text!r}")
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    for name in reversed(path.split(".")):
        parsed = {name.strip("\"'"): parsed}
    return parsed


def to_toml(settings: BaseModel) -> str:
    """The settings as the TOML file that gives them again."""
    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))
