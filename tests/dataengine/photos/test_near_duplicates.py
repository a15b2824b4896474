"""The perceptual hash on real photos, grouping against brute force, and who is kept."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.photos import near_duplicates, near_hashes
from instructrestore.dataengine.photos.near_duplicates import (
    DISTANCE,
    EXACT,
    EXCLUDED,
    PHOTOS,
    SAME_KEY,
    Assignment,
    Deduplicate,
    perceptual_hash,
)
from instructrestore.dataengine.photos.photo_file import decode
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.running.scratch import columns_of, fill
from instructrestore.dataengine.running.stage import Drop
from instructrestore.shards.sample import Photo, key_of
from tests import real_photos
from tests.dataengine.emptied import emptied
from tests.dataengine.photos import duplicates_in_memory

FLAT = "0" * 16
HASHES = pa.schema([("hash", pa.uint64())])


def group(hashes: NDArray[np.uint64], distance: int = DISTANCE) -> NDArray[np.int64]:
    """For each photo the index of the first photo of its group, by the labels of the distinct hashes."""
    with emptied() as database:
        fill(database, "hashes", ([each] for each in np.unique(hashes[hashes > 0]).tolist()), HASHES)
        near_hashes.label_near(database, distance)
        label = {h: n for hs, ns in columns_of(database, "SELECT * FROM near") for h, n in zip(hs, ns, strict=True)}
    first: dict[int, int] = {}
    named = (label.get(each, each) for each in hashes.tolist())
    return np.array([n if name == 0 else first.setdefault(name, n) for n, name in enumerate(named)], np.int64)


def assign(photos: pa.Table) -> list[Assignment]:
    """photos: columns name, sha256, perceptual_hash (16 hex digits), excluded, cut_from."""
    rows = [
        (
            n,
            n,
            row["name"],
            row["name"],
            row["sha256"],
            number(row["perceptual_hash"]),
            row["excluded"],
            row["cut_from"],
        )
        for n, row in enumerate(photos.to_pylist())
    ]
    with emptied() as database:
        fill(database, "photos", rows, PHOTOS)
        found = list(near_duplicates.assign(database, DISTANCE))
    assert [(part, uri) for part, uri, _ in found] == [(row[1], row[3]) for row in rows]
    return [assignment for _, _, assignment in found]


def number(hash: str) -> int:
    return int(hash, 16)


def differing(left: str, right: str) -> int:
    return (number(left) ^ number(right)).bit_count()


def copies(rgb: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """What becomes of a photo on its way through the web."""
    image = Image.fromarray(rgb)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=50)
    return {
        "half": np.asarray(image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)),
        "jpeg": np.asarray(Image.open(file)),
        "brighter": np.clip(rgb * 1.1, 0, 255).astype(np.uint8),
    }


@pytest.fixture(scope="module")
def photos(data_folder: Path) -> list[NDArray[np.uint8]]:
    names = real_photos.KODAK + real_photos.BOKEH + real_photos.COCO_VALIDATION
    return [decode(path.read_bytes()).rgb for path in real_photos.present(data_folder, names)]


def test_copies_are_near_and_different_photos_are_not(photos: list[NDArray[np.uint8]]) -> None:
    hashes = [perceptual_hash(photo) for photo in photos]
    for photo, original in zip(photos, hashes, strict=True):
        for kind, copy in copies(photo).items():
            assert differing(original, perceptual_hash(copy)) <= DISTANCE, kind
    pairs = [differing(a, b) for index, a in enumerate(hashes) for b in hashes[:index]]
    assert min(pairs) > DISTANCE
    assert all(number(hash).bit_count() == 32 for hash in hashes)


@pytest.mark.parametrize("level", [0, 7, 128, 255])
def test_flat_photos_have_the_hash_that_is_never_grouped(level: int) -> None:
    nearly = level + np.random.default_rng(level).integers(-2, 3, (300, 400, 3))
    for photo in (np.full((300, 400, 3), level), nearly):
        assert perceptual_hash(np.clip(photo, 0, 255).astype(np.uint8)) == FLAT
    assert group(np.zeros(5, np.uint64)).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 7), (31, 33), (4000, 40)])
def test_every_shape_has_a_hash(shape: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert len(perceptual_hash(rgb)) == 16


def brute_force(hashes: list[int], distance: int) -> list[int]:
    """Groups by repeated search, from the definition."""
    result = list(range(len(hashes)))
    for first in range(len(hashes)):
        if result[first] != first:
            continue
        reached = [first]
        for at in reached:
            for other in range(len(hashes)):
                near = (hashes[at] ^ hashes[other]).bit_count() <= distance and hashes[at] and hashes[other]
                if near and other not in reached:
                    reached.append(other)
        for other in reached:
            result[other] = first
    return result


@given(
    seeds=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6),
    steps=st.lists(st.tuples(st.integers(0, 30), st.sets(st.integers(0, 63), max_size=5)), max_size=25),
    distance=st.integers(0, 12),
)
@settings(max_examples=30, deadline=None)
def test_groups_are_those_of_brute_force(seeds: list[int], steps: list[tuple[int, set[int]]], distance: int) -> None:
    hashes = [*seeds, 0, seeds[0]]
    for base, bits in steps:  # clusters and chains: each a few bits from an earlier one
        hashes.append(hashes[base % len(hashes)] ^ sum(1 << bit for bit in bits))
    assert group(np.array(hashes, np.uint64), distance).tolist() == brute_force(hashes, distance)


@pytest.mark.parametrize("distance", [0, DISTANCE])
def test_groups_of_nothing_and_of_one(distance: int) -> None:
    assert group(np.zeros(0, np.uint64), distance).shape == (0,)
    assert group(np.array([5], np.uint64), distance).tolist() == [0]


def test_many_hashes_and_one_picture_over_and_over() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(1, 2**64, 200_000, dtype=np.uint64)
    planted = random.permutation(200_000)[:1000]
    hashes[planted[:500]] = hashes[planted[500:]] ^ np.uint64(0b1011 << 40)
    hashes = np.concatenate([hashes, np.full(200_000, hashes[0])])  # one picture over and over
    groups = group(hashes)
    assert (groups[planted[:500]] == groups[planted[500:]]).all()
    assert (groups[200_000:] == groups[0]).all()
    assert len(np.unique(groups)) >= 200_000 - 520
    assert (groups == duplicates_in_memory.group(hashes)).all()


@given(
    bases=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3),
    steps=st.lists(st.tuples(st.integers(0, 60), st.sets(st.integers(0, 63), max_size=7)), max_size=60),
    piece=st.sampled_from([1, 2, 5, 1 << 20]),
    most_pairs=st.sampled_from([1, 3, 4_000_000]),
    distance=st.sampled_from([0, 1, DISTANCE, 16]),
)
@settings(max_examples=25, deadline=None)
def test_in_pieces_and_batches_the_groups_are_those_in_memory(
    bases: list[int], steps: list[tuple[int, set[int]]], piece: int, most_pairs: int, distance: int
) -> None:
    hashes = [*bases, 0]
    for base, bits in steps:
        hashes.append(hashes[base % len(hashes)] ^ sum(1 << bit for bit in bits))
    given = np.array(hashes, np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_hashes, "PIECE", piece)
        patch.setattr(near_hashes, "MOST_PAIRS", most_pairs)
        assert group(given, distance).tolist() == duplicates_in_memory.group(given, distance).tolist()


def table(rows: list[tuple[str, str, int, bool]], cut_from: dict[str, str] | None = None) -> pa.Table:
    """Rows of (name, a letter for the bytes, hash, excluded). cut_from: name -> the letter of what it is a crop of."""
    return pa.table(
        {
            "name": [name for name, *_ in rows],
            "sha256": [letter * 64 for _, letter, *_ in rows],
            "perceptual_hash": [f"{hash:016x}" for *_, hash, _ in rows],
            "excluded": [excluded for *_, excluded in rows],
            "cut_from": [(cut_from or {}).get(name, "") * 20 for name, *_ in rows],
        }
    )


NEAR, FAR = 0x00000000FFFFFFFF, 0xFFFFFFFF00000000


def test_the_first_of_equal_bytes_is_kept_and_the_rest_name_it() -> None:
    found = assign(table([("a", "1", NEAR, False), ("b", "2", FAR, False), ("c", "1", NEAR, False)]))
    assert [entry.drop for entry in found] == ["", "", EXACT]
    assert found[2].detail == "same bytes as a"


def test_of_two_photos_with_one_key_the_first_is_kept() -> None:
    photos = table([("a", "1", NEAR, False), ("b", "2", FAR, False), ("c", "3", 7, False)])
    sha256 = ["1" * 64, "1" * 20 + "2" * 44, "3" * 64]  # a key is 20 digits
    photos = photos.set_column(1, "sha256", pa.array(sha256))
    found = assign(photos)
    assert [(entry.drop, entry.detail) for entry in found] == [("", ""), (SAME_KEY, "same key as a"), ("", "")]


def test_a_group_goes_by_the_key_of_its_first_photo() -> None:
    found = assign(table([("a", "1", NEAR, False), ("b", "2", FAR, False), ("c", "3", NEAR ^ 0b111, False)]))
    assert [entry.group for entry in found] == ["1" * 20, "2" * 20, "1" * 20]
    assert {entry.drop for entry in found} == {""}


def test_a_test_photo_takes_its_whole_group_along() -> None:
    rows = [("a", "1", NEAR, False), ("b", "2", FAR, False), ("test", "3", NEAR ^ 0b11, True), ("c", "1", NEAR, False)]
    found = assign(table(rows))
    assert [entry.drop for entry in found] == [EXCLUDED, "", EXCLUDED, EXCLUDED]
    assert found[0].detail == "near-duplicate of test" and found[2].detail == "is on the exclude list"


def test_a_crop_of_a_test_set_takes_along_what_it_was_cut_from() -> None:
    rows = [("a", "1", NEAR, False), ("b", "2", FAR, False), ("copy of a", "3", NEAR ^ 0b11, False)]
    found = assign(table([*rows, ("crop", "4", 0x0F0F0F0F0F0F0F0F, True)], {"crop": "1"}))
    assert [entry.drop for entry in found] == [EXCLUDED, "", EXCLUDED, EXCLUDED]
    assert found[2].detail == "the photo that crop was cut from, or a near-duplicate of it"
    trained_on = assign(table([*rows, ("crop", "4", 0x0F0F0F0F0F0F0F0F, False)], {"crop": "1"}))
    assert {entry.drop for entry in trained_on} == {""}


def test_a_flat_test_photo_takes_only_its_own_bytes_along() -> None:
    found = assign(table([("a", "1", 0, False), ("test", "2", 0, True), ("b", "2", 0, False)]))
    assert [entry.drop for entry in found] == ["", EXCLUDED, EXCLUDED]


def test_nothing_is_assigned_to_nothing() -> None:
    assert assign(table([("a", "1", NEAR, False)]).slice(1)) == []


@given(st.lists(st.tuples(st.sampled_from("123456"), st.booleans()), max_size=20))
@settings(max_examples=30, deadline=None)
def test_no_kept_photo_shares_bytes_or_a_group_with_a_test_photo(photos: list[tuple[str, bool]]) -> None:
    hashes = {letter: NEAR ^ (0b11 << 8 * (int(letter) // 3)) ^ (FAR if letter in "56" else 0) for letter in "123456"}
    rows = [(f"photo {i}", letter, hashes[letter], excluded) for i, (letter, excluded) in enumerate(photos)]
    if not rows:
        return
    found = assign(table(rows))
    kept = [letter for (letter, _), entry in zip(photos, found, strict=True) if not entry.drop]
    banned = {hashes[letter] for letter, excluded in photos if excluded}
    assert len(kept) == len(set(kept))
    assert not any((hashes[letter] ^ hash).bit_count() <= DISTANCE for letter in kept for hash in banned)
    for (letter, _), entry in zip(photos, found, strict=True):
        if not banned:
            assert letter in kept and entry.group in {key_of(other * 64) for other in kept}


def test_the_stage_carries_the_assignment_out() -> None:
    def row(uri: str) -> Row:
        photo = Photo(key_of("a" * 64), "a" * 64, uri, "made", "", "", 8, 8, 9, "png", FLAT)
        return Row(SourcePhoto(uri, uri, "made"), photo)

    assignments = {"x": Assignment("", "", "g" * 20), "y": Assignment(EXACT, "same bytes as x", "g" * 20)}
    kept, dropped = Deduplicate()([row("x"), row("y")], assignments)
    assert isinstance(kept, Row) and kept.photo is not None and kept.photo.group == "g" * 20
    assert dropped == Drop(EXACT, "same bytes as x")


BYTES = [letter * 64 for letter in "12"] + ["1" * 20 + "2" * 44, "3" * 19 + "1" * 45, "3" * 64]
HASHED = [0, NEAR, NEAR ^ 0b111, NEAR ^ 0b111111111, FAR, FAR ^ (1 << 63), 2**64 - 1]
TEXTS = ["a", "", "it's", "é\0%", "x" * 300, "' || name --"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(TEXTS),
            st.sampled_from(BYTES),
            st.sampled_from(HASHED),
            st.integers(0, 4).map(lambda n: n == 0),
            st.sampled_from(["", "", *(key_of(each) for each in BYTES), "1" * 21]),
        ),
        max_size=30,
    )
)
@settings(max_examples=40, deadline=None)
def test_every_verdict_is_that_of_the_rules_in_memory(photos: list[tuple[str, str, int, bool, str]]) -> None:
    """Equal bytes with different hashes too, equal keys with different bytes, names that are no names."""
    columns = [list(column) for column in zip(*photos, strict=True)] if photos else [[]] * 5
    names, sha256, hashes, excluded, cut_from = columns
    names = [f"{name} {n}" if n % 2 else name for n, name in enumerate(names)]
    kinds = (pa.string(), pa.string(), pa.string(), pa.bool_(), pa.string())
    values = (names, sha256, [f"{each:016x}" for each in hashes], excluded, cut_from)
    given = pa.table(
        [pa.array(each, kind) for each, kind in zip(values, kinds, strict=True)],
        ["name", "sha256", "perceptual_hash", "excluded", "cut_from"],
    )
    assert assign(given) == (duplicates_in_memory.assign(given) if photos else [])
