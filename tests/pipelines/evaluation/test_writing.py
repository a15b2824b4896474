from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from instructrestore.model.metrics.metric import LEARNED, METRICS
from instructrestore.pipelines.evaluation.methods.method import Evaluation, Method
from instructrestore.pipelines.evaluation.tables.comparisons import compare_methods
from instructrestore.pipelines.evaluation.tables.console import print_comparisons, print_table
from instructrestore.pipelines.evaluation.tables.layout import build_table
from instructrestore.pipelines.evaluation.tables.report import files_of, print_report, report_of
from instructrestore.pipelines.evaluation.tables.writing import to_csv, to_latex
from tests.pipelines.evaluation.scores_by_hand import LQ, SEESR, evaluated, ours

AWKWARD = Method(r"50% a_b & c#1 {x} ~^ $ \end <y> [red]|--`", "results")


def all_figures(bokeh: bool = False, photos: int = 8) -> Evaluation:
    """Every column of every table has figures."""
    rng = np.random.default_rng(5)
    models = [ours(1.0)] if bokeh else [ours(s1) for s1 in (0.5, 0.7, 0.8, 0.9, 1.1)]
    scores = {}
    for method in [LQ, *models, AWKWARD]:
        for metric in METRICS:
            for scope in ("full", "target", "remaining"):
                if scope != "remaining" or metric.name not in LEARNED:
                    middle = {"psnr": 27, "musiq": 60}.get(metric.name, 0.6)
                    scores[method, scope, metric.name] = rng.normal(middle, middle / 50, photos).tolist()
    metrics = {"regions": "pixels", "blur_detector": "sharpness"}
    return evaluated(scores, bokeh=bokeh, configuration={"seed": 0, "metrics": metrics})


