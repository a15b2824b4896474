"""`instructrestore pull`: one commit of a data set or model, compared with its own checksums, whole or not there.

Files go into FOLDER.partial, which takes FOLDER's name when all of them are there and as they were written. What is
there already is not fetched again; the commit is chosen once, so that a pull that goes on does not mix two versions.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile

from instructrestore.pipelines.publishing.hub import GO_ON, Kind, speaking
from instructrestore.pipelines.terminal.amounts import size_text
from instructrestore.shards.checksums import CHECKSUMS, is_as_written, parse_checksums
from instructrestore.shards.files import commit as write
from instructrestore.shards.files import follow_umask
from instructrestore.shards.index import Dataset
from instructrestore.shards.parsing import parse_object, read_bounded
from instructrestore.shards.paths import remove

MARKER = ".pulled.json"  # what a folder was pulled from
_MADE_BY_THE_CLIENT = ".cache"
_MAY_BE = {
    "dataset": (".tar", ".parquet", ".json", ".jsonl", ".md", ".txt"),
    "model": (".safetensors", ".json", ".md", ".txt"),
}
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MOST_LISTED = 1 << 24  # bytes of a list of checksums


@dataclass(frozen=True)
class Pulled:
    """commit: what was fetched. fetched: files that were not there yet."""

    commit: str
    fetched: int


def pull(
    kind: Kind, repository: str, folder: Path, revision: str | None, say: Callable[[str], None],
    hub: HfApi | None = None,
) -> Pulled:  # fmt: skip
    """Fetches one commit of the repository into `folder`, which must not be there, or be of the same commit.

    revision: branch, tag or commit; None: main, or what a pull that was cut had begun with.
    Raises ValueError, in one sentence, where the hub refuses, where files are not what their checksums say, or where
    the repository was not pushed by this program; OSError where the disk is full.
    """
    api = hub or HfApi(library_name="instructrestore")
    folder = folder.absolute()
    begun = folder.with_name(f"{folder.name}.partial")
    whole = _marked(folder, kind, repository)
    if whole is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there, and was not pulled from {repository}: name a new folder")
    commit = _pinned(api, kind, repository, whole or _marked(begun, kind, repository), revision)
    if whole and whole != commit:
        raise ValueError(f"{folder} is of another commit, {whole}: name a new folder for {commit}")
    target = folder if whole else begun
    target.mkdir(parents=True, exist_ok=True)
    if _marked(target, kind, repository) != commit:
        write(target / MARKER, json.dumps({"kind": kind, "repository": repository, "commit": commit}).encode())
    fetching = _Fetching(api, kind, repository, commit, target, say)
    wanted = fetching.all()
    shutil.rmtree(target / _MADE_BY_THE_CLIENT, ignore_errors=True)
    if not whole:
        there = {path.relative_to(begun).as_posix(): path for path in begun.rglob("*") if path.is_file()}
        remove(path for name, path in there.items() if name not in wanted)  # of a commit that was begun with before
        follow_umask(begun / name for name in wanted)
        if folder.exists():
            folder.rmdir()  # empty
        begun.rename(folder)
    return Pulled(commit, fetching.fetched)


def _marked(folder: Path, kind: Kind, repository: str) -> str | None:
    """The commit that a folder was pulled from; None where it is of another repository, or of none."""
    try:
        found = parse_object(read_bounded(folder / MARKER, 4096), str(folder / MARKER))
    except (OSError, ValueError):
        return None
    commit = found.get("commit")
    same = (found.get("kind"), found.get("repository")) == (kind, repository)
    return commit if same and isinstance(commit, str) and _COMMIT.fullmatch(commit) else None


def _pinned(api: HfApi, kind: Kind, repository: str, before: str | None, revision: str | None) -> str:
    """The commit to fetch: the one that was begun with, unless a revision is named now."""
    if revision is None and before:
        return before
    with speaking(kind, repository, writes=False):
        commit = api.repo_info(repository, repo_type=kind, revision=revision).sha
    if not commit or not _COMMIT.fullmatch(commit):
        raise ValueError(f"the hub does not say which commit {repository} is at")
    return commit


class _Fetching:
    """The files of one commit into one folder."""

    def __init__(
        self, api: HfApi, kind: Kind, repository: str, commit: str, folder: Path, say: Callable[[str], None]
    ) -> None:
        self._api, self._repository, self._commit = api, repository, commit
        self._folder, self._say = folder, say
        self._kind: Kind = kind
        self.fetched = 0

    def all(self) -> set[str]:
        """Fetches what is missing or damaged; returns the names of all files that belong there."""
        tree = self._tree()
        if CHECKSUMS not in tree:
            raise ValueError(
                f"{self._repository} has no {CHECKSUMS}, so nothing can be compared: it was not pushed by this program"
            )
        self._fetch(CHECKSUMS)
        path = self._folder / CHECKSUMS
        wanted = parse_checksums(read_bounded(path, _MOST_LISTED), path)
        if self._kind == "dataset":
            if "dataset.json" not in wanted:
                raise ValueError(f"{self._repository} is no data set: its {CHECKSUMS} lists no dataset.json")
            self._sound("dataset.json", wanted["dataset.json"])
            shards = Dataset(str(self._folder)).card.shards
            wanted |= {entry.name: entry.sha256 for entry in shards}
        self._check_names(wanted, tree)
        self._check_room(wanted, tree)
        for name in sorted(wanted):
            self._sound(name, wanted[name])
        return {*wanted, CHECKSUMS, MARKER}

    def _tree(self) -> dict[str, int]:
        """The repository's files, and the bytes of each."""
        with speaking(self._kind, self._repository, writes=False):
            found = self._api.list_repo_tree(
                self._repository, repo_type=self._kind, revision=self._commit, recursive=True
            )
            return {entry.path: entry.size for entry in found if isinstance(entry, RepoFile)}

    def _check_names(self, wanted: Mapping[str, str], tree: Mapping[str, int]) -> None:
        for name in sorted(wanted):
            if PurePosixPath(name).suffix not in _MAY_BE[self._kind] or any(
                part.startswith(".") for part in name.split("/")
            ):
                raise ValueError(f"{self._repository} lists {name}, which no {self._kind} has: it is not fetched")
            if name not in tree:
                raise ValueError(f"{self._repository} lists {name} and lacks it at commit {self._commit}")
        if self._kind == "model" and not any(name.endswith(".safetensors") for name in wanted):
            raise ValueError(f"{self._repository} holds no safetensors: it is not fetched")

    def _check_room(self, wanted: Mapping[str, str], tree: Mapping[str, int]) -> None:
        """Raises OSError where the disk has no room for what is not there yet."""
        needed = sum(tree[name] for name in wanted if not (self._folder / name).is_file())
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise OSError(
                f"{self._folder} has room for {size_text(free)}, and {self._repository} needs {size_text(needed)} "
                f"more: make room, then {GO_ON}"
            )

    def _sound(self, name: str, wanted: str) -> None:
        """The file as its checksum says; one that comes damaged is fetched once more."""
        path = self._folder / name
        if is_as_written(path, wanted):
            return
        for _ in range(2):
            path.unlink(missing_ok=True)
            self._fetch(name)
            self.fetched += 1
            if is_as_written(path, wanted):
                self._say(f"{name}, {size_text(path.stat().st_size)}")
                return
        path.unlink(missing_ok=True)
        raise ValueError(
            f"{name} of {self._repository} came damaged twice: it is not, byte for byte, what was pushed; {GO_ON}, or "
            "ask its owner to push it again"
        )

    def _fetch(self, name: str) -> None:
        path = self._folder / name
        try:
            with speaking(self._kind, self._repository, writes=False):
                self._api.hf_hub_download(
                    self._repository, name, repo_type=self._kind, revision=self._commit, local_dir=self._folder
                )
        except OSError as error:  # this machine's: what the hub says is no OSError any more
            raise OSError(f"{path} cannot be written ({error.strerror or error}): make room, then {GO_ON}") from error
        if path.is_symlink() or not path.is_file():
            raise ValueError(f"{path} is not the file that was fetched: remove {self._folder} and pull again")
