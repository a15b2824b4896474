"""What an evaluation writes once everything is measured: tables, evaluation.json and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from rich.console import Console

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.running.stage import StopStage
from instructrestore.pipelines.evaluation.gathering import Measured
from instructrestore.pipelines.evaluation.methods.method import Evaluation
from instructrestore.pipelines.evaluation.page.page import page_bytes
from instructrestore.pipelines.evaluation.page.shown import ShownPhoto, choose_photos
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
    shown = _shown(choose_photos(evaluated), measured, testset, out)
    commit(out / PAGE, page_bytes(evaluated, report, shown))
    console.print(f"page: {out / PAGE}", highlight=False, markup=False, soft_wrap=True)


def _shown(keys: Sequence[str], measured: Measured, testset: TestSet, out: Path) -> list[ShownPhoto]:
    """The photos of the page with their results, of which the LQ photo itself is none."""
    photos: list[ShownPhoto] = []
    for key in keys:
        rows = {method: row for method, of_method in measured.items() for row in of_method if row.key == key}
        place = next(iter(rows.values())).place
        pair = testset.read_pair(place)
        results = [(method.title, _picture((out / row.file).read_bytes())) for method, row in rows.items() if row.file]
        photos.append(
            ShownPhoto(
                key, pair.sample.photo.name, pair.region.caption, _picture(pair.lq), _picture(pair.hq),
                pair.region.mask.array(), results,
            )
        )  # fmt: skip
    return photos


def _picture(data: bytes) -> Image.Image:
    return Image.fromarray(photo_file.decode(data).rgb)
