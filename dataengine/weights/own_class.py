"""An annotator of one's own: a class that a setting names as MODULE:CLASS."""

from __future__ import annotations

import importlib
from typing import Any

PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"


def own_class(name: str, setting: str) -> Any:
    """The class named "module:Class"; the module is found as Python finds any (installed, or on PYTHONPATH).

    setting: where it is named. The class has a REVISION, a text that is changed whenever its results change.
    Raises ValueError, in one sentence, where there is no such class.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise  # it lacks a package of its own: with the traceback
        raise ValueError(
            f"{setting}: there is no module {module}; put the folder that holds {module.partition('.')[0]}.py on "
            "PYTHONPATH, on every machine"
        ) from None
    if not isinstance(found, type):
        raise ValueError(f"{setting}: the module {module} has no class {attribute}")
    if not isinstance(getattr(found, "REVISION", None), str):
        raise ValueError(
            f'{setting}: the class {attribute} needs a REVISION, as in REVISION = "1", that is changed whenever its '
            "results change"
        )
    return found


def not_renamed(name: Any) -> Any:
    """The name of an annotator, as it is. Raises ValueError for that of version 0.1's default, which is another now."""
    if name == "embedded":
        raise ValueError('version 0.1\'s "embedded" is called "colour" now, and "named" is what took its place')
    return name
