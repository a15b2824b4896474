"""Photos to try things with: they come with installed packages, and are made worse, as a restoration needs them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from PIL import Image

from instructrestore.pipelines.app.pictures import as_png
from instructrestore.pipelines.app.shelf import Missing


@dataclass(frozen=True)
class Sample:
    """place: a file in an installed package."""

    name: str
    title: str
    package: str
    place: str

    @property
    def path(self) -> Path | None:
        found = find_spec(self.package)
        path = Path(found.origin or "").parent / self.place if found else None
        return path if path and path.is_file() else None


SAMPLES = (
    Sample("cat", "A cat", "skimage", "data/chelsea.png"),
    Sample("coffee", "A cup of coffee", "skimage", "data/coffee.png"),
    Sample("astronaut", "An astronaut", "skimage", "data/astronaut.png"),
    Sample("portrait", "A portrait", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)
_QUALITY = 40  # of the JPEG that a sample is taken through, half as large


def installed() -> list[Sample]:
    return [sample for sample in SAMPLES if sample.path]


def sample(name: str) -> tuple[str, bytes]:
    """A sample's file name and bytes. Raises Missing."""
    for each in installed():
        if each.name == name:
            assert each.path
            return f"{name}.png", _worse(each.path)
    raise Missing


def _worse(path: Path) -> bytes:
    """Blurred by half its size, through JPEG, at its own size again."""
    with Image.open(path) as image:
        whole = image.convert("RGB")
    small = whole.resize((whole.width // 2, whole.height // 2), Image.Resampling.BICUBIC)
    file = BytesIO()
    small.save(file, "JPEG", quality=_QUALITY)
    with Image.open(file) as worse:
        return as_png(worse.resize(whole.size, Image.Resampling.BICUBIC))
