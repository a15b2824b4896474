"""Pushing a data set to a hub on this machine, by the real client: whole, in one go, without what may not be shared."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from instructrestore.pipelines.publishing.dataset_folder import plan_dataset
from instructrestore.pipelines.publishing.push import Pushed
from instructrestore.pipelines.publishing.push import push as run_push
from instructrestore.shards.index import Dataset
from instructrestore.shards.verify import verify
from tests.pipelines.publishing.datasets import licensed_dataset
from tests.pipelines.publishing.hub_server import TOKEN, Fault, Hub

FREE, OWN = "CC0-1.0", "Unsplash License"


def push(api: HfApi, folder: Path, *granted: str, revision: str | None = None, private: bool = False) -> Pushed:
    plan = plan_dataset(folder, granted, write=True)
    return run_push(plan, "dataset", "me/photos", revision, private, lambda line: None, api)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_all_that_the_data_set_lists_is_there_and_nothing_else(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "dataset"
    licensed_dataset(folder, [[FREE, FREE], [FREE]])
    listed = contents(folder)
    (folder / "notes.txt").write_text("of nobody's business")
    plan = plan_dataset(folder, (), write=True)
    assert plan.left_out == [("notes.txt", "the data set does not list it")]
    done = push(api, folder, private=True)
    repository = hub.repositories["dataset", "me/photos"]
    there = repository.files()
    del there[".gitattributes"]
    assert there == listed
    assert repository.private and repository.branches == {"main": done.commit}
    again = push(api, folder)
    assert (again.stored, again.commit, len(repository.commits)) == (0, done.commit, 2)


def test_a_push_that_was_cut_changes_nothing_and_goes_on_without_storing_twice(
    hub: Hub, api: HfApi, tmp_path: Path
) -> None:
    folder = tmp_path / "dataset"
    licensed_dataset(folder, [[FREE], [FREE], [FREE]])
    second = hashlib.sha256((folder / "png-000001.tar").read_bytes()).hexdigest()
    hub.faults = [Fault("PUT", second, cut=True, times=100)]
    with pytest.raises(ValueError, match=r"connection to the hub broke off .* run the same command again"):
        push(api, folder)
    assert list(hub.repositories["dataset", "me/photos"].files()) == [".gitattributes"]
    assert len(hub.puts) == 1
    hub.faults = []
    push(api, folder)
    assert sorted(hub.puts) == sorted(set(hub.puts)) and len(hub.puts) == 4
    assert hub.repositories["dataset", "me/photos"].files()["dataset.json"] == (folder / "dataset.json").read_bytes()


def test_a_short_interruption_is_not_even_noticed(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    licensed_dataset(tmp_path / "dataset", [[FREE]])
    hub.faults = [Fault("PUT", "/store/", cut=True), Fault("POST", "objects/batch", status=429, headers={})]
    assert push(api, tmp_path / "dataset").stored == 6


def test_photos_that_may_not_be_shared_are_held_back_by_name(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    dataset = licensed_dataset(folder, [[FREE, OWN, "CC BY-NC-ND 2.0"], [FREE, FREE], [OWN, ""]])
    plan = plan_dataset(folder, (), write=False)
    assert [(photo.name, photo.licence) for photo in plan.held] == [
        (dataset.record(row).photo.name, licence) for row, licence in ((1, OWN), (5, OWN), (6, ""))
    ]
    assert not (tmp_path / "dataset.shared").exists()
    push(api, folder)
    shared = tmp_path / "dataset.shared"
    assert verify(str(shared)) == []
    there = hub.repositories["dataset", "me/photos"].files()
    del there[".gitattributes"]
    assert there == contents(shared)
    known = {file.name: file.bytes for file in plan.files if file.bytes is not None}
    assert known == {name: len(data) for name, data in there.items() if name.endswith(".tar")}
    assert sorted(known) == ["png-000000.tar", "png-000001.tar"]
    assert (shared / "png-000001.tar").samefile(folder / "png-000001.tar")
    rest = Dataset(str(shared))
    assert rest.index["key"].to_pylist() == [dataset.index["key"][row].as_py() for row in (0, 2, 3, 4)]
    assert rest.card.configuration["parent"] == {
        "name": "made-up",
        "sha256": hashlib.sha256((folder / "dataset.json").read_bytes()).hexdigest(),
    }
    page = there["README.md"].decode()
    assert "- 2 photos of the data set that this was made of are held back" in page and "(Unsplash License)" in page
    assert "1 photos must not be used for commerce (NC)" in page
    held = [dataset.record(row).photo for row in (1, 5, 6)]
    everything = b"".join(there.values())
    assert not any(photo.key.encode() in everything or photo.sha256.encode() in everything for photo in held)


def test_the_version_without_them_is_made_once_and_anew_for_another_answer(
    hub: Hub, api: HfApi, tmp_path: Path
) -> None:
    folder, shared = tmp_path / "dataset", tmp_path / "dataset.shared"
    licensed_dataset(folder, [[FREE, OWN, ""]])
    push(api, folder)
    made = (shared / "png-000000.tar").stat().st_ino
    push(api, folder)
    assert (shared / "png-000000.tar").stat().st_ino == made
    done = push(api, folder, OWN)
    assert Dataset(str(shared)).card.photos == 2
    assert done.stored == 6
    (tmp_path / "dataset.shared.partial").mkdir()  # as a kill leaves it
    push(api, folder, "not stated")
    assert Dataset(str(shared)).card.photos == 2 and verify(str(shared)) == []
    assert not (tmp_path / "dataset.shared.partial").exists()


def test_a_data_set_of_somebody_elses_beside_it_is_not_touched(api: HfApi, tmp_path: Path) -> None:
    licensed_dataset(tmp_path / "dataset", [[FREE, OWN]])
    other = licensed_dataset(tmp_path / "dataset.shared", [[FREE]])
    with pytest.raises(ValueError, match=r"dataset\.shared is another data set"):
        push(api, tmp_path / "dataset")
    assert Dataset(other.path).card == other.card


def test_nothing_to_share_and_misspelt_licences_are_said(tmp_path: Path) -> None:
    licensed_dataset(tmp_path / "dataset", [[OWN, ""]])
    with pytest.raises(ValueError, match=r"no photo of .* may be shared: its licence is not known to allow sharing"):
        plan_dataset(tmp_path / "dataset", (), write=False)
    with pytest.raises(ValueError, match=r"no photo of .* has the licence Unsplash Licence"):
        plan_dataset(tmp_path / "dataset", ("Unsplash Licence",), write=False)
    assert plan_dataset(tmp_path / "dataset", (OWN, "not stated"), write=False).held == []


def test_a_new_version_takes_the_place_of_the_old_one_and_leaves_other_files(
    hub: Hub, api: HfApi, tmp_path: Path
) -> None:
    licensed_dataset(tmp_path / "old", [[FREE], [FREE], [FREE]])
    push(api, tmp_path / "old")
    repository = hub.repositories["dataset", "me/photos"]
    repository.commit("main", {**repository.commits[repository.branches["main"]], "picture.webp": (b"own", False)})
    licensed_dataset(tmp_path / "new", [[FREE, FREE], [FREE]], first=10)
    push(api, tmp_path / "new")
    there = repository.files()
    assert sorted(name for name in there if name.endswith(".tar")) == ["png-000000.tar", "png-000001.tar"]
    assert there["picture.webp"] == b"own" and there["dataset.json"] == (tmp_path / "new/dataset.json").read_bytes()


def test_a_branch_is_made_and_main_stays(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    licensed_dataset(tmp_path / "dataset", [[FREE]])
    done = push(api, tmp_path / "dataset", revision="v2")
    repository = hub.repositories["dataset", "me/photos"]
    assert repository.branches["v2"] == done.commit and list(repository.files("main")) == [".gitattributes"]


def test_a_public_repository_is_not_taken_for_a_private_one(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    licensed_dataset(tmp_path / "dataset", [[FREE]])
    api.create_repo("me/photos", repo_type="dataset")
    with pytest.raises(ValueError, match="is there already, and public"):
        push(api, tmp_path / "dataset", private=True)
    assert hub.puts == []


def test_where_files_are_too_many_for_one_commit_what_makes_them_count_comes_last(
    hub: Hub, api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instructrestore.pipelines.publishing.push.FILES_PER_COMMIT", 4)
    licensed_dataset(tmp_path / "dataset", [[FREE], [FREE], [FREE]])
    push(api, tmp_path / "dataset")
    first, second, third = hub.repositories["dataset", "me/photos"].commits.values()
    assert len(first) == 1 and sorted(second.keys() - first.keys())[-1] == "png-000002.tar"
    last = ["README.md", "checksums.sha256", "dataset.json", "index.parquet"]
    assert sorted(third.keys() - second.keys()) == last


def test_a_damaged_file_is_found_before_anything_is_uploaded(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    licensed_dataset(folder, [[FREE], [FREE]])
    data = bytearray((folder / "png-000001.tar").read_bytes())
    data[700] ^= 1
    (folder / "png-000001.tar").write_bytes(data)
    with pytest.raises(ValueError, match=r"png-000001\.tar is damaged, and nothing was uploaded"):
        push(api, folder)
    assert hub.repositories == {}


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault("POST", "/api/repos/create", status=429, headers={"Retry_After": "30"}), "fewer requests for 30 s"),
        (Fault("POST", "/commit/", status=403), "may not write to the dataset me/photos"),
        (Fault("POST", "/commit/", status=412), "changed by someone else meanwhile"),
        (Fault("POST", "/commit/", status=500), "answered HTTP 500 .* run the same command again"),
        (Fault("POST", "/commit/", cut=True), "connection to the hub broke off"),
        (Fault("PUT", "/store/", status=403), "may not write to"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(
    fault: Fault, sentence: str, hub: Hub, api: HfApi, tmp_path: Path
) -> None:
    licensed_dataset(tmp_path / "dataset", [[FREE]])
    hub.faults = [fault]
    with pytest.raises(ValueError, match=sentence) as said:
        push(api, tmp_path / "dataset")
    assert "\n" not in str(said.value) and TOKEN not in str(said.value)


def test_a_token_that_is_not_accepted_is_said_and_not_shown(hub: Hub, tmp_path: Path) -> None:
    licensed_dataset(tmp_path / "dataset", [[FREE]])
    wrong = HfApi(endpoint=hub.url, token="hf_wrongwrongwrong")
    with pytest.raises(ValueError, match="does not accept your token for the dataset me/photos: log in") as said:
        push(wrong, tmp_path / "dataset")
    assert "hf_wrong" not in str(said.value)
    assert hub.repositories == {}
