"""A disk that fills up under a build: one sentence that names the folder, and nothing lost."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.photos import make_photos

ROOT = Path(__file__).resolve().parent.parent.parent
DISK_BYTES = 64 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("a disk that is really full needs a tmpfs, and mounting one needs root on Linux")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def free_bytes(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def leave(disk: Path, wanted: int) -> None:
    """Fills the disk but for `wanted` bytes."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free_bytes(disk) - wanted)


def build(photos: Path, out: Path) -> subprocess.CompletedProcess[str]:
    small = ["photos_per_part=4", "shards.photos_per_shard=5", "quality_gate.short_side=64", "quality_gate.score=0"]
    settings = [word for setting in (*small, "run.cpus=2") for word in ("--set", setting)]
    command = [sys.executable, "-m", "pipelines.cli", "build", str(photos), "--out", str(out), *settings]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)


def hashes(dataset: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(dataset.iterdir())}


def committed(out: Path) -> set[str]:
    """The parts and shards that are done; their names stand for their contents."""
    return {str(path.relative_to(out)) for path in out.rglob("*-*.parquet")}


def test_a_full_disk_stops_the_build_and_space_lets_it_go_on(disk: Path, tmp_path: Path) -> None:
    """Room for ever more of the run: the manifest fails first, then stages, shards and the report."""
    photos = tmp_path / "photos"
    make_photos(photos, 12)
    before = free_bytes(disk)
    peace = build(photos, disk / "peace")
    assert peace.returncode == 0, peace.stdout + peace.stderr
    needed = before - free_bytes(disk)
    expected = hashes(disk / "peace/dataset")

    out = disk / "run"
    whole = free_bytes(disk)
    stopped_at: list[str] = []
    done: set[str] = set()
    for room in (8192, needed * 3 // 10, needed * 6 // 10, needed - 8192):
        leave(disk, max(0, room - (whole - free_bytes_without_ballast(disk))))
        ended = build(photos, out)
        assert ended.returncode == 2, (room, ended.stdout, ended.stderr)
        sentence = ended.stderr.strip()
        assert len(sentence.splitlines()) == 1, sentence
        assert "No space left on device" in sentence
        assert str(out) in sentence, sentence
        assert "Traceback" not in ended.stdout
        assert not list(out.rglob(".partial-*")), "what could not be finished is gone"
        assert done <= committed(out), "nothing that was done is lost"
        done = committed(out)
        stopped_at.append(sentence)
    assert len(set(stopped_at)) > 2, f"the disk was full at different moments: {stopped_at}"
    assert any("stage cannot write" in sentence for sentence in stopped_at), stopped_at
    (disk / "ballast").unlink()
    ended = build(photos, out)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert hashes(out / "dataset") == expected


def free_bytes_without_ballast(disk: Path) -> int:
    (disk / "ballast").unlink(missing_ok=True)
    return free_bytes(disk)
