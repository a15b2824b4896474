"""Checks a data set against itself: every hash, key, mask, area and count. Names each fault."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import numpy as np
from PIL import Image

from instructrestore.shards.checksums import CHECKSUMS
from instructrestore.shards.index import Dataset, ShardEntry
from instructrestore.shards.members import index_facts
from instructrestore.shards.pairs import LQ_EXTENSION, TEST_SET, TestSet
from instructrestore.shards.parsing import parse_json
from instructrestore.shards.rle import MAX_PIXELS
from instructrestore.shards.sample import PHOTO_FORMATS, AnnotatedPhoto, from_json, split_member


def verify(path: str, on_shard: Callable[[], None] = lambda: None) -> list[str]:
    """The faults of the data set at `path`, each one sentence; none means that it is sound.

    Rehashes every shard and the index; opens every photo; counts every mask's runs; compares areas, captions
    and sizes with the index and all counts with `dataset.json`. Of a test set it checks `pairs.parquet` and opens the
    LQ photos too. Raises ValueError where there is no data set.
    """
    dataset = Dataset(path, checked=False)
    files, root = fsspec.url_to_fs(dataset.path)
    faults = []
    listed = {"index.parquet": dataset.card.index_sha256}
    if isinstance(facts := dataset.card.configuration.get(TEST_SET), dict):
        listed["pairs.parquet"] = str(facts.get("pairs_sha256"))
    for name, sha256 in dataset.checksums.items():
        if name in listed:  # in dataset.json too, with which the file is compared where it is read
            if sha256 != listed[name]:
                faults.append(f"{CHECKSUMS} has another sha256 of {name} than dataset.json")
            continue
        try:
            if hashlib.sha256(files.cat_file(f"{root}/{name}")).hexdigest() != sha256:
                faults.append(f"{name} has another sha256 than {CHECKSUMS} says")
        except OSError:
            faults.append(f"{name} is missing, which {CHECKSUMS} lists")
    try:
        index, sha256 = dataset.read_index()
        rows = index.to_pylist()
    except (OSError, ValueError) as error:
        return [*faults, f"index.parquet cannot be read: {error}"]
    if sha256 != dataset.card.index_sha256:
        faults.append("index.parquet has another sha256 than dataset.json says")
    is_test_set = TEST_SET in dataset.card.configuration
    if is_test_set:
        faults += _add_pairs(path, rows)

    expected: dict[str, dict[str, dict[str, Any]]] = {entry.name: {} for entry in dataset.card.shards}
    seen: set[str] = set()
    for row in rows:
        if row["key"] in seen:
            faults.append(f"{row['key']} stands twice in index.parquet")
        seen.add(row["key"])
        if row["shard"] in expected:
            expected[row["shard"]][row["key"]] = row
        else:
            faults.append(f"{row['key']} lies in {row['shard']}, which dataset.json does not list")

    totals = np.zeros(2, np.int64)
    for entry in dataset.card.shards:
        totals += (entry.photos, entry.regions)
        try:
            data = files.cat_file(f"{root}/{entry.name}")
        except OSError:
            faults.append(f"{entry.name} is missing")
        else:
            found = _shard_faults(data, entry, expected[entry.name], is_test_set)
            faults += [f"{entry.name}: {fault}" for fault in found]
        on_shard()
    if tuple(totals) != (dataset.card.photos, dataset.card.regions):
        faults.append("dataset.json's counts are not the sums of its shards'")
    known = {f"{root}/{entry.name}".lstrip("/") for entry in dataset.card.shards}
    for file in files.glob(f"{root}/*.tar"):
        if str(file).lstrip("/") not in known:
            faults.append(f"{str(file).rsplit('/', 1)[-1]} is not listed in dataset.json")
    return faults


def _add_pairs(path: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Adds to the index rows of a test set where their LQ photos lie; gives the fault of a `pairs.parquet` that cannot
    be used."""
    try:
        pairs = TestSet(path, checked=False).pairs
    except ValueError as error:
        yield str(error)
        return
    for row, pair in zip(rows, pairs.select(["lq_offset", "lq_bytes"]).to_pylist(), strict=True):
        row.update(pair)


