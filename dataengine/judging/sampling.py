"""The regions to be audited: a stratified sample of a data set, as a queue beside it for a page or a person.

    run/dataset  ->  run/dataset.audit.jsonl

A region's stratum is how often its subject occurs, its share of the photo, and the round that named it. Each stratum
gets its share of the sample, and at least one region. Which of its regions are drawn follows from the seed, the photo
and the region alone, so that a larger sample goes on from a smaller one, and one drawn of a rebuilt data set has again
the regions that are the same. The queue is in random order: whoever stops early has judged a random part of each
stratum.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from instructrestore.dataengine.judging.judgement import RegionId, region_id
from instructrestore.dataengine.judging.log import beside
from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.shards.checksums import COPY_AGAIN
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import commit
from instructrestore.shards.index import Dataset
from instructrestore.shards.parsing import parse_object, read_bounded
from instructrestore.shards.plain_text import json_text
from instructrestore.shards.sample import KEY_LENGTH

ENDING = ".audit.jsonl"
MAX_SAMPLE = 100_000
# The most common subjects, which half of the regions have; those that the next 40% have; all others.
FREQUENCIES = {"common": 0.5, "less common": 0.9, "rare": 1.0}
AREAS = {"under 5%": 0.05, "5% to 20%": 0.2, "20% and more": 1.01}  # below these shares of the photo
Stratum = tuple[str, str, str]  # frequency, area, round
GIVEN, JUDGED = "given", "judge"

_REMEDY = "draw the sample again with --sample"


@dataclass(frozen=True)
class DrawnRegion:
    """A region of the queue.

    dataset: sha256 of the version's `dataset.json`. region: its id. frequency, area, round: its stratum; round is
    "given" where the source named the region, the number of the round that did, or "judge". regions: how many of the
    data set are in the stratum.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    dataset: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    key: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{KEY_LENGTH}}}$")]
    region: RegionId
    caption: str
    subject: str
    frequency: str
    area: str
    round: str
    regions: Annotated[int, Field(ge=1)]

    @property
    def stratum(self) -> Stratum:
        return self.frequency, self.area, self.round


_queue = TypeAdapter(DrawnRegion)


def queue_path(dataset: str) -> Path:
    """Where the queue of a data set's folder lies. Raises ValueError for one that is not on this machine."""
    return beside(dataset, ENDING)


def draw(dataset: Dataset, sample: int, seed: int, on_photo: Callable[[], None] = lambda: None) -> list[DrawnRegion]:
    """A sample of so many regions, or of all where there are fewer. dataset: on this machine; of every record the
    rounds are read, and those that are drawn as a whole.

    Raises ValueError where a shard is damaged.
    """
    sizes: Counter[Stratum] = Counter()
    least: dict[Stratum, list[tuple[int, int, int]]] = {}  # of each the smallest hashes, negative, with row and place
    for row, place, stratum, number in _regions(dataset, seed, on_photo):
        sizes[stratum] += 1
        kept = least.setdefault(stratum, [])
        if len(kept) < sample:
            heapq.heappush(kept, (-number, row, place))
        elif number < -kept[0][0]:
            heapq.heapreplace(kept, (-number, row, place))
    shares = allocate({stratum: sizes[stratum] for stratum in sorted(sizes)}, sample)
    drawn: dict[tuple[str, str], DrawnRegion] = {}  # two regions of one mask and caption are one
    for stratum, count in shares.items():
        for _, row, place in heapq.nlargest(count, least[stratum]):
            record = dataset.record(row)
            key, region = record.photo.key, record.regions[place]
            said = (region_id(region), region.caption, region.subject)
            drawn[key, said[0]] = DrawnRegion(dataset.sha256, key, *said, *stratum, sizes[stratum])
    return sorted(drawn.values(), key=lambda each: _hash(seed, "order", each.key, each.region))


