"""The methods that can be run and how to ask for one: `--run NAME[=PLACE]`. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any, Literal

from instructrestore.dataengine.running.integrity import digest
from instructrestore.pipelines.evaluation.methods.ncnn_files import NCNN
from instructrestore.pipelines.evaluation.methods.recipe import expanded, shipped_recipes
from instructrestore.shards.files import file_sha256

REVISION = "1"  # raised when the same photo, seed and weights give a different result
COMPARE_EXTRA = 'pip install "instructrestore[compare]"'

WEIGHTS = "diffusion_pytorch_model.safetensors"
# The files of a pipeline's folder that are fetched and read.
PIPELINE_FILES = (
    "model_index.json",
    *(f"{part}/scheduler_config.json" for part in ("scheduler", "low_res_scheduler")),
    *(f"tokenizer/{name}" for name in ("*.json", "merges.txt")),
    *(f"text_encoder/{name}" for name in ("config.json", "model.safetensors")),
    *(f"{part}/{name}" for part in ("vae", "unet") for name in ("config.json", WEIGHTS)),
)
COMMAND = "command"  # a program of somebody else's; all but its name is in its recipe (recipe.py)
RELEASE = "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.1.0/RealESRGAN_x4plus.pth"

_HUB_REVISION = re.compile(r"([\w.-]+/[\w.-]+)@(\S+)")


@dataclass(frozen=True)
class MethodKind:
    """A method that can be run.

    title: of its row, as in the paper's tables; empty: its file's name. place: what follows NAME=: nothing, a file of
    weights, a pipeline's folder or hub id, or a recipe's name or file. package: what it needs besides the base install.
    """

    name: str
    title: str
    place: Literal["nothing", "file", "pipeline", "recipe"]
    package: str = ""


KINDS = (
    MethodKind("lq", "LQ", "nothing"),
    MethodKind("real-esrgan", "Real-ESRGAN", "file", "spandrel"),
    MethodKind("network", "", "file", "spandrel"),
    *(MethodKind(name, files.title, "nothing") for name, files in NCNN.items()),
    MethodKind("x4-upscaler", "SD x4 upscaler", "pipeline"),
    MethodKind(COMMAND, "", "recipe"),
)
LICENCES = {"real-esrgan": "BSD-3-Clause", "x4-upscaler": "CreativeML Open RAIL++-M"}  # of the published weights
BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True)
class MethodSpec:
    """A method to run.

    place: its file of weights, its pipeline's folder or hub id, or its recipe; None if it has none. revision: branch,
    tag or commit of a hub id; None: its main branch.
    """

    name: str
    place: str | None = None
    revision: str | None = None

    @property
    def title(self) -> str:
        """The name of its row."""
        return BY_NAME[self.name].title or PurePath(self.place or "").stem

    def check(self) -> None:
        """Raises ValueError, in one sentence with what to do, if its package or its file is missing, without loading
        anything."""
        kind = BY_NAME[self.name]
        if self.name in NCNN:
            lacks, fix = NCNN[self.name].lacking()
            if lacks:
                raise ValueError(f"--run {self.name} cannot run, because {lacks}: {fix}")
        if kind.package and find_spec(kind.package) is None:
            raise ValueError(f"--run {self.name} needs {kind.package}: {COMPARE_EXTRA}")
        if kind.place == "file":
            self._file()

    def identity(self) -> str:
        """Hex digits that change with anything that its results depend on, found without loading it.

        A file or folder counts by its content, not its path; a hub id by its name and revision. Raises ValueError for a
        file that does not exist or cannot be read.
        """
        return digest(REVISION, self.name, self._weights())

    def record(self) -> dict[str, Any]:
        """What is recorded of it: a file or folder of this machine by its name alone."""
        if self.name in NCNN:
            return {"name": self.name, **NCNN[self.name].record()}
        place = self.place
        if place is not None and expanded(place).exists():
            place = expanded(place).resolve().name
        return {"name": self.name, "place": place, "revision": self.revision}

    def _file(self) -> Path:
        path = expanded(self.place or "")
        if not path.is_file():
            real_esrgan = f"Real-ESRGAN's weights, which are BSD-3-Clause, are at {RELEASE}"
            raise ValueError(
                f"there is no file {self.place}: {real_esrgan if self.name == 'real-esrgan' else 'check its name'}"
            )
        return path

    def _weights(self) -> object:
        if self.name in NCNN:
            return NCNN[self.name].record()
        if self.place is None:
            return None
        folder = expanded(self.place)
        try:
            if BY_NAME[self.name].place == "file":
                return file_sha256(self._file())
            if folder.is_dir():
                files = sorted(each for pattern in PIPELINE_FILES for each in folder.glob(pattern))
                return [(each.relative_to(folder).as_posix(), file_sha256(each)) for each in files]
        except OSError as fault:
            raise ValueError(f"{fault.filename or folder} cannot be read: {fault.strerror}") from fault
        return self.place, self.revision


def parse_method(text: str) -> MethodSpec:
    """A method from what was typed: lq, real-esrgan=RealESRGAN_x4plus.pth, x4-upscaler=owner/name@revision.

    owner/name@revision is a hub id; write ./ before a folder that looks like one. Raises ValueError, in one sentence,
    for an unknown name and for a place that is missing or not allowed.
    """
    name, equals, place = (part.strip() for part in text.partition("="))
    kind = BY_NAME.get(name)
    if kind is None:
        known = ", ".join(BY_NAME)
        raise ValueError(
            f"--run knows no method {name!r}, only {known}; for any other, write a recipe, --run command=RECIPE.toml, "
            "or give a folder of its results, --results NAME=FOLDER"
        )
    if kind.place == "nothing":
        if equals:
            raise ValueError(f"--run {name} takes no place: {name} alone")
        return MethodSpec(name)
    if kind.place == "recipe":
        if not place:
            raise ValueError(
                f"--run {name} needs a recipe: {name}=RECIPE.toml, or one of {', '.join(shipped_recipes())}"
            )
        return MethodSpec(name, place)
    if not place:
        what = "FILE" if kind.place == "file" else "FOLDER or a hub id, owner/name@revision"
        raise ValueError(f"--run {name} needs its weights: {name}={what}")
    hub = _HUB_REVISION.fullmatch(place) if kind.place == "pipeline" else None
    return MethodSpec(name, hub[1], hub[2]) if hub else MethodSpec(name, place)
