"""Which parts of a stage are done, and the doing of those that are not.

A part is done if its stage's folder holds a file whose name carries the hash of all that the part follows from
(part_files.py): listing names is enough to plan. What a stage writes beside its parts (shards, photos) is told of by
the part's file, which is therefore removed before they are replaced, and is void where they are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from instructrestore.dataengine.running.part_files import PartFile, part_files, summaries
from instructrestore.dataengine.running.stage import StageSpec, StopStage, Task
from instructrestore.shards.errors import first_three
from instructrestore.shards.files import sweep
from instructrestore.shards.paths import Place, make_folder, remove

Execute = Callable[[StageSpec, Sequence[Task]], None]
"""Has tasks of a stage done and committed. Raises StopStage or Defect where going on is pointless."""


class Outputs(Protocol):
    """What a stage writes beside its parts."""

    def lost(self, files: Sequence[PartFile]) -> list[PartFile]:
        """Those of the committed parts whose outputs are not all there as they were written."""
        ...

    def withdraw(self) -> None:
        """Called before outputs are written: takes away what declares all of them complete."""
        ...


def complete(
    spec: StageSpec,
    planned: Sequence[Task],
    execute: Execute,
    *,
    retry_failed: bool = False,
    outputs: Outputs | None = None,
    shared: bool = False,
    say: Callable[[str], None] = print,
) -> list[PartFile]:
    """Does those of the planned tasks that are not done; returns the committed part of every task, in order.

    retry_failed: parts with failed rows are done again: those rows alone where the stage keeps their input.
    shared: the folders are shared with other plans, whose parts stay, and a part counts whatever its number is.
    say: is told in one line of parts that were done and are done again because they, or their outputs, are lost.
    """
    folders = list(dict.fromkeys(task.folder for task in planned))
    for folder in folders:
        make_folder(folder)
        sweep(folder)
    committed = _committed(folders, shared)
    if outputs:
        latest = [committed[key][-1] for task in planned if (key := _known_by(task, shared)) in committed]
        if lost := {file.path for file in outputs.lost(latest)}:
            named = first_three(f"{path.parent.name}/{path.name}" for path in lost)
            say(f"{spec.name}: damaged or gone, and made again: {named}, or what it tells of")
            remove([file.path for files in committed.values() if files[-1].path in lost for file in files])
            committed = _committed(folders, shared)
    todo = [task for task in planned if _known_by(task, shared) not in committed]
    if retry_failed:
        done = ((task, committed.get(_known_by(task, shared))) for task in planned)
        todo += _again(spec, [(task, files[-1]) for task, files in done if files])
    if todo:
        if outputs:
            remove([file.path for file in _in_the_way(committed, planned, todo, shared)])
            outputs.withdraw()
        execute(spec, todo)
        committed = _committed(folders, shared)
    found = [committed[key][-1] for task in planned if (key := _known_by(task, shared)) in committed]
    if len(found) < len(planned):
        raise StopStage(
            f"parts of the {spec.name} stage that workers committed are not in {folders[0]}: the folder must be one "
            "that every node sees"
        )
    keep = set(found)
    stale = [file for of_input in committed.values() for file in of_input if file not in keep]
    if shared:  # of the parts asked for, earlier attempts alone
        asked = {_known_by(task, shared) for task in planned}
        stale = [file for key in asked for file in committed[key] if file not in keep]
    remove([file.path for file in stale])
    return found


_Known = tuple[Place, int, str]  # folder, part's number (-1: any), hash of what the part follows from


def _known_by(task: Task, shared: bool) -> _Known:
    return task.folder, -1 if shared else task.part, task.input


def _committed(folders: Sequence[Place], shared: bool) -> dict[_Known, list[PartFile]]:
    """The committed parts by what they are known by, the latest attempt of each last."""
    found: dict[_Known, list[PartFile]] = {}
    for folder in folders:
        for file in sorted(part_files(folder), key=lambda file: (file.attempt, file.content)):
            found.setdefault((folder, -1 if shared else file.part, file.input), []).append(file)
    return found


def _in_the_way(
    committed: dict[_Known, list[PartFile]], planned: Sequence[Task], todo: Sequence[Task], shared: bool
) -> list[PartFile]:
    """The parts that tell of outputs which are about to be replaced: in a shared folder those that follow from the
    same, else all that no finished task of the plan names, as a part may tell of what another one will write."""
    redone = {_known_by(task, shared) for task in todo if task.retry is None}
    if shared:
        return [file for known in redone for file in committed.get(known, [])]
    kept = {_known_by(task, shared) for task in planned} - redone
    return [file for known, files in committed.items() if known not in kept for file in files]


def _again(spec: StageSpec, done: Sequence[tuple[Task, PartFile]]) -> Iterator[Task]:
    """The tasks that do the failed rows of committed parts again."""
    for (task, file), summary in zip(done, summaries([file for _, file in done]), strict=True):
        if "f" in summary.outcomes:
            alone = file.path if spec.row_type is spec.result_type else None
            yield replace(task, attempt=file.attempt + 1, retry=alone)