def _shard_faults(data: bytes, entry: ShardEntry, rows: dict[str, dict[str, Any]], is_test_set: bool) -> Iterator[str]:
    known = (*PHOTO_FORMATS, "json", *([LQ_EXTENSION] if is_test_set else []))
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        yield "its sha256 is not the one in dataset.json"
    members: dict[str, dict[str, tuple[int, bytes]]] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                key, extension = split_member(member.name)
                if not member.isfile() or extension not in known:
                    yield f"{member.name} does not belong in a shard"
                    continue
                if extension in members.setdefault(key, {}):
                    yield f"{member.name} stands in it twice"
                place = member.offset_data
                members[key][extension] = (place, data[place : place + member.size])
                if len(members[key][extension][1]) != member.size:
                    yield f"{member.name} is cut off"
    except tarfile.TarError as error:
        yield f"it is no readable tar: {error}"
    if len(members) != entry.photos:
        yield f"it holds {len(members)} photos and dataset.json says {entry.photos}"
    for key in rows.keys() - members.keys():
        yield f"{key} is in index.parquet but not in it"
    regions = 0
    for key, files in members.items():
        if key not in rows:
            yield f"{key} is not in index.parquet"
            continue
        try:
            record = files["json"][1]
            parse_json(record, "the record")  # that nothing stands in it twice, which readers differ about
            sample = from_json(record)
        except KeyError:
            yield f"{key} has no record"
            continue
        except ValueError as error:
            yield f"{key}.json: {error}"
            continue
        regions += len(sample.regions)
        yield from (f"{key}: {fault}" for fault in _sample_faults(key, sample, files, rows[key], is_test_set))
    if regions != entry.regions:
        yield f"it holds {regions} regions and dataset.json says {entry.regions}"


def _sample_faults(
    key: str, sample: AnnotatedPhoto, files: dict[str, tuple[int, bytes]], row: dict[str, Any], is_test_set: bool
) -> Iterator[str]:
    if sample.photo.key != key or not sample.photo.sha256.startswith(key):
        yield f"its record is of {sample.photo.key}"
    for column, value in index_facts(sample).items():
        if row[column] != value:
            yield f"index.parquet has {column} {row[column]!r} and the record {value!r}"
    for region in sample.regions:
        if not region.mask.area():
            yield f"the mask of {region.caption!r} is empty"
    if is_test_set and len(sample.regions) != 1:
        yield f"it has {len(sample.regions)} regions, and in a test set each photo has one"
    photo_format = row["format"]
    places = {"photo": photo_format, "json": "json", **({"lq": LQ_EXTENSION} if is_test_set else {})}
    if set(files) != set(places.values()):
        yield f"it has the files {', '.join(sorted(files))} and index.parquet says {', '.join(places.values())}"
        return
    for column, extension in places.items():
        offset, content = files[extension]
        # No LQ photo has a place where pairs.parquet cannot be used, which has been said.
        if f"{column}_offset" in row and (offset, len(content)) != (row[f"{column}_offset"], row[f"{column}_bytes"]):
            table = "pairs.parquet" if extension == LQ_EXTENSION else "index.parquet"
            yield f"{table} has another place for its {extension} file"
    size = (sample.photo.width, sample.photo.height)
    yield from _picture_faults("photo", files[photo_format][1], size)
    if is_test_set:
        yield from _picture_faults("LQ photo", files[LQ_EXTENSION][1], size)


def _picture_faults(what: str, data: bytes, size: tuple[int, int]) -> Iterator[str]:
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG", "PNG", "WEBP"]) as photo:
            if photo.size != size:
                yield f"the {what} has {photo.width}x{photo.height} pixels, not {size[0]}x{size[1]}"
            elif photo.width * photo.height <= MAX_PIXELS:
                photo.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        yield f"the {what} cannot be opened: {error}"
