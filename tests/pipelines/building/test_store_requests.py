"""What an object store is asked, and what a build leaves there that is killed between any two of its requests."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

import fsspec
import pytest

from instructrestore.dataengine.sources import list_photos, parse_source
from instructrestore.shards.files import replacing
from instructrestore.shards.paths import ObjectPath, read_many
from tests.object_store import ObjectStore, Request
from tests.pipelines.building.store_builds import RUN, build, check_whole, objects, store_with_photos

EVERY = 17  # of the requests of a build; benchmarks/stores.py takes all of them
KILLED = -9


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with store_with_photos(tmp_path_factory.mktemp("photos"), 4) as opened:
        yield opened


@pytest.mark.slow
def test_a_kill_between_two_requests_leaves_nothing_in_part_and_the_next_build_gives_the_same_bytes(
    store: ObjectStore,
) -> None:
    assert build(store) == 0
    requests, expected = len(store.requests), objects(store)
    check_whole(store)
    for last in range(EVERY // 2, requests, EVERY):
        store.remove("run/")
        assert build(store, last) == KILLED
        left = objects(store)
        check_whole(store)
        assert not set(left) - set(expected) - {".lock"}, "nothing has a name that a build does not give"
        assert build(store) == 0
        assert objects(store) == expected, f"killed at request {last} of {requests}"


@pytest.mark.slow
def test_a_part_costs_one_request_to_read_and_one_to_write(store: ObjectStore) -> None:
    store.remove("run/")
    assert build(store, photos_per_part=1) == 0
    merged = [request.kind for request in store.requests if f"{RUN}/stages/06-merge/0" in request.name]
    # Written; its counts read by the driver; its rows read by the next stage.
    assert Counter(merged) == {"PUT": 4, "GET": 4 * 2}


@pytest.mark.slow
def test_an_upload_in_pieces_that_breaks_off_is_not_seen(store: ObjectStore) -> None:
    place, megabytes = ObjectPath("s3://bucket/large.tar"), 101  # s3fs sends it in three pieces

    def put(content: bytes) -> None:
        with replacing(place) as file:
            for _ in range(megabytes):
                file.write(content * (1 << 20))

    store.begin()
    put(b"1")
    assert Counter(request.kind for request in store.requests)["PUT"] > 1
    store.begin(last=2)
    with pytest.raises(OSError, match=r"large\.tar"):
        put(b"2")
    store.begin()
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    assert files.size("bucket/large.tar") == megabytes << 20
    assert files.cat_file("bucket/large.tar", start=0, end=3) == b"111", "the former one is there, and whole"


@pytest.mark.slow
def test_a_folder_of_photos_is_listed_once(store: ObjectStore) -> None:
    for number in range(1500):
        store.put(f"many/{number:06d}.jpg", b"")
    store.begin()
    assert len(list(list_photos(parse_source("s3://bucket/many")))) == 1500
    pages, looks = 2, 2  # of 1,000 names; whether there is any, and whether it is a folder
    assert store.requests.count(Request("LIST", "bucket/many/")) == pages + looks
    with pytest.raises(ValueError, match="does not exist"):
        parse_source("s3://bucket/no-such-folder")


def test_files_are_read_whole_in_one_request_each_and_an_empty_one_is_empty(store: ObjectStore) -> None:
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    contents = [b"one", b"", b"three"]
    places = [ObjectPath(f"s3://bucket/read/{number}") for number in range(3)]
    for place, content in zip(places, contents, strict=True):
        files.pipe_file(place.uri, content)
    store.begin()
    assert list(read_many([places[0], places[2]])) == [b"one", b"three"]
    assert [request.kind for request in store.requests] == ["GET", "GET"]
    assert list(read_many(places)) == contents
    with pytest.raises(FileNotFoundError):
        list(read_many([places[0], places[0] / "none"]))
