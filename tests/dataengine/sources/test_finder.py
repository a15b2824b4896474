"""Names that another system wrote: Windows' separators and macOS' letters find the one file that they can mean."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from instructrestore.dataengine.photos.photo_file import UnusablePhoto, read_bytes
from instructrestore.dataengine.photos.row import UNUSABLE, SegmentMask
from instructrestore.dataengine.sources.finder import FileFinder, place_beside
from tests.dataengine.sources.test_sources import JPEG, PNG, item, listed, problems, put, tri_ir

NFC = unicodedata.normalize("NFC", "café/über.jpg")
NFD = unicodedata.normalize("NFD", NFC)
SEVERAL = "name that fits several files"
OUTSIDE = "path outside its folder"


@pytest.fixture
def memory() -> Iterator[str]:
    root = "memory://test-finder"
    yield root
    files, path = fsspec.url_to_fs(root)
    if files.exists(path):
        files.rm(path, recursive=True)


def coco(place: Path, names: list[str]) -> Path:
    place.mkdir(exist_ok=True)
    path = place / "a.json"
    path.write_text(json.dumps({"images": [{"id": n, "file_name": name} for n, name in enumerate(names)]}))
    return path


def write(place: Path, data: bytes = JPEG) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return place


@pytest.mark.parametrize("remote", [False, True])
def test_a_name_finds_the_one_file_that_it_can_mean(tmp_path: Path, memory: str, remote: bool) -> None:
    root = memory if remote else str(tmp_path)
    for name in ("train/a/b.jpg", NFD, "both/x.jpg"):
        put(f"{root}/{name}", JPEG) if remote else write(tmp_path / name)
    finder = FileFinder([f"{root}/train", root])
    assert finder.find("a/b.jpg") == finder.find("a\\b.jpg") == f"{root}/train/a/b.jpg"
    assert finder.find(".\\a\\..\\a\\b.jpg") == f"{root}/train/a/b.jpg"
    assert finder.find("train\\a/b.jpg") == f"{root}/train/a/b.jpg"
    assert finder.find(NFC) == finder.find(NFD) == finder.find(NFC.replace("/", "\\")) == f"{root}/{NFD}"
    for nothing in ("a\\c.jpg", "a\\b.jpg\\c", "é.jpg", "a", "b\\"):
        assert finder.find(nothing) in (None, f"{root}/train/a")
    for outside in ("..\\b.jpg", "a\\..\\..\\b.jpg", "\\a\\b.jpg", "..\\é.jpg", "C:\\a\\b.jpg", "a/..\\..\\x\\b.jpg"):
        with pytest.raises(UnusablePhoto, match=OUTSIDE):
            finder.find(outside)


def test_nothing_is_guessed_and_what_is_written_comes_first(tmp_path: Path) -> None:
    for name in (NFC, NFD, "a/b.jpg", "a\\b.jpg", "x/é.jpg", "y/é.jpg"):
        write(tmp_path / name)
    finder = FileFinder([str(tmp_path)])
    for name in (NFC, NFD, "a/b.jpg", "a\\b.jpg"):
        assert finder.find(name) == str(tmp_path / name)
    mixed = NFC.split("/")[0] + "\\" + NFD.split("/")[1]
    with pytest.raises(UnusablePhoto, match=SEVERAL):
        finder.find(mixed)
    two = FileFinder([str(tmp_path / "x"), str(tmp_path / "y")])
    assert two.find("é.jpg") == str(tmp_path / "x/é.jpg"), "as written, the first folder counts"
    with pytest.raises(UnusablePhoto, match=SEVERAL):
        two.find(unicodedata.normalize("NFD", "é.jpg"))
    assert finder.place("gone\\é.jpg") == f"{tmp_path}/gone\\é.jpg", "is missing under the name as it is written"


def test_photos_of_coco(tmp_path: Path) -> None:
    for name in ("data/train/b.jpg", f"data/{NFD}", "data/twice/é.jpg", "secret.jpg"):
        write(tmp_path / name)
    write(tmp_path / "data/twice" / unicodedata.normalize("NFD", "é.jpg"))
    names = ["train\\b.jpg", NFC, "..\\secret.jpg", "train\\..\\..\\secret.jpg", "C:\\data\\b.jpg", "train\\c.jpg"]
    photos = listed(coco(tmp_path / "data", [*names, "twice\\é.jpg"]))
    assert list(problems(photos).values()) == ["", "", OUTSIDE, OUTSIDE, OUTSIDE, "missing photo", SEVERAL]
    assert [photo.uri for photo in photos[:2]] == [f"{tmp_path}/data/train/b.jpg", f"{tmp_path}/data/{NFD}"]


def test_pictures_of_panoptic_annotations(tmp_path: Path) -> None:
    write(tmp_path / "photo.jpg")
    pictures = [write(tmp_path / "ids" / name, PNG) for name in ("sub/1.png", unicodedata.normalize("NFD", "é.png"))]
    for name, uri in (("sub\\1.png", str(pictures[0])), ("é.png", str(pictures[1])), ("..\\photo.jpg", "")):
        segments = [{"id": 1, "category_id": 3}]
        content = {
            "images": [{"id": 1, "file_name": "photo.jpg"}],
            "annotations": [{"image_id": 1, "file_name": name, "segments_info": segments}],
        }
        (tmp_path / "a.json").write_text(json.dumps(content))
        (photo,) = listed(f"panoptic:{tmp_path / 'a.json'}?masks=ids")
        if uri:
            assert photo.annotations and isinstance(photo.annotations[0].mask, SegmentMask)
            assert photo.annotations[0].mask.uri == uri
        else:
            assert photo.problem == OUTSIDE and photo.annotations == (UNUSABLE,)


def test_photos_and_masks_of_tri_ir(tmp_path: Path) -> None:
    tri_ir(tmp_path, [item(content_image_name="0001000\\0000123.png", mask_image_name=".\\m1.png")])
    (photo,) = listed(tmp_path)
    assert photo.problem == "" and photo.annotations
    assert read_bytes(photo.uri) == PNG and read_bytes(photo.annotations[0].mask.uri) == PNG  # pyright: ignore
    tri_ir(tmp_path, [item(mask_image_name="..\\GT\\0001000\\0000123.png")])
    assert [photo.problem for photo in listed(tmp_path)] == [OUTSIDE]


def test_columns_of_a_manifest(tmp_path: Path) -> None:
    write(tmp_path / "data/a/b.jpg")
    mask = write(tmp_path / "data" / unicodedata.normalize("NFD", "é.png"), PNG)
    rows = ["a\\b.jpg,é.png", "..\\a\\b.jpg,", "a/b.jpg,..\\x.png", "a\\gone.jpg,"]
    (tmp_path / "data/list.csv").write_text("uri,mask\n" + "\n".join(rows) + "\n", encoding="utf-8")
    first, second, third, gone = listed(tmp_path / "data/list.csv")
    assert first.uri == f"{tmp_path}/data/a/b.jpg" and first.annotations
    assert first.annotations[0].mask.uri == str(mask)  # pyright: ignore
    assert second.problem == third.problem == OUTSIDE
    assert gone.problem == "" and gone.uri == f"{tmp_path}/data/a\\gone.jpg", "intake says what is not there"


def test_mattes_pair_across_systems_where_there_is_one_of_each(tmp_path: Path) -> None:
    one, other = "é", unicodedata.normalize("NFD", "é")
    write(tmp_path / f"original/{one}.jpg")
    write(tmp_path / f"alpha/{other}.png", PNG)
    (photo,) = listed(f"matte:{tmp_path}")
    assert photo.problem == "" and photo.annotations
    assert photo.annotations[0].mask.uri == f"{tmp_path}/alpha/{other}.png"  # pyright: ignore
    write(tmp_path / f"original/{other}.jpg")  # now the matte is that one's
    assert problems(listed(f"matte:{tmp_path}")) == {f"{one}.jpg": "missing matte", f"{other}.jpg": ""}


def test_names_in_a_users_own_table(tmp_path: Path) -> None:
    for name in ("in/a/b.jpg", "out.jpg", "in/out.jpg"):
        write(tmp_path / name)
    files = FileFinder([str(tmp_path / "in")])
    assert place_beside(files, "a\\b.jpg") == f"{tmp_path}/in/a/b.jpg"
    for as_written in (str(tmp_path / "out.jpg"), "../out.jpg", "../gone é.jpg", "gone.jpg", "a/../../gone\\é.jpg"):
        assert place_beside(files, as_written) == str(tmp_path / "in" / as_written)
    for outside in ("..\\out.jpg", "a\\..\\..\\out.jpg"):
        with pytest.raises(UnusablePhoto, match=OUTSIDE):
            place_beside(files, outside)
