"""A data set's folder as it may be shared: with all of its photos, or as a version without those that may not be.

That version lies beside the data set, in DATASET.shared: shards that lose nothing are hard links. It is a data set like
any other, which `verify` checks, and it stays, so that a push which was cut goes on with the same bytes.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from instructrestore.dataengine.judging.accuracy import stated
from instructrestore.dataengine.judging.version import REVISED
from instructrestore.dataengine.reporting import card, statistics
from instructrestore.dataengine.reporting.sharing import HeldBack, conditions, held_back, terms_of, unused
from instructrestore.pipelines.publishing.plan import HeldPhoto, Plan, PlannedFile
from instructrestore.shards.checksums import CHECKSUMS, sha256
from instructrestore.shards.errors import first_three
from instructrestore.shards.files import file_sha256
from instructrestore.shards.index import Dataset
from instructrestore.shards.pairs import TEST_SET
from instructrestore.shards.without import sizes_without, write_without

_OURS = re.compile(r"(?:jpg|png|webp)-\d{6,}\.tar|pairs\.parquet|croissant\.json")
_LAST = ("index.parquet", "dataset.json", "README.md", CHECKSUMS)


def plan_dataset(folder: Path, granted: Sequence[str], write: bool) -> Plan:
    """What of the data set is shared.

    granted: licences that the user says allow it. write: whether the version without photos that are held back is
    written, and every file is compared with its checksum; otherwise nothing is written, and sizes alone are compared.
    Raises ValueError, in one sentence, where the folder is no whole data set, or none of it may be shared.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: push takes a local data set, such as run/dataset")
    dataset = Dataset(str(folder))
    dataset.check_files()
    if not dataset.checksums:
        raise ValueError(f"{folder} has no {CHECKSUMS}, by which it could be checked: build it again, which writes it")
    if unknown := unused(dataset.index, granted):
        raise ValueError(f"no photo of {folder} has the licence {first_three(unknown)}: `stats` lists those there are")
    held = held_back(dataset.index, granted)
    if held and len(held) == dataset.card.photos:
        stated = f" ({held[0].licence})" if held[0].licence else ""
        raise ValueError(
            f"no photo of {folder} may be shared: {held[0].reason}{stated}; whoever knows better says so with "
            "--licences NAME ('not stated' for photos without one)"
        )
    if held and TEST_SET in dataset.card.configuration:
        raise ValueError(
            f"{folder} is a test set, which is pushed whole or not at all, and of {held[0].key} {held[0].reason}: say "
            "with --licences NAME that it may be shared, or make the test set without it"
        )
    photos = [HeldPhoto(each.key, dataset.record(each.row).photo.name, each.licence, each.reason) for each in held]
    notes = _notes(dataset, {each.row for each in held}, granted)
    if held and not write:
        files = [PlannedFile(name, None, size) for name, size in sizes_without(dataset, _rows(held)).items()]
        files += [PlannedFile(name, None, None) for name in ("croissant.json", *_LAST)]
        return Plan("dataset", files, photos, _left_out(folder, files), notes, _OURS)
    shared = _version(dataset, folder, held) if held else folder
    files = _files(Dataset(str(shared)), shared, write)
    return Plan("dataset", files, photos, _left_out(folder, files), notes, _OURS)


def _rows(held: Sequence[HeldBack]) -> set[int]:
    return {each.row for each in held}


def _files(dataset: Dataset, folder: Path, check: bool) -> list[PlannedFile]:
    """The files that the data set lists, each as it was written."""
    wanted = {entry.name: entry.sha256 for entry in dataset.card.shards} | dataset.checksums
    wanted["index.parquet"] = dataset.card.index_sha256
    wanted[CHECKSUMS] = file_sha256(folder / CHECKSUMS)
    names = [name for name in sorted(wanted) if name not in _LAST] + [name for name in _LAST if name in wanted]
    files = []
    for name in names:
        path = folder / name
        if not path.is_file() or path.is_symlink():
            raise ValueError(f"{path} is no file, and the data set lists it: copy it again, or build it again")
        if check and file_sha256(path) != wanted[name]:
            raise ValueError(f"{path} is damaged, and nothing was uploaded: copy it again, or build it again")
        files.append(PlannedFile(name, path, path.stat().st_size, wanted[name]))
    return files


def _left_out(folder: Path, files: Sequence[PlannedFile]) -> list[tuple[str, str]]:
    """Files of the folder that are no part of the data set."""
    known = {file.name for file in files}
    there = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if not path.is_dir())
    return [(name, "the data set does not list it") for name in there if name not in known and name not in _LAST
            and not _OURS.fullmatch(name)]  # fmt: skip


def _notes(dataset: Dataset, left_out: set[int], granted: Sequence[str]) -> list[str]:
    """What the licences of the shared photos ask for, and what they cannot be given."""
    columns = dataset.index.select(["licence", "url"]).to_pylist()
    shared = [row for number, row in enumerate(columns) if number not in left_out]
    notes = conditions(Counter(row["licence"] for row in shared).items())
    if "README.md" not in dataset.checksums and not left_out:
        notes.append("the data set has no card (README.md): its page on the hub will be empty")
    nameless = sum(1 for row in shared if not row["url"] and (terms := terms_of(row["licence"])) and terms.attribution)
    if nameless:
        notes.append(
            f"{nameless:,} photos whose makers must be named have no address in their records: name them in the card"
        )
    revised = dataset.card.configuration.get(REVISED)
    if isinstance(revised, dict) and revised.get("changes"):
        notes.append("dataset.json and the records' corrections say who judged what, by the names that people chose")
    if granted:
        notes.append(f"shared on your word: photos under {first_three(granted)}")
    return notes


def _version(dataset: Dataset, folder: Path, held: Sequence[HeldBack]) -> Path:
    """The version of the data set without the photos held back; made, unless it is there."""
    final = folder.resolve().with_name(f"{folder.resolve().name}.shared")
    counted = Counter((each.licence, each.reason) for each in held)
    known = dataset.card.configuration
    parent = {"name": dataset.card.name, "sha256": file_sha256(folder / "dataset.json")}
    parent |= {name: known[name] for name in ("parent",) if name in known}
    reasons = [{"licence": a, "reason": b, "photos": n} for (a, b), n in sorted(counted.items())]
    keys = sha256("\n".join(each.key for each in held).encode())
    changes: dict[str, Any] = {"parent": parent, "held_back": reasons, "held_back_keys_sha256": keys}
    if final.exists():
        there = Dataset(str(final)).card.configuration  # raises where it is no data set of ours to replace
        if {name: there.get(name) for name in changes} == changes:
            return final
        if "held_back" not in there:
            raise ValueError(f"{final} is another data set, and push would write there: move it away")
    begun = final.with_name(f"{final.name}.partial")
    if begun.exists():
        shutil.rmtree(begun)  # of a push that was killed
    configuration = {**_without_their_judgements(known, {each.key for each in held}), **changes}
    made = write_without(dataset, begun, _rows(held), configuration)
    card.write_card(begun, made, statistics.of_dataset(Dataset(str(begun))), accuracy=stated(dataset))
    if final.exists():
        shutil.rmtree(final)
    begun.rename(final)
    return final


def _without_their_judgements(configuration: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    """What made the data set, without what people changed in photos that are held back."""
    revised = configuration.get(REVISED)
    if not isinstance(revised, dict):
        return configuration
    changes = [each for each in revised.get("changes", ()) if each.get("key") not in keys]
    return {**configuration, REVISED: {**revised, "changes": changes}}
