"""`instructrestore push`: what is planned goes to the hub, and is seen there all at once.

Files are compared with what is there; those that differ are stored first, one after the other, and one commit then puts
all of them in place. A push that is cut leaves the repository as it was, and finds again what it had stored: the hub
knows files by their sha256.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import sha

from instructrestore.pipelines.publishing.hub import Kind, speaking
from instructrestore.pipelines.publishing.plan import Plan, PlannedFile
from instructrestore.pipelines.terminal.amounts import size_text

FILES_PER_COMMIT = 1000  # more in one, and the hub may not be done with it in time


@dataclass(frozen=True)
class Pushed:
    """commit: of the repository, with all that was planned. stored: files that were not there yet. url: its page."""

    commit: str
    stored: int
    url: str


def push(
    plan: Plan, kind: Kind, repository: str, revision: str | None, private: bool, say: Callable[[str], None],
    hub: HfApi | None = None,
) -> Pushed:  # fmt: skip
    """Puts the plan's files into the repository, which is made where there is none.

    revision: the branch, made where there is none; None: main. private: a repository that is made now is, and one that
    is there must be.
    Raises ValueError, in one sentence, for whatever the hub answers but yes.
    """
    api = hub or HfApi(library_name="instructrestore")
    branch = revision or "main"
    with speaking(kind, repository, writes=True):
        made = api.create_repo(repository, repo_type=kind, private=private or None, exist_ok=True)
        if revision:
            api.create_branch(repository, repo_type=kind, branch=revision, exist_ok=True)
        known = api.repo_info(repository, repo_type=kind, revision=branch)
        if private and not known.private:
            raise ValueError(
                f"{repository} is there already, and public: make it private on its page, or leave --private out"
            )
        head = known.sha
        tree = api.list_repo_tree(repository, repo_type=kind, revision=head, recursive=True)
        there = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
        missing = [file for file in plan.files if not _is_there(file, there.get(file.name))]
        names = {file.name for file in plan.files}
        stale = [name for name in sorted(there) if name not in names and plan.ours.fullmatch(name)]
        if not missing and not stale:
            assert head
            return Pushed(head, 0, str(made))
        operations = []
        for number, file in enumerate(missing, 1):
            assert file.content is not None, file.name
            operation = CommitOperationAdd(file.name, file.content)
            api.preupload_lfs_files(repository, [operation], repo_type=kind, revision=branch, num_threads=1)
            operations.append(operation)
            say(f"{number} of {len(missing)}: {file.name}, {size_text(file.bytes or 0)}")
        removals = [CommitOperationDelete(name) for name in stale]
        message = f"{len(missing)} files by instructrestore push"
        while len(operations) > FILES_PER_COMMIT:  # what makes the rest count comes last
            some, operations = operations[:FILES_PER_COMMIT], operations[FILES_PER_COMMIT:]
            head = api.create_commit(
                repository, some, repo_type=kind, revision=branch, commit_message=message, parent_commit=head
            ).oid
        done = api.create_commit(
            repository, [*operations, *removals], repo_type=kind, revision=branch, commit_message=message,
            parent_commit=head,
        )  # fmt: skip
    return Pushed(done.oid, len(missing), str(made))


def _is_there(file: PlannedFile, entry: RepoFile | None) -> bool:
    """Whether the repository's file has the same content: large ones go by their sha256, small ones by git's hash."""
    if entry is None or entry.size != file.bytes:
        return False
    if entry.lfs:
        return entry.lfs.sha256 == file.sha256
    assert file.content is not None
    content = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
    return sha.git_hash(content) == entry.blob_id
