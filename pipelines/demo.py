"""`make demo`: the main jobs on photos that come with installed packages; nothing is downloaded."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.shards.files import commit
from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import AnnotatedPhoto

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
    """Runs the commands of the main jobs as a person would type them, and says where to look."""
    begin = time.monotonic()
    OUT.mkdir(exist_ok=True)
    photos, run = OUT / "photos.csv", OUT / "run"
    commit(photos, manifest().encode())
    _command("build", str(photos), "--preset", "demo", "--out", str(run))
    _command("verify", str(run / "dataset"))
    dataset = Dataset(str(run / "dataset"))
    sample, photo = _named(dataset, "cat.png")
    _command("show", str(run / "dataset"), sample.photo.key, "--out", str(OUT / "example.png"))

    commit(OUT / "cat.png", photo)
    region = max(sample.regions, key=lambda region: region.mask.area())
    instruction = str(Instruction((RegionScale(region.caption),), others=0.5))
    shown = ("--compare", "--sweep", "0,0.5,1")
    _command("degrade", str(OUT / "cat.png"), "--crop", "0", "--seed", "3", "--out", str(OUT / "degraded"))
    _command("restore", str(OUT / "degraded" / "cat-lq-3.png"), instruction, "--out", str(OUT / "restored"), *shown)

    trained = OUT / "training"
    shutil.rmtree(trained, ignore_errors=True)
    settings = ("steps=8", "batch=8", "validation.photos=4", "validation.restored=4")
    assignments = [word for setting in settings for word in ("--set", setting)]
    _command("train", str(run / "dataset"), "--preset", "small", "--out", str(trained), *assignments)

    testset, evaluation = OUT / "testset", OUT / "evaluation"
    for folder in (testset, evaluation):
        shutil.rmtree(folder, ignore_errors=True)
    _command("testset", str(run / "dataset"), "--size", "256", "--out", str(testset))
    model = ("--base", "small", "--checkpoint", str(trained))
    _command("evaluate", str(testset), *model, "--given-masks", "--out", str(evaluation))
    print(
        f"\nLook at {run / 'report.html'}, {OUT / 'example.png'}, {OUT / 'restored'}, {trained / 'pictures'} and "
        f"{evaluation / 'report.html'} ({time.monotonic() - begin:.0f} s).\n"
        "The regions and captions are the embedded annotator's: 133 names, and nothing where it is not sure.\n"
        "The small model that ships restores; docs/models/small.md says how well."
    )
    return 0


def _named(dataset: Dataset, name: str) -> tuple[AnnotatedPhoto, bytes]:
    """The data set's photo of this name and its bytes."""
    samples = (dataset.read(row) for row in range(dataset.index.num_rows))
    return next((sample, photo) for sample, photo in samples if sample.photo.name == name)


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
    ended = subprocess.run([sys.executable, "-m", "instructrestore", *words], check=False)
    if ended.returncode:
        raise SystemExit(ended.returncode)


if __name__ == "__main__":
    sys.exit(main())
