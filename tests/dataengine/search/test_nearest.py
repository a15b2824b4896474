"""What lies near what: the exact search against numpy, regions of the wrong subject, photos that show the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from instructrestore.dataengine.search.making import make_vectors
from instructrestore.dataengine.search.nearest import Hit, nearest
from instructrestore.dataengine.search.oddities import PhotoPair, duplicates, oddities
from instructrestore.shards.index import Dataset
from tests.dataengine.search.made_space import MadeSpace
from tests.dataengine.small_dataset import AnnotatedPhoto, photo_of, region_of
from tests.dataengine.small_dataset import write_dataset as write_small
from tests.shards.samples import write_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    write_dataset(tmp_path / "data")
    return Dataset(str(tmp_path / "data"))


def test_the_nearest_are_those_of_numpy(dataset: Dataset, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    made = rng.standard_normal((6, 3, 40)).astype(np.float32)
    made /= np.linalg.norm(made, axis=2, keepdims=True)
    table = make_vectors(dataset, MadeSpace(lambda row, region: made[row, region + 1].tolist(), 40), tmp_path)
    query = made[2, 1]
    for photos, vectors in ((False, made[:, 1:]), (True, made[:, :1])):
        scores = (vectors @ query).ravel()
        expected = [(int(n) // vectors.shape[1], int(n) % vectors.shape[1] - photos) for n in np.argsort(-scores)[:5]]
        hits = nearest(table, query, 5, photos=photos)
        assert [(hit.row, hit.region) for hit in hits] == expected
        assert [hit.score for hit in hits] == pytest.approx(np.sort(scores)[::-1][:5], abs=2e-3)
    assert nearest(table, query, 1)[0] == Hit(2, 0, pytest.approx(1, abs=2e-3))
    chosen = np.zeros(12, bool)
    chosen[[1, 7]] = True
    assert {(hit.row, hit.region) for hit in nearest(table, query, 5, chosen=chosen)} == {(0, 1), (3, 1)}


def test_a_region_of_the_wrong_subject_is_the_oddest(dataset: Dataset, tmp_path: Path) -> None:
    """The samples' first region is a dog and their second a wall; the dog of row 4 looks like a wall."""
    rng = np.random.default_rng(1)

    def look(row: int, region: int) -> list[float]:
        kind = 1 if (row, region) == (4, 0) else region
        return (np.eye(8)[max(kind, 0)] + 0.1 * rng.random(8)).tolist()

    table = make_vectors(dataset, MadeSpace(look, 8), tmp_path)
    for subject in ("dog", "dogs", None):
        found = oddities(table, subject, 5)
        assert [(odd.row, odd.region, odd.like) for odd in found] == [(4, 0, "wall")]
        assert found[0].score > 0.5
    assert oddities(table, "wall", 5) == []
    with pytest.raises(ValueError, match="has no regions of 'cat': 3 are needed"):
        oddities(table, "cat", 5)


def test_photos_that_show_the_same_are_paired_and_what_the_hash_says_is_told(tmp_path: Path) -> None:
    samples = []
    for seed in range(4):
        photo, rgb = photo_of(seed, 64, 48, group="" if seed else "0" * 20)
        samples.append((AnnotatedPhoto(photo, (region_of(photo, 0, 0, 9, 9, "a dog", "dog"),)), rgb))
    dataset = write_small(tmp_path / "data", samples)
    looks = np.array([[1, 0, 0], [0.99, 0.1, 0], [0, 1, 0], [0, 0, 1]])
    table = make_vectors(dataset, MadeSpace(lambda row, _: looks[row].tolist(), 3), tmp_path / "vectors")
    assert duplicates(table, 0.9, 10) == [PhotoPair(0, 1, pytest.approx(0.995, abs=2e-3), False)]
    assert [(pair.first, pair.second) for pair in duplicates(table, -1, 2)] == [(0, 1), (1, 2)]
