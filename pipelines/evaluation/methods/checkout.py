"""What a recipe lacks on this machine, and what its results follow from. No torch; nothing of the method is run."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructrestore.dataengine.running.integrity import digest
from instructrestore.pipelines.evaluation.methods.recipe import MethodRecipe, weights_files
from instructrestore.shards.files import file_sha256

REVISION = "1"  # raised when the same recipe, code and weights give a different result
_GIT_S = 60


@dataclass(frozen=True)
class Lack:
    """text: what is missing or wrong. fix: what to do."""

    text: str
    fix: str


def lacks(recipe: MethodRecipe, methods: Path) -> Iterator[Lack]:
    """All that keeps a recipe from running here. methods: the folder of methods."""
    folder = recipe.checkout(methods)
    if folder.is_dir():
        yield from _of_code(recipe, methods)
    else:
        clone = f"git clone {recipe.repository} {folder}" if recipe.repository else f"put its program into {folder}"
        at = f" && git -C {folder} checkout {recipe.revision}" if recipe.repository and recipe.revision else ""
        yield Lack(f"there is no folder {folder}", clone + at)
    for name, weights in recipe.weights.items():
        place = folder / weights.path
        if not any(weights_files(recipe, methods, name)):
            yield Lack(f"there are no weights {weights.path} in it", f"{weights.path}: {weights.source}")
        elif weights.sha256 and (place.is_dir() or file_sha256(place) != weights.sha256):
            yield Lack(f"{weights.path} is not the file that the recipe knows by its sha256", f"fetch {weights.source}")


def _of_code(recipe: MethodRecipe, methods: Path) -> Iterator[Lack]:
    folder = recipe.checkout(methods)
    found = revision_of(folder)
    if found and recipe.revision and not found.startswith(recipe.revision):
        yield Lack(
            f"{folder} is at {found[:7]} and the recipe of {recipe.revision[:7]}",
            f"git -C {folder} checkout {recipe.revision}, or write a recipe for the other one",
        )
    program = recipe.words(methods, Path("lq"), Path("out"), 0)[0]
    if shutil.which(program if os.sep not in program else str(folder / program)) is None:
        yield Lack(f"there is no program {program}", "make its environment there, as its README says")


def check(recipe: MethodRecipe, methods: Path) -> None:
    """Raises ValueError, in one sentence with what to do, for the first thing that is missing."""
    try:
        lack = next(lacks(recipe, methods), None)
    except OSError as error:
        raise ValueError(f"{recipe.name} cannot run here: {error.filename} cannot be read: {error.strerror}") from None
    if lack:
        raise ValueError(f"{recipe.name} cannot run here, because {lack.text}: {lack.fix}")


def known_of(recipe: MethodRecipe, methods: Path, seed: int) -> dict[str, Any]:
    """What its results follow from, as plain JSON without a path of this machine: the recipe by its hash, the commit
    and the changes in the checkout (None where it is not one), and every file of its weights.

    Reads all weights, which takes a while.
    """
    folder = recipe.checkout(methods)
    how = recipe.model_dump(mode="json", exclude={"directory", "licence", "repository", "timeout_s", "weights"})
    changes = _git(folder, "diff", "HEAD") if revision_of(folder) else None
    return {
        "revision": revision_of(folder) or None,
        "changes": hashlib.sha256(changes).hexdigest() if changes else None,
        "recipe": digest(REVISION, how, sorted(recipe.weights)),
        "weights": {name: _fingerprint(recipe, methods, name) for name in recipe.weights},
        "seed": seed,
    }


def revision_of(folder: Path) -> str:
    """The commit of a checkout; "" where the folder is none, or git cannot say."""
    return _git(folder, "rev-parse", "HEAD").decode().strip() if (folder / ".git").exists() else ""


def _git(folder: Path, *words: str) -> bytes:
    """What git says; nothing where it fails or is not installed."""
    try:
        asked = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, timeout=_GIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return asked.stdout if asked.returncode == 0 else b""


def _fingerprint(recipe: MethodRecipe, methods: Path, name: str) -> str:
    """The sha256 of a file; of a folder, one hash of its files' names and contents."""
    place = recipe.checkout(methods) / recipe.weights[name].path
    try:
        if place.is_file():
            return file_sha256(place)
        files = weights_files(recipe, methods, name)
        return digest([(path.relative_to(place).as_posix(), file_sha256(path)) for path in files])
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read: {error.strerror}") from None
