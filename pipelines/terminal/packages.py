"""Whether what an extra installs is there."""

from __future__ import annotations

from importlib.util import find_spec


def check_installed(extra: str, *packages: str) -> None:
    """Raises ValueError, with what to type, where one of an extra's packages is missing."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        named = ", ".join(each.replace("_", "-") for each in missing)
        raise ValueError(f'this needs {named}: pip install "instructrestore[{extra}]"')
