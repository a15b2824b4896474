"""The catalogue against a plain loop over the index, and what it does with what is odd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from instructrestore.dataengine.catalogue.catalogue import Catalogue
from instructrestore.dataengine.catalogue.query import Query
from instructrestore.dataengine.catalogue.records import read_records, said_of
from instructrestore.dataengine.catalogue.tables import VERSION, Ended
from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import Agreement, AnnotatedPhoto, Answer, Region
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset

HOSTILE = "'; DROP TABLE photos; -- <img src=x> \u202e"
NOUNS = ("dog", "wall", "sky", HOSTILE)


@pytest.fixture(scope="module")
def samples() -> list[AnnotatedPhoto]:
    """Photos that differ in all that one can look for."""
    made = []
    for seed in range(24):
        photo, _ = photo_of(
            seed, 40 + seed, 30, source=("a", "b", HOSTILE)[seed % 3], licence=("CC0-1.0", "")[seed % 2],
            quality=None if seed == 5 else float(90 - 3 * seed % 70),
        )  # fmt: skip
        regions = tuple(
            region_of(
                photo,
                0,
                0,
                3 + seed + 4 * place,
                20,
                f"The {'red' if place else 'old'} {noun}",
                noun,
                bokeh=seed % 4 == place,
            )
            for place, noun in enumerate(NOUNS[seed % 4 : seed % 4 + 1 + seed % 3])
        )
        made.append(AnnotatedPhoto(photo, tuple(scored(region, seed) for region in regions)))
    return made


def scored(region: Region, seed: int) -> Region:
    answers = (
        Answer("small", "1", 1, "", "", "not_json"),
        Answer("large", "1", 2 + seed % 2, region.caption, region.subject),
    )
    piece = replace(region.pieces[0], answers=answers, segmenter=f"segmenter {seed % 2}")
    agreement = Agreement(float(4 * seed), "judge 1") if seed % 5 else None
    return replace(region, pieces=(piece,), agreement=agreement)


@pytest.fixture(scope="module")
def dataset(samples: list[AnnotatedPhoto], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    pictures = [photo_of(seed, 40 + seed, 30)[1] for seed in range(len(samples))]
    return write_dataset(tmp_path_factory.mktemp("made") / "dataset", list(zip(samples, pictures, strict=True)))


@pytest.fixture(scope="module")
def catalogue(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    made = Catalogue(dataset, tmp_path_factory.mktemp("app"))
    read_records(made, lambda _: None, lambda: False)
    yield made
    made.close()


def keys(catalogue: Catalogue, query: Query) -> list[str]:
    return [line.key for line in catalogue.photos(catalogue.rows(query).tolist())]


Wanted = Callable[[AnnotatedPhoto, Region], bool]


def share(sample: AnnotatedPhoto, region: Region) -> float:
    return region.mask.area() / (sample.photo.width * sample.photo.height)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"subject": "dog"}, lambda _, region: region.subject == "dog"),
        ({"subject": HOSTILE}, lambda _, region: region.subject == HOSTILE),
        ({"caption": "OLD the"}, lambda _, region: "old" in region.caption.lower()),
        ({"caption": "red"}, lambda _, region: "red" in region.caption.lower()),
        ({"caption": "Red WALL"}, lambda _, region: all(word in region.caption.lower() for word in ("red", "wall"))),
        ({"caption": "red dog"}, lambda _, region: False),  # photos with an old dog and a red wall are there
        ({"caption": "'; drop"}, lambda _, region: "'; drop" in region.caption.lower()),
        ({"caption": "%"}, lambda _, region: False),
        ({"area_from": 0.2, "area_to": 0.4}, lambda sample, region: 0.2 <= share(sample, region) <= 0.4),
        ({"bokeh": True}, lambda _, region: region.bokeh),
        ({"bokeh": False, "subject": "sky"}, lambda _, region: not region.bokeh and region.subject == "sky"),
        ({"agreement_to": 40}, lambda _, region: region.agreement is not None and region.agreement.score <= 40),
        ({"said": "noun phrase: large in round 3"}, lambda _, region: region.pieces[0].answers[1].round == 3),
        ({"said": "noun phrase: small in round 1"}, lambda _, region: False),
        ({"said": "mask: segmenter 1"}, lambda _, region: region.pieces[0].segmenter == "segmenter 1"),
        ({"quality_from": 50}, lambda sample, _: (sample.photo.quality or 0) >= 50),
        ({"source": HOSTILE}, lambda sample, _: sample.photo.source == HOSTILE),
        ({"licence": ""}, lambda sample, _: sample.photo.licence == ""),
    ],
)  # fmt: skip
def test_found_is_what_a_loop_finds(
    catalogue: Catalogue, samples: list[AnnotatedPhoto], query: dict[str, Any], wanted: Wanted
) -> None:
    expected = [each.photo.key for each in samples if any(wanted(each, region) for region in each.regions)]
    assert keys(catalogue, Query(**query)) == expected


def test_conditions_on_regions_are_met_by_one_and_the_same_region(catalogue: Catalogue) -> None:
    """A photo whose dog is old and whose wall is red has no red dog."""
    found = catalogue.photos(catalogue.rows(Query(subject="dog")).tolist())
    assert any("wall" in line.subjects for line in found)
    assert keys(catalogue, Query(subject="dog", caption="red")) == []


@pytest.mark.parametrize(
    ("order", "value"),
    [
        ("quality", lambda sample: sample.photo.quality),
        ("pixels", lambda sample: sample.photo.width * sample.photo.height),
        ("regions", lambda sample: len(sample.regions)),
        ("shuffled", lambda sample: sample.photo.key),
        ("agreement", lambda sample: min((r.agreement.score for r in sample.regions if r.agreement), default=None)),
    ],
)  # fmt: skip
def test_orders(catalogue: Catalogue, samples: list[AnnotatedPhoto], order: Any, value: Callable[[Any], Any]) -> None:
    known = [each for each in samples if value(each) is not None]
    unknown = [each.photo.key for each in samples if value(each) is None]
    rising = [each.photo.key for each in sorted(known, key=value)]
    assert keys(catalogue, Query(order=order)) == [*rising, *unknown]
    if order != "shuffled":
        falling = [each.photo.key for each in sorted(known, key=lambda each: -value(each))]
        assert keys(catalogue, Query.model_validate({"order": f"-{order}"})) == [*falling, *unknown]


def test_subjects_and_facets_are_counted(catalogue: Catalogue, samples: list[AnnotatedPhoto]) -> None:
    regions = Counter(region.subject for each in samples for region in each.regions)
    photos = Counter(subject for each in samples for subject in {region.subject for region in each.regions})
    count, lines = catalogue.subjects("", 0, 10)
    assert count == len(regions)
    assert {line.subject: (line.photos, line.regions) for line in lines} == {
        subject: (photos[subject], regions[subject]) for subject in regions
    }
    assert [line.subject for line in catalogue.subjects("DRop", 0, 10)[1]] == [HOSTILE]
    said = Counter(part for each in samples for region in each.regions for part in said_of(region))
    assert {facet.value: facet.count for facet in catalogue.facets("said", 50)} == said
    assert {facet.value for facet in catalogue.facets("source", 50)} == {"a", "b", HOSTILE}


def test_a_photo_is_read_by_its_place(catalogue: Catalogue, samples: list[AnnotatedPhoto]) -> None:
    place = catalogue.place(samples[7].photo.key)
    assert place
    assert catalogue.dataset.record_at(place) == samples[7]
    assert catalogue.place("0" * 20) is None


def test_it_is_made_once_and_reading_records_goes_on(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(Ended):
        Catalogue(dataset, tmp_path, ending=lambda: True)
    first = Catalogue(dataset, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"catalogue-{VERSION}.duckdb"}  # not of the ended one
    seen: list[int] = []
    with pytest.raises(Ended):
        read_records(first, seen.append, lambda: True)
    assert not first.has_records
    first.close()
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.duckdb")}
    second = Catalogue(dataset, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    read_records(second, seen.append, lambda: False)
    assert second.has_records and seen[-1] == dataset.card.photos
    second.close()
    third = Catalogue(dataset, tmp_path)
    assert third.has_records
    assert len(third.rows(Query(said="mask: segmenter 0"))) == 12
    third.close()


def test_an_index_that_is_not_the_listed_one_is_refused(samples: list[AnnotatedPhoto], tmp_path: Path) -> None:
    made = write_dataset(tmp_path / "dataset", [(samples[0], photo_of(0, 40, 30)[1])])
    index = tmp_path / "dataset" / "index.parquet"
    index.write_bytes(index.read_bytes() + b"x")
    with pytest.raises(ValueError, match=r"not the index listed in dataset\.json"):
        Catalogue(made, tmp_path / "app")
    assert not list((tmp_path / "app").glob("*.duckdb"))


def test_pieces_say_who_said_what(samples: list[AnnotatedPhoto]) -> None:
    region = samples[1].regions[0]
    assert said_of(region) == [
        "agreement: judge 1", "description: made", "mask: segmenter 1", "noun phrase: large in round 3",
    ]  # fmt: skip
