"""What the loader gives, and what it takes.

python benchmarks/loader.py rate     triplets/s of 512x512 from 2-megapixel JPEG photos by two workers, memory over an
                                     epoch, bytes on disk a triplet
python benchmarks/loader.py start    seconds from opening a data set of 1,000,000 triplets to its first place
python benchmarks/loader.py parts    processor milliseconds of each thing that is done to a triplet
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from skimage import data as photos

from instructrestore.model.training.crops import Cropper, CropSettings
from instructrestore.model.training.jpeg_part import part_of_jpeg
from instructrestore.shards.files import replacing
from instructrestore.shards.index import INDEX_SCHEMA, Dataset, ShardEntry
from instructrestore.shards.reading.order import Order, OrderSettings, exact_shares
from instructrestore.shards.reading.reader import PhotoReader, Triplet
from instructrestore.shards.reading.stream import TripletStream
from instructrestore.shards.reading.triplets import Triplets
from instructrestore.shards.rle import Mask, Runs
from instructrestore.shards.sample import AnnotatedPhoto, Photo, Piece, Region, from_json, key_of, to_json
from instructrestore.shards.write import ShardWriter, finish_dataset, shard_name

WIDTH, HEIGHT = 1632, 1224
PHOTOS, REGIONS, PER_SHARD = 128, 4, 32
BATCH, WORKERS = 32, 2
MILLION = 1_000_000
RELEASE_BYTES = 1.1 * 2**20  # six PNGs a triplet and epoch, as the release writes them


def write_photos(folder: Path) -> Dataset:
    """Photos of 2 megapixels made of scikit-image's, enlarged, with a camera's noise; four ragged regions each."""
    rng = np.random.default_rng(0)
    originals = [photos.astronaut(), photos.coffee(), photos.chelsea(), photos.rocket()]
    entries, tables = [], []
    for shard in range(PHOTOS // PER_SHARD):
        with replacing(folder / shard_name("jpg", shard)) as file:
            writer = ShardWriter(shard_name("jpg", shard), file)
            for number in range(shard * PER_SHARD, (shard + 1) * PER_SHARD):
                writer.add(*_photo(originals[number % len(originals)], rng))
            entries.append(writer.close())
            tables.append(pa.Table.from_pylist(writer.rows, INDEX_SCHEMA))
    finish_dataset(folder, "benchmark", entries, tables, {})
    return Dataset(str(folder))


def _photo(original: np.ndarray, rng: np.random.Generator) -> tuple[AnnotatedPhoto, bytes]:
    height, width = original.shape[:2]
    left, top = rng.uniform(0, 0.2, 2) * (width, height)
    box = (float(left), float(top), float(left + 0.8 * width), float(top + 0.8 * height))
    enlarged = Image.fromarray(original).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, box)
    grain = rng.normal(0, 3, (HEIGHT, WIDTH, 1))
    file = io.BytesIO()
    Image.fromarray((np.asarray(enlarged) + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    data = file.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    photo = Photo(
        key=key_of(sha256), sha256=sha256, name="photo.jpg", source="benchmark", licence="", url="", width=WIDTH,
        height=HEIGHT, bytes=len(data), format="jpg", perceptual_hash="0" * 16, group=key_of(sha256),
    )  # fmt: skip
    return AnnotatedPhoto(photo, tuple(_region(rng, number) for number in range(REGIONS))), data


def _region(rng: np.random.Generator, number: int) -> Region:
    rows, columns = np.ogrid[0:HEIGHT, 0:WIDTH]
    y, x = rng.uniform(0.2, 0.8, 2) * (HEIGHT, WIDTH)
    angle = np.arctan2(rows - y, columns - x)
    edge = rng.uniform(120, 400) * (1 + 0.15 * np.sin(angle * 7) + 0.05 * np.sin(angle * 41))
    mask = Mask.from_array((rows - y) ** 2 + (columns - x) ** 2 < edge**2)
    piece = Piece(mask, "made", "A thing that was made up.", "made", f"the thing {number}", f"thing {number}")
    return Region(f"the thing {number}", f"thing {number}", mask, False, (piece,))


def open_stream(dataset: Dataset) -> TripletStream:
    order = Order([Triplets.of(dataset.index)], exact_shares([None]), OrderSettings())
    return TripletStream([PhotoReader(dataset)], order, Cropper(CropSettings()), batch=BATCH)


def rate() -> None:
    with tempfile.TemporaryDirectory() as name:
        dataset = write_photos(Path(name))
        stream = open_stream(dataset)
        batches = stream.micro_batches(WORKERS)
        for _ in range(2 * WORKERS):  # the workers' start and what they have ready by then
            next(batches)
        epoch = PHOTOS * REGIONS // BATCH
        rates, busy, memory = [], [], [_memory()]
        for _ in range(3):
            begin, before = time.perf_counter(), processor_seconds()
            for _ in range(epoch):
                next(batches)
            rates.append(epoch * BATCH / (time.perf_counter() - begin))
            busy.append((processor_seconds() - before) / (epoch * BATCH) * 1e3)
            memory.append(_memory())
        print(f"{WORKERS} workers, {WIDTH}x{HEIGHT}, crops of 512: {', '.join(f'{r:.0f}' for r in rates)} triplets/s")
        print(f"processor time of all processes, whatever else runs: {statistics.median(busy):.1f} ms a triplet")
        print("memory of all processes before and after each of 3 epochs: " + ", ".join(f"{m:.0f} MiB" for m in memory))
        size = sum(entry.bytes for entry in dataset.card.shards) / (PHOTOS * REGIONS)
        print(
            f"on disk: {size / 1024:.0f} KiB a triplet; the release's pairs take {RELEASE_BYTES / 1024:.0f} KiB a "
            f"triplet and epoch, {3 * RELEASE_BYTES / size:.0f} times as much for its 3 epochs"
        )


def _processes() -> list[Path]:
    """/proc's folders of this process and its workers."""
    return [Path("/proc/self"), *(Path(f"/proc/{child.pid}") for child in multiprocessing.active_children())]


