"""A recipe: how to run a method that is a program of its own, in a checkout and an environment of its own. No torch.

The program maps a folder of LQ photos to a folder of results. A recipe is a TOML file: one of those in `recipes/`, by
its name, or the user's own. What it names lies below the folder of methods (`--methods-dir`), but for a `directory`
that a recipe gives as an absolute path or from `~`, and a `python` that is absolute or found on PATH.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from instructrestore.shards.errors import first_error, one_line
from instructrestore.shards.parsing import parse_toml, read_bounded

RECIPES = Path(__file__).parent / "recipes"
METHODS_VARIABLE = "INSTRUCTRESTORE_METHODS"
MOST_PHOTOS = 8  # as many as a part of an evaluation has
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w.-]*)\}")
_KEY = "{key}"
_MOST_S = 30 * 24 * 3600.0
_MOST_BYTES = 1 << 20


class RecipeWeights(BaseModel):
    """Weights that the program reads.

    path: a file or a folder, relative to the checkout. source: where they are published. sha256: of the file, where it
    is known; another file is refused. holds: of a folder: a file that it has where the weights are there, as in
    "unet/*.safetensors", because some checkouts have the folder without them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: str = Field(min_length=1)
    source: str
    sha256: str = Field("", pattern="^([0-9a-f]{64})?$")
    holds: str = ""

    @field_validator("path", "holds")
    @classmethod
    def _inside(cls, path: str) -> str:
        return _relative(path)

    @field_validator("holds")
    @classmethod
    def _pattern(cls, pattern: str) -> str:
        parts = PurePosixPath(pattern).parts
        if (pattern and not parts) or any("**" in part and part != "**" for part in parts):
            raise ValueError(f"{pattern!r} is no pattern of a file, such as unet/*.safetensors")
        return pattern


class MethodRecipe(BaseModel):
    """One method.

    name: of its row. command: the program's words, of which no shell sees any. In them {python} is the interpreter,
    {lq} the folder of LQ photos, {out} the folder for results, {seed} the evaluation's seed and {weights.NAME} the path
    of weights.
    directory: the checkout, in which the command runs: below the folder of methods, or absolute or from ~; default: the
    name, which must then be that of a folder there.
    python: of the program's environment, relative to the checkout, or a name to be found on PATH.
    environment: variables that are set besides, as they stand: placeholders are of the command alone.
    lq: "full": LQ photos have their HQ photo's size; "small": they are shrunk by 4, for a program that enlarges by 4.
    result: where the program puts the result of LQ/{key}.png, relative to {out}.
    repository, revision: where the code is published, and the commit, or its first digits; a checkout of another one is
    refused. licence: of code and weights, in a few words.
    photos_per_call: how many photos of one size the program is given at once. They share the seed, and a program that
    draws its noise for one after the other gives each another one, so this is part of what results follow from.
    timeout_s: when a call is ended and counts as failed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1, max_length=60)
    command: list[str] = Field(min_length=1)
    result: str
    directory: str = ""
    python: str = Field("python", min_length=1)
    environment: dict[str, str] = {}
    lq: Literal["full", "small"] = "full"
    repository: str = ""
    revision: str = Field("", pattern="^([0-9a-f]{7,40})?$")
    licence: str = ""
    photos_per_call: int = Field(1, ge=1, le=MOST_PHOTOS)
    timeout_s: float = Field(3600, gt=0, le=_MOST_S, allow_inf_nan=False)
    weights: dict[str, RecipeWeights] = {}

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str) -> str:
        if not name.isprintable() or name != " ".join(name.split()):
            raise ValueError("a row's name is one line without blanks around it")
        return name

    @field_validator("command")
    @classmethod
    def _words(cls, words: list[str]) -> list[str]:
        if not words[0].strip():
            raise ValueError("its first word is empty, and that is the program")
        for word in words:
            _without_nul(word)
        return words

    @field_validator("directory", "python")
    @classmethod
    def _plain(cls, path: str) -> str:
        return _without_placeholder(_without_nul(path))

    @field_validator("directory")
    @classmethod
    def _below(cls, path: str) -> str:
        return _relative(path, below=True) if path and not expanded(path).is_absolute() else path

    @field_validator("environment")
    @classmethod
    def _variables(cls, variables: dict[str, str]) -> dict[str, str]:
        for name, value in variables.items():
            if not name or "=" in name or "\0" in name:
                raise ValueError(f"{name!r} is no name of a variable")
            _without_placeholder(_without_nul(value))
        return variables

    @field_validator("result")
    @classmethod
    def _result(cls, pattern: str) -> str:
        unknown = set(_PLACEHOLDER.findall(pattern)) - {"key"}
        if _KEY not in pattern or unknown:
            raise ValueError(f"it needs {_KEY}, and has no other placeholder: as in sample00/{_KEY}.png")
        return _relative(pattern)

    @model_validator(mode="after")
    def _place(self) -> MethodRecipe:
        if not self.directory:
            try:
                _relative(self.name, below=True)
            except ValueError:
                raise ValueError(f"directory is not given, and the name {self.name!r} is that of no folder") from None
        return self

    @model_validator(mode="after")
    def _placeholders(self) -> MethodRecipe:
        known = {"python", "lq", "out", "seed", *(f"weights.{name}" for name in self.weights)}
        used = {name for word in self.command for name in _PLACEHOLDER.findall(word)}
        if used - known:
            raise ValueError(
                f"command has the placeholder {{{min(used - known)}}}, and there are only {', '.join(sorted(known))}"
            )
        if not {"lq", "out"} <= used:
            raise ValueError("command needs {lq} and {out}: the folders that the program reads and writes")
        return self

    def checkout(self, methods: Path) -> Path:
        """The folder of its code, absolute. methods: the folder of methods."""
        return Path(os.path.abspath(methods / (expanded(self.directory) if self.directory else self.name)))

    def interpreter(self, methods: Path) -> str:
        """Its Python, unresolved: a virtual environment is known by the link's own place."""
        return str(self.checkout(methods) / self.python) if "/" in self.python else self.python

    def words(self, methods: Path, lq: Path, out: Path, seed: int) -> list[str]:
        """The command with its placeholders filled."""
        values: dict[str, str] = {
            "python": self.interpreter(methods),
            "lq": str(lq),
            "out": str(out),
            "seed": str(seed),
            **{f"weights.{name}": str(self.checkout(methods) / each.path) for name, each in self.weights.items()},
        }
        return [_PLACEHOLDER.sub(lambda found: values[found[1]], word) for word in self.command]

    def result_of(self, key: str) -> str:
        """The result of LQ/KEY.png, relative to the folder for results."""
        return self.result.replace(_KEY, key)


