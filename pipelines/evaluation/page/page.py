"""The page of an evaluation: one self-contained HTML file, its look in `page.html`, `page.css` and `page.js`.

Nothing is fetched: pictures are data URIs, and a content security policy allows only the one style and the one script,
by their hashes. Without the script, the page shows the same pictures side by side. All text from data goes through
`html_text`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from string import Template
from typing import Literal

from instructrestore.model.metrics.metric import Scope
from instructrestore.pipelines.evaluation.methods.method import LQ, OURS, Evaluation
from instructrestore.pipelines.evaluation.page.chart import charts, sweep_lines
from instructrestore.pipelines.evaluation.page.photos import photos_section
from instructrestore.pipelines.evaluation.page.shown import ShownPhoto, main_method
from instructrestore.pipelines.evaluation.page.strip import strip
from instructrestore.pipelines.evaluation.page.table import arrow, html_comparisons, html_table, interval_text
from instructrestore.pipelines.evaluation.tables.report import Report
from instructrestore.pipelines.evaluation.tables.sweep import Sweep
from instructrestore.pipelines.evaluation.tables.table import Cell, Column, Table
from instructrestore.pipelines.terminal.amounts import counts_text
from instructrestore.shards.plain_text import html_text


def page_bytes(evaluated: Evaluation, report: Report, shown: Sequence[ShownPhoto]) -> bytes:
    """The page as UTF-8, the same bytes for the same input; about 12 MB at most.

    shown: the photos that `shown.choose_photos` names, in its order.
    """
    tables, sweep = report.tables, report.sweep
    lines = [line for table in tables if table.number == 2 for line in sweep_lines(table, evaluated)]
    sections: dict[str, str] = {}
    if sweep is not None or any(not line.quoted for line in lines):
        quoted = any(row.origin == "quoted" for table in tables for row in table.rows)
        sections["Control"] = _control(sweep, quoted) + charts(lines)
    for table in tables:
        tests = html_comparisons(table, report.comparisons)
        sections[f"Table {table.number}"] = html_table(table, evaluated.photos) + tests
    if len(evaluated.scores):
        sections["Spread over photos"] = strip(evaluated, shown)
    if shown:
        sections["Photos"] = photos_section(evaluated, shown)
    if evaluated.failed:
        sections["Without a result"] = _failures(evaluated)
    sections["How it was made"] = _made(evaluated)
    headings = {title: title for title in sections}
    headings |= {f"Table {table.number}": f"Table {table.number}. {table.title}" for table in tables}
    style, script = (
        files("instructrestore.pipelines.evaluation.page").joinpath(f"page.{kind}").read_text("utf-8")
        for kind in ("css", "js")
    )
    page = Template(
        files("instructrestore.pipelines.evaluation.page").joinpath("page.html").read_text("utf-8")
    ).substitute(
        name=html_text(evaluated.testset),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        summary=_summary(evaluated),
        headline=_headline(evaluated, tables, sweep),
        nav="".join(f'<li><a href="#{_anchor(title)}">{title}</a></li>' for title in sections),
        sections="\n".join(
            f'<section id="{_anchor(title)}"><h2>{html_text(headings[title])}</h2>\n{content}</section>'
            for title, content in sections.items()
        ),
    )
    # A caption may hold a lone surrogate, which UTF-8 cannot encode.
    return page.encode("utf-8", "replace")


def _summary(evaluated: Evaluation) -> str:
    counts = dict.fromkeys(("model", "runner", "results"), 0)
    for method in evaluated.methods:
        counts[method.kind] += method.name != LQ
    words = (
        (counts["model"], f"by {OURS} at {counts['model']} settings of its scales"),
        (counts["runner"], f"by {counts['runner']} other method{'s' * (counts['runner'] > 1)} run here"),
        (counts["results"], f"by {counts['results']} whose results were given"),
    )
    made = ", ".join(text for count, text in words if count) or "by no method"
    kind = "Bokeh test set" if evaluated.bokeh else "Test set"
    return html_text(
        f"{kind} of {counts_text(photo=evaluated.photos)}, each with one region and its caption, restored {made}. "
        "Every result is measured against its HQ photo."
    )


def _headline(evaluated: Evaluation, tables: Sequence[Table], sweep: Sweep | None) -> str:
    figures = [("Photos", f"{evaluated.photos:,}", [])]
    main = main_method(evaluated)
    wanted: list[tuple[Scope, str]] = [("target", "psnr"), ("full", "psnr")]
    if evaluated.bokeh:
        wanted = [("remaining", "psnr"), ("remaining", "bokeh_iou"), ("full", "bokeh_iou")]
    for scope, metric in wanted:
        if main and (found := _figure_of(tables, main.title, scope, metric)):
            column, cell = found
            value = f"{cell.mean:.{column.of.digits}f} {column.of.unit}".strip()
            interval = interval_text(cell, column.of.digits)
            notes = [main.title, *([f"95%: {interval}"] if interval else [])]
            figures.append((f"{column.group} {column.of.title}", value, notes))
    if sweep is not None:
        if sweep.locality is not None:
            figures.append(("Locality", f"{sweep.locality.mean:.2f}", ["dB outside per dB inside"]))
        figures.append(("Instruction following", f"{sweep.following.mean:.2f}", ["from -1 to 1"]))
    cells = (
        f"<div><dt>{html_text(name)}</dt><dd>{html_text(value)}"
        f"{''.join(f'<small>{html_text(note)}</small>' for note in notes)}</dd></div>"
        for name, value, notes in figures
    )
    return f'<dl class="figures">{"".join(cells)}</dl>'


def _figure_of(tables: Sequence[Table], method: str, scope: Scope, metric: str) -> tuple[Column, Cell] | None:
    for table in tables:
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                if row.method == method and column.scope == scope and column.metric == metric and cell is not None:
                    return column, cell
    return None


def _control(sweep: Sweep | None, quoted: bool) -> str:
    if sweep is None:
        return '<p class="note">No photo has a result at every s1: no locality, no instruction following.</p>'
    cards = ""
    if sweep.locality is not None:
        words = (
            "How much PSNR changes outside the region for each dB of change inside, when s1 is swept: 0 if the rest "
            "does not change."
        )
        cards += _card("Locality", "lower", sweep.locality, words, sweep.published_locality if quoted else None)
    words = (
        "How steadily the region comes closer to HQ as s1 rises: 1 if it does at every step in every photo, 0 if at "
        "random, -1 if it never does."
    )
    paper = sweep.published_following if quoted else None
    return (
        f'<div class="control">{cards}{_card("Instruction following", "higher", sweep.following, words, paper)}</div>'
    )


def _card(title: str, better: Literal["higher", "lower"], cell: Cell, words: str, paper: float | None) -> str:
    interval = interval_text(cell, 2)
    small = f"<small>95%: {interval}</small>" if interval else ""
    quoted = "" if paper is None else f" From the means of the paper's Table 2: {paper:.2f}."
    return (
        f'<div><h3>{title} {arrow(better)}</h3><p class="value">{cell.mean:.2f}{small}</p>'
        f"<p>{html_text(words + quoted)}</p></div>"
    )


def _failures(evaluated: Evaluation) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html_text(title)}</th><td>{html_text(reason)}</td><td>{count:,}</td></tr>'
        for title, reasons in evaluated.failed.items()
        for reason, count in reasons.items()
    )
    return (
        '<div class="wide" tabindex="0"><table class="failures"><thead><tr><th scope="col">Method</th>'
        f'<th scope="col">Reason</th><th scope="col">Photos</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _made(evaluated: Evaluation) -> str:
    text = json.dumps(evaluated.configuration, indent=2, ensure_ascii=False)
    return (
        "<p>Every score of every photo is in <code>scores.parquet</code> beside this page. The results depend on "
        f'this configuration.</p><details><summary>Configuration</summary><pre tabindex="0">{html_text(text)}</pre>'
        "</details>"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")
