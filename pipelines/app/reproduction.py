"""How a result is made again: the command that is typed, and the call from Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.restoring.small_model import SMALL
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.inference.options import OPTIONS


def mask_name(number: int) -> str:
    """What the mask of a region, counted from 1, is called among a job's results."""
    return f"mask-{number}"


SCALE_MAP = "scale-map.png"


def edit_name(name: str, number: int) -> str:
    """What the file of a mask that changes others, counted from 1, is called in a job's folder."""
    return f"{name}-{number}.png"


def command_of(
    photo: str,
    instruction: Instruction,
    seed: int,
    settings: Mapping[str, Any],
    masks: int,
    source: ModelSource,
    edits: Mapping[str, int],
    maps: Mapping[str, Any] | None = None,
) -> str:
    """settings: those that differ from the model's own. masks: how many, as the job's results name them; edits: how
    many of each name (unite, ...). maps: `scale_range` of a scale map; None: there is none."""
    name = photo if not photo.startswith("-") else f"./{photo}"
    words = ["instructrestore", "restore", name, str(instruction)]
    for number in range(1, masks + 1):
        words += ["--mask", f"{mask_name(number)}.png"]
    for name, count in edits.items():
        for number in range(1, count + 1):
            words += [f"--{name}", edit_name(name, number)]
    if maps is not None:
        words += ["--scale-map", SCALE_MAP]
        if ends := maps["scale_range"]:
            words += ["--scale-range", ",".join(f"{scale:g}" for scale in ends)]
    if seed:
        words += ["--seed", str(seed)]
    for setting, value in settings.items():
        if setting == "compat" or (value is True and setting in OPTIONS):
            words.append(OPTIONS[setting])
        elif setting in OPTIONS:
            words += [OPTIONS[setting], _word(value)]
        else:
            words += ["--set", f"{setting}={_word(value)}"]
    for option, value in (("--base", source.base), ("--checkpoint", source.checkpoint)):
        if value and value != SMALL:
            words += [option, value]
    if source.dtype != "float32":
        words += ["--dtype", source.dtype]
    return shlex.join(words)


def sweep_command(command: str, scales: Sequence[float]) -> str:
    return f"{command} --sweep {','.join(f'{scale:g}' for scale in scales)}"


def python_of(
    photo: str,
    instruction: Instruction,
    seed: int,
    settings: Mapping[str, Any],
    masks: int,
    source: ModelSource,
    edits: Mapping[str, int],
    maps: Mapping[str, Any] | None = None,
) -> str:
    """The same as a script."""
    place = [repr(source.base), *([repr(source.checkpoint)] if source.checkpoint else [])]
    if source.dtype != "float32":
        place.append(f"dtype={source.dtype!r}")
    asked = [f"photo,\n    {str(instruction)!r}"]
    if masks:
        names = ", ".join(f'Image.open("{mask_name(number)}.png")' for number in range(1, masks + 1))
        asked.append(f"masks=[[{names}]]")
    for name, count in edits.items():
        names = ", ".join(f'Image.open("{edit_name(name, number)}")' for number in range(1, count + 1))
        asked.append(f"{name}=[[{names}]]")
    if maps is not None:
        asked.append(f'scale_maps=[Image.open("{SCALE_MAP}")]')
        if maps["scale_range"]:
            asked.append(f"scale_range={maps['scale_range']!r}")
    asked.append(f'generator=[torch.Generator("cpu").manual_seed({seed})]')
    asked += [f"{name}={value!r}" for name, value in settings.items()]
    cuts = "locate" in settings
    asked += ["segmenter=PhotoParts()"] if cuts else []
    return (
        "import instructrestore\nimport torch\n"
        + ("from instructrestore.pipelines.inference.photo_parts import PhotoParts\n" if cuts else "")
        + "from PIL import Image, ImageOps\n\n"
        f"pipe = instructrestore.load_pipeline({', '.join(place)})\n"
        f'photo = ImageOps.exif_transpose(Image.open({photo!r})).convert("RGB")\n'
        f"result = pipe(\n    {(',' + chr(10) + '    ').join(asked)},\n).images[0]\n"
        'result.save("restored.png")\n'
    )


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
