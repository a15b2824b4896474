from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from instructrestore.dataengine.reporting import statistics
from instructrestore.dataengine.reporting.statistics import PUBLISHED
from instructrestore.pipelines.building.dataset_commands import stats as stats_command
from instructrestore.shards.index import INDEX_SCHEMA, Dataset
from instructrestore.shards.sample import AnnotatedPhoto
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Three photos: 100x80 and its near-duplicate 80x100, and 600x520; five regions."""
    first, first_rgb = photo_of(1, 100, 80, quality=60.0, licence="CC-BY-4.0")
    second, second_rgb = photo_of(2, 80, 100, quality=None, licence="", group=first.key)
    third, third_rgb = photo_of(3, 600, 520, quality=90.0, licence="CC-BY-4.0", source="elsewhere")
    return write_dataset(
        tmp_path / "set",
        [
            (
                AnnotatedPhoto(
                    first,
                    (
                        region_of(first, 0, 0, 100, 40, "the blue sky", "sky"),
                        region_of(first, 0, 40, 10, 8, "two Dogs", "Dogs", bokeh=True),
                    ),
                ),
                first_rgb,
            ),
            (AnnotatedPhoto(second, (region_of(second, 0, 0, 80, 10, "a dog on the field", "dog"),)), second_rgb),
            (
                AnnotatedPhoto(
                    third,
                    (
                        region_of(third, 0, 0, 600, 520, "grass", "grass", bokeh=True),
                        region_of(third, 9, 9, 60, 52, "tree", "tree", bokeh=True),
                    ),
                ),
                third_rgb,
            ),
        ],
    )


def test_figures_counted_by_hand(dataset: Dataset) -> None:
    figures = statistics.of_dataset(dataset)
    assert (figures.photos, figures.regions) == (3, 5)
    # "Dogs" and "dog" are one subject; the ties that follow are alphabetical.
    assert [(s.name, s.count, s.share) for s in figures.subjects] == [
        ("dog", 2, 0.4),
        ("grass", 1, 0.2),
        ("sky", 1, 0.2),
        ("tree", 1, 0.2),
    ]
    assert dict(figures.areas.filled()) == {
        "0-1": 0,
        "1-2": 2,
        "2-5": 0,
        "5-10": 0,
        "10-20": 1,
        "20-40": 0,
        "40-60": 1,
        "60-100": 1,
    }
    assert dict(figures.short_sides.filled()) == {"1-256": 2, "257-512": 0, "513-768": 1}
    assert dict(figures.megapixels.filled()) == {"0-0.25": 2, "0.25-0.5": 1}
    assert dict(figures.regions_per_photo.filled()) == {"0": 0, "1": 1, "2": 2}
    assert dict(figures.caption_words.filled()) == {"1": 2, "2": 1, "3": 1, "4": 0, "5": 1}
    assert [(x.name, x.count) for x in figures.licences] == [("CC-BY-4.0", 2), ("not stated", 1)]
    assert [(x.name, x.count) for x in figures.sources] == [("made", 2), ("elsewhere", 1)]
    assert figures.near_duplicates == statistics.NearDuplicates(groups=1, photos=2, largest=2)
    assert (figures.bokeh_regions, figures.bokeh_photos, figures.bokeh_share) == (3, 2, 0.6)


def test_table_1_names_its_metric_and_never_calls_the_embedded_score_musiq(dataset: Dataset) -> None:
    row = statistics.of_dataset(dataset).table_1
    assert (row.annotations, row.min_resolution, row.max_resolution, row.quality) == (5, "80x100", "600x520", 75.0)
    assert row.metric == "embedded score"
    assert "MUSIQ" not in statistics.quality_text(row)
    assert statistics.of_index([dataset.index], "x", ["musiq"]).table_1.metric == "MUSIQ"
    assert statistics.of_index([dataset.index], "x", ["embedded", "musiq"]).table_1.metric == "embedded score and MUSIQ"


def test_published_rows_are_the_papers(data_folder: Path) -> None:
    table = data_folder.parent / "paper_tables.csv"
    if not table.is_file():
        pytest.skip("paper_tables.csv is not beside the data folder")
    known: dict[str, dict[str, str]] = {}
    for line in table.read_text().splitlines()[1:]:
        number, name, _, metric, value = line.split(",")
        if number == "1":
            known.setdefault(name, {})[metric] = value
    assert len(known) == len(PUBLISHED)
    for row in PUBLISHED:
        facts = known[row.name.removesuffix(" (paper)")]
        assert str(row.annotations) == facts["annotations"]
        assert (row.min_resolution, row.max_resolution) == (facts["min_resolution"], facts["max_resolution"])
        assert (row.quality, row.metric) == (float(facts["musiq"]), "MUSIQ")


def test_an_empty_index_gives_zeros() -> None:
    figures = statistics.of_index([INDEX_SCHEMA.empty_table()], "empty", [])
    assert (figures.photos, figures.regions, figures.subjects, figures.bokeh_share) == (0, 0, (), 0.0)
    assert (figures.table_1.quality, figures.table_1.min_resolution) == (None, "")
    assert figures.near_duplicates.largest == 0
    Console(file=io.StringIO()).print(statistics.console(figures))


def test_a_part_of_an_index_is_counted_alone(dataset: Dataset) -> None:
    figures = statistics.of_index([dataset.index.slice(1, 2)], "part", ["embedded"])
    assert (figures.photos, figures.regions, figures.table_1.max_resolution) == (2, 3, "600x520")
    assert figures.bokeh_photos == 1
    assert figures.near_duplicates.groups == 0


def test_the_command_prints_both_forms(
    dataset: Dataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    stats_command(dataset.path, as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert content["regions"] == 5 and content["bokeh_share"] == 0.6
    assert [row["name"] for row in content["published"]][:4] == ["RefClef", "RefCOCO", "RefCOCO+", "RefCOCOg"]
    stats_command(dataset.path)
    text = capsys.readouterr().out
    for word in ("RefCOCOg", "208,960", "embedded score", "dog", "CC-BY-4.0"):
        assert word in text
    with pytest.raises(ValueError, match="not a data set"):
        stats_command(str(Path(dataset.path).parent))


def test_names_are_not_read_as_markup(tmp_path: Path) -> None:
    photo, rgb = photo_of(1, 32, 32, source="[/red] odd [bold]")
    sample = AnnotatedPhoto(photo, (region_of(photo, 0, 0, 8, 8, "a [red] thing", "[/nothing]"),))
    figures = statistics.of_dataset(write_dataset(tmp_path / "set", [(sample, rgb)]))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(statistics.console(replace(figures, name="[/x]")))
    text = console.export_text()
    assert "[/nothing]" in text and "[/red] odd [bold]" in text


def test_the_name_of_a_metric_is_not_taken_from_a_damaged_shard(tmp_path: Path) -> None:
    photo, rgb = photo_of(1, 32, 32)
    sample = AnnotatedPhoto(photo, (region_of(photo, 0, 0, 8, 8, "a thing", "thing"),))
    dataset = write_dataset(tmp_path / "set", [(sample, rgb)])
    (shard,) = Path(dataset.path).glob("*.tar")
    content = shard.read_bytes()
    assert content.count(b"embedded") == 1
    shard.write_bytes(content.replace(b"embedded", b"embeddad"))
    with pytest.raises(ValueError, match=f"{shard.name} is damaged"):
        stats_command(dataset.path)


def test_an_index_in_pieces_gives_the_same_figures(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, places = statistics.of_dataset(dataset), dataset.index.to_pylist()
    assert len(places) > 2
    monkeypatch.setattr(statistics, "PIECE", 1)
    monkeypatch.setattr("instructrestore.shards.index._BATCH", 1)
    assert statistics.of_dataset(dataset) == whole
    assert dataset.places([len(places) - 1, 0]) == [places[0], places[-1]]
    assert dataset.places([]) == []
