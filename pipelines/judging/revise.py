"""`instructrestore revise`: a data set and a log of judgements in, a new version out."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from instructrestore.dataengine.judging.accuracy import stated
from instructrestore.dataengine.judging.log import JudgementLog, log_path
from instructrestore.dataengine.judging.version import Version, write_version
from instructrestore.dataengine.reporting import card, statistics
from instructrestore.pipelines.terminal.amounts import counts_text
from instructrestore.shards.index import Dataset
from instructrestore.shards.new_folder import new_folder


def revise(dataset: str, judgements: Path | None, out: Path, console: Console) -> Version:
    """Writes the version into a new folder, whole or not at all. judgements: by default the log beside the data set.

    Raises ValueError, in one sentence, for what cannot be revised.
    """
    beside = log_path(dataset)
    path = judgements or beside
    parent = Dataset(str(Path(dataset).absolute()))
    if not path.is_file():
        raise ValueError(f"there are no judgements at {path}: name their file with --with")
    entries = JudgementLog(path).entries()
    with (
        new_folder(out) as folder,
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("revising", total=len(parent.card.shards))
        version = write_version(parent, folder, entries, lambda: progress.advance(task))
        figures = statistics.of_dataset(Dataset(str(folder)))
        card.write_card(folder, version.card, figures, accuracy=stated(parent, entries))
    return version


def print_version(version: Version, out: Path, console: Console) -> None:
    """What changed, and what no longer applies."""
    changed = ", ".join(f"{act} {count:,}" for act, count in version.changes.items()) or "nothing"
    _say(console, f"changed: {changed}; {version.unchanged:,} judgements leave all as it is")
    if version.lost:
        lost = ", ".join(f"{act} {count:,}" for act, count in version.lost.items())
        _say(console, f"no longer apply, for their regions are not there or not as they were: {lost}")
    gone = f", {version.dropped:,} left out" if version.dropped else ""
    _say(console, f"shards: {version.written:,} written anew, {version.linked:,} as in the parent{gone}")
    made = version.card
    _say(
        console,
        f"{counts_text(photo=made.photos, region=made.regions, shard=len(made.shards))} in {out}",
    )


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
