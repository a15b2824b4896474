"""Made-up samples for the tests of shards."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from instructrestore.shards.files import replacing
from instructrestore.shards.index import INDEX_SCHEMA, Dataset
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import AnnotatedPhoto, Answer, Photo, Piece, Region, key_of
from instructrestore.shards.write import ShardWriter, finish_dataset, shard_name


def sample(number: int, photo_format: str = "png") -> tuple[AnnotatedPhoto, bytes]:
    """A photo of 24x16 pixels with two regions, and its file."""
    rng = np.random.default_rng(number)
    file = io.BytesIO()
    pixels = Image.fromarray(rng.integers(0, 256, (16, 24, 3), np.uint8))
    pixels.save(file, {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[photo_format])
    data = file.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    photo = Photo(
        key=key_of(sha256), sha256=sha256, name=f"photo {number} “é”.jpg", source="made up", licence="CC0-1.0",
        url=f"https://example.org/{number}", width=24, height=16, bytes=len(data), format=photo_format,
        perceptual_hash="0" * 15 + "1",
        group=key_of(sha256), quality=61.25, quality_metric="embedded",
    )  # fmt: skip
    faults = "sentence too_long" if number == 7 else ""  # late, when loaders have made up their minds about types
    return AnnotatedPhoto(photo, (region("the red dog", "dog", 12, 20, faults), region("a wall", "wall", 0, 9))), data


def region(caption: str, subject: str, start: int, stop: int, faults: str = "") -> Region:
    array = np.zeros((16, 24), np.bool_)
    array[:, start:stop] = True
    mask = Mask.from_array(array)
    answer = Answer("grammar", "1", 1, caption, subject, faults)
    piece = Piece(mask, "embedded 1", f"{caption} is here", "embedded", caption, subject, (answer,))
    return Region(caption, subject, mask, bokeh=subject == "dog", pieces=(piece,))


def write_dataset(folder: Path, photos: int = 3) -> list[tuple[AnnotatedPhoto, bytes]]:
    """A data set of made-up samples, a shard of jpg and one of png; returns them in order."""
    folder.mkdir(parents=True, exist_ok=True)
    made, entries, tables = [], [], []
    for first, photo_format in ((0, "jpg"), (photos, "png")):
        name = shard_name(photo_format, 0)
        with replacing(folder / name) as file:
            writer = ShardWriter(name, file)
            for number in range(first, first + photos):
                made.append(sample(number, photo_format))
                writer.add(*made[-1])
            entries.append(writer.close())
            tables.append(pa.Table.from_pylist(writer.rows, INDEX_SCHEMA))
    finish_dataset(folder, "made-up", entries, tables, {"preset": "none"})
    return made


def in_schema_1(value: Any) -> Any:
    """JSON with every mask as schema 1 has it."""
    if isinstance(value, dict) and value.keys() == {"size", "counts"}:
        return {"height": value["size"][0], "width": value["size"][1], "counts": value["counts"]}
    if isinstance(value, dict):
        return {name: in_schema_1(each) for name, each in value.items()}
    return [in_schema_1(each) for each in value] if isinstance(value, list) else value


def make_schema_1(folder: Path) -> None:
    """Makes a data set one of schema 1."""
    dataset = Dataset(str(folder))
    index, entries = dataset.index.to_pylist(), {}
    for name in sorted({row["shard"] for row in index}):
        rows = [row for row in index if row["shard"] == name]
        with tarfile.open(folder / name) as old:
            members = [(member, old.extractfile(member).read()) for member in old]  # pyright: ignore
        with tarfile.open(folder / name, "w") as new:
            for member, data in members:
                if member.name.endswith(".json"):
                    data = json.dumps(in_schema_1(json.loads(data)), separators=(",", ":")).encode()
                member.size = len(data)
                row = next(row for row in rows if row["key"] == member.name.split(".")[0])
                column = "json" if member.name.endswith(".json") else "photo"
                row[f"{column}_offset"], row[f"{column}_bytes"] = new.offset + 512, len(data)
                new.addfile(member, io.BytesIO(data))
        data = (folder / name).read_bytes()
        entries[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    pq.write_table(pa.Table.from_pylist(index, INDEX_SCHEMA), folder / "index.parquet")
    card = json.loads((folder / "dataset.json").read_bytes())
    card["schema_version"] = 1
    card["index_sha256"] = hashlib.sha256((folder / "index.parquet").read_bytes()).hexdigest()
    for shard in card["shards"]:
        shard.update(entries[shard["name"]])
    (folder / "dataset.json").write_text(json.dumps(card))
    (folder / "checksums.sha256").unlink()  # data sets of version 0.1 had none
