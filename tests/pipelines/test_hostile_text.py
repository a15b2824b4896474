"""Texts that are attacks, through every command and into every file that a data set becomes: they stay text."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token
from PIL import Image
from typer.testing import CliRunner

from instructrestore.dataengine.exchange.export import NAMES
from instructrestore.dataengine.exchange.label_studio import label_of
from instructrestore.dataengine.judging.judgement import region_id
from instructrestore.dataengine.judging.log import JudgementLog, log_path
from instructrestore.dataengine.lineage.openlineage import LineageEvents
from instructrestore.dataengine.reporting import card, report, statistics
from instructrestore.dataengine.running.stage_summary import StageSummary
from instructrestore.pipelines.cli import app
from instructrestore.pipelines.publishing.model_card import model_card
from instructrestore.pipelines.search import commands
from instructrestore.shards.index import Dataset
from instructrestore.shards.plain_text import visible
from instructrestore.shards.verify import verify
from tests.dataengine.hostile_dataset import ATTACKS, write_hostile
from tests.dataengine.judging.judgements import judged
from tests.dataengine.search.made_space import MadeSpace
from tests.html_page import Page

# What a terminal acts on; line ends are the commands' own.
_ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
PLAIN = dict.fromkeys(ATTACKS, "a text")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return with_pages(write_hostile(tmp_path_factory.mktemp("hostile") / "dataset", ATTACKS))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The same data set with harmless texts."""
    return with_pages(write_hostile(tmp_path_factory.mktemp("plain") / "dataset", PLAIN))


def with_pages(dataset: Dataset) -> Dataset:
    """With its card, and its report beside it."""
    folder, figures = Path(dataset.path), statistics.of_dataset(dataset)
    texts = next(iter(dataset.card.configuration["masks"].values()))
    counts = dict.fromkeys(ATTACKS.values() if texts[0] != "a text" else ["a text"], 1)
    stages = [StageSummary(name, 3, 1, counts, counts, counts) for name in counts]
    card.write_card(folder, dataset.card, figures)
    report.write_report(folder.parent / "report.html", dataset, figures, stages, "\n".join(counts))
    return Dataset(dataset.path)


def said(*arguments: object) -> str:
    """What a command prints, of which a terminal acts on nothing."""
    ended = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert ended.exit_code == 0, ended.exception
    assert not _ACTS.search(ended.output), arguments
    return ended.output


def captions(dataset: Dataset) -> Counter[str]:
    return Counter(caption for captions in dataset.index["captions"].to_pylist() for caption in captions)


def shapes(path: Path) -> set[tuple[str, ...]]:
    return {(tag, *sorted(attributes)) for tag, attributes in Page(path.read_bytes()).elements}


def tokens(text: str) -> Iterator[Token]:
    def inside(found: list[Token]) -> Iterator[Token]:
        for token in found:
            yield token
            yield from inside(token.children or [])

    return inside(_MARKDOWN.parse(text))


def structure(text: str) -> set[tuple[str, str, str]]:
    """The kinds of things that Markdown makes of a text, with what they lead to and the HTML in them."""
    return {
        (token.type, str(token.attrs), token.content if "html" in token.type else "")
        for token in tokens(text)
        if token.type != "code_inline"
    }


def card_of(dataset: Dataset) -> tuple[dict[str, object], str]:
    head, body = (Path(dataset.path) / "README.md").read_text("utf-8").split("\n---\n", 1)
    return yaml.safe_load(head.removeprefix("---\n")), body


def test_the_report_has_no_element_and_no_attribute_of_data(dataset: Dataset, plain: Dataset) -> None:
    pages = [Path(each.path).parent / "report.html" for each in (dataset, plain)]
    assert shapes(pages[0]) == shapes(pages[1])
    page = Page(pages[0].read_bytes())
    assert all(each["href"].startswith("#") for each in page.all("a"))
    assert all(each["src"].startswith("data:image/") for each in page.all("img"))
    assert not _ACTS.search(page.text.replace("\t", ""))
    for text in ATTACKS.values():
        assert visible(text) in page.text


