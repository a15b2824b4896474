"""Pulling from a hub on this machine: one commit, whole or not there, compared with its own checksums."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from instructrestore.pipelines.publishing.dataset_folder import plan_dataset
from instructrestore.pipelines.publishing.pull import Pulled
from instructrestore.pipelines.publishing.pull import pull as run_pull
from instructrestore.pipelines.publishing.push import push
from instructrestore.shards.checksums import sha256
from instructrestore.shards.index import Dataset
from instructrestore.shards.verify import verify
from tests.pipelines.publishing.datasets import licensed_dataset
from tests.pipelines.publishing.hub_server import Fault, Hub

ID = "me/photos"


def pushed(api: HfApi, folder: Path, first: int = 0) -> str:
    licensed_dataset(folder, [["CC0-1.0"], ["CC0-1.0"], ["CC0-1.0"]], first)
    return push(plan_dataset(folder, (), True), "dataset", ID, None, False, lambda line: None, api).commit


def pull(api: HfApi, folder: Path, revision: str | None = None) -> Pulled:
    return run_pull("dataset", ID, folder, revision, lambda line: None, api)


def test_what_was_pushed_comes_back_byte_for_byte(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    commit = pushed(api, tmp_path / "dataset")
    assert pull(api, tmp_path / "back") == Pulled(commit, 7)
    assert verify(str(tmp_path / "back")) == []
    listed = {path.name: path.read_bytes() for path in (tmp_path / "dataset").iterdir()}
    there = {path.name: path.read_bytes() for path in (tmp_path / "back").iterdir()}
    del there[".pulled.json"]
    assert there == listed
    assert pull(api, tmp_path / "back") == Pulled(commit, 0)


def test_a_file_that_was_damaged_here_is_fetched_again(api: HfApi, tmp_path: Path) -> None:
    commit = pushed(api, tmp_path / "dataset")
    pull(api, tmp_path / "back")
    (tmp_path / "back/png-000001.tar").write_bytes(b"gone bad")
    assert pull(api, tmp_path / "back") == Pulled(commit, 1)
    assert verify(str(tmp_path / "back")) == []


def test_a_pull_that_was_cut_goes_on_with_the_same_commit(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    commit = pushed(api, tmp_path / "dataset")
    hub.faults = [Fault("GET", "png-000001.tar", status=500, times=100)]
    with pytest.raises(ValueError, match="run the same command again"):
        pull(api, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    hub.faults, hub.gets = [], []
    pushed(api, tmp_path / "newer", first=20)
    assert pull(api, tmp_path / "back") == Pulled(commit, 2)
    assert sorted(set(hub.gets)) == ["png-000001.tar", "png-000002.tar"]
    assert Dataset(str(tmp_path / "back")).card == Dataset(str(tmp_path / "dataset")).card


def test_a_connection_that_is_cut_in_the_middle_of_a_file_is_taken_up_there(
    hub: Hub, api: HfApi, tmp_path: Path
) -> None:
    pushed(api, tmp_path / "dataset")
    hub.faults = [Fault("GET", "png-000001.tar", cut=True)]
    pull(api, tmp_path / "back")
    assert verify(str(tmp_path / "back")) == []


def test_another_revision_than_was_begun_with_leaves_nothing_of_it(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    pushed(api, tmp_path / "dataset")
    hub.faults = [Fault("HEAD", "png-000002.tar", status=403, times=100)]
    with pytest.raises(ValueError, match="may not read the dataset"):
        pull(api, tmp_path / "back")
    hub.faults = []
    licensed_dataset(tmp_path / "newer", [["CC0-1.0"]], first=20)
    newer = push(plan_dataset(tmp_path / "newer", (), True), "dataset", ID, None, False, lambda line: None, api)
    assert pull(api, tmp_path / "back", "main").commit == newer.commit
    assert verify(str(tmp_path / "back")) == []


def test_a_file_that_comes_damaged_once_is_fetched_again_and_twice_is_refused(
    hub: Hub, api: HfApi, tmp_path: Path
) -> None:
    commit = pushed(api, tmp_path / "dataset")
    hub.faults = [Fault("GET", "/resolve/" + commit + "/png-000001.tar", damaged=True)]
    pull(api, tmp_path / "once")
    assert verify(str(tmp_path / "once")) == []
    hub.faults = [Fault("GET", "/png-000001.tar", damaged=True, times=100)]
    with pytest.raises(ValueError, match=r"png-000001\.tar of me/photos came damaged twice"):
        pull(api, tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


def test_a_full_disk_is_said_and_the_pull_goes_on_when_there_is_room(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    pushed(api, tmp_path / "dataset")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, before[1]))  # the shards have 10,240 bytes
        with pytest.raises(OSError, match=r"cannot be written \(File too large\): make room"):
            pull(api, tmp_path / "back")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "back").exists()
    pull(api, tmp_path / "back")
    assert verify(str(tmp_path / "back")) == []


def test_what_does_not_fit_is_not_begun(api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed(api, tmp_path / "dataset")
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("_Usage", (), {"free": 1000}))
    with pytest.raises(OSError, match=r"has room for 1\.0 kB, and me/photos needs"):
        pull(api, tmp_path / "back")


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        ({"weights.pkl": b"x"}, r"lists weights\.pkl, which no dataset has"),
        ({".git/config.json": b"x"}, r"lists \.git/config\.json, which no dataset has"),
        ({"../outside.json": b"x"}, r"checksums\.sha256 is damaged"),
        ({"missing.json": None}, r"lists missing\.json and lacks it"),
    ],
)
def test_a_repository_cannot_write_where_it_should_not(
    listed: dict[str, bytes | None], sentence: str, hub: Hub, api: HfApi, tmp_path: Path
) -> None:
    pushed(api, tmp_path / "dataset")
    repository = hub.repositories["dataset", ID]
    files = {path: (content, False) for path, content in repository.files().items()}
    sums = files["checksums.sha256"][0].decode()
    for name, content in listed.items():
        sums += f"{sha256(content or b'')}  {name}\n"
        if content is not None:
            files[name] = (content, False)
    repository.commit("main", {**files, "checksums.sha256": (sums.encode(), False)})
    with pytest.raises(ValueError, match=sentence):
        pull(api, tmp_path / "in" / "back")
    assert not (tmp_path / "outside.json").exists() and not (tmp_path / "in" / "outside.json").exists()


def test_what_this_program_did_not_push_is_not_pulled(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    api.create_repo(ID, repo_type="dataset")
    with pytest.raises(ValueError, match=r"has no checksums\.sha256"):
        pull(api, tmp_path / "back")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"mine is there, and was not pulled from me/photos"):
        pull(api, tmp_path / "mine")
    with pytest.raises(ValueError, match="has no such revision"):
        pull(api, tmp_path / "back", "v7")
    with pytest.raises(ValueError, match="nothing to show under the dataset me/other"):
        run_pull("dataset", "me/other", tmp_path / "back", None, lambda line: None, api)
