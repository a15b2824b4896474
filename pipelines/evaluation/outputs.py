"""What an evaluation writes once everything is measured: tables, evaluation.json and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from rich.console import Console

from instructrestore.dataengine.running.outcomes import describe_error
from instructrestore.dataengine.running.stage import StopStage
from instructrestore.pipelines.evaluation.gathering import Measured
from instructrestore.pipelines.evaluation.methods.method import Evaluation
from instructrestore.pipelines.evaluation.page.page import page_bytes
from instructrestore.pipelines.evaluation.page.shown import ShownPhoto, choose_photos
from instructrestore.pipelines.evaluation.restore_stage import Unreadable, pixels, read_pair
from instructrestore.pipelines.evaluation.row import EvaluationRow
from instructrestore.pipelines.evaluation.tables.report import files_of, print_report, report_of
from instructrestore.shards.files import commit
from instructrestore.shards.pairs import TestSet
from instructrestore.shards.paths import remove

PAGE = "report.html"


def write_outputs(
    evaluated: Evaluation,
    measured: Measured,
    testset: TestSet,
    out: Path,
    tables: Sequence[int],
    quoted: bool,
    console: Console,
) -> None:
    """Prints the tables and writes them, with all figures and the page, into the folder `out`.

    tables: their numbers; (): all that the evaluation can fill. quoted: with the paper's rows.
    Raises StopStage if there is no figure at all, and ValueError for a table that the evaluation cannot fill.
    """
    if evaluated.scores.empty:  # all failed: metrics that do not apply were ruled out before
        reasons = Counter[str]()
        for of_method in evaluated.failed.values():
            reasons.update(of_method)
        raise StopStage(
            f"no result could be measured; the most frequent reason: {max(reasons, key=lambda r: reasons[r])}"
        )
    report = report_of(evaluated, tables, quoted)
    print_report(report, console)
    files = files_of(evaluated, report)
    for name, data in files.items():
        commit(out / name, data)
    remove(path for path in out.glob("table-*") if path.name not in files)  # left by an evaluation of other methods
    shown = _shown(evaluated, measured, testset, out, console)
    commit(out / PAGE, page_bytes(evaluated, report, shown))
    console.print(f"page: {out / PAGE}", highlight=False, markup=False, soft_wrap=True)


def _shown(
    evaluated: Evaluation, measured: Measured, testset: TestSet, out: Path, console: Console
) -> list[ShownPhoto]:
    """The photos of the page with their results, of which the LQ photo itself is none.

    In the place of a photo that cannot be shown, its LQ photo damaged, comes another: results that were given are
    measured all the same, and what was measured once may be damaged since.
    """
    known: dict[str, ShownPhoto] = {}
    unreadable: set[str] = set()
    while True:
        keys = choose_photos(evaluated, without=unreadable)
        if all(key in known for key in keys):
            return [known[key] for key in keys]
        for key in keys:
            if key in known:
                continue
            try:
                known[key] = _photo(key, measured, testset, out)
            except Unreadable as fault:
                unreadable.add(key)
                line = f"photo {key} is not on the page: {fault}"
                console.print(line, highlight=False, markup=False, soft_wrap=True)


def _photo(key: str, measured: Measured, testset: TestSet, out: Path) -> ShownPhoto:
    """A photo with its results. Raises Unreadable."""
    rows = {method: row for method, of_method in measured.items() for row in of_method if row.key == key}
    row = next(iter(rows.values()))
    pair = read_pair(testset, row)
    lq, hq = (Image.fromarray(pixels(data, row, what)) for data, what in ((pair.lq, "LQ photo"), (pair.hq, "HQ photo")))
    results = [(method.title, _result(out / row.file, row)) for method, row in rows.items() if row.file]
    return ShownPhoto(key, pair.sample.photo.name, pair.region.caption, lq, hq, pair.region.mask.array(), results)


def _result(path: Path, row: EvaluationRow) -> Image.Image:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"result: {describe_error(error)[0]}") from None
    return Image.fromarray(pixels(data, row, "result"))