def printed(width: int, *tables_of: Evaluation) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for report in tables_of:
        print_report(report_of(report), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_csv_says_what_the_table_says() -> None:
    table = build_table(all_figures(), 3)

    read = pd.read_csv(io.StringIO(to_csv(table)))

    assert list(read["label"]) == [row.label for row in table.rows]
    assert list(read["origin"]) == [row.origin for row in table.rows]
    for place, column in enumerate(table.columns):
        name = f"{column.scope}_{column.metric}"
        for row, (_, line) in zip(table.rows, read.iterrows(), strict=True):
            cell = row.cells[place]
            parts = [cell.mean, cell.low, cell.high, cell.photos] if cell else [None] * 4
            want = [np.nan if part is None else part for part in parts]
            np.testing.assert_array_equal([line[name + end] for end in ("", "_low", "_high", "_photos")], want)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_latex_is_balanced_and_every_row_has_its_columns(number: int) -> None:
    table = build_table(all_figures(bokeh=number == 4), number)

    text = to_latex(table)

    plain = re.sub(r"\\[{}&%$#_]", "", text)  # escaped signs
    assert plain.count("{") == plain.count("}")
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    body = plain[plain.index(r"\toprule") : plain.index(r"\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    wide = len(table.columns) + 1
    for line in lines:
        spans = [int(width) for width in re.findall(r"\\multicolumn\{(\d+)\}", line)]
        assert line.count("&") + 1 + sum(spans) - len(spans) == wide
    assert len(lines) == 2 + len(table.rows) + 1  # two of heads, and the line over the quoted rows
    rules = [tuple(map(int, ends)) for ends in re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", text)]
    assert [column for first, last in rules for column in range(first, last + 1)] == list(range(2, wide + 1))
    assert not set("%#_~^") & set(re.sub(r"\\textasciitilde\{\}|\\textasciicircum\{\}", "", plain))


def test_latex_escapes_a_methods_name() -> None:
    text = to_latex(build_table(evaluated({(AWKWARD, "full", "psnr"): [27.0]}), 3, quoted=False))

    name = (
        r"50\% a\_b \& c\#1 \{x\} \textasciitilde{}\textasciicircum{} \$ \textbackslash{}end "
        r"\textless{}y\textgreater{} [red]\textbar{}-{}-\textasciigrave{}"
    )
    assert f"{name} & 27.00 \\\\" in text.splitlines()


def test_latex_makes_the_best_computed_figure_bold_in_the_metrics_direction() -> None:
    scores = {
        (ours(0.8), "full", "psnr"): [27.001],
        (SEESR, "full", "psnr"): [27.004],  # prints the same
        (LQ, "full", "psnr"): [26.0],
        (ours(0.8), "full", "lpips"): [0.25],
        (SEESR, "full", "lpips"): [0.2],
        (LQ, "full", "ssim"): [0.5],  # nothing to be best of
    }

    lines = to_latex(build_table(evaluated(scores), 3)).splitlines()

    computed = lines[lines.index(r"\midrule") + 1 :][:3]
    bold = [re.findall(r"\\textbf\{([^}]*)\}", line) for line in computed]
    assert bold == [["27.00"], ["27.00", "0.2000"], []]
    assert not any("textbf" in line for line in lines[lines.index(r"\midrule") + 4 :])


def test_no_figure_of_fewer_photos_is_best() -> None:
    scores = {
        (ours(0.8), "full", "psnr"): [27.0, 26.0, 25.0],
        (LQ, "full", "psnr"): [24.0, 23.0, 22.0],
        (SEESR, "full", "psnr"): [28.0, 27.0, None],  # failed on the hardest
        (AWKWARD, "full", "psnr"): [26.0, 26.0, None],  # prints what the best prints
        (ours(0.8), "full", "ssim"): [0.7, 0.7, 0.7],
        (SEESR, "full", "ssim"): [0.8, 0.8, None],
    }
    table = build_table(evaluated(scores), 3, quoted=False)
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system="standard")

    print_table(table, console)

    # SSIM has a single figure of all photos, which is best of nothing.
    assert [line for line in to_latex(table).splitlines() if "textbf" in line] == [
        r"InstructRestore & \textbf{26.00} & 0.7000 \\"
    ]
    assert isinstance(console.file, io.StringIO)
    bold = [line for line in console.file.getvalue().splitlines()[3:] if "\x1b[1m" in line]
    assert ["InstructRestore" in line and "\x1b[1m26.00" in line for line in bold] == [True]


def test_json_is_strict_whole_and_the_same_each_time() -> None:
    report = all_figures()

    def refuse(word: str) -> None:
        raise AssertionError(word)

    first = files_of(report, report_of(report))
    content = json.loads(first["evaluation.json"], parse_constant=refuse)

    assert first == files_of(report, report_of(report))
    assert set(first) == {"evaluation.json", "table-2.csv", "table-2.tex", "table-3.csv", "table-3.tex"}
    assert content["testset"] == {"name": "hand100", "photos": 8, "bokeh": False}
    assert content["configuration"] == report.configuration
    assert [method["title"] for method in content["methods"]] == [method.title for method in report.methods]
    means = report.scores.groupby(["method", "scope", "metric"])["value"].mean()
    figures = {(of["method"], of["scope"], of["metric"]): of for of in content["figures"]}
    sweep = "InstructRestore s1=0.5,0.7,0.9,1.1 s2=1"
    assert figures.keys() - set(means.index) == {(sweep, "sweep", "locality"), (sweep, "sweep", "following")}
    for key, mean in means.items():
        figure = figures[key]  # type: ignore[index]
        assert figure["mean"] == pytest.approx(mean) and figure["low"] < figure["mean"] < figure["high"]
    locality, following = figures[sweep, "sweep", "locality"], figures[sweep, "sweep", "following"]
    assert locality == {**locality, **content["sweep"]["locality"], "better": "lower", "noise": 0.05}
    assert following == {**following, **content["sweep"]["following"], "better": "higher", "noise": 0.05}
    assert figures["LQ", "full", "lpips"]["better"] == "lower" and figures["LQ", "full", "psnr"]["noise"] == 0.05
    assert {table["number"] for table in content["tables"]} == {2, 3}
    assert len(content["comparisons"]) == 3 * 9 + 2 * 12  # steps of the sweep; InstructRestore and two others
    assert content["sweep"]["scales"] == [0.5, 0.7, 0.9, 1.1]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_console_lines_fit_and_keep_every_figure(width: int) -> None:
    report = all_figures()

    lines = printed(width, report, all_figures(bokeh=True))

    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)
    shown = [line for line in lines if line.startswith("s1 = 0.5 ")][:2]
    cells = [cell for row in build_table(report, 2).rows if row.label == "s1 = 0.5" for cell in row.cells]
    figures = [float(text) for line in shown for text in line.removeprefix("s1 = 0.5 ").split() if text != "–"]
    assert figures == pytest.approx([cell.mean for cell in cells if cell], abs=0.006)
    quoted_cells = ["29.71", "0.7522", "0.1610", "0.6801", "67.86", "0.6108", "31.27", "0.8949", "–"]
    quoted = lines.index("(paper)")
    assert lines[quoted + 1].split()[3:] == quoted_cells


def test_console_puts_groups_beneath_each_other_where_they_do_not_fit() -> None:
    report = evaluated({(ours(0.8), "target", "psnr"): [27.0] * 3})
    heads = {
        width: next(line.split() for line in printed(width, report) if " Target ──" in line) for width in (80, 100)
    }

    assert "Full" not in heads[80] and "Full" in heads[100]
    assert any("Full" in line for line in printed(80, report))


def test_console_takes_names_as_text() -> None:
    lines = printed(200, evaluated({(AWKWARD, "full", "psnr"): [27.0, 28.0]}))

    assert any(line.startswith(AWKWARD.name) and "27.50" in line for line in lines)


def test_console_of_ascii_alone() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=file, width=100, color_system=None)

    print_table(build_table(all_figures(), 2), console)

    file.flush()
    assert "LPIPSv" in file.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]


