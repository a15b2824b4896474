"""Photos that show the same picture: a perceptual hash, groups of near-duplicates, and which photos are kept.

The hash is Zauner's DCT hash ("Implementation and benchmarking of perceptual image hash functions", 2010) of the 64
lowest frequencies without the mean. Photos are near if few bits differ; groups are the connected components of near
pairs, so that a split by group can never separate two near photos.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from instructrestore.dataengine.photos.near_hashes import label_near
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.running.scratch import rows_of
from instructrestore.dataengine.running.stage import Drop
from instructrestore.shards.sample import KEY_LENGTH

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

REVISION = "1"  # raised whenever this file gives other results
# Of 64 bits. On 86 photos of the test data, copies (half size, JPEG quality 50, 10% brighter) differ from their
# original in at most 4 bits and different photos in at least 16; among a million random hashes about one pair is
# within 6.
DISTANCE = 6
EXACT = "exact duplicate"
EXCLUDED = "exclude list"
SAME_KEY = "key of another photo"  # 80 bits of a hash are not met by chance, but whoever wants to can make two photos

_SIDE = 32
# A photo whose low frequencies vary by less than this (root mean square, grey levels) is flat, and its hash would be
# rounding noise. It gets 0, which no other photo can have: half of its bits are always set.
_FLAT_LEVELS = 1.0
_FLAT = "0" * 16

# A photo: its place among all of them, sha256 as hex digits, the perceptual hash as a number, whether it is a test
# photo, and the key of the photo that it is a crop of, or "".
PHOTOS = pa.schema(
    [("row", pa.int64()), ("part", pa.int32()), ("name", pa.string()), ("uri", pa.string()), ("sha256", pa.string()),
     ("hash", pa.uint64()), ("excluded", pa.bool_()), ("cut_from", pa.string())]
)  # fmt: skip
# repeats: photos with the bytes of an earlier one; the first one counts in the groups. hashes: with the first photo
# of each.
_GROUP = """
CREATE TABLE repeats AS SELECT row, first FROM photos JOIN
    (SELECT sha256, min(row) AS first FROM photos GROUP BY sha256 HAVING count(*) > 1) USING (sha256)
    WHERE row <> first;
CREATE TABLE hashes AS SELECT hash, min(row) AS first FROM photos ANTI JOIN repeats USING (row) WHERE hash <> 0
    GROUP BY hash;
"""
# others: photos that are not the first of their bytes, or of their group. excluders: groups that are left out, by their
# first photo, and why. owners: keys of several photos that would be kept, and the first one.
_DECIDE = f"""
CREATE TABLE groups AS SELECT hash, coalesce(joined.first, hashes.first) AS leader FROM hashes
    LEFT JOIN near USING (hash)
    LEFT JOIN (SELECT label, min(first) AS first FROM near JOIN hashes USING (hash) GROUP BY label) AS joined
        USING (label);
CREATE TABLE led AS SELECT row, leader FROM photos ANTI JOIN repeats USING (row) JOIN groups USING (hash)
    WHERE row <> leader;
CREATE TABLE others AS
    SELECT row, row AS first, leader FROM led
    UNION ALL
    SELECT repeats.row, first, coalesce(leader, first) FROM repeats LEFT JOIN led ON led.row = first;
CREATE VIEW placed AS SELECT photos.*, left(sha256, {KEY_LENGTH}) AS key, coalesce(first, row) AS first,
    coalesce(leader, row) AS leader FROM photos LEFT JOIN others USING (row);
CREATE TABLE excluders AS SELECT leader, 'near-duplicate of ' || arg_min(name, row) AS detail FROM placed
    WHERE excluded GROUP BY leader;
INSERT INTO excluders
    SELECT leader, 'the photo that ' || arg_min(crop, row) || ' was cut from, or a near-duplicate of it' FROM placed
    JOIN (SELECT cut_from AS key, arg_max(name, row) AS crop FROM photos WHERE excluded AND cut_from <> ''
        GROUP BY cut_from) USING (key)
    ANTI JOIN excluders USING (leader) GROUP BY leader;
