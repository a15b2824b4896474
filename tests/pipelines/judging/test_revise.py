from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from instructrestore.dataengine.judging.judgement import region_id
from instructrestore.dataengine.judging.log import JudgementLog, log_path
from instructrestore.pipelines.cli import app
from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import AnnotatedPhoto
from instructrestore.shards.verify import verify
from tests.dataengine.judging.judgements import judged
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Three photos in three shards of one photo each, and a log that renames two skies and rejects a dog."""
    samples = []
    for seed, kind in enumerate(("png", "webp", "png")):
        photo, rgb = photo_of(seed, 64, 48, format=kind)
        regions = (region_of(photo, 0, 0, 64, 20, "the sky", "sky"), region_of(photo, 4, 24, 20, 20, "a dog", "dog"))
        samples.append((AnnotatedPhoto(photo, regions), rgb))
    made = write_dataset(tmp_path / "run" / "dataset", samples)
    log = JudgementLog(log_path(made.path))
    for sample, _ in samples[:2]:
        log.append(judged("caption", region_id(sample.regions[0]), key=sample.photo.key, caption="the <b>dusk</b>"))
    log.append(judged("reject", region_id(samples[1][0].regions[1]), key=samples[1][0].photo.key))
    return made


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_version_is_a_data_set_like_any_other(dataset: Dataset, tmp_path: Path) -> None:
    before = content(Path(dataset.path))
    ended = run("revise", dataset.path, "--out", tmp_path / "v2")
    assert ended.exit_code == 0, ended.output
    assert "changed: caption 2, reject 1; 0 judgements leave all as it is" in ended.output
    assert verify(str(tmp_path / "v2")) == []
    assert set(content(tmp_path / "v2")) == {*before, "README.md", "croissant.json"}
    assert content(Path(dataset.path)) == before
    readme = (tmp_path / "v2" / "README.md").read_text()
    assert "Changed: caption 2, reject 1." in readme and dataset.sha256 in readme
    shown = run("diff", dataset.path, tmp_path / "v2")
    assert "photos: 0 came, 0 went, 2 changed, 1 are the same" in shown.output
    said = json.loads(run("diff", dataset.path, tmp_path / "v2", "--json").output)
    assert [each["caption"] for each in said["regions_changed"]] == [["the sky", "the <b>dusk</b>"]] * 2


def test_a_folder_that_is_there_stays_as_it_is(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "v2").mkdir()
    (tmp_path / "v2" / "mine").write_text("mine")
    ended = run("revise", dataset.path, "--out", tmp_path / "v2")
    assert isinstance(ended.exception, ValueError) and "is there already" in str(ended.exception)
    assert content(tmp_path / "v2") == {"mine": b"mine"}


def test_without_judgements_there_is_no_version(dataset: Dataset, tmp_path: Path) -> None:
    ended = run("revise", dataset.path, "--with", tmp_path / "none", "--out", tmp_path / "v2")
    assert isinstance(ended.exception, ValueError) and "--with" in str(ended.exception)
    assert not (tmp_path / "v2").exists()


def test_a_data_set_elsewhere_is_to_be_copied_here(dataset: Dataset, tmp_path: Path) -> None:
    ended = run("revise", "s3://bucket/set", "--with", log_path(dataset.path), "--out", tmp_path / "v2")
    assert isinstance(ended.exception, ValueError) and "copy it here" in str(ended.exception)


def test_a_damaged_log_leaves_nothing(dataset: Dataset, tmp_path: Path) -> None:
    with log_path(dataset.path).open("ab") as file:
        file.write(b"{}\n")
    ended = run("revise", dataset.path, "--out", tmp_path / "v2")
    assert isinstance(ended.exception, ValueError) and "line 4 of" in str(ended.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


SLOWLY = """
import sys, time
from pathlib import Path
from instructrestore.pipelines.judging import revise
from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.shards import files
commits, replace = 0, Path.replace
def counted(self, target):  # stands still at one of the moments between two files
    global commits
    commits += 1
    if commits == int(sys.argv[3]):
        print("here", flush=True)
        time.sleep(60)
    return replace(self, target)
Path.replace = counted
revise.revise(sys.argv[1], None, Path(sys.argv[2]), PlainConsole())
"""


def test_what_a_kill_left_is_no_part_of_the_next_attempt(dataset: Dataset, tmp_path: Path) -> None:
    left = tmp_path / ".v2.unfinished"
    left.mkdir()
    for name in ("png-000000.tar", "zzz.tar", ".partial-0123456789abcdef", "dataset.json"):
        (left / name).write_text("half")
    assert run("revise", dataset.path, "--out", tmp_path / "v2").exit_code == 0
    assert run("revise", dataset.path, "--out", tmp_path / "other").exit_code == 0
    assert content(tmp_path / "v2") == content(tmp_path / "other") and not left.exists()


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 2, 3, 5])
def test_a_kill_leaves_nothing_half_written_and_the_next_run_makes_the_same(
    dataset: Dataset, tmp_path: Path, moment: int
) -> None:
    out = tmp_path / "v2"
    writer = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, dataset.path, str(out), str(moment)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None and writer.stdout.readline() == "here\n"
    beside = run("revise", dataset.path, "--out", out)
    assert "another run is making" in str(beside.exception)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait(timeout=60)
    writer.stdout.close()
    assert not out.exists()
    deadline = time.monotonic() + 60
    while (ended := run("revise", dataset.path, "--out", out)).exception and time.monotonic() < deadline:
        time.sleep(0.1)  # the lock goes with the process, but a moment later
    assert ended.exit_code == 0, ended.output
    run("revise", dataset.path, "--out", tmp_path / "other")
    assert content(out) == content(tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "run", "v2"]


def test_a_hidden_folder_that_leads_elsewhere_is_left_alone(dataset: Dataset, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "photo").write_text("mine")
    (tmp_path / ".v2.unfinished").symlink_to(mine)
    ended = run("revise", dataset.path, "--out", tmp_path / "v2")
    assert isinstance(ended.exception, ValueError) and "is a link" in str(ended.exception)
    assert content(mine) == {"photo": b"mine"} and not (tmp_path / "v2").exists()


def test_shards_that_are_links_are_files_in_the_version(dataset: Dataset, tmp_path: Path) -> None:
    """As huggingface_hub's cache has them, relative to their own folder."""
    store = Path(dataset.path).parent / "blobs"
    store.mkdir()
    for path in list(Path(dataset.path).iterdir()):
        path.rename(store / path.name)
        path.symlink_to(Path("../blobs") / path.name)
    log = log_path(dataset.path)
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:1]))  # of the png shard alone
    ended = run("revise", dataset.path, "--out", tmp_path / "far" / "v2")
    assert ended.exit_code == 0 and "1 written anew, 1 as in the parent" in ended.output
    assert verify(str(tmp_path / "far" / "v2")) == []
    assert not any(path.is_symlink() for path in (tmp_path / "far" / "v2").iterdir())
    kept = tmp_path / "far" / "v2" / "webp-000000.tar"
    assert kept.samefile(store / "webp-000000.tar")


def test_a_full_disk_and_a_folder_that_is_only_read_leave_nothing(dataset: Dataset, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        ended = run("revise", dataset.path, "--out", tmp_path / "v2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(ended.exception, OSError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    ended = run("revise", dataset.path, "--out", "/proc/v2")
    assert isinstance(ended.exception, OSError)
    assert run("revise", dataset.path, "--out", tmp_path / "v2").exit_code == 0
