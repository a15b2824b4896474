"""What the machinery itself costs.

python benchmarks/overhead.py noop      photos/s through a stage that does nothing, after Ray has started
python benchmarks/overhead.py intake    photos/s of 768x512 PNG and JPEG through intake and gate
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import TypeAdapter

from instructrestore.dataengine.photos.intake import Intake, IntakeSettings
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.quality.quality_gate import QualityGate, QualityGateSettings
from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.on_ray.runner import Cluster, cluster
from instructrestore.dataengine.running.part_files import PartSummary, Slice
from instructrestore.dataengine.running.stage import StageSpec, Task
from instructrestore.dataengine.running.stage_kinds import Part
from instructrestore.shards.paths import Place

REPEATS = 5


class Nothing:
    """A stage that hands its rows on."""

    def __call__(self, rows: Sequence[Row]) -> list[Row]:
        return list(rows)


def photos(count: int, folder: str = "/photos") -> Iterator[SourcePhoto]:
    """Listed photos that need not exist."""
    for number in range(count):
        yield SourcePhoto(f"{folder}/{number // 1000:07d}/{number:09d}.jpg", f"{number:09d}.jpg", "made up")


def spec(name: str, build: Callable[[], Callable[..., Sequence[Any]]]) -> StageSpec:
    return StageSpec(name, build, identity=name, row_type=Row, result_type=Row)


def stage_rate(connected: Cluster, stage: StageSpec, parts: Sequence[Part], folder: Path) -> tuple[float, list[Place]]:
    """Rows a second through a stage once its workers are ready, and the files it left."""
    folder.mkdir()
    tasks = [Task(part.part, (part.where,), folder, digest(stage.identity, part.content)) for part in parts]
    times: list[float] = []
    rows: list[int] = []

    def note(summary: PartSummary) -> None:
        times.append(time.monotonic())
        rows.append(len(summary.outcomes))

    files = connected.run_stage(stage, tasks, 100, note)
    # From the first part committed to the last: what the workers needed to start is not in it.
    return sum(rows[1:]) / (times[-1] - times[0]), [file.path for file in files]


def noop() -> None:
    with tempfile.TemporaryDirectory() as name, cluster(None, 2) as connected:
        run = RunFolder(Path(name) / "run")
        run.append(photos(20_000), 64)
        rates = [
            stage_rate(connected, spec("nothing", Nothing), run.parts(), Path(name) / f"{n}")[0] for n in range(REPEATS)
        ]
    print(f"no-op stage, 20,000 photos in parts of 64, 2 workers: {_spread(rates)} photos/s")


def intake() -> None:
    with tempfile.TemporaryDirectory() as name, cluster(None, 2) as connected:
        folder = Path(name)
        _write_photos(folder / "photos", 512)
        run = RunFolder(folder / "run")
        listed = (SourcePhoto(str(path), path.name, "made up") for path in sorted((folder / "photos").iterdir()))
        run.append(listed, 64)
        rates = []
        for repeat in range(REPEATS):
            begin = time.monotonic()
            first, files = stage_rate(connected, spec("intake", _intake), run.parts(), folder / f"intake-{repeat}")
            parts = [Part(n, Slice(str(file)), str(n)) for n, file in enumerate(files)]
            second, _ = stage_rate(connected, spec("gate", _gate), parts, folder / f"gate-{repeat}")
            rates.append(1 / (1 / first + 1 / second))
            print(f"  intake {first:.0f}, gate {second:.0f} photos/s ({time.monotonic() - begin:.0f} s with start-up)")
    print(f"intake and gate, 512 photos of 768x512 (half PNG, half JPEG), 2 workers: {_spread(rates)} photos/s")


def _intake() -> Intake:
    return Intake(IntakeSettings())


def _gate() -> QualityGate:
    return QualityGate(QualityGateSettings(short_side=500, score=0))


def _write_photos(folder: Path, count: int) -> None:
    """Photos of 768x512 that compress as photos do (some 550 KB as PNG, some 100 KB as JPEG)."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 24, 3), np.uint8)).resize(
            (768, 512), Image.Resampling.BICUBIC
        )
        grain = rng.normal(0, 4, (512, 768, 1))
        pixels = Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8))
        file = io.BytesIO()
        pixels.save(file, *(("PNG",) if number % 2 else ("JPEG",)), **({} if number % 2 else {"quality": 92}))
        (folder / f"{number:05d}.{'png' if number % 2 else 'jpg'}").write_bytes(file.getvalue())


def _spread(values: Sequence[float]) -> str:
    return f"median {statistics.median(values):,.0f} (min {min(values):,.0f}, max {max(values):,.0f})"


if __name__ == "__main__":
    TypeAdapter(Row)  # built once, outside of what is timed
    {"noop": noop, "intake": intake}[sys.argv[1] if len(sys.argv) > 1 else "noop"]()
