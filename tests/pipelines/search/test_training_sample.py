"""Which triplet a sample of a training run was, against the stream that the training read."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from instructrestore.model.networks.checkpoint_record import RECORD, record_bytes
from instructrestore.model.training.settings import TrainingSettings
from instructrestore.pipelines.search.training_sample import training_sample
from instructrestore.shards.index import Dataset
from instructrestore.shards.reading.cache import ShardCache
from instructrestore.shards.reading.order import Order, OrderSettings
from instructrestore.shards.reading.reader import PhotoReader, Triplet
from instructrestore.shards.reading.split import validation_photos
from instructrestore.shards.reading.stream import TripletStream
from instructrestore.shards.reading.triplets import Triplets
from tests.shards.samples import write_dataset

SETTINGS = TrainingSettings(seed=7, batch=4, steps=9)


def place(triplet: Triplet) -> Triplet:
    return triplet


def train_on(folder: Path, datasets: list[Dataset], shares: list[Fraction], faults: dict[str, int]) -> TripletStream:
    """A checkpoint after two steps, as a training on these data sets leaves it, and the stream that it read."""
    cache = ShardCache(folder / "cache", 1 << 30)
    held_out = [validation_photos(each.index, SETTINGS.validation.share, SETTINGS.seed) for each in datasets]
    tables = [Triplets.of(each.index, ~apart) for each, apart in zip(datasets, held_out, strict=True)]
    order = Order(tables, shares, OrderSettings(seed=SETTINGS.seed, window_shards=SETTINGS.window_shards))
    stream = TripletStream([PhotoReader(each, cache) for each in datasets], order, place, batch=SETTINGS.batch)
    state = {"version": 1, "step": 2, "base": "b", "settings": SETTINGS.model_dump(mode="json"), "scaler": {}}
    checkpoint = folder / "checkpoints/step-00000002"
    checkpoint.mkdir(parents=True)
    content = {**state, "faults": faults, "order": stream.state_dict()["order"]}
    (checkpoint / RECORD).write_bytes(record_bytes(content))
    return stream


def test_every_sample_of_a_mixed_run_is_the_one_that_was_read(tmp_path: Path) -> None:
    write_dataset(tmp_path / "general", 4)
    write_dataset(tmp_path / "bokeh", 2)
    datasets = [Dataset(str(tmp_path / name)) for name in ("general", "bokeh")]
    stream = train_on(tmp_path / "run", datasets, [Fraction(1, 4), Fraction(3, 4)], {})
    seen = set()
    for position in range(36):  # 9 steps of 4
        read = stream.sample(position)
        own, other = datasets[read.place.dataset], datasets[1 - read.place.dataset]
        found = training_sample(own, tmp_path / "run", position)
        assert own.index["key"][found["row"]].as_py() == read.photo.key
        assert found["region"] == read.place.region + 1
        assert found["step"] == position // 4 + 1
        seen.add((read.photo.key, found["region"]))
        with pytest.raises(ValueError, match=f"is of the run's data set {read.place.dataset + 1}, whose index has"):
            training_sample(other, tmp_path / "run", position)
    assert len(seen) > 10
    with pytest.raises(ValueError, match="takes 9 steps of 4 samples and never comes to sample 36"):
        training_sample(datasets[0], tmp_path / "run", 36)
    assert training_sample(datasets[1], tmp_path / "run", _first_of(stream, 1))["certainty"].startswith("no sample of")


def _first_of(stream: TripletStream, dataset: int) -> int:
    return next(position for position in range(8) if stream.order.place(position).dataset == dataset)


def test_what_is_not_sure_is_said(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    dataset = Dataset(str(tmp_path / "data"))
    train_on(tmp_path / "run", [dataset], [Fraction(1)], {"corrupt photo": 2})
    assert training_sample(dataset, tmp_path / "run", 3)["certainty"].startswith("2 samples of the run were unusable")
    assert "will come to it" in training_sample(dataset, tmp_path / "run", 8)["certainty"]


def test_a_run_that_says_nothing_of_the_data_set(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    write_dataset(tmp_path / "other", 5)
    dataset = Dataset(str(tmp_path / "data"))
    with pytest.raises(ValueError, match="holds no checkpoint of a training run"):
        training_sample(dataset, tmp_path / "run", 0)
    train_on(tmp_path / "run", [Dataset(str(tmp_path / "other"))], [Fraction(1)], {})
    with pytest.raises(ValueError, match=r"is none of the data sets that .* was trained on"):
        training_sample(dataset, tmp_path / "run", 0)
    record = tmp_path / "run/checkpoints/step-00000002" / RECORD
    record.write_bytes(record_bytes({"version": 1, "step": 2, "base": "", "settings": {}, "scaler": {}, "faults": {}}))
    with pytest.raises(ValueError, match="does not state the order of its samples"):
        training_sample(dataset, tmp_path / "run", 0)
