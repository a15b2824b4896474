"""`make demo`: the main job on photos that come with installed packages; nothing is downloaded."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from shards.files import commit
from shards.index import Dataset

OUT = Path("demo-output")

# (package, file in it, name, licence as the package states it)
PHOTOS = [
    ("skimage", "data/astronaut.png", "astronaut", "Public domain"),
    ("skimage", "data/chelsea.png", "cat", "CC0-1.0"),
    ("skimage", "data/coffee.png", "coffee", "CC0-1.0"),
    ("skimage", "data/rocket.jpg", "rocket", "CC0-1.0"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "portrait", "Public domain"),
    ("sklearn", "datasets/images/china.jpg", "temple", "CC BY 2.0"),
    ("sklearn", "datasets/images/flower.jpg", "flower", "CC BY 2.0"),
]


def main() -> int:
    """Runs the commands of the main job as a person would type them, and says where to look."""
    begin = time.monotonic()
    OUT.mkdir(exist_ok=True)
    photos, run = OUT / "photos.csv", OUT / "run"
    commit(photos, manifest().encode())
    _command("build", str(photos), "--preset", "demo", "--out", str(run))
    _command("verify", str(run / "dataset"))
    dataset = Dataset(str(run / "dataset"))
    first = dataset.index["key"][0].as_py()
    _command("show", str(run / "dataset"), first, "--out", str(OUT / "example.png"))
    print(f"\nLook at {run / 'report.html'} and {OUT / 'example.png'} ({time.monotonic() - begin:.0f} s).")
    print("The captions are by the embedded describer, which names colour, texture, size and place, not things.")
    return 0


def manifest() -> str:
    """A manifest (CSV) of the packages' photos."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["uri", "name", "licence"])
    for package, file, name, licence in PHOTOS:
        found = find_spec(package)
        assert found and found.origin, f"{package} is not installed: pip install 'instructrestore[demo]'"
        path = Path(found.origin).parent / file
        table.writerow([path, f"{name}{path.suffix}", licence])
    return text.getvalue()


def _command(*words: str) -> None:
    print("\n$ instructrestore", *words, flush=True)
    ended = subprocess.run([sys.executable, "-m", "pipelines.cli", *words], check=False)
    if ended.returncode:
        raise SystemExit(ended.returncode)


if __name__ == "__main__":
    sys.exit(main())
