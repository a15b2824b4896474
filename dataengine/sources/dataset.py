"""This project's own shards as a source: photos by byte range, with their merged regions as annotations."""

from __future__ import annotations

from collections.abc import Iterator

from instructrestore.dataengine.photos.photo_file import byte_range, read_bytes
from instructrestore.dataengine.photos.row import Annotation, RunMask, SourcePhoto
from instructrestore.dataengine.sources import places
from instructrestore.dataengine.sources.settings import SourceSettings
from instructrestore.shards.index import Dataset
from instructrestore.shards.pairs import TEST_SET
from instructrestore.shards.sample import AnnotatedPhoto, from_json

_COLUMNS = ("shard", "key", "photo_offset", "photo_bytes", "json_offset", "json_bytes", "source", "licence", "url")


def list_dataset(source: SourceSettings) -> Iterator[SourcePhoto]:
    """The photos of a data set in the order of its shards. Raises ValueError if it is not a data set of this schema.

    Only the records are read, not the photos; a photo with a damaged record is listed with that problem.
    """
    root = places.absolute(source.path)
    dataset = Dataset(root)
    index, is_test_set = dataset.index, TEST_SET in dataset.card.configuration
    for batch in index.select(list(_COLUMNS)).to_batches(max_chunksize=4096):
        for row in batch.to_pylist():
            shard = places.join(root, row["shard"])
            uri = byte_range(shard, row["photo_offset"], row["photo_bytes"])
            try:
                record = from_json(read_bytes(byte_range(shard, row["json_offset"], row["json_bytes"])))
            except (ValueError, OSError):
                yield SourcePhoto(
                    uri=uri,
                    name=row["key"],
                    source=source.name or row["source"],
                    licence=row["licence"] or source.licence,
                    url=row["url"],
                    excluded=source.exclude,
                    problem="damaged record",
                )
            else:
                yield _photo(source, uri, record, is_test_set)


def _photo(source: SourceSettings, uri: str, record: AnnotatedPhoto, is_test_set: bool) -> SourcePhoto:
    flags = {region.bokeh for region in record.regions}
    return SourcePhoto(
        uri=uri,
        name=record.photo.name,
        source=source.name or record.photo.source,
        licence=record.photo.licence or source.licence,
        url=record.photo.url,
        annotations=tuple(
            Annotation(
                RunMask(region.mask.height, region.mask.width, region.mask.counts),
                region.caption,
                is_caption=True,
                subject=region.subject,
            )
            for region in record.regions
        ),
        # If the regions of a photo disagree, the bokeh stage decides again.
        bokeh=flags.pop() if len(flags) == 1 else None,
        excluded=source.exclude,
        cut_from=record.photo.group if is_test_set else "",
    )