def test_the_card_is_the_same_page_with_other_words(dataset: Dataset, plain: Dataset) -> None:
    (front, body), (wanted, other) = card_of(dataset), card_of(plain)
    assert front.keys() == wanted.keys() and front["pretty_name"] == dataset.card.name
    assert structure(body) == structure(other)
    assert not _ACTS.search(body)
    text = "\n".join(token.content for token in tokens(body) if token.type == "inline")
    shown = {"".join(part.content for part in token.children or []) for token in tokens(body) if token.type == "inline"}
    for licence in dataset.index["licence"].to_pylist():
        assert " ".join(visible(licence.strip()).split()) in shown, text
    croissant = json.loads((Path(dataset.path) / "croissant.json").read_bytes())
    assert {licence.strip() for licence in dataset.index["licence"].to_pylist()} == set(croissant["license"])


def test_a_models_card_too() -> None:
    def made(texts: dict[str, str]) -> str:
        nested = {text: {text: text} for text in texts.values()}
        return model_card(" ".join(texts.values()), {"step": 1, "base": "b", "validation": nested, "settings": nested})

    hostile, harmless = (made(texts).split("\n---\n", 1)[1] for texts in (ATTACKS, PLAIN))
    assert structure(hostile) == structure(harmless)


def test_no_command_acts_on_the_terminal(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = dataset.index["key"][1].as_py()
    assert "sound" in said("verify", dataset.path)
    assert "\\x1b]0;owned\\x07" in said("stats", dataset.path)
    assert {each["name"] for each in json.loads(said("stats", dataset.path, "--json"))["subjects"]}
    said("show", dataset.path, key, "--out", tmp_path / "shown.png")
    with Image.open(tmp_path / "shown.png") as picture:
        assert picture.width < 4000 and picture.height < 4000
    assert "quality 70.0 by" in said("trace", dataset.path, f"{key}#1")
    traced = json.loads(said("trace", dataset.path, key, "--json"))
    assert traced["photo"]["name"] == dataset.record(1).photo.name
    licences = dict.fromkeys(dataset.index["licence"].to_pylist())
    for granted in licences:
        assert "nothing was uploaded" in said(
            "push", "dataset", dataset.path, "a/b", "--dry-run", "--licences", granted
        )

    monkeypatch.setattr(commands, "open_space", lambda *_: MadeSpace(lambda row, region: (1, row, region), 3))
    vectors = ("--by", "pictures", "--vectors", tmp_path / "vectors")
    said("index-vectors", dataset.path, *vectors)
    for asked in (("--like", f"{key}#1"), ("--duplicates", "--least", "0.1")):
        said("search", dataset.path, *asked, *vectors, "--out", tmp_path / "sheet.png")
        assert json.loads(said("search", dataset.path, *asked, *vectors, "--json"))["found"]


@pytest.mark.parametrize("layout", NAMES)
def test_every_layout_holds_the_texts_as_they_are(dataset: Dataset, tmp_path: Path, layout: str) -> None:
    out = tmp_path / layout
    said("export", dataset.path, "--to", layout, "--out", out)
    keys = set(dataset.index["key"].to_pylist())
    names = {path.name for path in out.rglob("*") if path.is_file()}
    ours = {"annotations.json", "panoptic.json", "tasks.json", "config.xml", "samples.json", "metadata.json"}
    ours |= {"data.yaml", "train-00000.parquet"}
    assert all(name[:20] in keys for name in names - ours)  # no file is called as data wants
    texts = [path.read_text("utf-8") for path in out.rglob("*") if path.suffix in (".json", ".yaml", ".xml", ".txt")]
    assert not any(_ACTS.search(text) for text in texts)
    subjects = {subject for subjects in dataset.index["subjects"].to_pylist() for subject in subjects}
    if layout in ("coco", "panoptic"):
        held = json.loads((out / names.intersection(ours).pop()).read_bytes())
        regions = (
            held["annotations"] if layout == "coco" else [s for a in held["annotations"] for s in a["segments_info"]]
        )
        assert {each["name"] for each in held["categories"]} == subjects
        assert set(Counter(each["caption"] for each in regions)) <= set(captions(dataset))
        assert layout == "panoptic" or Counter(each["caption"] for each in regions) == captions(dataset)
    elif layout == "label-studio":
        results = [
            r for task in json.loads(texts[0 if texts[0][0] == "[" else 1]) for r in task["predictions"][0]["result"]
        ]
        assert Counter(r["value"]["text"][0] for r in results if r["type"] == "textarea") == captions(dataset)
        page = ElementTree.parse(out / "config.xml").getroot()
        assert {each.get("value") for each in page.iter("Label")} == {label_of(subject) for subject in subjects}
        assert {each.tag for each in page.iter()} == {
            "View", "Image", "BrushLabels", "Label", "TextArea", "Choices", "Choice",
        }  # fmt: skip
    elif layout == "fiftyone":
        samples = json.loads((out / "samples.json").read_bytes())["samples"]
        regions = [each for sample in samples for each in sample["regions"]["detections"]]
        assert Counter(each["caption"] for each in regions) == captions(dataset)
        assert [sample["name"] for sample in samples] == [dataset.record(row).photo.name for row in range(len(samples))]
    elif layout == "huggingface":
        table = pq.read_table(out / "data" / "train-00000.parquet")
        assert Counter(c for some in table["captions"].to_pylist() for c in some) == captions(dataset)
    elif layout == "yolo-seg":
        assert set(yaml.safe_load(texts[[t[0] for t in texts].index("#")])["names"].values()) == subjects
    else:
        items = [item for text in texts for item in json.loads(text)]
        assert Counter(item["corrected_mask_description"][0] for item in items) == captions(dataset)


def test_what_people_say_stays_text_too(dataset: Dataset, tmp_path: Path) -> None:
    parent = Path(dataset.path)
    copy = tmp_path / "dataset"
    copy.mkdir()
    for path in parent.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    log, refused, texts = JudgementLog(log_path(str(copy))), 0, list(ATTACKS.values())
    for row in range(dataset.index.num_rows):
        sample = dataset.record(row)
        for place, region in enumerate(sample.regions):
            text = texts[(row * len(sample.regions) + place) % len(texts)]
            known = {"region": region_id(region), "key": sample.photo.key}
            try:
                log.append(judged("caption", who=text[:64], caption=text, **known))
            except ValueError:
                refused += 1
    assert refused and len(log.entries()) > 5
    said("revise", copy, "--out", tmp_path / "v2")
    assert verify(str(tmp_path / "v2")) == []
    changed = {entry.judgement.caption for entry in log.entries()}  # pyright: ignore[reportAttributeAccessIssue]
    assert changed <= captions(Dataset(str(tmp_path / "v2"))).keys()
    said("diff", copy, tmp_path / "v2")
    told = json.loads(said("diff", copy, tmp_path / "v2", "--json"))
    assert {each["caption"][1] for each in told["regions_changed"]} <= changed
    _, body = card_of(Dataset(str(tmp_path / "v2")))
    assert structure(body) <= structure(card_of(dataset)[1])

    said("audit", copy, "--sample", "10")
    queue = Path(f"{copy}.audit.jsonl")
    assert not _ACTS.search(queue.read_text("utf-8"))
    answers = [
        json.loads(line) | {"mask_right": True, "caption_right": False} for line in queue.read_bytes().splitlines()
    ]
    (tmp_path / "answers").write_text("".join(json.dumps(each) + "\n" for each in answers))
    for who in ("<b>=Ann|*[x](y)", "Bob [bold]"):
        said("audit", copy, "--answers", tmp_path / "answers", "--who", who)
    assert "<b>=Ann|*[x](y) and Bob [bold] judged the same" in " ".join(said("audit", copy).split())
    said("audit", copy, "--json")


def test_events_of_lineage_are_lines_of_json(tmp_path: Path) -> None:
    path, lines = tmp_path / "events", []
    counts = dict.fromkeys(ATTACKS.values(), 1)
    events = LineageEvents(str(path), "".join(ATTACKS.values()), "".join(ATTACKS.values()), lines.append)
    for text in ATTACKS.values():
        events.ended(StageSummary(text, 1, 1, counts, counts, counts))
    assert lines == []
    told = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert len(told) == len(ATTACKS) and told[0]["run"]["facets"]["instructrestore_rows"]["dropped"] == counts
    assert not _ACTS.search(path.read_text("ascii"))


def test_an_index_that_says_other_things_is_named_in_plain_words(dataset: Dataset, tmp_path: Path) -> None:
    """A fault that `verify` finds may quote the data."""
    copy = tmp_path / "dataset"
    copy.mkdir()
    for path in Path(dataset.path).iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    made = replace(dataset.card, name=ATTACKS["escape"], photos=99)
    (copy / "dataset.json").write_bytes(made.to_json())
    (copy / "checksums.sha256").unlink()
    ended = CliRunner().invoke(app, ["verify", str(copy)])
    assert ended.exit_code == 1 and not _ACTS.search(ended.output)
