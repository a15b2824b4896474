"""Files in an object store: whole or not at all, listed by folder, and errors that say where."""

from __future__ import annotations

import errno
import os
import pickle
import stat
from pathlib import Path

import fsspec
import pytest
import torch
from safetensors.torch import save_file

from instructrestore.shards.files import commit, create, replacing, sweep
from instructrestore.shards.paths import (
    AT_ONCE,
    ObjectPath,
    Place,
    names,
    parse_place,
    place_of,
    reaching,
    read,
    read_if_there,
    read_many,
    remove,
    sizes,
)
from instructrestore.shards.weight_files import share_weights, write_safetensors


@pytest.fixture(params=["local", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A new folder; the store is one in memory."""
    return tmp_path if request.param == "local" else ObjectPath(f"memory://paths/{tmp_path.name}")


@pytest.fixture
def stored(tmp_path: Path) -> ObjectPath:
    return ObjectPath(f"memory://paths/{tmp_path.name}-store")


def test_a_file_is_there_once_it_is_whole(folder: Place) -> None:
    with replacing(folder / "a") as file:
        file.write(b"one" * 100_000)
        assert read_if_there(folder / "a") is None
    assert read(folder / "a") == b"one" * 100_000
    with pytest.raises(RuntimeError, match="half way"), replacing(folder / "a") as file:  # noqa: PT012
        file.write(b"two")
        raise RuntimeError("half way")
    assert read(folder / "a") == b"one" * 100_000
    commit(folder / "a", b"three")
    assert read(folder / "a") == b"three"
    assert names(folder) == ["a"], "nothing is left beside it"


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_a_file_may_be_read_by_whom_the_umask_says(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        commit(tmp_path / "a", b"data")
        write_safetensors({"a": torch.zeros(2)}, tmp_path / "b.safetensors", {"format": "pt"})
        save_file({"a": torch.zeros(2)}, tmp_path / "c.safetensors")  # for the owner alone
        share_weights(tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("a", "b.safetensors", "c.safetensors"), 0o666 & ~mask)


def test_a_folder_is_listed_and_emptied(folder: Place) -> None:
    assert names(folder / "none") == []
    assert sizes(folder / "none") == {}
    for name in ("b", "a", "c"):
        commit(folder / name, name.encode() * 7)
    commit(ObjectPath(f"{folder}-beside") / "x" if isinstance(folder, ObjectPath) else folder / "d", b"")
    assert names(folder)[:3] == ["a", "b", "c"]
    assert {name: size for name, size in sizes(folder).items() if name != "d"} == {"a": 7, "b": 7, "c": 7}
    remove([folder / "a", folder / "c"])
    remove([folder / "a"])
    assert "b" in names(folder) and not {"a", "c"} & set(names(folder))
    sweep(folder)
    assert read(folder / "b") == b"b" * 7


def test_many_files_come_in_their_order_or_their_ends(stored: ObjectPath) -> None:
    places = [stored / f"{number}" for number in range(2 * AT_ONCE + 3)]
    for number, place in enumerate(places):
        commit(place, b"%04d" % number)
    assert list(read_many(places)) == [b"%04d" % number for number in range(len(places))]
    assert list(read_many(places[::-1], last=2)) == [b"%02d" % (number % 100) for number in range(len(places))][::-1]
    with pytest.raises(FileNotFoundError, match="memory://"):
        list(read_many([*places[:2], stored / "none"]))


def test_an_object_is_created_once(stored: ObjectPath) -> None:
    create(stored / "lock", b"mine")
    with pytest.raises(FileExistsError):
        create(stored / "lock", b"yours")
    assert read(stored / "lock") == b"mine"


def test_a_path_is_text_and_back() -> None:
    place = ObjectPath("s3://bucket/run") / "stages" / "x.parquet"
    assert (str(place), place.name, str(place.parent)) == ("s3://bucket/run/stages/x.parquet", "x.parquet",
                                                           "s3://bucket/run/stages")  # fmt: skip
    assert place_of(str(place)) == place == pickle.loads(pickle.dumps(place))  # noqa: S301
    assert place_of("/run/x") == Path("/run/x")


def test_what_a_user_may_name() -> None:
    pytest.importorskip("s3fs", reason="s3:// is spoken by s3fs")
    assert parse_place("run") == Path("run")
    assert parse_place("file:///there/run") == Path("/there/run")
    assert parse_place("s3://bucket/a/run/") == ObjectPath("s3://bucket/a/run")
    for text in ("s3://", "s3:///run", "s3://b//run", "s3://b/../run", "s3://b/r*n", "s3://b/run::zip://x", "s3://b/."):
        with pytest.raises(ValueError, match="not a plain folder in an object store"):
            parse_place(text)


@pytest.mark.parametrize("text", ["sftp://host/run", "memory://run", "https://host/run"])
def test_where_files_can_be_seen_half_written_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a local folder nor one in an object store"):
        parse_place(text)


def test_a_protocol_without_its_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(protocol: str) -> None:
        raise ImportError(f"Please install what speaks {protocol}")

    monkeypatch.setattr(fsspec, "get_filesystem_class", absent)
    with pytest.raises(ValueError, match=r"^gs://bucket/run cannot be reached: Please install what speaks gs$"):
        parse_place("gs://bucket/run")


def test_a_clients_errors_say_where_and_defects_pass() -> None:
    place = ObjectPath("s3://bucket/run")
    for raised, number, said in (
        (PermissionError("Access Denied"), errno.EACCES, "Access Denied"),
        (FileNotFoundError("bucket/run"), errno.ENOENT, "No such file or directory (bucket/run)"),
        (ImportError("Install s3fs\nto access S3"), errno.EIO, "Install s3fs to access S3"),
        (_client_error("Could not connect to the endpoint."), errno.EIO, "Could not connect to the endpoint"),
    ):
        with pytest.raises(OSError, match="s3://bucket/run") as caught, reaching(place):
            raise raised
        assert (caught.value.errno, caught.value.strerror, caught.value.filename) == (number, said, str(place))
    with pytest.raises(KeyError), reaching(place):
        raise KeyError("a defect")
    with pytest.raises(PermissionError) as caught, reaching(Path("/there")):
        raise PermissionError("as it is")
    assert caught.value.errno is None


def _client_error(text: str) -> Exception:
    """An exception as botocore's: no OSError."""
    return type("EndpointConnectionError", (Exception,), {"__module__": "botocore.exceptions"})(text)
