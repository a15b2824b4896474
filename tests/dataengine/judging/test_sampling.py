from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from instructrestore.dataengine.judging.judgement import region_id
from instructrestore.dataengine.judging.sampling import allocate, draw, queue_path, read_queue, write_queue
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import AnnotatedPhoto, Answer, Correction, Region
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """20 photos: a large sky of round 1 and a small dog in each, named by round 1 or 3, by the source or by a judge."""
    samples = []
    for seed in range(20):
        photo, rgb = photo_of(seed, 64, 48)
        sky = _named(region_of(photo, 0, 0, 64, 20, "the sky", "Skies"), 1)
        dog = region_of(photo, 4, 24, 8, 8, f"dog {seed}", "dog" if seed < 15 else f"beast {seed}")
        dog = _named(dog, 3) if seed < 5 else dog
        dog = replace(dog, corrections=(Correction("caption", "Ann", "2026-01-31T12:00:00Z"),)) if seed == 9 else dog
        samples.append((AnnotatedPhoto(photo, (sky, dog)), rgb))
    return write_dataset(tmp_path_factory.mktemp("drawn") / "dataset", samples)


def _named(region: Region, round_number: int) -> Region:
    answer = Answer("grammar", "1", round_number, region.caption, region.subject)
    return replace(region, pieces=tuple(replace(piece, answers=(answer,)) for piece in region.pieces))


def test_a_sample_has_regions_of_every_stratum(dataset: Dataset) -> None:
    drawn = draw(dataset, 10, seed=0)
    assert len({(each.key, each.region) for each in drawn}) == 10
    strata = {each.stratum: each.regions for each in drawn}
    assert strata == {
        ("common", "20% and more", "1"): 20,
        ("less common", "under 5%", "given"): 10,
        ("less common", "under 5%", "3"): 5,
        ("less common", "under 5%", "judge"): 1,
        ("rare", "under 5%", "given"): 4,
    }
    for each in drawn:
        regions = dataset.record(dataset.find(each.key)).regions
        region = next(region for region in regions if region_id(region) == each.region)
        assert (region.caption, region.subject) == (each.caption, each.subject)
        assert each.dataset == dataset.sha256


def test_a_sample_follows_from_its_seed_and_a_larger_one_goes_on_from_it(dataset: Dataset) -> None:
    drawn = draw(dataset, 12, seed=0)
    assert draw(dataset, 12, seed=0) == drawn != draw(dataset, 12, seed=1)
    assert {each.region for each in drawn} <= {each.region for each in draw(dataset, 24, seed=0)}
    assert len(draw(dataset, 1000, seed=0)) == 40


def test_each_stratum_gets_its_share_and_at_least_one() -> None:
    sizes = {("a", "", ""): 900, ("b", "", ""): 95, ("c", "", ""): 4, ("d", "", ""): 1}
    assert list(allocate(sizes, 100).values()) == [90, 8, 1, 1]
    assert Counter(allocate(sizes, 2).values()) == {1: 2, 0: 2}
    assert allocate(sizes, 5000) == sizes
    for sample in (4, 5, 17, 999):
        counts = allocate(sizes, sample)
        assert sum(counts.values()) == sample and all(1 <= counts[key] <= sizes[key] for key in sizes)


def test_a_queue_survives_its_file_and_a_damaged_one_is_named(dataset: Dataset, tmp_path: Path) -> None:
    path = queue_path(str(tmp_path / "dataset"))
    assert path == tmp_path / "dataset.audit.jsonl" and read_queue(path) == []
    drawn = draw(dataset, 10, seed=0)
    write_queue(path, drawn)
    assert read_queue(path) == drawn
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedFile, match="--sample"):
        read_queue(path)
