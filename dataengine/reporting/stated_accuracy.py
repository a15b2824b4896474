"""How right a data set is, as people judged it: the table for the card, the report and the console."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from instructrestore.dataengine.judging.accuracy import Accuracy, Estimate, Figures, Kappa
from instructrestore.shards.plain_text import html_text, visible_line

HEAD = ("regions", "in the data set", "judged", "mask right", "caption right", "both right")


def lines(accuracy: Accuracy, dataset_sha256: str, with_names: bool = False) -> list[str]:
    """What is to be said beside the table, a paragraph each.

    dataset_sha256: of the `dataset.json` of the version that it is said of. with_names: of the judges, who chose them
    for each other and not for everybody.
    """
    people = "1 person" if accuracy.judges == 1 else f"{accuracy.judges:,} people"
    said = [
        f"{accuracy.judged:,} of {accuracy.drawn:,} regions of a sample stratified by frequency of the subject, area "
        f"and round were judged by {people}. Shares are of all regions, each stratum counting by its size, with 95% "
        "intervals (Wilson)."
    ]
    if accuracy.dataset != dataset_sha256:
        said.insert(
            0,
            f"Judged on the version that this one was made from (sha256 of its dataset.json: {accuracy.dataset}), "
            "before its changes.",
        )
    if accuracy.left_out:
        said.append(f"Nothing is known yet of strata with {accuracy.left_out:,} regions, and they are left out.")
    return said + [_agreement(pair, with_names) for pair in accuracy.kappas]


def rows(accuracy: Accuracy) -> list[tuple[str, ...]]:
    """A row of text for all regions, and one for each stratum, below `HEAD`."""
    return [_row(each) for each in (accuracy.all, *accuracy.strata)]


def html(accuracy: Accuracy, dataset_sha256: str) -> str:
    """The table for the report; all text is escaped."""
    head = "".join(f'<th scope="col">{title.capitalize()}</th>' for title in HEAD)
    body = "".join(
        f'<tr><th scope="row">{html_text(row[0])}</th>'
        + "".join(f'<td class="number">{html_text(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows(accuracy)
    )
    notes = "".join(f'<p class="note">{html_text(line)}</p>' for line in lines(accuracy, dataset_sha256))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide" tabindex="0">{table}</div>{notes}'


def console(accuracy: Accuracy, dataset_sha256: str) -> RenderableType:
    """The table for a terminal. Text from the data is never read as markup."""
    table = Table(*HEAD, box=None, pad_edge=False)
    for row in rows(accuracy):
        table.add_row(*(Text(visible_line(cell)) for cell in row))
    return Group(table, *(Text(visible_line(line)) for line in lines(accuracy, dataset_sha256, with_names=True)))


def _row(figures: Figures) -> tuple[str, ...]:
    name = figures.name if figures.of == "all" else f"{figures.of}: {figures.name}"
    shares = map(_share, (figures.mask, figures.caption, figures.both))
    return name, f"{figures.regions:,}", f"{figures.judged:,}", *shares


def _share(estimate: Estimate) -> str:
    return f"{estimate.share:.1%} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def _agreement(pair: Kappa, with_names: bool) -> str:
    who = " and ".join(pair.judges) if with_names else "Two judges"
    return (
        f"{who} judged the same {pair.regions:,} regions and gave the same answers to {pair.agreed:.1%}; "
        f"Cohen's kappa: {', '.join(_kappas(pair))}."
    )


def _kappas(pair: Kappa) -> Iterator[str]:
    for name, value in (("mask", pair.mask), ("caption", pair.caption), ("both", pair.both)):
        yield f"{name} {'not defined (one answer to all)' if value is None else f'{value:.2f}'}"
