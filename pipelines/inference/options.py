"""The sampling settings and the sweep of a restoration, from what was typed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from instructrestore.model.instruction.instruction import checked_scale
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.shards.errors import first_error

# Sampling settings that have an option of their own.
OPTIONS = {
    "num_inference_steps": "--steps",
    "guidance_scale": "--guidance",
    "start": "--start",
    "upscale": "--upscale",
    "tile": "--tile",
    "colour_fix": "--colour-fix",
    "locate": "--locate",
    "rest": "--rest",
    "feather": "--feather",
    "grow": "--grow",
    "invert": "--invert",
    "careful": "--careful",
    "compat": "--official",
}
OVERLAP_UNIT = 32  # pixels; overlaps are multiples of it
MAX_SWEEP = 24
MAX_PLACES = 100  # points and boxes


def sampling_settings(
    values: dict[str, object], assignments: Sequence[str], options: Mapping[str, str] = OPTIONS
) -> SamplingSettings:
    """Settings from the values of options, by field, and from NAME=VALUE assignments to fields that have no option.

    options: the fields that have an option, with its name; one whose value is None was not given. An overlap that is
    not assigned fits the tile: the default, or about a quarter of a small tile. Raises ValueError, in one sentence that
    names the option, for invalid values.
    """
    merged = {name: value for name, value in values.items() if value is not None or name not in options}
    tile = values.get("tile")
    if isinstance(tile, int):
        usual = SamplingSettings.model_fields["overlap"].default
        merged["overlap"] = min(usual, max(OVERLAP_UNIT, tile // 4 // OVERLAP_UNIT * OVERLAP_UNIT))
    for assignment in assignments:
        name, equals, value = (part.strip() for part in assignment.partition("="))
        if not equals or not name:
            raise ValueError(f"--set takes NAME=VALUE as in mask=hard, not {assignment!r}")
        if name in options:
            raise ValueError(f"--set does not take {name}: use {options[name]}")
        merged[name] = value
    try:
        return SamplingSettings.model_validate(merged)
    except ValidationError as error:
        name, _, complaint = first_error(error).partition(": ")
        flag = options.get(name, f"--set {name}")
        if name in SamplingSettings.model_fields:
            raise ValueError(f"{flag}: {complaint}, not {merged[name]}") from None
        if name in merged:
            known = ", ".join(name for name in SamplingSettings.model_fields if name not in options)
            raise ValueError(f"there is no sampling setting {name!r}; there are {known}") from None
        hint = ": lower --set overlap or raise --tile" if complaint.startswith("the overlap ") else ""
        raise ValueError(f"{complaint}{hint}") from None


def parse_range(text: str) -> tuple[float, float]:
    """The scales of black and white, as in 0.5,1.1. Raises ValueError, in one sentence."""
    try:
        black, white = map(float, text.split(","))
    except ValueError:
        raise ValueError(f"--scale-range takes the scales of black and white, as in 0.5,1.1, not {text!r}") from None
    return checked_scale(black, "a scale of --scale-range"), checked_scale(white, "a scale of --scale-range")


def parse_sweep(text: str) -> tuple[float, ...]:
    """The scales of a sweep, as in 0.5,0.7,0.9. Raises ValueError, in one sentence."""
    scales: list[float] = []
    for part in text.split(","):
        try:
            scales.append(checked_scale(float(part), "a scale of --sweep"))
        except ValueError as error:
            reason = str(error) if "--sweep" in str(error) else f"{part.strip()!r} is not a number"
            raise ValueError(f"--sweep takes scales separated by commas, as in 0.5,0.7,0.9: {reason}") from None
    distinct = tuple(dict.fromkeys(scales))
    if len(distinct) > MAX_SWEEP:
        raise ValueError(f"--sweep takes at most {MAX_SWEEP} scales, not {len(distinct)}")
    return distinct


def parse_places(texts: Sequence[str], count: int, option: str) -> tuple[tuple[float, ...], ...]:
    """Points or boxes, `count` numbers each, as in 120,80. Raises ValueError, in one sentence that names the option."""
    example = ",".join(("120", "80", "200", "150")[:count])
    if len(texts) > MAX_PLACES:
        raise ValueError(f"{option} is given at most {MAX_PLACES} times, not {len(texts)}")
    places = []
    for text in texts:
        try:
            numbers = tuple(float(part) for part in text.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != count or not all(map(math.isfinite, numbers)):
            raise ValueError(
                f"{option} takes {count} numbers in pixels of the upright photo, as in {example}: {text!r}"
            )
        places.append(numbers)
    return tuple(places)
