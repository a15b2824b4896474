"""The commands that work on a data set's judgements. They import what they need when they run, so that --help is
quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.pipelines.terminal.ending import INTERRUPTED, end

REVISE_HELP = """Make a new version of a data set from what people judged of it.

The data set itself stays as it is. Shards without a change are not copied but get a second name; dataset.json names \
the parent and lists the changes. The same judgements give the same bytes.

instructrestore revise run/dataset --out v2
"""
DIFF_HELP = """Say what photos and regions came, went and changed from one version of a data set to another.

instructrestore diff run/dataset v2
"""
AUDIT_HELP = """Say how right a data set is, as people judged it.

With --sample, draw regions to be judged: by how common their subject is, their area and the round that named them. \
People judge them in the app, or add mask_right and caption_right (true or false) to the lines of the file and hand it \
in with --answers. Then, without either: mask right, caption right and both, with 95% intervals, by stratum, and how \
far judges agree.

instructrestore audit run/dataset --sample 200

instructrestore audit run/dataset --answers run/dataset.audit.jsonl --who Ann

instructrestore audit run/dataset
"""
Folder = Annotated[str, typer.Argument(metavar="DATASET", help="The folder of a data set.")]
Judgements = Annotated[
    Path | None,
    typer.Option("--with", metavar="FILE", help="The log of judgements; by default DATASET.judgements.jsonl."),
]
Out = Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder, for the version.")]


def revise(dataset: Folder, out: Out, judgements: Judgements = None) -> None:
    from instructrestore.pipelines.judging.revise import print_version
    from instructrestore.pipelines.judging.revise import revise as run_revise

    console = PlainConsole()
    try:
        version = run_revise(dataset, judgements, out, console)
    except KeyboardInterrupt:
        end("interrupted; nothing was written", INTERRUPTED)
    print_version(version, out, console)


def diff(
    before: Annotated[str, typer.Argument(metavar="V1", help="The folder or fsspec URI of a data set.")],
    after: Annotated[str, typer.Argument(metavar="V2", help="Another version of it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    from instructrestore.pipelines.judging.diff import diff as run_diff

    run_diff(before, after, as_json, PlainConsole())


def audit(
    dataset: Folder,
    sample: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Draw so many regions, into DATASET.audit.jsonl.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="With --sample: which regions are drawn.")] = 0,
    answers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Lines of the drawn file with answers, for the log.")
    ] = None,
    who: Annotated[str, typer.Option(metavar="NAME", help="With --answers: who gave them.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    from instructrestore.pipelines.judging.audit import draw_sample, state, take_answers

    console = PlainConsole()
    if answers is not None and not who:
        raise ValueError("say with --who whose answers these are")
    if sample is not None:
        draw_sample(dataset, sample, seed, console)
    if answers is not None:
        take_answers(dataset, answers, who, console)
    if sample is None and answers is None:
        state(dataset, as_json, console)
