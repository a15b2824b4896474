"""`instructrestore audit`: a sample to judge, and how right the data set is as people judged it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from instructrestore.dataengine.judging.accuracy import stated
from instructrestore.dataengine.judging.judgement import Audit, judgement_of, now
from instructrestore.dataengine.judging.log import JudgementLog, log_path, standing
from instructrestore.dataengine.judging.sampling import MAX_SAMPLE, draw, queue_path, read_queue, write_queue
from instructrestore.dataengine.reporting import stated_accuracy
from instructrestore.pipelines.terminal.amounts import counts_text
from instructrestore.shards.index import Dataset
from instructrestore.shards.parsing import parse_object, read_bounded
from instructrestore.shards.plain_text import json_text, visible_line

WIDTH = 130  # columns of the table; in a narrower terminal its lines are wrapped whole, and not cell by cell


def draw_sample(dataset: str, sample: int, seed: int, console: Console) -> None:
    """Draws the sample, in place of an earlier one. Raises ValueError where there is nothing to draw from."""
    if not 0 < sample <= MAX_SAMPLE:
        raise ValueError(f"a sample has 1 to {MAX_SAMPLE:,} regions")
    path, opened = queue_path(dataset), Dataset(dataset)
    if not opened.card.regions:
        raise ValueError(f"{dataset} has no region that could be judged")
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("drawing", total=opened.card.photos)
        drawn = draw(opened, sample, seed, lambda: progress.advance(task))
    write_queue(path, drawn)
    strata = len({each.stratum for each in drawn})
    _say(
        console,
        f"{len(drawn):,} of {counts_text(region=opened.card.regions)}, of {strata:,} strata, are to be judged: {path}",
    )
    if accuracy := stated(opened):
        _say(console, f"{accuracy.judged:,} of them were judged before")


def take_answers(dataset: str, file: Path, who: str, console: Console) -> None:
    """Adds to the log what a person wrote into a copy of the queue: lines with key, region, mask_right, caption_right.

    Lines without answers are passed over, and so are answers that the same judge has given already. Raises ValueError
    for a line that is no answer or of a region that was not drawn; nothing is added then.
    """
    opened = Dataset(dataset)
    wanted = {(each.key, each.region) for each in _drawn(dataset, opened)}
    log = JudgementLog(log_path(dataset))
    said = _said(log, who)
    counts = Counter[str]()
    new: list[Audit] = []
    for number, line in enumerate(read_bounded(file).splitlines(), 1):
        where = f"line {number} of {file}"
        values = parse_object(line, where) if line.strip() else {}
        answers = {name: values[name] for name in ("mask_right", "caption_right") if name in values}
        if not answers:
            counts["open"] += 1
            continue
        region = {name: values.get(name) for name in ("key", "region")}
        common = {"when": now(), "who": who, "dataset": opened.sha256, "act": "audit"}
        try:
            judgement = judgement_of({**common, **region, **answers})
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if (judgement.key, judgement.region) not in wanted:
            raise ValueError(f"{where}: region {judgement.region} of photo {judgement.key} was not drawn")
        assert isinstance(judgement, Audit)
        given = (judgement.mask_right, judgement.caption_right)
        if said.get((judgement.key, judgement.region)) == given:
            counts["known"] += 1
        else:
            new.append(judgement)
    for each in new:
        log.append(each)
    _say(console, f"{len(new):,} new judgements, {counts['known']:,} known ones, {counts['open']:,} lines without")


def state(dataset: str, as_json: bool, console: Console) -> None:
    """Prints the accuracy. Raises ValueError where no sample of this version was drawn, or none of it judged."""
    opened = Dataset(dataset)
    drawn = _drawn(dataset, opened)
    accuracy = stated(opened)
    if accuracy is None:
        raise ValueError(f"none of the {len(drawn):,} regions in {queue_path(dataset)} has been judged yet")
    if as_json:
        print(json_text(accuracy.as_json(), indent=2))
    else:
        console.width = max(console.width, WIDTH)
        console.print(stated_accuracy.console(accuracy, opened.sha256))


def _drawn(dataset: str, opened: Dataset) -> list[Any]:
    path = queue_path(dataset)
    drawn = read_queue(path)
    if not drawn:
        raise ValueError(f"no regions of {dataset} were drawn yet: add --sample 200")
    if drawn[0].dataset != opened.sha256:
        raise ValueError(
            f"{path} was drawn of another version of the data set: draw again with --sample; judgements of regions "
            "that are the same still count"
        )
    return drawn


def _said(log: JudgementLog, who: str) -> dict[tuple[str, str], tuple[bool, bool]]:
    """What a judge said last of each region."""
    audits = (entry.judgement for entry in standing(log.entries()))
    return {
        (each.key, each.region): (each.mask_right, each.caption_right)
        for each in audits
        if isinstance(each, Audit) and each.who == who
    }


def _say(console: Console, text: str) -> None:
    console.print(visible_line(text), highlight=False, markup=False, soft_wrap=True)