CREATE TABLE owners AS SELECT key, min(row) AS owner FROM placed ANTI JOIN excluders USING (leader)
    WHERE row = first AND NOT excluded GROUP BY key HAVING count(*) > 1;
CREATE TABLE named AS SELECT row, name, key FROM placed SEMI JOIN
    (SELECT first AS row FROM others UNION SELECT leader FROM others UNION SELECT owner FROM owners) USING (row);
"""
_VERDICTS = """
SELECT part, uri,
    CASE WHEN excluded OR detail IS NOT NULL THEN 'excluded' WHEN placed.row <> first THEN 'exact'
        WHEN placed.row <> owner THEN 'same key' ELSE '' END AS verdict,
    CASE WHEN excluded THEN 'is on the exclude list' WHEN detail IS NOT NULL THEN detail
        WHEN placed.row <> first THEN 'same bytes as ' || original.name
        WHEN placed.row <> owner THEN 'same key as ' || namesake.name ELSE '' END,
    if(placed.row = leader, placed.key, head.key)
FROM placed LEFT JOIN excluders USING (leader) LEFT JOIN owners USING (key)
    LEFT JOIN named AS original ON original.row = first LEFT JOIN named AS namesake ON namesake.row = owner
    LEFT JOIN named AS head ON head.row = leader
ORDER BY placed.row
"""


def _low_frequencies() -> NDArray[np.intp]:
    """Flat indices into the 32x32 DCT of the 64 lowest frequencies, without the mean, by distance from the mean."""
    rows, columns = np.divmod(np.arange(_SIDE * _SIDE), _SIDE)
    return np.lexsort((rows, rows**2 + columns**2))[1:65]


_LOW = _low_frequencies()


def perceptual_hash(rgb: NDArray[np.uint8]) -> str:
    """The 64-bit hash of a photo, (H, W, 3) uint8, as 16 hex digits: a bit per low frequency, set above the median."""
    small = cv2.resize(rgb, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    grey = small.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    low = cv2.dct(grey).ravel()[_LOW]
    if np.sqrt(np.square(low).sum()) / _SIDE < _FLAT_LEVELS:
        return _FLAT
    # By rank, not by value, so that ties cannot unbalance it.
    bits = np.zeros(64, np.uint8)
    bits[np.argsort(low, kind="stable")[32:]] = 1
    return np.packbits(bits).tobytes().hex()


@dataclass(frozen=True)
class Assignment:
    """What happens to a photo. drop: the reason, or "" if it is kept. group: key of the first photo of its group."""

    drop: str
    detail: str
    group: str


def assign(database: DuckDBPyConnection, distance: int = DISTANCE) -> Iterator[tuple[int, str, Assignment]]:
    """What happens to every photo of a run: its part, its URI and the assignment, in the order of the rows, which
    decides which photo comes first.

    database: with a table `photos` (columns: `PHOTOS`), of each photo a row.
    Photos in one group with a test photo, or with one that a test photo was cut from, are dropped ("exclude list"),
    then all but the first of equal bytes ("exact duplicate"), and of equal keys ("key of another photo").
    """
    database.execute(_GROUP)
    label_near(database, distance)
    database.execute(_DECIDE)
    reasons = {"excluded": EXCLUDED, "exact": EXACT, "same key": SAME_KEY, "": ""}
    for part, uri, verdict, detail, group in rows_of(database, _VERDICTS):
        yield part, uri, Assignment(reasons[verdict], detail, group)


class Deduplicate:
    """The stage that carries out `assign` on rows."""

    def __call__(self, rows: Sequence[Row], assignments: Mapping[str, Assignment]) -> list[Row | Drop]:
        """assignments: by the photo's URI."""
        return [_assigned(row, assignments[row.origin.uri]) for row in rows]


def _assigned(row: Row, found: Assignment) -> Row | Drop:
    assert row.photo is not None, "the row has not passed intake"
    if found.drop:
        return Drop(found.drop, found.detail)
    return replace(row, photo=replace(row.photo, group=found.group))
