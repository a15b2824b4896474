"""From the scores to the paper's tables: which rows and columns, and what has to be said under them."""

from __future__ import annotations

from collections.abc import Sequence

from instructrestore.model.metrics.metric import FOLLOWING, LOCALITY, MOST_PSNR
from instructrestore.pipelines.evaluation.methods.method import LQ, OURS, Evaluation, Method
from instructrestore.pipelines.evaluation.tables.photo_scores import PhotoScores
from instructrestore.pipelines.evaluation.tables.published import PUBLISHED, SCALES
from instructrestore.pipelines.evaluation.tables.sweep import Sweep, measure_sweep, swept
from instructrestore.pipelines.evaluation.tables.table import Cell, Column, MethodRow, Table

MASK = Column("target", "mask_iou", "Mask")  # the paper has none
# What a rule of regions means beside the paper's PSNR and SSIM. By pixels a photo's SSIM is no less than its target's
# plus its rest's less 1, as it lies between the two and both are 1 at most, and so are the means; with all else black
# it equals that sum but for windows on the border. The paper's rest at Table 3's s1 is taken from Table 2's neighbours.
_RULES = {
    "pixels": "PSNR and SSIM of a region are over its own pixels; the paper's figures exclude that rule, by which the "
    "full photo's SSIM in its Table 3 would be 0.74 or more, not 0.6999. --regions zeroed compares better with them, "
    "but not exactly: 0.04 of that SSIM stays unexplained.",
    "zeroed": "PSNR and SSIM of a region are with all else black, the rule that the paper's figures are nearer to. "
    "They do not compare exactly: 0.04 of the full photo's SSIM in its Table 3 stays unexplained.",
}


def table_numbers(evaluated: Evaluation) -> tuple[int, ...]:
    """The tables that an evaluation fills: 4 of a bokeh set; else 2 where s1 was swept, 3 unless only LQ is left."""
    if evaluated.bokeh:
        return (4,)
    if not swept(evaluated):
        return (3,)
    return (2, 3) if any(method.name != LQ for method in methods_of(evaluated, 3)) else (2,)


def build_table(evaluated: Evaluation, number: int, quoted: bool = True) -> Table:
    """Table `number` of the paper: the rows that were computed, then, if `quoted`, the paper's own.

    A cell is the mean over its method's own photos. Raises ValueError for a table that the evaluation cannot fill.
    """
    if number not in table_numbers(evaluated):
        can = " and ".join(map(str, table_numbers(evaluated)))
        raise ValueError(f"{evaluated.testset} gives no Table {number}, but {can}: see docs/evaluation.md")
    figures, paper = PhotoScores(evaluated), PUBLISHED[number]
    methods = methods_of(evaluated, number)
    columns = columns_of(number)
    computed = [tuple(figures.cell(method.title, of.scope, of.metric) for of in columns) for method in methods]
    shown = [
        place
        for place, column in enumerate(columns)
        if (quoted and column != MASK) or any(cells[place] for cells in computed)
    ]
    rows = [
        MethodRow(label, "computed", method.title, tuple(cells[place] for place in shown))
        for method, label, cells in zip(methods, labels_of(methods, number), computed, strict=True)
    ]
    if quoted:
        rows += [
            MethodRow(label, "quoted", "", tuple(Cell(row[place]) if place < len(row) else None for place in shown))
            for label, row in paper.rows.items()
        ]
    return Table(
        number,
        _title(methods, number),
        tuple(columns[place] for place in shown),
        tuple(rows),
        (
            *_counts(evaluated, columns, computed),
            *_missing(evaluated, figures, methods, columns),
            *_notes(evaluated, figures, methods, number, quoted),
        ),
    )


def columns_of(number: int) -> tuple[Column, ...]:
    """All that a table can have: the paper's, then this project's own."""
    return (*PUBLISHED[number].columns, MASK)


def methods_of(evaluated: Evaluation, number: int) -> tuple[Method, ...]:
    """The rows of a table: in Table 2 the sweep; else the model, at the paper's scales first, the other methods, LQ."""
    if number == 2:
        return swept(evaluated)
    elsewhere = set(swept(evaluated))
    rows = [method for method in evaluated.methods if method not in elsewhere]
    return tuple(sorted(rows, key=lambda of: (of.kind != "model", of.name == LQ, (of.s1, of.s2) != SCALES[number])))


def labels_of(methods: tuple[Method, ...], number: int) -> list[str]:
    """A single row of the model bears its name; the table's title has its scales."""
    if number == 2:
        return [f"s1 = {method.s1:g}" for method in methods]
    alone = sum(method.kind == "model" for method in methods) == 1
    return [method.name if method.kind != "model" or alone else method.title for method in methods]


def _title(methods: tuple[Method, ...], number: int) -> str:
    title = PUBLISHED[number].title
    if number == 2:
        return f"{title}, s2 = 1"
    ours = [method for method in methods if method.kind == "model"]
    return f"{title}, {OURS} at s1 = {ours[0].s1:g} and s2 = {ours[0].s2:g}" if len(ours) == 1 else title


