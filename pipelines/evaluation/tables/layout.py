"""From the scores to the paper's tables: their rows and columns, and the notes under them."""

from __future__ import annotations

from collections.abc import Sequence

from instructrestore.model.metrics.metric import FOLLOWING, LOCALITY, MOST_PSNR
from instructrestore.pipelines.evaluation.methods.method import LQ, OURS, Evaluation, Method
from instructrestore.pipelines.evaluation.tables.photo_scores import PhotoScores
from instructrestore.pipelines.evaluation.tables.published import PUBLISHED, SCALES
from instructrestore.pipelines.evaluation.tables.sweep import Sweep, measure_sweep, swept
from instructrestore.pipelines.evaluation.tables.table import Cell, Column, MethodRow, Table

MASK = Column("target", "mask_iou", "Mask")  # the paper has none
# How a rule of regions compares with the paper's PSNR and SSIM. Over pixels, a photo's SSIM is at least the target's
# plus the rest's minus 1, because it lies between the two and neither exceeds 1; the same holds for means. With
# everything else black it equals that sum, except for windows on the border. The paper's rest at Table 3's s1 is taken
# from the neighbours in Table 2.
_RULES = {
    "pixels": "PSNR and SSIM of a region are over its own pixels. The paper cannot have used that rule: the "
    "full photo's SSIM in its Table 3 would be at least 0.74, not 0.6999. --regions zeroed is closer to it, but not "
    "the same: 0.04 of that SSIM remains unexplained.",
    "zeroed": "PSNR and SSIM of a region are computed with everything else black, the rule that is closer to the "
    "paper's figures. They still do not match: 0.04 of the full photo's SSIM in its Table 3 remains unexplained.",
}


def table_numbers(evaluated: Evaluation) -> tuple[int, ...]:
    """The tables that an evaluation can fill: 4 for a bokeh set; otherwise 2 if s1 was swept, and 3 unless only LQ is
    left."""
    if evaluated.bokeh:
        return (4,)
    if not swept(evaluated):
        return (3,)
    return (2, 3) if any(method.name != LQ for method in methods_of(evaluated, 3)) else (2,)


def build_table(evaluated: Evaluation, number: int, quoted: bool = True) -> Table:
    """Table `number` of the paper: the computed rows, then, if `quoted`, the paper's own.

    A cell is the mean over its method's own photos. Raises ValueError for a table that the evaluation cannot fill.
    """
    if number not in table_numbers(evaluated):
        can = " and ".join(map(str, table_numbers(evaluated)))
        raise ValueError(f"{evaluated.testset} gives no Table {number}, only {can}: see docs/evaluation.md")
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
    """All columns that a table can have: the paper's, then this project's own."""
    return (*PUBLISHED[number].columns, MASK)


def methods_of(evaluated: Evaluation, number: int) -> tuple[Method, ...]:
    """The rows of a table: in Table 2 the sweep; otherwise the model (the paper's scales first), others, LQ."""
    if number == 2:
        return swept(evaluated)
    elsewhere = set(swept(evaluated))
    rows = [method for method in evaluated.methods if method not in elsewhere]
    return tuple(sorted(rows, key=lambda of: (of.kind != "model", of.name == LQ, (of.s1, of.s2) != SCALES[number])))


def labels_of(methods: tuple[Method, ...], number: int) -> list[str]:
    """The rows' labels. A single row of the model has its name; the table's title has its scales."""
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
        notes.append(f"If a result equals the HQ photo, its PSNR counts as {MOST_PSNR:g} dB.")
    if number == 2 and (sweep := measure_sweep(evaluated, figures)):
        notes += sweep_notes(sweep, quoted)
    if quoted:
        notes.append("Quoted rows: the paper's figures, on its own photos.")
        notes += _comparable(evaluated, number)
    return tuple(notes)


def _counts(evaluated: Evaluation, columns: Sequence[Column], rows: Sequence[Sequence[Cell | None]]) -> list[str]:
    """How many photos the computed means are over; a photo that its region fills has no figure for the rest."""
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
    """Which methods lack photos, and which photos their means are over."""
    over = {
        method.title: [figures.photos((method.title, column.scope, column.metric)) for column in columns]
        for method in methods
    }
    notes = []
    for method in methods:
        if reasons := evaluated.failed.get(method.title):
            why = "; ".join(f"{reason}: {count}" for reason, count in reasons.items())
            lost = _photos(sum(reasons.values()))
            others = "; its means are over the other photos" if any(map(any, over[method.title])) else ""
            notes.append(f"{method.title}: no result for {lost} ({why}){others}.")
    by_column = zip(*over.values(), strict=True)
    if any(len({photos for photos in column if any(photos)}) > 1 for column in by_column):
        notes.append("The rows are not over the same photos; each paired test is over those that both methods have.")
    return notes


def sweep_notes(sweep: Sweep, quoted: bool) -> list[str]:
    """The two figures of a sweep, one sentence each."""
    notes = []
    if sweep.locality:
        paper = f"; the paper's means give {sweep.published_locality:.2f}" if quoted else ""
        notes.append(
            f"{LOCALITY.title} {_with_interval(sweep.locality)}: the change of the rest's PSNR over the sweep, "
            f"relative to the target's; {LOCALITY.better} is better{paper}."
        )
    else:
        notes.append(f"{LOCALITY.title}: none, because the target's mean PSNR is the same at every s1.")
    paper = f"; the paper's means give {sweep.published_following:.2f}" if quoted else ""
    notes.append(
        f"{FOLLOWING.title} {_with_interval(sweep.following)}: how steadily the target's PSNR rises with s1, photo by "
        f"photo, from -1 to 1 (Kendall's tau); {FOLLOWING.better} is better{paper}."
    )
    return notes


def _comparable(evaluated: Evaluation, number: int) -> list[str]:
    """Why a computed figure cannot be compared with a quoted one."""
    metrics = evaluated.configuration.get("metrics", {})
    scored = set(evaluated.scores["metric"])
    notes = []
    if metrics.get("regions") in _RULES and scored & {"psnr", "ssim"}:
        notes.append(_RULES[metrics["regions"]])
    if number == 4 and metrics.get("blur_detector") == "sharpness" and "bokeh_iou" in scored:
        notes.append(
            "The bokeh IoU uses the embedded sharpness detector and the paper's D-DFFNet: the two are not comparable."
        )
    return notes


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count} photos"


def _listed(titles: Sequence[str]) -> str:
    return " and ".join([", ".join(titles[:-1]), titles[-1]]) if len(titles) > 1 else titles[0]


def _with_interval(cell: Cell) -> str:
    interval = "" if cell.low is None or cell.high is None else f" [{cell.low:.2f}, {cell.high:.2f}]"
    return f"{cell.mean:.2f}{interval}"
