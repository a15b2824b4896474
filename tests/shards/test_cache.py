"""Remote data sets through the cache: the same bytes, a bound that holds, several processes at once."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from instructrestore.shards.checksums import sha256
from instructrestore.shards.index import Dataset
from instructrestore.shards.reading.cache import ShardCache
from instructrestore.shards.reading.reader import PhotoReader
from instructrestore.shards.reading.stream import StreamError, TripletStream
from tests.shards.loading import name_of, order_of, write_dataset


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[tuple[Dataset, Dataset]]:
    """The same data set on this machine and in fsspec's memory."""
    local = write_dataset(tmp_path / "data", shards=4)
    memory = fsspec.filesystem("memory")
    for path in (tmp_path / "data").iterdir():
        memory.pipe(f"/far/{path.name}", path.read_bytes())
    yield local, Dataset("memory://far")
    memory.rm("/far", recursive=True)


def size(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # a loader's worker has just made room
            total += path.stat().st_size
    return total


@pytest.mark.parametrize("workers", [0, 2])
def test_remote_is_local_within_the_bound(
    tmp_path: Path, remote: tuple[Dataset, Dataset], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, far = remote
    settings = {"seed": 3, "window_shards": 2}
    expected = TripletStream([PhotoReader(local)], order_of(local, **settings), name_of, batch=4).micro_batches()
    bound = 2 * max(entry.bytes for entry in far.card.shards)
    cache = ShardCache(tmp_path / "cache", bound)
    stream = TripletStream([PhotoReader(far, cache)], order_of(far, **settings), name_of, batch=4)
    fetched = []
    opened = MemoryFileSystem._open
    monkeypatch.setattr(MemoryFileSystem, "_open", lambda *a, **k: fetched.append(a[1]) or opened(*a, **k))
    epochs = 5 * len(stream.order.tables[0]) // 4
    for samples in itertools.islice(stream.micro_batches(workers), epochs):
        assert samples == next(expected)
        with cache._exclusive():  # no worker makes room between two files of the count
            assert size(tmp_path / "cache") <= bound
    if not workers:  # each shard once an epoch, and not once a photo
        assert 4 <= len(fetched) <= 5 * 4 + 2


def test_what_was_used_last_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instructrestore.shards.reading.cache.ATTEMPTS", 1)
    memory = fsspec.filesystem("memory")
    for name in "abc":
        memory.pipe(f"/files/{name}", name.encode() * 100)
    cache = ShardCache(tmp_path / "cache", 250)

    def read(name: str) -> bytes:
        descriptor = cache.open(f"memory://files/{name}", sha256(name.encode() * 100), 100)
        os.utime(descriptor, ns=(next(clock), next(clock)))  # a clock that is finer than the disk's
        data = os.read(descriptor, 1000)
        os.close(descriptor)
        return data

    clock = itertools.count(10**18, 10**9)
    for name in "abac":
        assert read(name) == name.encode() * 100
    memory.rm("/files", recursive=True)
    assert read("a") == b"a" * 100
    assert read("c") == b"c" * 100
    with pytest.raises(FileNotFoundError):
        read("b")
    assert not list((tmp_path / "cache").glob("*.partial"))


def _read_all(folder: str, bound: int, path: str, seen: multiprocessing.Queue) -> None:
    dataset = Dataset(path)
    cache = ShardCache(Path(folder), bound)
    for number in range(60):
        entry = dataset.card.shards[(number * 7 + os.getpid()) % len(dataset.card.shards)]
        descriptor = cache.open(f"{path}/{entry.name}", entry.sha256, entry.bytes)
        whole = os.pread(descriptor, 1 << 20, 0)
        os.close(descriptor)
        seen.put((whole == Path(f"{path.removeprefix('file://')}/{entry.name}").read_bytes(), size_now(Path(folder))))


def size_now(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def test_processes_share_a_cache_that_is_too_small_for_all(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", shards=6)
    bound = int(2.5 * max(entry.bytes for entry in dataset.card.shards))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "left.tar.partial").write_bytes(b"0" * bound)  # of a killed process
    context = multiprocessing.get_context("fork")
    seen = context.Queue()
    url = f"file://{tmp_path}/data"
    processes = [context.Process(target=_read_all, args=(str(tmp_path / "cache"), bound, url, seen)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [seen.get(timeout=60) for _ in range(4 * 60)]
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert all(right for right, _ in found)
    assert size(tmp_path / "cache") <= bound


def test_a_remote_data_set_needs_a_cache_that_holds_a_window(tmp_path: Path, remote: tuple[Dataset, Dataset]) -> None:
    far = remote[1]
    with pytest.raises(ValueError, match="memory://far is not on this machine: give a cache folder"):
        PhotoReader(far)
    reader = PhotoReader(far, ShardCache(tmp_path / "cache", 2 * far.card.shards[0].bytes))
    with pytest.raises(
        ValueError, match=r"3 shards of memory://far take .* make the cache larger or the order's window"
    ):
        TripletStream([reader], order_of(far, window_shards=3), name_of, batch=4)
    TripletStream([PhotoReader(remote[0])], order_of(far, window_shards=3), name_of, batch=4)
    # Data sets that share a cache are read by turns: it must hold a window of each.
    two = order_of(far, far, window_shards=1)
    TripletStream([reader, PhotoReader(remote[0], reader.files.cache)], two, name_of, batch=4)
    tight = PhotoReader(far, ShardCache(tmp_path / "cache", far.card.shards[0].bytes + 9000))
    TripletStream([tight], order_of(far, window_shards=1), name_of, batch=4)
    with pytest.raises(ValueError, match="1 shards of memory://far and of memory://far take"):
        TripletStream([tight, tight], two, name_of, batch=4)


def test_a_server_that_lists_no_folder(remote: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    def unlisted(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(MemoryFileSystem, "ls", unlisted)
    far = Dataset("memory://far")
    far.check_files()
    fsspec.filesystem("memory").pipe(f"/far/{far.card.shards[1].name}", b"short")
    with pytest.raises(ValueError, match="has 5 bytes and should have"):
        far.check_files()


def test_what_broke_off_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, pauses = fsspec.filesystem("memory"), []
    memory.pipe("/broken", b"a" * 60)

    def mended(seconds: float) -> None:
        pauses.append(seconds)
        memory.pipe("/broken", b"a" * 100)

    monkeypatch.setattr("instructrestore.shards.reading.cache.time.sleep", mended)
    descriptor = ShardCache(tmp_path, 1000).open("memory://broken", sha256(b"a" * 100), 100)
    assert os.read(descriptor, 1000) == b"a" * 100
    os.close(descriptor)
    assert pauses == [1]


def test_a_remote_shard_that_is_gone_or_short(
    tmp_path: Path, remote: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instructrestore.shards.reading.cache.ATTEMPTS", 1)
    far = remote[1]
    memory = fsspec.filesystem("memory")
    cache = ShardCache(tmp_path / "cache", 2**20)
    stream = TripletStream([PhotoReader(far, cache)], order_of(far), name_of, batch=4)
    for entry in far.card.shards:
        memory.pipe(f"/far/{entry.name}", b"short")
    with pytest.raises(StreamError, match=r"memory://far can no longer be read: .* has 5 bytes and should have"):
        next(stream.micro_batches())
    with pytest.raises(ValueError, match=r"has 5 bytes and should have .* copy it again"):
        PhotoReader(Dataset("memory://far"), cache)
    memory.rm(f"/far/{far.card.shards[0].name}")
    with pytest.raises(ValueError, match=f"memory://far lacks its shard {far.card.shards[0].name}"):
        PhotoReader(Dataset("memory://far"), cache)
    assert not list((tmp_path / "cache").glob("*.partial"))


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_a_shard_that_is_another_one_of_the_same_size_is_no_copy(
    tmp_path: Path, remote: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    local, far = remote
    name = far.card.shards[0].name
    whole = Path(local.path, name).read_bytes()
    memory = fsspec.filesystem("memory")
    memory.pipe(f"/far/{name}", flipped(whole, 2000))
    monkeypatch.setattr("instructrestore.shards.reading.cache.time.sleep", lambda _: memory.pipe(f"/far/{name}", whole))
    reader = PhotoReader(far, ShardCache(tmp_path / "cache", 2**20))
    assert reader.read(0, 0) == PhotoReader(local).read(0, 0)  # the second attempt found it mended
    monkeypatch.setattr("instructrestore.shards.reading.cache.ATTEMPTS", 1)
    memory.pipe(f"/far/{far.card.shards[1].name}", bytes(far.card.shards[1].bytes))
    with pytest.raises(OSError, match=f"{far.card.shards[1].name} is not the shard that dataset.json lists"):
        reader.read(4, 0)
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_a_copy_that_was_damaged_is_fetched_anew(tmp_path: Path, remote: tuple[Dataset, Dataset]) -> None:
    local, far = remote
    reader, sound = PhotoReader(far, ShardCache(tmp_path / "cache", 2**20)), PhotoReader(local)
    expected = [sound.read(row, 0) for row in range(4)]
    assert [reader.read(row, 0) for row in range(4)] == expected
    (copy,) = (tmp_path / "cache").glob("*.tar")
    whole = copy.read_bytes()
    for offset, size in sound._spans[:4, 2:].astype(int):
        place = whole.index(b'"caption":"', offset, offset + size) + 12
        copy.write_bytes(flipped(whole, place))
        assert [reader.read(row, 0) for row in range(4)] == expected
        assert copy.read_bytes() == whole
