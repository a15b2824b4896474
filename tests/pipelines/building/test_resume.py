"""A build killed at random moments, then run again, gives the bytes of one that was left in peace."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from instructrestore.pipelines.cli import app
from tests.pipelines.photos import BY_COLOUR_SET, make_photos
from tests.pipelines.processes import kill, workers_of

ROOT = Path(__file__).resolve().parents[3]


def make_flawed_photos(folder: Path, count: int) -> None:
    """Photos, one of them twice and one broken."""
    make_photos(folder, count)
    (folder / "copy.png").write_bytes((folder / "photo 001.png").read_bytes())
    (folder / "broken.jpg").write_bytes((folder / "photo 000.jpg").read_bytes()[:500])


def command(photos: Path, out: Path, cpus: int) -> list[str]:
    small = ["photos_per_part=4", "shards.photos_per_shard=5", "quality_gate.short_side=64", "quality_gate.score=0"]
    settings = [word for setting in (*small, f"run.cpus={cpus}") for word in ("--set", setting)]
    return [sys.executable, "-m", "instructrestore", "build", str(photos), "--out", str(out), *settings, *BY_COLOUR_SET]


def hashes(dataset: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(dataset.iterdir())}


def build(photos: Path, out: Path, cpus: int) -> None:
    ended = subprocess.run(command(photos, out, cpus), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def kill_at_random(photos: Path, out: Path, victim: str, rng: random.Random, longest_s: float) -> Counter[str]:
    """Starts a build and, a while after its first worker, kills its driver, its workers, or both. Returns how many."""
    process = subprocess.Popen(
        command(photos, out, 2), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not workers_of(process.pid) and process.poll() is None:
        time.sleep(0.02)
    deadline = time.monotonic() + rng.uniform(0, longest_s)
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    killed: Counter[str] = Counter()
    if victim in ("worker", "both"):
        killed["worker"] += sum(kill(pid) for pid in workers_of(process.pid))
    if victim in ("driver", "both") and process.poll() is None:
        killed["driver"] += kill(process.pid)
    process.wait(timeout=240)
    return killed


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="workers are found through /proc")
@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bytes(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    make_flawed_photos(photos, 40)
    app(command(photos, tmp_path / "peace", cpus=2)[3:], standalone_mode=False)
    expected = hashes(tmp_path / "peace/dataset")
    assert {"dataset.json", "index.parquet", "jpg-000000.tar", "png-000000.tar"} <= set(expected)
    rng = random.Random(7)
    killed: Counter[str] = Counter()
    for victim in ("driver", "both"):
        killed += kill_at_random(photos, tmp_path / "killed", victim, rng, longest_s=1.5)
    build(photos, tmp_path / "killed", cpus=1)
    assert hashes(tmp_path / "killed/dataset") == expected, killed
    assert killed["worker"] and killed["driver"], f"not every kill hit what it was to hit: {killed}"
