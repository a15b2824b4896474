"""What the sources list, beside what a run has, on the disk: which photos are new, and whether listings agree.

All of it lies in the tables of a database (running/scratch.py):

    known      photos that the run has: URI, and a hash of the row of each; stored: the rows, where one is another now
    listed     every listing, by its place among all of them, with its row of the manifest
    repeats    listings of a photo that was listed before, and the place of the first, which counts
    new        those of photos that the run has not; changed: of photos that it has, with another row
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
from pydantic import TypeAdapter

from instructrestore.dataengine.photos.row import Annotation, Row, SegmentMask, SourcePhoto
from instructrestore.dataengine.running.scratch import fill, number_of, rows_of
from instructrestore.shards.addresses import has_secret

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# hash: of the row as JSON. signed: whether an address in it is.
_LISTED = pa.schema(
    [("place", pa.int64()), ("uri", pa.string()), ("hash", pa.uint64()), ("signed", pa.bool_()), ("row", pa.binary())]
)
_KNOWN = pa.schema([("uri", pa.string()), ("hash", pa.uint64())])
_STORED = pa.schema([("uri", pa.string()), ("stored", pa.binary())])
_SOME = 4096  # rows at a time: annotations may be long
_COMPARE = """
CREATE TABLE repeats AS SELECT place, first FROM listed JOIN
    (SELECT uri, min(place) AS first FROM listed GROUP BY uri HAVING count(*) > 1) USING (uri) WHERE place <> first;
CREATE TABLE new AS SELECT place, signed FROM listed ANTI JOIN repeats USING (place) ANTI JOIN known USING (uri);
CREATE TABLE changed AS SELECT place, uri FROM listed ANTI JOIN repeats USING (place) JOIN known USING (uri)
    WHERE known.hash <> listed.hash;
"""
_DOUBTFUL = """
SELECT listed.place, listed.row, original.row, NULL FROM repeats JOIN listed ON listed.place = repeats.place
    JOIN listed AS original ON original.place = first
UNION ALL
SELECT listed.place, listed.row, NULL, stored FROM changed JOIN listed USING (place, uri) JOIN stored USING (uri)
ORDER BY 1
"""
_rows = TypeAdapter(Row)
_sources = TypeAdapter(SourcePhoto)


class RunListing:
    """The photos of a run and of its sources, in an empty database.

    known: gives URI and row, as JSON, of the run's photos. photos: as the sources list them. signed: called before the
    first one with a signed address is kept.
    """

    def __init__(
        self,
        database: DuckDBPyConnection,
        known: Callable[[], Iterable[tuple[str, bytes]]],
        photos: Iterable[SourcePhoto],
        signed: Callable[[], None] = lambda: None,
    ) -> None:
        self._database, self._known = database, known
        fill(database, "known", ((uri, _hash(row)) for uri, row in known()), _KNOWN)
        fill(database, "listed", _listed(photos, signed), _LISTED, _SOME)
        database.execute(_COMPARE)
        self.known = number_of(database, "SELECT count(*) FROM known")
        self.new = number_of(database, "SELECT count(*) FROM new")
        self.new_signed = number_of(database, "SELECT count(*) FROM new WHERE signed")
        self.twice = number_of(database, "SELECT count(*) FROM repeats")
        self.gone = self.known + self.new + self.twice - number_of(database, "SELECT count(*) FROM listed")

    def check(self) -> None:
        """Raises ValueError, in one sentence, where a source says other things of a photo than it did when the photo
        came into the run, or where two listings of a photo contradict each other: the first such listing."""
        changed = number_of(self._database, "SELECT count(*) FROM changed")
        fill(self._database, "stored", self._known() if changed else (), _STORED, _SOME)
        for _, row, original, stored in rows_of(self._database, _DOUBTFUL, some=_SOME):
            photo = _rows.validate_json(row).origin
            if original is not None:
                _Said.by(_rows.validate_json(original).origin).check(photo)
            elif not _says_the_same(photo, _rows.validate_json(stored).origin):
                raise ValueError(
                    f"the sources say other things of {photo.name} than when it came into this run (its annotations, "
                    "licence or exclusion): build into another folder"
                )

    def fresh(self) -> Iterator[tuple[str, bytes]]:
        """URI and row, as JSON, of the photos that are new to the run, in the order of their first listings."""
        rows = rows_of(
            self._database, "SELECT uri, row FROM listed SEMI JOIN new USING (place) ORDER BY place", some=_SOME
        )
        yield from ((uri, row) for uri, row in rows)

    def photos(self) -> Iterator[SourcePhoto]:
        """The same as they are listed."""
        return (_rows.validate_json(row).origin for _, row in self.fresh())


def _listed(photos: Iterable[SourcePhoto], signed: Callable[[], None]) -> Iterator[tuple[object, ...]]:
    """Rows of `_LISTED`."""
    told = False
    for place, photo in enumerate(photos):
        row = _rows.dump_json(Row(photo))
        if is_signed := has_secret(photo.uri) or (
            photo.annotations is not None and any(map(_is_signed, photo.annotations))
        ):
            if not told:
                signed()
            told = True
        yield place, photo.uri, _hash(row), is_signed, row


def _is_signed(annotation: Annotation) -> bool:
    return isinstance(annotation.mask, SegmentMask) and has_secret(annotation.mask.uri)


class _Said(NamedTuple):
    """What the first listing of a photo says, as far as another one could contradict it."""

    source: str
    excluded: bool
    annotations: int  # a hash; 0: none
    licence: str
    bokeh: bool | None

    @classmethod
    def by(cls, photo: SourcePhoto) -> _Said:
        drawn = 0
        if photo.annotations:
            said = SourcePhoto("", "", "", annotations=photo.annotations, annotated_size=photo.annotated_size)
            drawn = _hash(_sources.dump_json(said))
        return cls(photo.source, photo.excluded, drawn, photo.licence, photo.bokeh)

    def check(self, photo: SourcePhoto) -> None:
        """Raises ValueError, in one sentence, where a further listing of the photo says what this one does not.

        A photo on an exclude list is left out whatever else is said of it.
        """
        other = _Said.by(photo)
        twice = f"{photo.name} is listed twice, by {self.source} and by {other.source}"
        if self.excluded:
            return
        if other.annotations and not self.annotations:
            raise ValueError(f"{twice}, and only the second has annotations of it: name that source first")
        if other.annotations and self.annotations != other.annotations:
            raise ValueError(f"{twice}, with different annotations: leave out one of the two")
        if other.licence and self.licence and self.licence != other.licence:
            raise ValueError(f"{twice}, under different licences: leave out one of the two")
        if None not in (other.bokeh, self.bokeh) and self.bokeh != other.bokeh:
            raise ValueError(f"{twice}, once as bokeh and once not: leave out one of the two")


def _says_the_same(photo: SourcePhoto, stored: SourcePhoto) -> bool:
    """Whether a source says of a photo what it did; what the source and the photo in it are called is no part of that,
    nor are the annotations of a photo that cannot be used."""
    # Manifests of before 0.2 do not know the size that a source states: it is no contradiction that it does.
    size = stored.annotated_size or photo.annotated_size
    now, then = (
        replace(each, name="", source="", annotations=None if each.problem else each.annotations)
        for each in (photo, replace(stored, annotated_size=size))
    )
    return now == then


def _hash(said: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "big")