def test_comparisons_show_direction_and_significance() -> None:
    near, far = np.linspace(26, 28, 10), np.linspace(26, 28, 10) - 0.5
    report = evaluated(
        {
            (ours(0.8), "full", "psnr"): near.tolist(),
            (SEESR, "full", "psnr"): far.tolist(),
            (LQ, "full", "psnr"): (near + np.tile([0.001, -0.001], 5)).tolist(),
        }
    )
    console = Console(file=io.StringIO(), width=80, color_system=None)

    print_comparisons(build_table(report, 3), compare_methods(report, 3), console)

    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert ["SeeSR", "+.50*"] in [line.split() for line in lines]
    assert ["LQ", "+.00"] in [line.split() for line in lines]


@pytest.mark.parametrize(
    ("metric", "by", "shown"),
    [("psnr", 10.25, "+10.25"), ("psnr", -20.01, "-20.01"), ("psnr", 0.25, "+.25"), ("psnr", -0.25, "-.25"),
     ("psnr", 100.0, "+100.00"), ("musiq", 30.5, "+30.50"), ("ssim", 0.0101, "+.0101")],
)  # fmt: skip
def test_a_difference_is_printed_as_it_is(metric: str, by: float, shown: str) -> None:
    report = evaluated({(ours(0.8), "full", metric): [by] * 3, (SEESR, "full", metric): [0.0] * 3})
    console = Console(file=io.StringIO(), color_system=None, width=80)

    print_comparisons(build_table(report, 3), compare_methods(report, 3), console)

    assert isinstance(console.file, io.StringIO)
    assert ["SeeSR", shown] in [line.split() for line in console.file.getvalue().splitlines()]


def test_nothing_is_printed_where_nothing_was_compared() -> None:
    report = evaluated({(LQ, "full", "psnr"): [20.0]})
    console = Console(file=io.StringIO())

    print_comparisons(build_table(report, 3), compare_methods(report, 3), console)

    assert isinstance(console.file, io.StringIO) and console.file.getvalue() == ""


def test_csv_of_a_name_with_commas_and_quotes() -> None:
    name = 'a, "b"'
    table = build_table(evaluated({(Method(name, "results"), "full", "psnr"): [27.0]}), 3)

    assert next(csv.DictReader(io.StringIO(to_csv(table))))["label"] == name


def test_an_evaluation_without_any_figure_is_written_and_printed() -> None:
    report = evaluated({(ours(0.8), "full", "psnr"): [None, None]})

    assert json.loads(files_of(report, report_of(report))["evaluation.json"])["figures"] == []
    console = Console(file=io.StringIO(), width=80)
    print_report(report_of(report, quoted=False), console)
    assert isinstance(console.file, io.StringIO) and "InstructRestore" in console.file.getvalue()
