"""The loader beside what people write: webdataset, PIL and pycocotools, the same shards and crops.

python -m benchmarks.loader_peers [ROUNDS]     triplets/s and processor time a triplet, three ways in turn in a round

All three have two worker processes, give batches of 32 crops of 512 with their masks, mirror half of them, and choose a
crop's place by the same rule. `free` shuffles triplets, as the loader's order does, so each decodes its photo.
`neighbours` decodes a photo once and cuts its four regions one after the other, which no free order allows. Everything
needed is in the base install; the loader without the extra `jpeg` is measured as what it is then, and said.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask
import torch
import webdataset
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader

from benchmarks.loader import BATCH, WORKERS, open_stream, processor_seconds, write_photos
from instructrestore.model.training.crops import TRIES, stack
from instructrestore.model.training.jpeg_part import decodes_parts
from instructrestore.shards.index import Dataset

SIZE, LEAST = 512, 0.01 * 512 * 512
BATCHES = 12  # that are timed in each round
SHUFFLED = 500  # triplets from which the next one is drawn

coco: Any = pycocotools.mask  # its type stubs say other things than its code does
wds: Any = webdataset  # its names are looked up when they are asked for
Batch = tuple[torch.Tensor, torch.Tensor]


def ours(dataset: Dataset, number: int) -> Iterator[Batch]:
    stream = open_stream(dataset)
    stream.step = number * 1000
    return map(stack, stream.micro_batches(WORKERS))


def free(dataset: Dataset, number: int) -> Iterator[Batch]:
    """A triplet is (file, region) until it was shuffled: what is decoded would not fit in memory."""
    samples = _shards(dataset, number).compose(_triplets).shuffle(SHUFFLED, rng=random.Random(number)).map(_cut_file)
    return _loaded(samples)


def neighbours(dataset: Dataset, number: int) -> Iterator[Batch]:
    return _loaded(_shards(dataset, number).shuffle(SHUFFLED // 4, rng=random.Random(number)).compose(_cut_all))


def _shards(dataset: Dataset, number: int) -> Any:
    urls = [f"{dataset.path}/{entry.name}" for entry in dataset.card.shards]
    return wds.WebDataset(urls, resampled=True, shardshuffle=False, seed=number).decode()


def _loaded(samples: Any) -> Iterator[Batch]:
    return iter(
        DataLoader(samples.batched(BATCH), batch_size=None, num_workers=WORKERS, multiprocessing_context="fork")
    )


def _triplets(samples: Iterator[dict[str, Any]]) -> Iterator[tuple[bytes, dict[str, Any]]]:
    for sample in samples:
        for region in sample["json"]["regions"]:
            yield sample["jpg"], region


def _cut_file(triplet: tuple[bytes, dict[str, Any]]) -> Batch:
    file, region = triplet
    return _cut(Image.open(BytesIO(file)).convert("RGB"), region)


def _cut_all(samples: Iterator[dict[str, Any]]) -> Iterator[Batch]:
    for sample in samples:
        photo = Image.open(BytesIO(sample["jpg"])).convert("RGB")
        for region in sample["json"]["regions"]:
            yield _cut(photo, region)


def _cut(photo: Image.Image, region: dict[str, Any]) -> Batch:
    mask: NDArray[np.uint8] = coco.decode(region["mask"])
    top, left = _place(mask)
    crop = np.asarray(photo.crop((left, top, left + SIZE, top + SIZE)))
    mask = mask[top : top + SIZE, left : left + SIZE]
    if random.random() < 0.5:
        crop, mask = crop[:, ::-1], mask[:, ::-1]
    return torch.from_numpy(crop.copy()).permute(2, 0, 1), torch.from_numpy(mask.copy())[None].bool()


def _place(mask: NDArray[np.uint8]) -> tuple[int, int]:
    """(top, left) by the rule of `choose_window`, for a mask that is larger than the crop."""
    height, width = mask.shape
    half = SIZE // 2
    rows, columns = np.nonzero(mask[half : height - half + 1, half : width - half + 1])
    if len(rows):
        chosen = random.randrange(len(rows))
        return int(rows[chosen]), int(columns[chosen])
    for _ in range(TRIES):
        top, left = random.randint(0, height - SIZE), random.randint(0, width - SIZE)
        if mask[top : top + SIZE, left : left + SIZE].sum() >= LEAST:
            return top, left
    rows, columns = np.nonzero(mask)
    chosen = random.randrange(len(rows))
    return min(max(int(rows[chosen]) - half, 0), height - SIZE), min(max(int(columns[chosen]) - half, 0), width - SIZE)


def _measured(way: Callable[[Dataset, int], Iterator[Batch]], dataset: Dataset, number: int) -> tuple[float, float]:
    """(triplets/s, processor milliseconds a triplet) of all processes, once the workers are at work."""
    batches = way(dataset, number)
    for _ in range(2 * WORKERS):  # the workers' start and what they have ready by then
        next(batches)
    begin, before = time.perf_counter(), processor_seconds()
    for _ in range(BATCHES):
        photos, masks = next(batches)
        assert photos.shape == (BATCH, 3, SIZE, SIZE) and masks.shape == (BATCH, 1, SIZE, SIZE)
    seconds, busy = time.perf_counter() - begin, processor_seconds() - before
    return BATCHES * BATCH / seconds, busy / (BATCHES * BATCH) * 1e3


def main(rounds: int) -> None:
    ways = {"ours": ours, "free": free, "neighbours": neighbours}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_photos(Path(folder))
        for number in range(rounds):
            for name, way in ways.items():
                found[name].append(_measured(way, dataset, number))
                rate, busy = found[name][-1]
                print(f"round {number + 1}, {name}: {rate:.0f} triplets/s, {busy:.1f} ms", flush=True)
    print("TurboJPEG 3:", "installed" if decodes_parts() else "not installed, so whole photos are decoded")
    for name, each in found.items():
        rates, times = zip(*each, strict=True)
        print(f"{name}: {_spread(rates, '.0f')} triplets/s, {_spread(times, '.1f')} ms of processor time a triplet")
    for name in ("free", "neighbours"):
        pairs = list(zip(found["ours"], found[name], strict=True))
        faster = [own[0] / other[0] for own, other in pairs]
        cheaper = [other[1] / own[1] for own, other in pairs]
        print(f"ours to {name}, round by round: {_spread(faster, '.2f')} times the rate, "
              f"{_spread(cheaper, '.2f')} times less processor time")  # fmt: skip


def _spread(values: Any, form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
