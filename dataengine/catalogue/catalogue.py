"""A data set's photos as a table that can be asked: which, how many, in which order, in a fraction of a second.

`index.parquet` is taken over into a DuckDB file once, and what only the records say (records.py) once it was read. Both
are a cache under the sha256 of `dataset.json`: a data set never changes, so neither do they.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from instructrestore.dataengine.catalogue.dropped import DroppedPhotos
from instructrestore.dataengine.catalogue.query import Query
from instructrestore.dataengine.catalogue.tables import open_tables
from instructrestore.shards.index import INDEX_SCHEMA, Dataset

_KEPT_RESULTS = 16  # the rows of so many queries: 4 MB each for a million photos
_INDEX = ", ".join(f'"{name}"' for name in INDEX_SCHEMA.names)


@dataclass(frozen=True)
class PhotoLine:
    """A photo as a list shows it. subjects: of its regions, in their order."""

    key: str
    width: int
    height: int
    quality: float | None
    subjects: list[str]
    least_agreement: float | None


@dataclass(frozen=True)
class SubjectLine:
    subject: str
    photos: int
    regions: int


@dataclass(frozen=True)
class Facet:
    """A value and the photos (of `said`: the regions) that have it."""

    value: str
    count: int


@dataclass(frozen=True)
class ReasonLine:
    """Why photos were left out, and how many."""

    stage: str
    kind: str
    reason: str
    count: int


@dataclass(frozen=True)
class DroppedLine:
    """A photo that was left out (columns: `DROPPED_SCHEMA`). number: of it in this catalogue."""

    number: int
    stage: str
    kind: str
    reason: str
    detail: str
    uri: str


class Catalogue:
    """The catalogue of a data set, kept in `folder`, of which it is the only user. Made where it is not there yet.

    told: is called with the photos taken over so far. ending: whether to stop making it, which raises Ended.
    Raises ValueError, in one sentence, where the index is damaged or not the one that `dataset.json` lists.
    """

    def __init__(
        self,
        dataset: Dataset,
        folder: Path,
        told: Callable[[int], None] = lambda _: None,
        ending: Callable[[], bool] = lambda: False,
    ) -> None:
        self.dataset, self.folder = dataset, folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._database = open_tables(dataset, folder, told, ending)
        self._changing = threading.Lock()
        self._results: OrderedDict[Query, NDArray[np.int32]] = OrderedDict()

    def close(self) -> None:
        self._database.close()

    def rows(self, query: Query) -> NDArray[np.int32]:
        """The rows of the index that are asked for, in that order."""
        with self._changing:
            if query in self._results:
                self._results.move_to_end(query)
                return self._results[query]
        text, values = query.sql()
        found = np.asarray(self._ask(text, values).fetchnumpy()["row"], np.int32)
        with self._changing:
            self._results[query] = found
            while len(self._results) > _KEPT_RESULTS:
                self._results.popitem(last=False)
        return found

    def photos(self, rows: Sequence[int]) -> list[PhotoLine]:
        """Those photos, in the order of `rows`."""
        if not len(rows):
            return []
        wanted = [int(row) for row in rows]
        marks = ", ".join("?" * len(wanted))
        text = "SELECT row, key, width, height, quality, subjects, least_agreement FROM photos"
        found = self._ask(f"{text} WHERE row IN ({marks})", wanted).fetchall()
        lines = {row: PhotoLine(*rest) for row, *rest in found}
        return [lines[row] for row in wanted]

    def place(self, key: str) -> dict[str, Any] | None:
        """The index's row of a photo by column, as `Dataset.read_at` takes it; None where there is no such photo."""
        found = self._ask(f"SELECT {_INDEX} FROM photos WHERE key = ? LIMIT 1", [key]).fetchone()
        return None if found is None else dict(zip(INDEX_SCHEMA.names, found, strict=True))

    def row(self, key: str) -> int | None:
        """The place of a photo in the index; None where there is no such photo."""
        found = self._ask("SELECT row FROM photos WHERE key = ? LIMIT 1", [key]).fetchone()
        return None if found is None else found[0]

    def places(self) -> Iterator[dict[str, Any]]:
        """The index's rows by column, all, in order."""
        asked = self._ask(f"SELECT {_INDEX} FROM photos ORDER BY row", [])
        while lines := asked.fetchmany(256):
            yield from (dict(zip(INDEX_SCHEMA.names, line, strict=True)) for line in lines)

    def subjects(self, part: str, offset: int, limit: int) -> tuple[int, list[SubjectLine]]:
        """The subjects that have `part` in them, the most frequent first: how many, and those from `offset`."""
        text = "FROM subjects WHERE contains(lower(subject), ?)"
        count = self._ask(f"SELECT count(*) {text}", [part.lower()]).fetchone()
        assert count
        ordered = f"SELECT subject, photos, regions {text} ORDER BY photos DESC, subject LIMIT ? OFFSET ?"
        lines = self._ask(ordered, [part.lower(), limit, offset]).fetchall()
        return count[0], [SubjectLine(*line) for line in lines]

    def facets(self, of: str, limit: int) -> list[Facet]:
        """The commonest values. of: source | licence | said."""
        lines = self._ask(
            "SELECT value, count FROM facets WHERE kind = ? ORDER BY count DESC, value LIMIT ?", [of, limit]
        )
        return [Facet(*line) for line in lines.fetchall()]

    @property
    def has_records(self) -> bool:
        """Whether it knows what only the records say."""
        return self._ask("SELECT count(*) > 0 FROM read", []).fetchone() == (True,)

    def take_records(self, table: pa.Table, parts: Sequence[Sequence[str]]) -> None:
        """Takes over what the records say. table: a row a region, in the index's order: agreement (float32, null),
        said (int32, a place in `parts`). parts: who said what, each combination once."""
        combinations = pa.table(
            {"id": pa.array(range(len(parts)), pa.int32()), "parts": pa.array(parts, pa.list_(pa.string()))}
        )
        database = self._database.cursor()
        database.register("given", table)
        database.register("given_said", combinations)
        database.execute("BEGIN")
        known = database.execute("SELECT count(*) FROM regions").fetchone()
        assert known == (table.num_rows,), (known, table.num_rows)
        database.execute(
            "CREATE TABLE read_regions AS SELECT row, number, caption, subject, area, bokeh, given.agreement, "
            "given.said FROM regions POSITIONAL JOIN given"
        )
        database.execute("DROP TABLE regions")
        database.execute("ALTER TABLE read_regions RENAME TO regions")
        database.execute("DELETE FROM said")
        database.execute("INSERT INTO said SELECT id, parts FROM given_said")
        database.execute(
            "UPDATE photos SET least_agreement = least.agreement FROM "
            "(SELECT row, min(agreement) AS agreement FROM regions GROUP BY row) AS least WHERE least.row = photos.row"
        )
        database.execute(
            "INSERT INTO facets SELECT 'said', part, sum(regions) FROM (SELECT unnest(parts) AS part, regions FROM "
            "said JOIN (SELECT said, count(*) AS regions FROM regions GROUP BY said) AS counted "
            "ON said.id = counted.said) GROUP BY part"
        )
        database.execute("INSERT INTO read VALUES (true)")
        database.execute("COMMIT")
        with self._changing:
            self._results.clear()

    def take_dropped(self, found: DroppedPhotos) -> None:
        """Takes over which photos the run left out, where that is not known yet. Raises DamagedFile."""
        database = self._database.cursor()
        if database.execute("SELECT version FROM dropped_version").fetchall() == [(found.version,)]:
            return
        table = found.table()
        numbers = pa.array(range(len(table)), pa.int32())
        database.register("given", table.append_column("number", numbers))
        database.execute("BEGIN")
        database.execute("DELETE FROM dropped")
        database.execute(
            "INSERT INTO dropped SELECT number, stage, kind, reason, detail, uri FROM given ORDER BY number"
        )
        database.execute("DELETE FROM dropped_version")
        database.execute("INSERT INTO dropped_version VALUES (?)", [found.version])
        database.execute("COMMIT")

    def reasons(self) -> list[ReasonLine]:
        """Why photos were left out, in the stages' order, the commonest first."""
        text = "SELECT stage, kind, reason, count(*) FROM dropped GROUP BY stage, kind, reason"
        return [
            ReasonLine(*line)
            for line in self._ask(f"{text} ORDER BY min(number), count(*) DESC, reason", []).fetchall()
        ]

    def dropped(self, stage: str, reason: str, offset: int, limit: int) -> tuple[int, list[DroppedLine]]:
        """The photos left out in a stage for a reason ("": any): how many, and those from `offset`."""
        text = "FROM dropped WHERE (? = '' OR stage = ?) AND (? = '' OR reason = ?)"
        values = [stage, stage, reason, reason]
        count = self._ask(f"SELECT count(*) {text}", values).fetchone()
        assert count
        lines = self._ask(f"SELECT * {text} ORDER BY number LIMIT ? OFFSET ?", [*values, limit, offset]).fetchall()
        return count[0], [DroppedLine(*line) for line in lines]

    def dropped_photo(self, number: int) -> DroppedLine | None:
        found = self._ask("SELECT * FROM dropped WHERE number = ?", [number]).fetchone()
        return None if found is None else DroppedLine(*found)

    def _ask(self, text: str, values: Sequence[Any]) -> duckdb.DuckDBPyConnection:
        """On a cursor of its own, so that several threads may ask at once."""
        return self._database.cursor().execute(text, list(values))
