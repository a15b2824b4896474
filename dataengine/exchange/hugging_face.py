"""Hugging Face datasets: Parquet files whose schema says which columns are pictures, as `datasets` itself writes them.

A row is a photo: its file, its regions' captions, subjects, bokeh flags, masks as 1-bit PNGs and as COCO's run-length
objects, and the whole record as JSON, so that nothing is lost.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from instructrestore.dataengine.exchange.layout import ALL, Exported, photo_name
from instructrestore.shards.sample import AnnotatedPhoto, to_json

BYTES_PER_FILE = 256 << 20  # of photos and masks in a Parquet file
ROWS_PER_GROUP = 32  # the viewer of the hub wants small groups where rows are large
_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_RLE = pa.struct([("size", pa.list_(pa.int64())), ("counts", pa.string())])
_text, _texts = (
    {"dtype": "string", "_type": "Value"},
    {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
)
# Each column with its type in Arrow and as `datasets` calls it.
_COLUMNS: dict[str, tuple[pa.DataType, dict[str, Any]]] = {
    "key": (pa.string(), _text),
    "image": (_PICTURE, {"_type": "Image"}),
    "width": (pa.int32(), {"dtype": "int32", "_type": "Value"}),
    "height": (pa.int32(), {"dtype": "int32", "_type": "Value"}),
    "captions": (pa.list_(pa.string()), _texts),
    "subjects": (pa.list_(pa.string()), _texts),
    "bokeh": (pa.list_(pa.bool_()), {"feature": {"dtype": "bool", "_type": "Value"}, "_type": "List"}),
    "masks": (pa.list_(_PICTURE), {"feature": {"_type": "Image"}, "_type": "List"}),
    "rle": (
        pa.list_(_RLE),
        {
            "feature": {
                "size": {"feature": {"dtype": "int64", "_type": "Value"}, "_type": "List"},
                "counts": _text,
            },
            "_type": "List",
        },
    ),
    "licence": (pa.string(), _text),
    "url": (pa.string(), _text),
    "record": (pa.string(), _text),
}
_FEATURES = {"info": {"features": {name: kind for name, (_, kind) in _COLUMNS.items()}}}
_SCHEMA = pa.schema(
    [(name, kind) for name, (kind, _) in _COLUMNS.items()], metadata={"huggingface": json.dumps(_FEATURES)}
)


class HuggingFaceLayout:
    """FOLDER/data/train-00000.parquet and so on; `load_dataset(FOLDER)` finds them by their names."""

    holds = ALL

    def __init__(self, exported: Exported) -> None:
        self._folder = exported.folder / "data"
        self._folder.mkdir()
        self._writer: pq.ParquetWriter | None = None
        self._files = self._bytes = 0
        self._waiting: list[dict[str, Any]] = []

    def add(self, sample: AnnotatedPhoto, data: bytes) -> Counter[str]:
        photo, regions = sample.photo, sample.regions
        masks = [_png(region.mask.array()) for region in regions]
        self._waiting.append(
            {
                "key": photo.key,
                "image": {"bytes": data, "path": photo_name(photo)},
                "width": photo.width,
                "height": photo.height,
                "captions": [region.caption for region in regions],
                "subjects": [region.subject for region in regions],
                "bokeh": [region.bokeh for region in regions],
                "masks": [{"bytes": mask, "path": f"{photo.key}-{n:03d}.png"} for n, mask in enumerate(masks)],
                "rle": [
                    {"size": [region.mask.height, region.mask.width], "counts": region.mask.counts}
                    for region in regions
                ],
                "licence": photo.licence,
                "url": photo.url,
                "record": to_json(sample).decode("utf-8"),
            }
        )
        self._bytes += len(data) + sum(map(len, masks))
        if len(self._waiting) == ROWS_PER_GROUP:
            self._write()
        if self._bytes >= BYTES_PER_FILE:
            self._close()
        return Counter()

    def _write(self) -> None:
        if self._waiting:
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._folder / f"train-{self._files:05d}.parquet", _SCHEMA)
                self._files += 1
            self._writer.write_table(pa.Table.from_pylist(self._waiting, _SCHEMA))
            self._waiting = []

    def _close(self) -> None:
        self._write()
        if self._writer:
            self._writer.close()
        self._writer, self._bytes = None, 0

    def finish(self) -> None:
        self._close()


def _png(mask: Any) -> bytes:
    """(H, W) bool as a PNG of 1 bit a pixel."""
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()