def _memory() -> float:
    """MiB of all processes, what they share counted once."""
    lines = [line for process in _processes() for line in (process / "smaps_rollup").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def processor_seconds() -> float:
    """Of this process and its workers, in user and system mode."""
    ticks = [(process / "stat").read_text().rpartition(")")[2].split()[11:13] for process in _processes()]
    return sum(int(user) + int(system) for user, system in ticks) / os.sysconf("SC_CLK_TCK")


def start() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_index(folder)
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            stream = open_stream(Dataset(str(folder)))
            stream.order.place(MILLION // 2)
            times.append(time.perf_counter() - begin)
        kept = sum(array.nbytes for array in vars(stream.order.tables[0]).values() if isinstance(array, np.ndarray))
        print(f"start on {MILLION:,} triplets: median {statistics.median(times):.2f} s (max {max(times):.2f})")
        begin = time.perf_counter()
        stream.order.place(3 * MILLION)
        next_epoch = time.perf_counter() - begin
        begin = time.perf_counter()
        for position in range(3 * MILLION, 3 * MILLION + 10_000):
            stream.order.place(position)
        each = (time.perf_counter() - begin) / 10_000
        print(f"another epoch's order: {next_epoch:.2f} s; a place in it: {each * 1e6:.0f} us")
        print(f"memory of the triplets' table: {kept / 2**20:.0f} MiB")


def _write_index(folder: Path) -> None:
    """An index of a million triplets whose shards are holes of the right size."""
    count, per_shard = MILLION // REGIONS, 1000
    keys = [hashlib.sha256(str(number).encode()).hexdigest()[:20] for number in range(count)]
    numbers = np.arange(count)
    names = [shard_name("jpg", number) for number in range(count // per_shard)]
    place = numbers % per_shard * 500_000
    table = pa.table(
        {
            "shard": pa.array(names).take(pa.array(numbers // per_shard)),
            "key": keys,
            "format": ["jpg"] * count,
            "photo_offset": place,
            "photo_bytes": np.full(count, 480_000),
            "json_offset": place + 490_000,
            "json_bytes": np.full(count, 9_000),
            "width": np.full(count, WIDTH),
            "height": np.full(count, HEIGHT),
            "quality": np.full(count, 70.0),
            "group": keys,
            "source": ["benchmark"] * count,
            "licence": [""] * count,
            "url": [f"https://example.org/photos/{key}.jpg" for key in keys],
            "region_count": np.full(count, REGIONS),
            "captions": [[f"the thing {n % 977} on the table {k}" for k in range(REGIONS)] for n in range(count)],
            "subjects": [[f"thing {n % 977}", "table", "dog", f"cat {n % 13}"] for n in range(count)],
            "areas": np.random.default_rng(0).uniform(0, 0.5, (count, REGIONS)).tolist(),
            "bokeh": [[False] * REGIONS] * count,
        }
    ).cast(INDEX_SCHEMA)
    for shard in names:
        with open(folder / shard, "wb") as file:
            file.truncate(per_shard * 500_000)
    entries = [ShardEntry(shard, "0" * 64, per_shard * 500_000, per_shard, per_shard * REGIONS) for shard in names]
    finish_dataset(folder, "a million", entries, [table], {})


def parts() -> None:
    with tempfile.TemporaryDirectory() as name:
        stream = open_stream(write_photos(Path(name)))
        reader, cropper, order = stream.readers[0], stream.prepare, stream.order
        places = [order.place(position) for position in range(64)]
        read = [reader.read(place.row, place.region) for place in places]
        triplets = [Triplet(*found, place, n, 0) for n, (found, place) in enumerate(zip(read, places, strict=True))]
        records = [to_json(AnnotatedPhoto(photo, (region,) * REGIONS)) for photo, region, *_ in read]
        masks = [region.mask for _, region, *_ in read]
        _time("reading: record and bytes", lambda n: reader.read(places[n].row, places[n].region))
        _time("  of that, parsing the record", lambda n: from_json(records[n]))
        _time("cropping: photo and mask", lambda n: cropper(triplets[n]))
        size, (top, left) = (HEIGHT, WIDTH), ((HEIGHT - 512) // 2, (WIDTH - 512) // 2)
        _time("  of that, the middle of the photo", lambda n: part_of_jpeg(triplets[n].data, size, top, left, 512, 512))
        _time(
            "    of that, the entropy code up to there: the last 16x16 of it",
            lambda n: part_of_jpeg(triplets[n].data, size, top + 496, left, 16, 16),
        )
        _time("  of that, a window of the mask, from its runs", lambda n: Runs(masks[n]).window(100, 100, 512, 512))
        _time("instead: the whole photo, decoded", lambda n: Image.open(io.BytesIO(triplets[n].data)).load())
        _time("instead: a window of the whole mask, decoded", lambda n: masks[n].array()[100:612, 100:612].copy())


def _time(what: str, call: Callable[[int], object]) -> None:
    times = []
    for _ in range(3):
        begin = time.process_time()
        for number in range(64):
            call(number)
        times.append((time.process_time() - begin) / 64 * 1e3)
    print(f"{what}: {statistics.median(times):.2f} ms")


if __name__ == "__main__":
    {"rate": rate, "start": start, "parts": parts}[sys.argv[1] if len(sys.argv) > 1 else "rate"]()
