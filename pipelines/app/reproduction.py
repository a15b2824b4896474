"""How a result is made again: the command that is typed, and the call from Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.restoring.small_model import SMALL
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.inference.options import OPTIONS


def mask_name(number: int) -> str:
    """What the mask of a region, counted from 1, is called among a job's results."""
    return f"mask-{number}"


SCALE_MAP = "scale-map.png"
OF_RESTORING_ALONE = ("rest", "feather", "careful", "careful_scale", "careful_size")  # settings that find no mask


def edit_name(name: str, number: int) -> str:
    """What the file of a mask that changes others, counted from 1, is called in a job's folder."""
    return f"{name}-{number}.png"


@dataclass(frozen=True)
class Reproduction:
    """What a job was asked for.

    photo: its name. settings: those that differ from the model's own. masks: how many, as the job's results name them.
    edits: how many of each name (unite, ...). has_scale_map: whether a scale map takes the masks' place; scale_range:
    what black and white mean in it. sweep: the scales of a sweep.
    """

    photo: str
    instruction: Instruction
    seed: int
    settings: Mapping[str, Any]
    source: ModelSource
    masks: int = 0
    edits: Mapping[str, int] = field(default_factory=dict)
    has_scale_map: bool = False
    scale_range: tuple[float, float] | None = None
    sweep: Sequence[float] = ()
    mask_only: bool = False

    def command(self) -> str:
        """The command that does the same."""
        name = self.photo if not self.photo.startswith("-") else f"./{self.photo}"
        words = ["instructrestore", "restore", name, str(self.instruction)]
        for mask in self._mask_names():
            words += ["--mask", mask]
        for edit, names in self._edit_names().items():
            for each in names:
                words += [f"--{edit}", each]
        if self.has_scale_map:
            words += ["--scale-map", SCALE_MAP]
        if self.scale_range:
            words += ["--scale-range", _word(self.scale_range)]
        if self.seed:
            words += ["--seed", str(self.seed)]
        for setting, value in self.settings.items():
            if setting == "compat" or (value is True and setting in OPTIONS):
                words.append(OPTIONS[setting])
            elif setting in OPTIONS:
                words += [OPTIONS[setting], _word(value)]
            else:
                words += ["--set", f"{setting}={_word(value)}"]
        for option, value in (("--base", self.source.base), ("--checkpoint", self.source.checkpoint)):
            if value and value != SMALL:
                words += [option, value]
        if self.source.dtype != "float32":
            words += ["--dtype", self.source.dtype]
        if self.sweep:
            words += ["--sweep", _word(self.sweep)]
        if self.mask_only:
            words.append("--mask-only")
        return shlex.join(words)

    def script(self) -> str:
        """The same in Python; of a sweep the picture of the instruction's own scales."""
        place = [repr(self.source.base), *([repr(self.source.checkpoint)] if self.source.checkpoint else [])]
        if self.source.dtype != "float32":
            place.append(f"dtype={self.source.dtype!r}")
        asked = [f"photo,\n    {str(self.instruction)!r}"]
        if self.masks:
            asked.append(f"masks=[[{_opened(self._mask_names())}]]")
        asked += [f"{edit}=[[{_opened(names)}]]" for edit, names in self._edit_names().items()]
        if self.has_scale_map:
            asked.append(f"scale_maps=[{_opened([SCALE_MAP])}]")
        if self.scale_range:
            asked.append(f"scale_range={self.scale_range!r}")
        asked.append(f'generator=[torch.Generator("cpu").manual_seed({self.seed})]')
        asked += [f"{name}={value!r}" for name, value in self.settings.items()]
        cuts = "locate" in self.settings
        asked += ["segmenter=PhotoParts()"] if cuts else []
        call, made, save = "result = pipe", "images", 'result.save("restored.png")\n'
        if self.mask_only:
            call, made = "masks = pipe.predict_mask", "masks"
            save = (
                "for number, mask in enumerate(masks, 1):\n"
                '    Image.fromarray((mask * 255).round().astype("uint8")).save(f"mask-{number}.png")\n'
            )
        return (
            "import instructrestore\nimport torch\n"
            + ("from instructrestore.pipelines.inference.photo_parts import PhotoParts\n" if cuts else "")
            + "from PIL import Image, ImageOps\n\n"
            f"pipe = instructrestore.load_pipeline({', '.join(place)})\n"
            f'photo = ImageOps.exif_transpose(Image.open({self.photo!r})).convert("RGB")\n'
            f"{call}(\n    {(',' + chr(10) + '    ').join(asked)},\n).{made}[0]\n{save}"
        )

    def _mask_names(self) -> list[str]:
        return [f"{mask_name(number)}.png" for number in range(1, self.masks + 1)]

    def _edit_names(self) -> dict[str, list[str]]:
        return {edit: [edit_name(edit, number) for number in range(1, count + 1)] for edit, count in self.edits.items()}


def _opened(names: Sequence[str]) -> str:
    return ", ".join(f'Image.open("{name}")' for name in names)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(_word(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
