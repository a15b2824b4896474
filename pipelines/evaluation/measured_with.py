"""What determines figures besides the photos: settings, versions, and weights by their content."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from instructrestore.dataengine.running.integrity import digest
from instructrestore.model.metrics.iqa_weights import ALEXNET, CLIP, LPIPS, MANIQA, MUSIQ
from instructrestore.model.metrics.metric import BOKEH_IOU, LEARNED
from instructrestore.model.metrics.settings import REVISION, MetricSettings
from instructrestore.pretrained import brisque
from instructrestore.shards.files import file_sha256

_FILES = {"lpips": (LPIPS, ALEXNET), "clipiqa": (CLIP,), "musiq": (MUSIQ,), "maniqa": (MANIQA,)}


def measured_with(settings: MetricSettings) -> dict[str, Any]:
    """It as plain JSON: if equal, figures are equal, wherever the weights lie. Folders and files count by content, hub
    ids by name and revision; what the chosen metrics do not use is left out.

    Missing files are left out, and reported by what measures. Raises OSError for a file that cannot be read.
    """
    known: dict[str, Any] = {
        "revision": REVISION,
        "metrics": list(settings.metrics),
        "regions": settings.regions,
    }
    learned = [name for name in LEARNED if name in settings.metrics]
    if learned:
        known["pyiqa"] = _version("pyiqa")
        folder = Path(settings.iqa_weights)
        if folder.is_dir():
            files = [folder / file.name for name in learned for file in _FILES[name]]
            known["iqa_weights"] = {path.name: file_sha256(path) for path in files if path.is_file()}
        else:
            known["iqa_weights"] = f"{settings.iqa_weights}@{settings.iqa_revision}"
    if "brisque" in settings.metrics:
        known["brisque"] = brisque.REVISION
    if BOKEH_IOU.name in settings.metrics:
        known["blur_detector"] = settings.blur_detector
        if settings.blur_detector == "d-dffnet":
            weights, code = Path(settings.d_dffnet_weights), Path(settings.d_dffnet_code)
            known["d_dffnet_weights"] = file_sha256(weights) if weights.is_file() else None
            sources = sorted(code.rglob("*.py")) if code.is_dir() else []
            known["d_dffnet_code"] = digest([(str(each.relative_to(code)), file_sha256(each)) for each in sources])
    return known


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