def _regions(dataset: Dataset, seed: int, on_photo: Callable[[], None]) -> Iterator[tuple[int, int, Stratum, int]]:
    """Of every region: the row of its photo, its place in the record, its stratum, and a hash of the seed and of what
    the index says of it, by which it is drawn."""
    frequencies = _frequencies(dataset)
    row = 0
    columns = ("key", "shard", "json_offset", "json_bytes", "captions", "subjects", "areas")
    with ExitStack() as opened:
        files: dict[str, BinaryIO] = {}
        for batch in dataset.index.select(columns).to_batches(max_chunksize=4096):
            for photo in batch.to_pylist():
                if photo["shard"] not in files:
                    opened.close()
                    file = opened.enter_context((Path(dataset.path) / photo["shard"]).open("rb"))
                    files = {photo["shard"]: file}
                rounds = _rounds(files[photo["shard"]], photo)
                known = zip(photo["captions"], photo["subjects"], photo["areas"], rounds, strict=True)
                for place, (caption, subject, area, round_name) in enumerate(known):
                    size = next(name for name, below in AREAS.items() if area < below)
                    number = _hash(seed, photo["key"], caption, area)
                    yield row, place, (frequencies[subject], size, round_name), number
                row += 1
                on_photo()


def _rounds(file: BinaryIO, photo: Mapping[str, Any]) -> list[str]:
    """What named each region of a record: the last round that one of its pieces needed, unless a person changed it.

    Reading all of a record as `Dataset.record` does takes ten times as long.
    """
    file.seek(photo["json_offset"])
    where = f"the record of {photo['key']} in {photo['shard']}"
    record = parse_object(file.read(photo["json_bytes"]), where)
    try:
        found = [_round(region) for region in record["regions"]]
    except (KeyError, TypeError, IndexError):
        found = []
    if len(found) != len(photo["captions"]):
        raise ValueError(f"{where} is damaged: {COPY_AGAIN}")
    return found


def _round(region: Mapping[str, Any]) -> str:
    if region.get("corrections"):
        return JUDGED
    last = max((piece["answers"][-1]["round"] for piece in region["pieces"] if piece["answers"]), default=0)
    return f"{last:d}" if last else GIVEN


def allocate(sizes: Mapping[Stratum, int], sample: int) -> dict[Stratum, int]:
    """How many of each stratum are drawn: one, and of the rest its share of all regions, the largest remainders
    rounded up; never more than there are. A sample smaller than the strata are many leaves the smallest out."""
    whole = sum(sizes.values())
    if sample >= whole:
        return dict(sizes)
    order = sorted(sizes, key=lambda stratum: (-sizes[stratum], stratum))
    counts = {stratum: int(place < sample) for place, stratum in enumerate(order)}
    while (left := sample - sum(counts.values())) > 0:
        wanted = {stratum: sample * sizes[stratum] / whole - counts[stratum] for stratum in order}
        open_ = [stratum for stratum in order if counts[stratum] < sizes[stratum]]
        for stratum in sorted(open_, key=lambda stratum: -wanted[stratum])[:left]:
            more = max(1, min(int(wanted[stratum]), sizes[stratum] - counts[stratum], left))
            counts[stratum] += more
            left -= more
            if not left:
                break
    return counts


def write_queue(path: Path, drawn: list[DrawnRegion]) -> None:
    """Writes the queue, whole or not at all, in place of one that is there."""
    commit(path, "".join(json_text(asdict(each)) + "\n" for each in drawn).encode())


def read_queue(path: Path) -> list[DrawnRegion]:
    """The queue; empty where there is none. Raises DamagedFile for a file that is no queue."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise DamagedFile(path, _REMEDY)
    try:
        content = read_bounded(path)
    except FileNotFoundError:
        return []
    return list(_lines(content, path))


def _lines(content: bytes, path: Path) -> Iterator[DrawnRegion]:
    for line in content.splitlines():
        try:
            parse_object(line, str(path))
            yield _queue.validate_json(line)
        except (ValidationError, ValueError):
            raise DamagedFile(path, _REMEDY) from None


def _frequencies(dataset: Dataset) -> dict[str, str]:
    """Of each subject how common it is."""
    said = Counter(subject for subjects in dataset.index["subjects"].to_pylist() for subject in subjects)
    counts: Counter[str] = Counter()
    for subject, count in said.items():
        counts[fold(subject)] += count
    whole, seen = sum(counts.values()), 0
    bands = {}
    for subject, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        bands[subject] = next(name for name, up_to in FREQUENCIES.items() if seen < up_to * whole)
        seen += count
    return {subject: bands[fold(subject)] for subject in said}


def _hash(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(" ".join(map(str, parts)).encode()).digest()[:8], "big")
