"""The commands `instructrestore push` and `pull`. Imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.pipelines.terminal.ending import INTERRUPTED, end

PUSH_HELP = """Share a data set or a model on the Hugging Face hub, with its card.

Photos whose licence is not known to allow sharing are held back, by name: what is pushed then is a whole data set \
without them. A push that was cut goes on; nothing is uploaded twice.

instructrestore push dataset run/dataset OWNER/NAME --dry-run

instructrestore push model training OWNER/NAME
"""

PULL_HELP = """Fetch a data set or a model that was pushed: one commit of it, compared with its checksums.

The folder is there once all of it is. A pull that was cut goes on with the same commit.

instructrestore pull dataset OWNER/NAME shared/dataset
"""

_KINDS = ("dataset", "model")
What = Annotated[str, typer.Argument(metavar="dataset|model", help="What it is.")]
Repository = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository on the hub.")]
Revision = Annotated[
    str | None, typer.Option(metavar="NAME", help="A branch, which is made if need be. Default: main.")
]
Commit = Annotated[str | None, typer.Option(metavar="NAME", help="A branch, tag or commit. Default: main.")]


def push(
    what: What,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A data set, a training's folder, or a model's.")],
    repository: Repository,
    revision: Revision = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private; refuse a public one.")
    ] = False,
    licences: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A licence, as `stats` shows it, of which you know that it allows sharing; 'not stated' for photos "
            "without one. Repeatable.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List every file with its size and every photo held back; upload nothing.")
    ] = False,
) -> None:
    kind = _kind(what)
    from instructrestore.pipelines.publishing.hub import check_repository, quieten
    from instructrestore.pipelines.publishing.plan import print_plan, print_summary

    check_repository(repository)
    console = PlainConsole()
    plan = _plan(kind, folder, licences or (), not dry_run)
    if dry_run:
        print_plan(plan, repository, console)
        console.print("nothing was uploaded and nothing was written", highlight=False)
        return
    from instructrestore.pipelines.publishing.push import push as run_push
    from instructrestore.pipelines.terminal.damage import print_line

    quieten(console.is_terminal)
    print_summary(plan, console)
    try:
        done = run_push(plan, kind, repository, revision, private, partial(print_line, console=console))
    except KeyboardInterrupt:
        end("interrupted; run the same command again to go on", INTERRUPTED)
    stored = f"{done.stored:,} files uploaded" if done.stored else "everything was there already"
    print_line(f"{stored}: {done.url} at commit {done.commit}", console)


def pull(
    what: What,
    repository: Repository,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for it.")],
    revision: Commit = None,
) -> None:
    kind = _kind(what)
    from instructrestore.pipelines.publishing.hub import check_repository, quieten
    from instructrestore.pipelines.publishing.pull import pull as run_pull
    from instructrestore.pipelines.terminal.damage import print_line

    check_repository(repository)
    console = PlainConsole()
    quieten(console.is_terminal)
    try:
        done = run_pull(kind, repository, folder, revision, partial(print_line, console=console))
    except KeyboardInterrupt:
        end("interrupted; run the same command again to go on", INTERRUPTED)
    found = f"{done.fetched:,} files fetched" if done.fetched else "everything was there already"
    print_line(f"{found} and compared with their checksums: {repository} at commit {done.commit} in {folder}", console)


def _kind(what: str) -> Any:
    if what not in _KINDS:
        raise ValueError(f"say what it is, dataset or model, before its name; {what!r} is neither")
    return what


def _plan(kind: str, folder: Path, licences: Any, write: bool) -> Any:
    if kind == "dataset":
        from instructrestore.pipelines.publishing.dataset_folder import plan_dataset

        return plan_dataset(folder, licences, write)
    if licences:
        raise ValueError("--licences is about a data set's photos: leave it out for a model")
    from instructrestore.pipelines.publishing.model_folder import plan_model

    return plan_model(folder)