def _notes(
    evaluated: Evaluation, figures: PhotoScores, methods: tuple[Method, ...], number: int, quoted: bool
) -> tuple[str, ...]:
    notes = []
    scores = evaluated.scores[evaluated.scores["method"].isin([method.title for method in methods])]
    if (scores["value"][scores["metric"] == "psnr"] >= MOST_PSNR).any():
        notes.append(f"Where a result is equal to the HQ photo, its PSNR counts as {MOST_PSNR:g} dB.")
    if number == 2 and (sweep := measure_sweep(evaluated, figures)):
        notes += sweep_notes(sweep, quoted)
    if quoted:
        notes.append("Quoted rows: the paper's figures, of its own photos.")
        notes += _comparable(evaluated, number)
    return tuple(notes)


def _counts(evaluated: Evaluation, columns: Sequence[Column], rows: Sequence[Sequence[Cell | None]]) -> list[str]:
    """Over how many photos the computed means are; a photo whose region fills it has no figure of the rest."""
    most: dict[Column, int] = {}
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            if cell and cell.photos:
                most[column] = max(most.get(column, 0), cell.photos)
    if not most:
        return []
    usual = max(most.values())
    groups: dict[tuple[str, int], list[str]] = {}
    for column, count in most.items():
        groups.setdefault((column.group, count), []).append(column.of.title)
    fewer = []
    for (group, count), titles in groups.items():
        whole = len(titles) == sum(column.group == group for column in most)
        if count < usual:
            fewer.append(f"{group if whole else f'{group} {_listed(titles)}'}: over {count}")
    of = f"{usual} of the " if usual < evaluated.photos else ""
    but = f" ({'; '.join(fewer)})" if fewer else ""
    return [
        f"Computed rows: means over {of}{_photos(evaluated.photos)} of {evaluated.testset}{but}, with 95% bootstrap "
        "intervals."
    ]


def _missing(
    evaluated: Evaluation, figures: PhotoScores, methods: Sequence[Method], columns: Sequence[Column]
) -> list[str]:
    """Which methods lack photos, and that a mean is then over others."""
    over = {
        method.title: [figures.photos((method.title, column.scope, column.metric)) for column in columns]
        for method in methods
    }
    notes = []
    for method in methods:
        if reasons := evaluated.failed.get(method.title):
            why = "; ".join(f"{reason}: {count}" for reason, count in reasons.items())
            lost = _photos(sum(reasons.values()))
            others = "; its means are over the others" if any(map(any, over[method.title])) else ""
            notes.append(f"{method.title}: no result for {lost} ({why}){others}.")
    by_column = zip(*over.values(), strict=True)
    if any(len({photos for photos in column if any(photos)}) > 1 for column in by_column):
        notes.append("The rows are not over the same photos; the paired tests are over those that two methods share.")
    return notes


def sweep_notes(sweep: Sweep, quoted: bool) -> list[str]:
    """The two figures of a sweep, a sentence each."""
    notes = []
    if sweep.locality:
        paper = f"; the paper's means give {sweep.published_locality:.2f}" if quoted else ""
        notes.append(
            f"{LOCALITY.title} {_with_interval(sweep.locality)}: the PSNR of the rest moves by this much of what "
            f"the target's moves over the sweep; {LOCALITY.better} is better{paper}."
        )
    else:
        notes.append(f"{LOCALITY.title}: none, for the target's mean PSNR is the same at every s1.")
    paper = f"; the paper's means give {sweep.published_following:.2f}" if quoted else ""
    notes.append(
        f"{FOLLOWING.title} {_with_interval(sweep.following)}: how steadily the target's PSNR rises with s1, photo by "
        f"photo, from -1 to 1 (Kendall's tau); {FOLLOWING.better} is better{paper}."
    )
    return notes


def _comparable(evaluated: Evaluation, number: int) -> list[str]:
    """What keeps a computed figure from standing beside a quoted one."""
    metrics = evaluated.configuration.get("metrics", {})
    scored = set(evaluated.scores["metric"])
    notes = []
    if metrics.get("regions") in _RULES and scored & {"psnr", "ssim"}:
        notes.append(_RULES[metrics["regions"]])
    if number == 4 and metrics.get("blur_detector") == "sharpness" and "bokeh_iou" in scored:
        notes.append(
            "The bokeh IoU is by the embedded sharpness detector, the paper's by D-DFFNet: the two do not compare."
        )
    return notes


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count} photos"


def _listed(titles: Sequence[str]) -> str:
    return " and ".join([", ".join(titles[:-1]), titles[-1]]) if len(titles) > 1 else titles[0]


def _with_interval(cell: Cell) -> str:
    interval = "" if cell.low is None or cell.high is None else f" [{cell.low:.2f}, {cell.high:.2f}]"
    return f"{cell.mean:.2f}{interval}"
