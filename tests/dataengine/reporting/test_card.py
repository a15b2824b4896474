from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from instructrestore.dataengine.reporting import statistics
from instructrestore.dataengine.reporting.card import hub_licence, write_card
from instructrestore.pipelines.building.presets import embedded
from instructrestore.shards.index import INDEX_SCHEMA, Dataset
from instructrestore.shards.sample import AnnotatedPhoto, Answer, Correction, from_json
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset

EMBEDDED = {
    "quality_gate": {"scorer": "musiq"},
    "masks": {"segmenter": "named", "cleanup": {"holes": 0.1}},
    "noun_phrases": {"parsers": [{"kind": "grammar"}, {"kind": "server"}]},
}


def dataset_of(folder: Path, configuration: dict[str, object], licence: str = "CC-BY-4.0") -> Dataset:
    samples = []
    for seed in range(3):
        photo, rgb = photo_of(seed, 40, 30, licence=licence if seed else "", source="a | b")
        samples.append((AnnotatedPhoto(photo, (region_of(photo, 0, 0, 9, 9, "a cat", "cat"),)), rgb))
    return write_dataset(folder, samples, configuration)


def write(dataset: Dataset) -> tuple[str, dict]:
    folder = Path(dataset.path)
    write_card(folder, dataset.card, statistics.of_dataset(dataset))
    return (folder / "README.md").read_text("utf-8"), json.loads((folder / "croissant.json").read_text("utf-8"))


def front_matter(readme: str) -> dict[str, object]:
    """Each line is `key: JSON`, which is YAML too."""
    lines = readme.split("---\n")[1].splitlines()
    return {key: json.loads(value) for key, value in (line.split(": ", 1) for line in lines)}


def test_front_matter_is_what_the_hub_reads(tmp_path: Path) -> None:
    readme, _ = write(dataset_of(tmp_path / "set", {}))
    assert readme.startswith("---\n")
    matter = front_matter(readme)
    assert matter["license"] == ["cc-by-4.0", "unknown"]
    assert matter["size_categories"] == ["n<1K"]
    assert matter["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "*.tar"}]}]


def test_the_readme_tells_fields_loading_licences_and_figures(tmp_path: Path) -> None:
    readme, _ = write(dataset_of(tmp_path / "set", {}))
    for words in ("wds.WebDataset(", "load_dataset(", "ray.data.read_webdataset(", "photo.perceptual_hash"):
        assert words in readme
    assert "| CC-BY-4.0 | 2 | 66.7% |" in readme and "| not stated | 1 | 33.3% |" in readme
    assert "a \\| b" in readme  # a source's name cannot break the table
    assert "embedded score is another metric" in readme
    assert "$" not in readme


def test_every_field_of_a_record_is_described(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path / "set", {})
    readme, croissant = write(dataset)
    record = json.loads(dataset._member(f"{dataset._root}/png-000000.tar", *places(dataset)))
    for name in record["photo"]:
        assert f"`photo.{name}`" in readme
    for name in record["regions"][0]:
        assert f"`regions[].{name}`" in readme
    fields = {field["name"]: field for field in croissant["recordSet"][0]["field"]}
    assert list(fields) == INDEX_SCHEMA.names
    assert fields["captions"]["repeated"] is True and "repeated" not in fields["key"]


def places(dataset: Dataset) -> tuple[int, int]:
    return dataset.index["json_offset"][0].as_py(), dataset.index["json_bytes"][0].as_py()


def test_limits_are_told_of_the_embedded_annotators_that_were_used_and_no_others(tmp_path: Path) -> None:
    readme, _ = write(dataset_of(tmp_path / "used", EMBEDDED))
    assert "knows 133 names" in readme and "embedded grammar" in readme
    assert "Descriptions" not in readme and "by colour" not in readme and "embedded measure" not in readme
    nested, _ = write(dataset_of(tmp_path / "nested", {"settings": EMBEDDED}))
    assert nested == readme
    gate, _ = write(dataset_of(tmp_path / "gate", embedded().model_dump(mode="json")))
    assert "scored by BRISQUE" in gate and "embedded measure" not in gate and "scored by BRISQUE" not in readme
    plain, _ = write(dataset_of(tmp_path / "plain", {"preset": "embedded", "masks": {"segmenter": "annotated"}}))
    assert "Masks, where" not in plain and "grammar" not in plain
    earlier, _ = write(dataset_of(tmp_path / "earlier", {"masks": {"segmenter": "embedded"}}))
    now, _ = write(dataset_of(tmp_path / "now", {"masks": {"segmenter": "colour"}}))
    assert "embedded segmenter by colour" in earlier and earlier == now


def test_hugging_face_datasets_reads_the_folder_by_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    samples = []
    for seed in range(8):  # what a guess from the first photos would get wrong comes last
        photo, rgb = photo_of(seed, 40, 30, quality=None if seed < 7 else 61.5, format="png" if seed < 6 else "webp")
        region = region_of(photo, 0, 0, 9, 9, "a cat", "cat")
        if seed == 7:
            answers = (Answer("grammar", "1", 1, "a cat", "cat", "parroting"),)
            corrections = (Correction("caption", "Ann", "2026-01-31T12:00:00Z"),)
            pieces = (replace(region.pieces[0], answers=answers),)
            region = replace(region, pieces=pieces, corrections=corrections)
        samples.append((AnnotatedPhoto(photo, (region,)), rgb))
    write(write_dataset(tmp_path / "set", samples))
    loaded = datasets.load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["__key__"] for row in loaded] == [sample.photo.key for sample, _ in samples]
    for row, (sample, rgb) in zip(loaded, samples, strict=True):
        assert np.array_equal(np.asarray(row["png"] or row["webp"]), rgb)
        assert from_json(json.dumps(row["json"]).encode()) == sample