def read_recipe(place: str) -> MethodRecipe:
    """A recipe that ships, by its name, or a file. Raises ValueError, in one sentence."""
    shipped = shipped_recipes()
    file = shipped.get(place) or expanded(place)
    try:
        text = read_bounded(file, _MOST_BYTES)
    except FileNotFoundError:
        near = get_close_matches(PurePath(place).name.lower().removesuffix(".toml"), shipped, n=1)
        but = f", but there is {near[0]}" if near else ""
        raise ValueError(
            f"there is no recipe {place}{but}: name a file, as in command=RECIPE.toml, or one of {', '.join(shipped)}"
        ) from None
    except OSError as error:
        raise ValueError(f"the recipe {place} cannot be read: {one_line(error)}") from None
    try:
        return MethodRecipe.model_validate(parse_toml(text, f"the recipe {place}"))
    except ValidationError as error:
        raise ValueError(f"the recipe {place} cannot be used: {_complaint(error)}") from None


def shipped_recipes() -> Mapping[str, Path]:
    """The recipes that ship, by name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.toml"))}


def methods_folder(given: str | Path | None) -> Path:
    """The folder of methods, absolute: the given one, or that of the environment, or `methods`."""
    return Path(os.path.abspath(expanded(given or os.environ.get(METHODS_VARIABLE) or "methods")))


def expanded(path: str | Path) -> Path:
    """The path with ~ and ~USER filled in. Raises ValueError, in one sentence, where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{str(path)!r} begins with a home folder that is not known here") from None


def _complaint(error: ValidationError) -> str:
    """The first one; of several fields together, without a word before it."""
    return first_error(error).removeprefix("the text: ")


def _relative(path: str, below: bool = False) -> str:
    """The path, if it stays in the folder that it is relative to, and is not that folder itself if `below`."""
    parts = PurePosixPath(path).parts
    if path.startswith(("/", "~")) or ".." in parts or "\0" in path or (below and not parts):
        raise ValueError(f"{path!r} leads out of its folder" if parts else f"{path!r} is no folder of its own")
    return path


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"{text!r} has a NUL in it")
    return text


def _without_placeholder(text: str) -> str:
    found = _PLACEHOLDER.search(text)
    if found:
        raise ValueError(f"it has the placeholder {found[0]}, and only command and result have any")
    return text


def weights_files(recipe: MethodRecipe, methods: Path, name: str) -> Iterator[Path]:
    """The files of one of its weights, in order: one, or all of a folder but hidden ones; none where it is absent."""
    place = recipe.checkout(methods) / recipe.weights[name].path
    if place.is_file():
        yield place
    elif place.is_dir() and any(place.glob(recipe.weights[name].holds or "*")):
        inside = sorted(path for path in place.rglob("*") if path.is_file())
        yield from (path for path in inside if not any(part[0] == "." for part in path.relative_to(place).parts))
