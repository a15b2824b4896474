"""A disk that fills up under a build: one sentence that names the place, and nothing lost."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from instructrestore.dataengine.photos.encode import EncodedPhoto, ShardSink, StoredPhoto
from instructrestore.dataengine.running.part_files import Outcome, Slice
from instructrestore.dataengine.running.stage import Task
from instructrestore.pipelines import cli
from instructrestore.shards.sample import AnnotatedPhoto
from tests.dataengine.small_dataset import photo_of, region_of
from tests.pipelines.photos import BY_COLOUR_SET, make_photos
from tests.small_disk import small_disk

DISK_BYTES = 64 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", DISK_BYTES) as folder:
        yield folder


def free_bytes(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def leave(disk: Path, wanted: int) -> None:
    """Fills the disk but for `wanted` bytes."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free_bytes(disk) - wanted)


def used_bytes(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def hashes(dataset: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(dataset.iterdir())}


def committed(out: Path) -> set[str]:
    """The parts that are done; their names stand for their contents."""
    return {str(path.relative_to(out)) for path in out.glob("stages/*/*-*.parquet")}


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.slow
def test_a_full_disk_stops_the_build_and_space_lets_it_go_on(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Room for ever more of the run: first its driver cannot write, then its stages, its shards and its report."""
    photos, out = tmp_path / "photos", disk / "run"
    make_photos(photos, 12)

    def build(folder: Path) -> tuple[int, str]:
        """Exit status and what was written to stderr."""
        small = ["photos_per_part=4", "shards.photos_per_shard=5", "quality_gate.short_side=64", "quality_gate.score=0"]
        settings = [word for setting in small for word in ("--set", setting)]
        monkeypatch.setattr(
            sys, "argv", ["instructrestore", "build", str(photos), "--out", str(folder), *settings, *BY_COLOUR_SET]
        )
        status = 0
        try:
            cli.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, capsys.readouterr().err

    assert build(tmp_path / "peace")[0] == 0
    expected = hashes(tmp_path / "peace/dataset")
    needed = used_bytes(tmp_path / "peace")

    sentences: list[str] = []
    done: set[str] = set()
    for room in (8192, needed // 5, needed // 2, needed * 3 // 4):
        leave(disk, max(0, room - used_bytes(out)))
        status, errors = build(out)
        assert status == 2, (room, errors)
        assert len(errors.strip().splitlines()) == 1, errors
        assert "No space left on device" in errors
        assert str(out) in errors
        assert done <= committed(out), "nothing that was done is lost"
        done = committed(out)
        sentences.append(errors.strip())
    assert any("stage cannot write" in sentence for sentence in sentences), sentences
    assert not all("stage cannot write" in sentence for sentence in sentences), sentences
    assert len(set(sentences)) > 2, f"the disk was full at one moment only: {sentences}"

    (disk / "ballast").unlink()
    status, errors = build(out)
    assert status == 0, errors
    assert hashes(out / "dataset") == expected
    assert not list(out.rglob(".partial-*")), "what was left half written is swept away"


@pytest.mark.parametrize("size", [100, 3000, 20_000])
def test_a_shard_without_room_is_given_up_cleanly(disk: Path, size: int) -> None:
    """What still waits in the file's buffer cannot be written either when the file is closed: that is no new error."""
    photo, _ = photo_of(1, 40, 30)
    sample = AnnotatedPhoto(photo, (region_of(photo, 2, 2, 9, 9, "the red box", "box"),))
    leave(disk, 64 << 10)
    task = Task(0, (Slice("", family="png"),), disk, "0" * 16, target=disk)
    sink = ShardSink(task, TypeAdapter(StoredPhoto))
    with pytest.raises(OSError, match="No space left"):  # noqa: PT012
        for number in range(1000):
            sink.add(Outcome(f"photo {number}", "ok", EncodedPhoto(sample, bytes(size))))
    sink.abandon()
    assert [path.name for path in disk.iterdir()] == ["ballast"]