def test_croissant_lists_every_shard_with_its_digest(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path / "set", {})
    _, croissant = write(dataset)
    files = {entry["@id"]: entry for entry in croissant["distribution"] if entry["@type"] == "cr:FileObject"}
    assert files.keys() == {"png-000000.tar", "index.parquet"}
    for shard in dataset.card.shards:
        assert files[shard.name]["sha256"] == shard.sha256
        assert files[shard.name]["contentUrl"] == shard.name
    assert files["index.parquet"]["sha256"] == dataset.card.index_sha256
    for entry in croissant["distribution"]:
        assert all(place["@id"] in files for place in entry.get("containedIn", ()))
    sets = {entry["@id"]: entry for entry in croissant["distribution"] if entry["@type"] == "cr:FileSet"}
    assert sets.keys() == {"png-photos", "records"}
    assert sets["png-photos"]["containedIn"] == sets["records"]["containedIn"] == [{"@id": "png-000000.tar"}]
    assert croissant["conformsTo"] == "http://mlcommons.org/croissant/1.0"


def test_equal_data_sets_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(dataset_of(tmp_path / name, EMBEDDED))
    for file in ("README.md", "croissant.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_an_empty_data_set_has_a_card(tmp_path: Path) -> None:
    readme, croissant = write(write_dataset(tmp_path / "set", []))
    assert front_matter(readme)["license"] == ["unknown"] and "0 photos with 0 regions" in readme
    assert [entry["@id"] for entry in croissant["distribution"]] == ["index.parquet"]


def test_hostile_licences_stay_inside_their_cells(tmp_path: Path) -> None:
    licence = 'mine"\n---\n| <script> [x](http://y) 😀'
    readme, croissant = write(dataset_of(tmp_path / "set", {}, licence))
    assert front_matter(readme)["license"] == ["other", "unknown"]
    assert "\\| \\<script\\> \\[x\\](http://y) 😀" in readme
    assert licence in croissant["license"]


def test_what_would_act_is_seen_in_the_card(tmp_path: Path) -> None:
    licence = "\x1b]0;owned\x07 \u202emine\x9b"
    readme, croissant = write(dataset_of(tmp_path / "set", {}, licence))
    assert "\\\\x1b\\]0;owned\\\\x07 \\\\u202emine\\\\x9b" in readme
    assert licence in croissant["license"]
    for name in ("README.md", "croissant.json"):
        text = (tmp_path / "set" / name).read_text("utf-8")
        assert (
            not {char for char in text if char != "\n" and unicodedata.category(char) == "Cc"} and "\u202e" not in text
        )


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("", "unknown"),
        ("CC-BY-4.0", "cc-by-4.0"),
        ("cc by-sa 4.0", "cc-by-sa-4.0"),
        ("http://creativecommons.org/licenses/by-nc-sa/2.0/", "cc-by-nc-sa-2.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
        ("Apache-2.0", "apache-2.0"),
        ("Unsplash License", "other"),
        ("CC-BY-9.9", "other"),
    ],
)
def test_licences_as_the_hub_names_them(stated: str, name: str) -> None:
    assert hub_licence(stated) == name
