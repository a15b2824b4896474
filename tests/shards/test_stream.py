"""The stream: the same samples for any ranks and workers, exact resume, and faults passed over one by one."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from instructrestore.shards.index import Dataset
from instructrestore.shards.reading.reader import Fault, PhotoReader, Triplet
from instructrestore.shards.reading.stream import StreamError, TripletStream
from tests.shards.loading import name_of, order_of, stream_of, write_dataset


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    folder = tmp_path_factory.mktemp("data")
    return write_dataset(folder / "a"), write_dataset(folder / "b", 2, 5, "b")


def steps(stream: TripletStream, count: int, workers: int = 0) -> list[list]:
    """The samples of a rank's next steps, a list a step."""
    batches = stream.micro_batches(workers)
    found = [list(itertools.chain(*itertools.islice(batches, stream.accumulation))) for _ in range(count)]
    batches.close()  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("workers", [0, 2, 8])
def test_the_sequence_is_the_same_for_any_ranks_and_workers(datasets: tuple[Dataset, Dataset], workers: int) -> None:
    order = order_of(*datasets, shares=["0.25", None], seed=5, window_shards=2)
    readers = [PhotoReader(dataset) for dataset in datasets]
    places = [order.place(position) for position in range(4 * 8)]
    expected = [(n, place.dataset, place.row, place.region, ()) for n, place in enumerate(places)]
    for ranks, micro in ((1, 8), (1, 2), (2, 4), (2, 1), (4, 2), (8, 1)):
        if workers == 8 and (ranks, micro) not in ((1, 2), (4, 2)):
            continue  # eight processes take a while to start
        run = [
            TripletStream(readers, order, name_of, batch=8, micro_batch=micro, rank=rank, ranks=ranks)
            for rank in range(ranks)
        ]
        if workers and ranks > 2:
            run = run[-1:]  # the others' start would show nothing more
        of_ranks = [steps(stream, 4, workers) for stream in run]
        for stream, found in zip(run, of_ranks, strict=True):
            slices = [slice(8 * s + 8 // ranks * stream.rank, 8 * s + 8 // ranks * (stream.rank + 1)) for s in range(4)]
            assert found == [expected[part] for part in slices], (ranks, micro)


@pytest.mark.parametrize(("first", "then"), [(0, 2), (2, 0)])
def test_resumed_is_uninterrupted(datasets: tuple[Dataset, Dataset], first: int, then: int) -> None:
    whole = steps(stream_of(*datasets, micro_batch=2), 9)
    begun = stream_of(*datasets, micro_batch=2)
    assert steps(begun, 4, first) == whole[:4]
    state = json.loads(json.dumps(begun.state_dict()))
    assert state["step"] == 4
    resumed = stream_of(*datasets, micro_batch=4)  # micro-batches may change, the samples do not
    resumed.load_state_dict(state)
    assert steps(resumed, 5, then) == whole[4:]


def test_a_step_begun_and_not_ended_is_done_anew(datasets: tuple[Dataset, Dataset]) -> None:
    stream = stream_of(*datasets, micro_batch=2)
    batches = stream.micro_batches()
    for number in range(1, 10):
        next(batches)
        assert stream.state_dict()["step"] == number // 4


def test_other_data_cannot_resume(datasets: tuple[Dataset, Dataset]) -> None:
    state = stream_of(*datasets).state_dict()
    with pytest.raises(ValueError, match="made with other data sets and triplets"):
        stream_of(datasets[1], datasets[1]).load_state_dict(state)
    with pytest.raises(ValueError, match="with other batch: resume"):
        stream_of(*datasets, batch=16).load_state_dict(state)
    readers = [PhotoReader(dataset) for dataset in datasets]
    for changed, name in (({"seed": 1}, "seed"), ({"weighting": {"by": "area"}}, "weighting")):
        other = TripletStream(readers, order_of(*datasets, **changed), name_of, batch=8)
        with pytest.raises(ValueError, match=f"with other {name}: resume"):
            other.load_state_dict(state)


def test_the_global_random_state_is_left_alone(datasets: tuple[Dataset, Dataset]) -> None:
    before, numbers = torch.get_rng_state(), np.random.get_state()[1]
    steps(stream_of(*datasets), 2, 2)
    assert torch.equal(before, torch.get_rng_state())
    assert (numbers == np.random.get_state()[1]).all()  # type: ignore[operator]


def test_batches_that_cannot_be_divided_are_one_sentence(datasets: tuple[Dataset, Dataset]) -> None:
    with pytest.raises(ValueError, match="batch of 8 cannot be divided among 3 ranks"):
        stream_of(*datasets, ranks=3)
    with pytest.raises(ValueError, match="4 samples a step cannot be cut into micro-batches of 3"):
        stream_of(*datasets, ranks=2, micro_batch=3)


def needs_photo(triplet: Triplet) -> tuple:
    """As a crop does: no photo and no empty region."""
    if not triplet.data.startswith(b"\xff\xd8"):
        raise Fault("corrupt photo", "no JPEG")
    if not triplet.region.mask.area():
        raise Fault("empty region")
    return name_of(triplet)


def faulty(folder: Path, kind: str) -> Dataset:
    """A data set of which photo 5 is unusable in one way."""
    if kind == "corrupt photo":
        return write_dataset(folder, corrupt=range(5, 6))
    if kind == "empty region":
        return write_dataset(folder, empty=[5])
    dataset = write_dataset(folder)
    places = {name: dataset.index[name][5].as_py() for name in ("json_offset", "json_bytes")}
    place, size = places["json_offset"], places["json_bytes"]
    path = folder / dataset.index["shard"][5].as_py()
    data = bytearray(path.read_bytes())
    if kind == "bad record":
        data[place : place + 20] = b"\0" * 20
    elif kind == "wrong index":  # the record of the photo after it
        key = data[place : place + size].find(dataset.index["key"][5].as_py().encode())
        data[place + key : place + key + 20] = b"0" * 20
    path.write_bytes(data)
    return Dataset(str(folder))


@pytest.mark.parametrize("kind", ["corrupt photo", "empty region", "bad record", "wrong index"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_fault_is_replaced_counted_and_shifts_nothing(tmp_path: Path, kind: str, workers: int) -> None:
    good = write_dataset(tmp_path / "good")
    bad = faulty(tmp_path / "bad", kind)
    epochs = 3 * len(order_of(good).tables[0]) // 8
    expected = itertools.chain(*steps(stream_of(good, batch=8), epochs))
    stream = TripletStream([PhotoReader(bad)], order_of(bad), needs_photo, batch=8)
    found = list(itertools.chain(*steps(stream, epochs, workers)))
    replaced = 0
    for sample, without_faults in zip(found, expected, strict=True):
        _, _, row, region, faults = sample
        if without_faults[2] == 5 and (kind != "empty region" or without_faults[3] == 0):
            replaced += 1
            key = bad.index["key"][5].as_py()
            assert faults[0].partition(":")[0] == kind
            assert faults[0].startswith(f"{kind}: jpg-000001.tar/{key}")
            assert row != 5 or region
            assert sample[0] == without_faults[0]
        else:
            assert sample == without_faults
    assert replaced >= 3
    again = TripletStream([PhotoReader(bad)], order_of(bad), needs_photo, batch=8, micro_batch=1)
    assert list(itertools.chain(*steps(again, epochs))) == found


def test_a_shard_cut_off_while_training_is_passed_over(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path)
    stream = stream_of(dataset)
    os.truncate(tmp_path / "jpg-000001.tar", 3000)
    found = list(itertools.chain(*steps(stream, 9)))
    faults = [fault for sample in found for fault in sample[4]]
    assert faults
    assert all(fault.startswith("truncated shard: jpg-000001.tar/") for fault in faults)
    assert [sample[0] for sample in found] == list(range(72))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_hundred_faults_in_a_row_stop_the_run(tmp_path: Path, workers: int) -> None:
    dataset = write_dataset(tmp_path, corrupt=range(12))
    stream = TripletStream([PhotoReader(dataset)], order_of(dataset), needs_photo, batch=8)
    with pytest.raises(
        StreamError, match=r"^100 triplets in a row are unusable, the last: corrupt photo: jpg-"
    ) as stop:
        next(stream.micro_batches(workers))
    assert "\n" not in str(stop.value)
    assert not multiprocessing.active_children()  # the workers are gone at once


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_vanishes_stops_the_run(tmp_path: Path, workers: int) -> None:
    stream = stream_of(write_dataset(tmp_path))
    shutil.rmtree(tmp_path)
    with pytest.raises(StreamError, match=r"^.* can no longer be read: .*No such file") as stop:
        steps(stream, 9, workers)
    assert "\n" not in str(stop.value)


def test_a_killed_worker_stops_the_run(datasets: tuple[Dataset, Dataset]) -> None:
    stream = TripletStream([PhotoReader(datasets[0])], order_of(datasets[0]), die, batch=8)
    with pytest.raises(StreamError, match=r"^the loader failed: DataLoader worker .* (killed|exited)") as stop:
        steps(stream, 9, 2)
    assert "\n" not in str(stop.value)


def pixels_of(triplet: Triplet) -> np.ndarray:
    return np.full((300, 400), triplet.position, np.uint8)


def pixels_until_death(triplet: Triplet) -> np.ndarray:
    if triplet.position == 26:
        os.kill(os.getpid(), signal.SIGKILL)
    return pixels_of(triplet)


def test_arrays_are_the_same_through_shared_memory(datasets: tuple[Dataset, Dataset]) -> None:
    stream = TripletStream([PhotoReader(datasets[0])], order_of(datasets[0]), pixels_of, batch=8, micro_batch=4)
    found = list(itertools.chain(*steps(stream, 4, 2)))
    np.testing.assert_array_equal(found, [np.full((300, 400), position) for position in range(32)])
    assert not any(array.flags.owndata for array in found)  # they lie in the block that the worker filled


def test_a_worker_killed_while_its_arrays_wait_stops_the_run(datasets: tuple[Dataset, Dataset]) -> None:
    stream = TripletStream([PhotoReader(datasets[0])], order_of(datasets[0]), pixels_until_death, batch=8)
    with pytest.raises(StreamError, match=r"^the loader failed: DataLoader worker .* (killed|exited)"):
        steps(stream, 9, 2)


def test_a_killed_worker_is_noticed_in_a_thread(
    datasets: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no signal tells of it: Ray runs its workers so."""
    monkeypatch.setattr("instructrestore.shards.reading.stream.LOOK_S", 0.2)
    stream = TripletStream([PhotoReader(datasets[0])], order_of(datasets[0]), die, batch=8)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(steps, stream, 9, 2)
        with pytest.raises(StreamError, match=r"^the loader failed: DataLoader worker"):
            run.result(30)


def test_a_slow_worker_is_waited_for_and_a_stuck_one_is_not(
    datasets: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(triplet: Triplet) -> int:
        time.sleep(0.2)
        return triplet.position

    monkeypatch.setattr("instructrestore.shards.reading.stream.LOOK_S", 0.05)
    stream = TripletStream([PhotoReader(datasets[0])], order_of(datasets[0]), slow, batch=2)
    assert steps(stream, 3, 2) == [[0, 1], [2, 3], [4, 5]]
    monkeypatch.setattr("instructrestore.shards.reading.stream.TIMEOUT_S", 0.1)
    with pytest.raises(StreamError, match=r"^the loader failed: DataLoader gave nothing for 0\.1 seconds"):
        steps(stream, 1, 2)


def test_workers_end_with_a_killed_process(datasets: tuple[Dataset, Dataset]) -> None:
    """Also those that wait to hand over more than a pipe holds."""
    mine, its = multiprocessing.Pipe(duplex=False)

    def train() -> None:
        stream = TripletStream([PhotoReader(datasets[0])], order_of(datasets[0]), large, batch=2)
        batches = stream.micro_batches(2)
        next(batches)
        its.send([process.pid for process in multiprocessing.active_children()])
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=train)
    process.start()
    assert mine.poll(30)
    workers = mine.recv()
    process.join(30)
    assert len(workers) == 2
    end = time.monotonic() + 10
    while (left := [pid for pid in workers if _runs(pid)]) and time.monotonic() < end:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def test_what_asks_a_whole_group_to_end_leaves_the_workers_to_their_parent(datasets: tuple[Dataset, Dataset]) -> None:
    """`timeout`, systemd and scancel send SIGTERM to every process of a run, a terminal SIGINT: the step in hand still
    needs its samples. The one that the parent sends ends a worker, even one that is stuck."""
    mine, its = multiprocessing.Pipe(duplex=False)

    def train() -> None:
        os.setpgrp()
        came: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: came.append(number))
        batches = TripletStream([PhotoReader(datasets[0])], order_of(datasets[0]), slow, batch=2).micro_batches(2)
        first = next(batches)
        its.send([process.pid for process in multiprocessing.active_children()] + [first])
        while set(came) != {signal.SIGINT, signal.SIGTERM}:
            time.sleep(0.01)
        its.send([next(batches) for _ in range(6)])  # more than was ready
        for worker in multiprocessing.active_children():
            worker.terminate()
            worker.join(10)
            its.send(worker.exitcode)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=train)
    process.start()
    assert mine.poll(30)
    *workers, first = mine.recv()
    assert first == [0, 1] and len(workers) == 2
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        for pid in workers:  # a sender that is not their parent, as for the group
            os.kill(pid, number)
        os.kill(process.pid or 0, number)
    assert mine.poll(30)
    assert mine.recv() == [[2 * number, 2 * number + 1] for number in range(1, 7)]
    assert [mine.recv() for _ in workers if mine.poll(30)] == [0, 0]
    process.join(30)
    assert process.exitcode == 0


def slow(triplet: Triplet) -> int:
    time.sleep(0.05)
    return triplet.position


def large(triplet: Triplet) -> np.ndarray:
    return np.zeros(2**20, np.uint8)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def die(triplet: Triplet) -> None:
    if triplet.position == 20:
        os.kill(os.getpid(), 9)


def test_bad_code_is_not_taken_for_bad_data(datasets: tuple[Dataset, Dataset]) -> None:
    def broken(triplet: Triplet) -> None:
        raise KeyError(triplet.position)

    stream = TripletStream([PhotoReader(datasets[0])], order_of(datasets[0]), broken, batch=8)
    with pytest.raises(KeyError):
        steps(stream, 1)


def other_index(folder: Path) -> None:
    write_dataset(folder.parent / "other", 2)
    shutil.copy(folder.parent / "other" / "index.parquet", folder)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda folder: (folder / "jpg-000001.tar").unlink(), r"lacks its shard jpg-000001\.tar: copy it again"),
        (lambda folder: os.truncate(folder / "jpg-000001.tar", 3000), r"1\.tar has 3000 bytes and should have \d+"),
        (lambda folder: os.truncate(folder / "jpg-000001.tar", 0), r"1\.tar has 0 bytes and should have \d+"),
        (other_index, r"index\.parquet is not the index listed in dataset\.json"),
        (lambda folder: (folder / "index.parquet").unlink(), r"has no index\.parquet"),
    ],
)
def test_wrong_files_are_one_sentence_at_the_start(
    tmp_path: Path, damage: Callable[[Path], None], complaint: str
) -> None:
    write_dataset(tmp_path / "data")
    damage(tmp_path / "data")
    with pytest.raises(ValueError, match=complaint) as caught:
        PhotoReader(Dataset(str(tmp_path / "data")))
    assert "\n" not in str(caught.value)
