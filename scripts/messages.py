"""Every message that a user can see, with its place: `python scripts/messages.py [FOLDER...]`.

Messages are the texts of raised errors, of what is printed or said, of help and of settings. To read them all at once,
with one eye for their English, is the way to find those that only their author understands. Texts that are put together
elsewhere and passed on in a variable are not found.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("dataengine", "instructrestore", "model", "pipelines", "pretrained", "shards")

# Calls whose texts are shown, by the last part of the called name: functions that say something, records of what was
# found, and what help is made of.
SAYING = {"print", "say", "_say", "_print", "echo", "end", "warning", "noted", "append", "expected"}
SHOWN = {"Drop", "Failed", "Finding", "Field", "Option", "Argument", "Typer", "Table", "add_row", "add_column"}


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each message in a file."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from texts(node.exc)
        elif isinstance(node, ast.Call) and called(node) in SAYING | SHOWN:
            yield from texts(node)
        elif isinstance(node, ast.FunctionDef) and any(is_command(each) for each in node.decorator_list):
            if help_text := ast.get_docstring(node):
                yield node.lineno, help_text
        elif isinstance(node, ast.Assign) and any(is_help(target) for target in node.targets):
            yield from texts(node.value)


def called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def is_command(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and called(decorator) == "command"


def is_help(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id.endswith("HELP")


def texts(node: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts within an expression; what is filled in stands in braces as it does in the code."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        if " " in node.value.strip():  # a single word is a name, a format or a key
            yield node.lineno, node.value
    elif isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else f"{{{filled(part)}}}" for part in node.values]
        yield node.lineno, "".join(map(str, parts))
    else:
        for child in ast.iter_child_nodes(node):
            yield from texts(child)


def filled(part: ast.expr) -> str:
    return ast.unparse(part.value) if isinstance(part, ast.FormattedValue) else ast.unparse(part)


def main() -> None:
    """Prints them file by file, each once, in the order of the lines."""
    folders = [Path(name).resolve() for name in sys.argv[1:]] or [ROOT / room for room in ROOMS]
    for path in sorted(file for folder in folders for file in folder.rglob("*.py")):
        for line, text in sorted(set(messages(path))):
            print(f"{path.relative_to(ROOT)}:{line}: {' '.join(text.split())}")


if __name__ == "__main__":
    main()
