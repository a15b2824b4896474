"""`instructrestore doctor --methods`: what each method that `evaluate --run` knows lacks on this machine.

Nothing is run or fetched. Weights of recipes are looked for; they are read only where a recipe says their sha256.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.text import Text

from instructrestore.pipelines.doctor.findings import Finding, findings_table, print_verdict
from instructrestore.pipelines.evaluation.methods.checkout import lacks, revision_of
from instructrestore.pipelines.evaluation.methods.ncnn_files import NCNN
from instructrestore.pipelines.evaluation.methods.recipe import (
    MethodRecipe,
    methods_folder,
    read_recipe,
    shipped_recipes,
    weights_files,
)
from instructrestore.pipelines.evaluation.methods.spec import COMMAND, COMPARE_EXTRA, KINDS, LICENCES, MethodKind

_WIDTH = 20


def doctor_of_methods(methods: Path | None, console: Console) -> bool:
    """Prints a line a method and returns whether all can run. methods: the folder of methods; None: as the environment
    says."""
    folder = methods_folder(methods)
    kinds = [kind for kind in KINDS if kind.name not in ("lq", COMMAND)]
    sections = {
        "methods that run here": [_of_kind(kind) for kind in kinds],
        f"methods by a recipe, --run {COMMAND}=NAME, in {folder}": [
            _of_recipe(name, read_recipe(name), folder) for name in shipped_recipes()
        ],
    }
    for title, findings in sections.items():
        console.print(Text(title, "bold"))
        console.print(findings_table(findings, _WIDTH))
    found = [finding for findings in sections.values() for finding in findings]
    return print_verdict(found, console, "these methods")


def _of_kind(kind: MethodKind) -> Finding:
    if kind.name in NCNN:
        files = NCNN[kind.name]
        text, fix = files.lacking()
        if text:
            return Finding("missing", kind.name, f"{text}; licence: {files.licence}", fix)
        known = files.record()
        ready = f"ready: {known['package']}, {known['runtime']}, sha256 {files.weights}; licence: {files.licence}"
        return Finding("ok", kind.name, ready)
    licence = LICENCES.get(kind.name, "that of its weights")
    if kind.package and find_spec(kind.package) is None:
        return Finding("missing", kind.name, f"{kind.package} is not installed; licence: {licence}", COMPARE_EXTRA)
    what = "FILE" if kind.place == "file" else "FOLDER or a hub id"
    return Finding("ok", kind.name, f"ready with weights: --run {kind.name}={what}; licence: {licence}")


def _of_recipe(name: str, recipe: MethodRecipe, methods: Path) -> Finding:
    try:
        missing = list(lacks(recipe, methods))
        notes = list(_notes(recipe, methods))
    except OSError as error:
        return Finding("missing", name, f"{error.filename} cannot be read: {error.strerror}", "correct it")
    licence = f"licence: {recipe.licence or 'not said'}"
    if missing:
        fixes = "\n-> ".join(lack.fix for lack in missing)
        return Finding("missing", name, f"{'; '.join(lack.text for lack in missing)}; {licence}", fixes)
    return Finding("ok", name, "; ".join(["ready: " + ", ".join(notes), licence]))


def _notes(recipe: MethodRecipe, methods: Path) -> Iterator[str]:
    """What is known of a method that can run."""
    folder = recipe.checkout(methods)
    if not folder.is_dir():
        return
    revision = revision_of(folder)
    yield f"commit {revision[:7]}" if revision else f"{folder} is no git checkout, so its revision is not known"
    size = sum(path.stat().st_size for key in recipe.weights for path in weights_files(recipe, methods, key))
    yield f"{size / (1 << 30):.1f} GiB of weights"
