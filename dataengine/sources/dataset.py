"""This project's own shards as a source: photos by byte range, with their merged regions as annotations."""

from __future__ import annotations

from collections.abc import Iterator

from instructrestore.dataengine.photos.photo_file import byte_range, read_bytes
from instructrestore.dataengine.photos.row import UNUSABLE, Annotation, RunMask, SourcePhoto
from instructrestore.dataengine.sources import places
from instructrestore.dataengine.sources.settings import SourceSettings
from instructrestore.shards.checksums import COPY_AGAIN
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.index import Dataset
from instructrestore.shards.members import DamagedMember, check_photo, checked_record
from instructrestore.shards.pairs import TEST_SET
from instructrestore.shards.sample import AnnotatedPhoto


def list_dataset(source: SourceSettings) -> Iterator[SourcePhoto]:
    """The photos of a data set in the order of its shards. Raises ValueError if it is not a data set of this schema.

    A photo whose record, or in a damaged shard whose file, is not what was written is listed with that problem. Raises
    DamagedFile for a shard on this machine in which it cannot be told what is damaged.
    """
    root = places.absolute(source.path)
    dataset = Dataset(root)
    index, is_test_set = dataset.index, TEST_SET in dataset.card.configuration
    unlocated = set(dataset.damaged_shards())
    damaged = frozenset(unlocated)
    for batch in index.to_batches(max_chunksize=4096):
        for row in batch.to_pylist():
            shard = places.join(root, row["shard"])
            uri = byte_range(shard, row["photo_offset"], row["photo_bytes"])
            try:
                data = read_bytes(byte_range(shard, row["json_offset"], row["json_bytes"]))
                record = checked_record(data, row)
                if row["shard"] in damaged:
                    check_photo(record, read_bytes(uri))
            except (ValueError, OSError) as error:
                unlocated.discard(row["shard"])
                reason = error.reason if isinstance(error, DamagedMember) else "damaged record"
                yield SourcePhoto(
                    uri=uri,
                    name=row["key"],
                    source=source.name or row["source"],
                    licence=row["licence"] or source.licence,
                    url=row["url"],
                    annotations=(UNUSABLE,) * row["region_count"],
                    excluded=source.exclude,
                    problem=f"{reason} in {row['shard']}" if row["shard"] in damaged else reason,
                )
            else:
                yield _photo(source, uri, record, is_test_set)
    for name in sorted(unlocated):
        raise DamagedFile(places.join(root, name), COPY_AGAIN)


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
