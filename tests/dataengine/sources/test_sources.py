"""Sources: what each layout lists, that nothing it names gets lost, and that no name leads outside its folder."""

from __future__ import annotations

import json
import os
import posixpath
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from instructrestore.dataengine.photos.photo_file import decode, read_bytes
from instructrestore.dataengine.photos.row import PolygonMask, RunMask, SegmentMask, SourcePhoto
from instructrestore.dataengine.sources import SourceSettings, list_photos, parse_source
from instructrestore.dataengine.sources.places import inside
from instructrestore.shards.sample import AnnotatedPhoto
from tests import real_photos
from tests.dataengine.masks.all_masks import masks_of
from tests.dataengine.photos.test_photo_file import saved, scene
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset
from tests.pipelines.evaluation.small_testset import write_testset

JPEG = saved(scene(), "JPEG")
PNG = saved(scene(), "PNG")
serialised = TypeAdapter(SourcePhoto)


def listed(text: str | Path) -> list[SourcePhoto]:
    photos = list(list_photos(parse_source(str(text))))
    for photo in photos:  # a manifest must be able to hold whatever a source lists
        assert serialised.validate_json(serialised.dump_json(photo)) == photo
        photo.uri.encode()
    uris = [photo.uri for photo in photos]
    assert len(uris) == len(set(uris))
    return photos


def problems(photos: list[SourcePhoto]) -> dict[str, str]:
    return {photo.name: photo.problem for photo in photos}


@pytest.fixture
def memory() -> Iterator[str]:
    """An empty remote folder."""
    root = "memory://test-sources"
    yield root
    files, path = fsspec.url_to_fs(root)
    if files.exists(path):
        files.rm(path, recursive=True)


def put(place: str, data: bytes) -> None:
    with fsspec.open(place, "wb") as file:
        file.write(data)  # pyright: ignore[reportAttributeAccessIssue]


# Folders


def test_a_folder_is_listed_by_content(tmp_path: Path) -> None:
    files = {
        "b.jpg": JPEG,
        "a/one": PNG,  # no ending at all
        "a/photo.txt": JPEG,  # the wrong one
        "a/notes.txt": b"not a photo",
        "a/table.csv": b"x,y\n",
        "empty.jpg": b"",
        "text.jpg": b"not a photo either",
        ".hidden.jpg": JPEG,
        ".git/object.jpg": JPEG,
        "twice/same.jpg": JPEG,
        "again/same.jpg": PNG,
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    photos = listed(tmp_path)
    wanted = {"b.jpg", "a/one", "a/photo.txt", "empty.jpg", "text.jpg", "twice/same.jpg", "again/same.jpg"}
    assert problems(photos) == dict.fromkeys(wanted, "")
    assert [photo.uri for photo in photos] == [photo.uri for photo in listed(tmp_path)]
    assert {photo.source for photo in photos} == {tmp_path.name} and photos[0].annotations is None
    assert all(read_bytes(photo.uri) == files[photo.name] for photo in photos)


NAMES = [
    "with space.jpg",
    "two.dots.in.it.jpg",
    'quote\'s and "more".jpg',
    "emoji 🦊.jpg",
    "новый.jpg",
    "new\nline.jpg",
    "percent%20.jpg",
    "hash#3,4",
    "question?name=x.jpg",
    "back\\slash.jpg",
    "-dash.jpg",
    "x" * 251 + ".jpg",
    "é" * 125 + "x.jpg",
    os.fsdecode(b"undecodable\xff\xfe.jpg"),
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_any_file_name_is_read(tmp_path: Path, name: str) -> None:
    assert len(os.fsencode(name)) <= 255
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_bytes(JPEG)
    (photo,) = listed(tmp_path)
    assert read_bytes(photo.uri) == JPEG
    photo.name.encode("utf-8")
    if name.isprintable():
        assert photo.name == f"folder/{name}"


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "real/photo.jpg").write_bytes(JPEG)
    (root / "real/up").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "twice").symlink_to(root / "real")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/other.jpg").write_bytes(PNG)
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "loop.jpg").symlink_to("loop.jpg")
    (root / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "gone.txt").symlink_to("nowhere.txt")
    os.mkfifo(root / "pipe.jpg")
    os.mkfifo(root / "pipe")
    assert problems(listed(root)) == {
        "real/photo.jpg": "",
        "link/other.jpg": "",
        "loop.jpg": "broken link",
        "gone.jpg": "broken link",
        "pipe.jpg": "not a regular file",
    }


def test_unreadable_folders_and_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("locked", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "photo.jpg").write_bytes(JPEG)
    really = os.scandir

    def scandir(path: Any) -> Any:  # permissions do not hold root back, and tests may run as root
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return really(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert problems(listed(tmp_path)) == {"open/photo.jpg": "", "locked": "folder unreadable"}


def test_a_remote_folder_goes_by_endings_and_looks_into_files_without_one(memory: str) -> None:
    for name, data in {"b.jpg": JPEG, "a/one": PNG, "a/text": b"words", "a/notes.txt": JPEG, ".x/c.jpg": JPEG}.items():
        put(f"{memory}/{name}", data)
    photos = listed(memory)
    assert [photo.name for photo in photos] == ["a/one", "b.jpg"]
    assert [read_bytes(photo.uri) for photo in photos] == [PNG, JPEG]


# COCO


def coco(**changes: Any) -> dict[str, Any]:
    """Annotations of one photo of 80x48, in COCO's layout."""
    return {
        "licenses": [{"id": 4, "name": "Attribution License", "url": "http://creativecommons.org/licenses/by/2.0/"}],
        "images": [
            {"id": 7, "file_name": "one.jpg", "width": 80, "height": 48, "license": 4, "flickr_url": "http://f/1"}
        ],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [],
        **changes,
    }


def annotated(tmp_path: Path, content: Any, photos: tuple[str, ...] = ("one.jpg",)) -> Path:
    for name in photos:
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / name).write_bytes(JPEG)
    (tmp_path / "annotations").mkdir(exist_ok=True)
    path = tmp_path / "annotations" / "instances_train.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def entry(**changes: Any) -> dict[str, Any]:
    square = [10, 10, 30, 10, 30, 30, 10, 30]
    return {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [square], "iscrowd": 0, **changes}


def test_coco_photos_carry_masks_licence_and_address(tmp_path: Path) -> None:
    (photo,) = listed(annotated(tmp_path, coco(annotations=[entry()])))
    assert photo.uri == str(tmp_path / "train/one.jpg") and photo.name == "one.jpg"
    assert (photo.licence, photo.url, photo.source) == ("CC BY 2.0", "http://f/1", "instances_train")
    assert photo.annotations is not None
    ((mask, annotation),), counts = masks_of(photo.annotations, 48, 80)
    assert annotation.label == "cat" and counts == {}
    assert mask.sum() == 400 and mask[10:30, 10:30].all()


SEGMENTATIONS: dict[str, tuple[Any, int]] = {
    # name: the segmentation, and how many masks it leaves
    "plain": ([[10, 10, 30, 10, 30, 30]], 1),
    "runs": ({"size": [48, 80], "counts": [100, 200, 48 * 80 - 300]}, 1),
    "runs that do not add up": ({"size": [48, 80], "counts": [1, 2, 3]}, 0),
    "negative runs": ({"size": [48, 80], "counts": [-1, 3841]}, 0),
    "runs that are words": ({"size": [48, 80], "counts": ["a", None]}, 0),
    "enormous runs": ({"size": [48, 80], "counts": [10**30]}, 0),
    "bad code": ({"size": [48, 80], "counts": "!!!! no such code ÿ"}, 0),
    "code with a lone surrogate": ({"size": [48, 80], "counts": "\ud800"}, 0),
    "another size": ({"size": [10, 10], "counts": [0, 100]}, 0),
    "no size": ({"counts": [0, 100]}, 0),
    "size of words": ({"size": "48x80", "counts": [0, 100]}, 0),
    "counts missing": ({"size": [48, 80]}, 0),
    "polygon of two points": ([[10, 10, 30, 10]], 0),
    "odd number of numbers": ([[10, 10, 30, 10, 30, 30, 5]], 0),
    "no polygons": ([], 0),
    "empty polygon": ([[]], 0),
    "polygon of words": ([["a", "b", "c", "d", "e", "f"]], 0),
    "flat list": ([10, 10, 30, 10, 30, 30], 0),
    "not finite": ([[10, 10, float("nan"), 10, 30, float("inf")]], 0),
    "far outside": ([[1e9, 1e9, 1e9 + 5, 1e9, 1e9, 1e9 + 5]], 0),
    "null": (None, 0),
    "a number": (5, 0),
    "text": ("polygon", 0),
}


@pytest.mark.parametrize("kind", SEGMENTATIONS)
def test_every_segmentation_is_a_mask_or_counted(tmp_path: Path, kind: str) -> None:
    segmentation, masks = SEGMENTATIONS[kind]
    (photo,) = listed(annotated(tmp_path, coco(annotations=[entry(segmentation=segmentation)])))
    assert photo.problem == "" and photo.annotations is not None
    usable, counts = masks_of(photo.annotations, 48, 80)
    assert len(usable) == masks and sum(counts.values()) == 1 - masks


def test_what_an_annotation_lacks_does_not_cost_the_photo(tmp_path: Path) -> None:
    broken = [
        entry(category_id=99),
        entry(category_id=None),
        entry(category_id=[1]),
        entry(image_id=12345),
        entry(image_id=None),
        entry(iscrowd=1),
        "not an annotation",
        None,
    ]
    path, left_out = annotated(tmp_path, coco(annotations=broken)), Counter[str]()
    (photo,) = list_photos(parse_source(str(path)), left_out)
    assert photo.annotations is not None and [annotation.label for annotation in photo.annotations] == ["", "", ""]
    # What is part of no photo is counted: 8 are 3 of the photo and these.
    assert +left_out == {"annotation of no photo": 2, "crowd": 1, "not an annotation": 2}


def test_missing_and_nameless_and_escaping_photos_are_accounted_for(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(JPEG)
    names: list[Any] = ["one.jpg", "gone.jpg", "../../secret.jpg", "../secret.jpg", str(tmp_path / "secret.jpg")]
    names += ["file:///etc/passwd", "a\0b.jpg", "\ud800.jpg", 5, None, "", "sub/../two.jpg"]
    images = [{"id": index, "file_name": name} for index, name in enumerate(names)]
    photos = listed(annotated(tmp_path, coco(images=[*images, "no record"]), ("one.jpg", "two.jpg")))
    outside = "path outside its folder"
    expected = ["", "missing photo", *[outside] * 5, "missing photo", *["photo without a name"] * 3, ""]
    assert [photo.problem for photo in photos] == [*expected, "photo without a name"]
    assert photos[1].name == "gone.jpg"


def test_photos_are_found_where_people_keep_them(tmp_path: Path) -> None:
    def find(json_name: str, photo_name: str, file_name: str = "one.jpg", option: str = "") -> str:
        shutil.rmtree(tmp_path)
        for name, data in (
            (photo_name, JPEG),
            (json_name, json.dumps(coco(images=[{"id": 1, "file_name": file_name}]))),
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
        (photo,) = listed(f"{tmp_path / json_name}{option}")
        return "" if photo.problem else os.path.relpath(photo.uri, tmp_path)

    assert find("a.json", "one.jpg") == "one.jpg"
    assert find("a.json", "photos/one.jpg") == "photos/one.jpg"
    assert find("annotations/instances_val2017.json", "val2017/one.jpg") == "val2017/one.jpg"
    assert find("annotations/instances_val2017.json", "images/val2017/one.jpg") == "images/val2017/one.jpg"
    assert find("annotations/a.json", "images/one.jpg") == "images/one.jpg"
    assert find("annotations/a.json", "train/x/one.jpg", "train/x/one.jpg") == "train/x/one.jpg"
    assert find("a/b/a.json", "far/one.jpg", option="?images=../../far") == "far/one.jpg"
    assert find("a/a.json", "neighbour/one.jpg") == ""  # another data set's photos are not taken for this one's


def test_coco_licence_ids_are_known_without_the_list(tmp_path: Path) -> None:
    web = "http://images.cocodataset.org/train2017/one.jpg"
    record = {"id": 7, "file_name": "one.jpg", "license": 4, "coco_url": web}
    (photo,) = listed(annotated(tmp_path, coco(licenses=[], images=[record])))
    assert (photo.licence, photo.url) == ("CC BY 2.0", web)
    (photo,) = listed(annotated(tmp_path, coco(licenses=[], images=[{**record, "coco_url": "http://other.example/1"}])))
    assert photo.licence == ""
    (photo,) = listed(
        f"{annotated(tmp_path, coco(licenses=[], images=[{'id': 7, 'file_name': 'one.jpg'}]))}?licence=mine"
    )
    assert photo.licence == "mine"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"images": [', "is not valid JSON"),
        ("[" * 100_000 + '"images"', "is not valid JSON"),
        ('{"images": [], "images": [{"id": 1}]}', "says 'images' twice"),
        ('{"images": [{"id": ' + "9" * 5000 + "}]}", "a number of thousands of digits"),
        ('{"images": 5}', "has no list of images"),
        ('["images"]', "has no list of images"),
        ('{"images": []}', "holds no photos"),
        ('{"photos": []}', "lists no images"),
        ("", "lists no images"),
    ],
)
def test_a_broken_annotation_file_is_one_sentence(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        listed(annotated(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_coco_and_its_photos_can_lie_remotely(memory: str) -> None:
    names = ["one.jpg", "gone.jpg", "../../x.jpg"]
    images = [{"id": index, "file_name": name} for index, name in enumerate(names)]
    put(f"{memory}/annotations/instances_train.json", json.dumps(coco(images=images)).encode())
    put(f"{memory}/train/one.jpg", JPEG)
    photos = listed(f"{memory}/annotations/instances_train.json")
    assert [photo.problem for photo in photos] == ["", "missing photo", "path outside its folder"]
    assert read_bytes(photos[0].uri) == JPEG


# Panoptic


def panoptic(tmp_path: Path, **changes: Any) -> Path:
    ids = np.zeros((48, 80, 3), np.uint8)
    ids[:, :40] = (5, 1, 0)  # 5 + 256
    (tmp_path / "panoptic").mkdir(exist_ok=True)
    (tmp_path / "panoptic/one.png").write_bytes(saved(ids, "PNG"))
    segments = [
        {"id": 261, "category_id": 3, "iscrowd": 0},
        {"id": 999, "category_id": 3},
        {"id": "x", "category_id": 4},
    ]
    record = {"image_id": 7, "file_name": "one.png", "segments_info": segments, **changes}
    path = annotated(tmp_path, coco(annotations=[record]))
    return path.rename(path.with_name("panoptic_train.json"))


def test_panoptic_segments_are_read_and_ids_that_are_not_there_counted(tmp_path: Path) -> None:
    path = panoptic(tmp_path)
    (photo,) = listed(f"{path}?masks={tmp_path}/panoptic")
    assert photo.annotations is not None
    ((mask, annotation),), counts = masks_of(photo.annotations, 48, 80)
    assert annotation.label == "cat" and mask[:, :40].all() and not mask[:, 40:].any()
    assert sum(counts.values()) == 2
    (tmp_path / "panoptic").rename(tmp_path / "annotations/panoptic_train")
    assert listed(path)[0].annotations is not None  # beside the JSON, by its name


def test_panoptic_pictures_cannot_lie_outside(tmp_path: Path) -> None:
    path = panoptic(tmp_path, file_name="../one.png")
    assert [photo.problem for photo in listed(f"{path}?masks={tmp_path}/panoptic")] == ["path outside its folder"]


def test_panoptic_without_its_pictures_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"name their folder with \?masks="):
        listed(panoptic(tmp_path))
    with pytest.raises(ValueError, match="does not exist"):
        listed(f"{panoptic(tmp_path)}?masks=nowhere")


# Mattes


def test_mattes_in_one_folder_or_two(tmp_path: Path) -> None:
    def make(*names: str) -> Path:
        shutil.rmtree(tmp_path)
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(PNG if name.endswith(".png") else JPEG)
        return tmp_path

    def found(option: str = "") -> dict[str, str]:
        return {
            photo.name: photo.problem or os.path.relpath(photo.annotations[0].mask.uri, tmp_path)
            for photo in listed(f"matte:{tmp_path}{option}")
            if photo.problem or (photo.annotations and isinstance(photo.annotations[0].mask, SegmentMask))
        }

    make("a.jpg", "a.png", "b.jpg", "c.png")
    assert found() == {"a.jpg": "a.png", "b.jpg": "missing matte", "c.png": "missing photo"}
    make("original/a.jpg", "alpha/a.png", "original/b.jpg")
    assert found() == {"a.jpg": "alpha/a.png", "b.jpg": "missing matte"}
    make("original/a.jpg", "original/b.jpg", "original/b.webp", "alpha/a.png", "alpha/a.tif", "alpha/b.png")
    several = "several photos of one name for a matte"
    assert found() == {"a.jpg": "several mattes of one name", "b.jpg": several, "b.webp": several}
    make("original/v1.0/a", "original/v1.5/b", "alpha/v1.0/a.png", "alpha/v1.5/b.png")
    assert found() == {"v1.0/a": "alpha/v1.0/a.png", "v1.5/b": "alpha/v1.5/b.png"}
    make("photos/a.jpg", "photos/m/a.png", "photos/deep/b.jpg", "photos/m/deep/b.png")
    assert found("/photos?masks=m") == {"a.jpg": "photos/m/a.png", "deep/b.jpg": "photos/m/deep/b.png"}
    (photo,) = listed(f"matte:{make('a.jpg', 'a.png')}?label=the cat&exclude=true&name=cats")
    assert photo.annotations is not None and photo.annotations[0].label == "the cat"
    assert photo.excluded and photo.source == "cats"


def test_crops_of_a_test_set_name_what_they_were_cut_from(tmp_path: Path) -> None:
    testset = write_testset(tmp_path / "testset", [(64, 72)] * 2)
    crops = listed(f"dataset:{testset.path}?exclude=true")
    assert [crop.cut_from for crop in crops] == [testset.read(row)[0].photo.group for row in range(2)]
    record = TypeAdapter(SourcePhoto)
    assert [record.validate_python(record.dump_python(crop)) for crop in crops] == crops
    assert "cut_from" not in record.dump_python(SourcePhoto("uri", "name", "source")), "as manifests always were"


# Tri-IR


def tri_ir(root: Path, items: Any, part: str = "Normal/LSDIR", photo: str = "0001000/0000123.png") -> Path:
    for name in (f"GT/{photo}", "masks/m0.png", "masks/m1.png"):
        (root / part / name).parent.mkdir(parents=True, exist_ok=True)
        (root / part / name).write_bytes(PNG)
    (root / part / "annotated_jsons").mkdir(exist_ok=True)
    (root / part / "annotated_jsons/lsdir_0.json").write_text(json.dumps(items))
    return root


def item(**changes: Any) -> dict[str, Any]:
    return {
        "content_image_name": "0000123.png",
        "mask_image_name": "m0.png",
        "img_source": "LSDIR",
        "corrected_mask_description": ["the blue sky"],
        "subject": "sky",
        **changes,
    }


def test_tri_ir_gives_captions_subjects_and_bokeh(tmp_path: Path) -> None:
    several = item(mask_image_name="m1.png", corrected_mask_description=["a cow", "the cow on a field"], subject="cow")
    tri_ir(tmp_path, [item(), several])
    tri_ir(tmp_path, [item(content_image_name="7.png")], "Bokeh/EBB!", "7.png")
    blurred, plain = listed(tmp_path)
    assert (plain.name, plain.bokeh, plain.source) == ("Normal/LSDIR/0000123.png", False, "Tri-IR Normal/LSDIR")
    assert (blurred.name, blurred.bokeh) == ("Bokeh/EBB!/7.png", True)
    assert plain.uri == str(tmp_path / "Normal/LSDIR/GT/0001000/0000123.png")
    assert plain.annotations is not None
    assert [(a.label, a.subject, a.is_caption) for a in plain.annotations] == [
        ("the blue sky", "sky", True),
        ("cow", "cow", True),
    ]
    mask = plain.annotations[1].mask
    assert isinstance(mask, SegmentMask) and mask.id is None and mask.uri.endswith("Normal/LSDIR/masks/m1.png")


def test_tri_ir_names_what_is_missing_or_outside(tmp_path: Path) -> None:
    tri_ir(tmp_path, [item(content_image_name=name) for name in ("gone.png", "../../../x.png", "/etc/passwd")])
    assert Counter(photo.problem for photo in listed(tmp_path)) == {"missing photo": 1, "path outside its folder": 2}
    for mask in ("../../x.png", None):
        tri_ir(tmp_path, [item(mask_image_name=mask)])
        assert [photo.problem for photo in listed(tmp_path)] == ["path outside its folder"]
    tri_ir(tmp_path, [item(corrected_mask_description=None, subject=None)])
    (photo,) = listed(tmp_path)
    assert photo.annotations is not None and photo.annotations[0].label == ""


@pytest.mark.parametrize("items", [{"a": 1}, [5], [{"mask_image_name": "m0.png"}]])
def test_broken_tri_ir_is_one_sentence(tmp_path: Path, items: Any) -> None:
    with pytest.raises(ValueError, match=r"lsdir_0\.json"):
        listed(tri_ir(tmp_path, items))


# This project's own shards


def test_own_shards_come_back_with_captions_and_the_same_pixels(tmp_path: Path) -> None:
    samples = []
    for seed in range(3):
        photo, rgb = photo_of(seed, 64, 48)
        regions = (
            region_of(photo, 0, 0, 30, 20, "the blue sky", "sky", bokeh=seed == 1),
            region_of(photo, 10, 25, 20, 20, "a cow", "cow", bokeh=seed > 0),
        )
        samples.append((AnnotatedPhoto(photo, regions), rgb))
    write_dataset(tmp_path / "data", samples)
    photos = listed(tmp_path / "data")
    assert [photo.bokeh for photo in photos] == [False, True, None]
    by_name = {photo.name: photo for photo in photos}
    for sample, rgb in samples:
        photo = by_name[sample.photo.name]
        np.testing.assert_array_equal(decode(read_bytes(photo.uri)).rgb, rgb)
        assert (photo.source, photo.licence) == (sample.photo.source, sample.photo.licence)
        assert photo.annotations is not None
        masks, counts = masks_of(photo.annotations, 48, 64)
        assert counts == {} and [(a.label, a.subject) for _, a in masks] == [("the blue sky", "sky"), ("a cow", "cow")]
        for (mask, _), region in zip(masks, sample.regions, strict=True):
            np.testing.assert_array_equal(mask, region.mask.array())
    shard = next((tmp_path / "data").glob("*.tar"))
    content = bytearray(shard.read_bytes())
    place = content.index(b'{"photo"')
    content[place : place + 8] = b"!broken!"
    shard.write_bytes(content)
    assert Counter(photo.problem for photo in listed(tmp_path / "data")) == {
        "": 2,
        "damaged record in png-000000.tar": 1,
    }


# Manifests


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_manifests(tmp_path: Path, kind: str) -> None:
    columns = {
        "uri": ["a.jpg", "sub/ b.jpg", "", "../c.jpg", "s3://bucket/d.jpg", "/data/e.jpg", "f,\n.jpg"],
        "name": ["", "bee", "", "", "", "", ""],
        "license": ["CC0-1.0", "", "", "", "", "", ""],
        "url": ["", "http://b", "", "", "", "", ""],
        "label": ["", "", "", "", "", "a cat", ""],
        "mask": ["a.png", "", "", "", "", "masks/e.png", "../x.png"],
        "ignored": [1, 2, 3, 4, 5, 6, 7],
    }
    path = tmp_path / f"list.{kind}"
    if kind == "csv":
        pa.csv.write_csv(pa.table(columns), path)
    else:
        pq.write_table(pa.table(columns), path)
    photos = listed(f"{path}?licence=mine")
    outside = "path outside its folder"
    assert [photo.problem for photo in photos] == ["", "", "row without a URI", outside, "", "", outside]
    assert [photo.uri for photo in photos[:2]] == [f"{tmp_path}/a.jpg", f"{tmp_path}/sub/ b.jpg"]
    assert [photo.uri for photo in photos[4:6]] == ["s3://bucket/d.jpg", "/data/e.jpg"]
    assert [photo.name for photo in photos] == ["a.jpg", "bee", "row 3", "../c.jpg", "d.jpg", "e.jpg", "f,\n.jpg"]
    assert [photo.licence for photo in photos[:2]] == ["CC0-1.0", "mine"] and photos[1].url == "http://b"
    masks = [photo.annotations[0] if photo.annotations else None for photo in photos]
    assert masks[0] is not None and masks[0].label == "main subject" and masks[0].mask.uri == f"{tmp_path}/a.png"
    assert masks[5] is not None and masks[5].label == "a cat" and masks[1] is None


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", b"photo,name\nx.jpg,y\n", "has no column uri; its columns are photo, name"),
        ("a.csv", b"", "cannot be read as a manifest"),
        ("a.csv", b"uri\n", "holds no photos"),
        ("a.csv", b"uri,mask,mask\na.jpg,b.png,c.png\n", "several columns of one meaning, mask and mask"),
        ("a.csv", b"file_name,path\na.jpg,b.jpg\n", "several columns of one meaning, file_name and path"),
        ("a.csv", b"uri,license,licence\na.jpg,x,y\n", "several columns of one meaning, license and licence"),
        ("a.csv", b"uri,name\na.jpg\n", "cannot be read as a manifest"),
        ("a.csv", b"uri\n\xff\xfe.jpg\n", "cannot be read as a manifest"),
        ("a.parquet", b"no parquet at all", "cannot be read as a manifest"),
    ],
)
def test_a_broken_manifest_is_one_sentence(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=complaint) as caught:
        listed(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_remote_manifest_names_photos_beside_it(memory: str) -> None:
    put(f"{memory}/list.csv", b"uri\nphotos/a.jpg\n../b.jpg\n")
    put(f"{memory}/photos/a.jpg", JPEG)
    first, second = listed(f"{memory}/list.csv")
    assert read_bytes(first.uri) == JPEG and second.problem == "path outside its folder"


# What people write


@pytest.mark.parametrize("name", ["a", "a/b.jpg", "./a", "a/../b", "..a", "a..", "...", "a b", "ü", "a:b"])
def test_names_that_stay_inside(name: str) -> None:
    assert inside("/folder", name) == f"/folder/{posixpath.normpath(name)}"
    assert inside("memory://folder/", name) == f"memory://folder/{posixpath.normpath(name)}"


@pytest.mark.parametrize(
    "name", ["", "..", "../a", "a/../../b", "./../a", "/a", "//a", "\\a", "s3://a/b", "x::y", "a\0"]
)
def test_names_that_would_leave(name: str) -> None:
    for folder in ("/folder", "memory://folder"):
        with pytest.raises(ValueError, match="path outside its folder"):
            inside(folder, name)


def test_an_existing_path_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("matte:x?label=y", "coco:a", "what?x=1", "100% ü"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(JPEG)
        source = parse_source(name)
        assert (source.kind, source.path) == ("folder", name) and len(list(list_photos(source))) == 1
    assert parse_source("matte:coco:a?label=a%26b&name=n").model_dump() == {
        **SourceSettings(kind="matte", path="coco:a", label="a&b", name="n").model_dump()
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("nowhere", "nowhere does not exist"),
        ("matte:nowhere", "nowhere does not exist"),
        ("cocoa:photos", "cocoa is not a kind of source"),
        ("photos?colour=red", "unknown option 'colour'"),
        ("photos?exclude=perhaps", "is invalid: exclude"),
        ("memory://nothing-there", "does not exist"),
        ("nosuchprotocol://bucket/x", "nosuchprotocol"),
        ("notes.txt", "is not a source"),
        ("empty", "holds no photos"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, complaint: str) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "empty"):
        (tmp_path / folder).mkdir()
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(ValueError, match=complaint) as caught:
        list(list_photos(parse_source(text)))
    assert "\n" not in str(caught.value)


# Real data


def test_real_coco_photos_and_the_missing_ones(data_folder: Path) -> None:
    for split, names in (("train2017", real_photos.COCO_TRAIN), ("val2017", real_photos.COCO_VALIDATION)):
        photos = listed(data_folder / f"coco_tiny/annotations/instances_{split}.json")
        present = [photo for photo in photos if not photo.problem]
        found = {photo.name: os.path.isfile(photo.uri) for photo in photos}
        assert all(found[path.name] for path in real_photos.present(data_folder, names))
        assert {photo.name for photo in present} == {name for name, there in found.items() if there}
        assert {photo.problem for photo in photos} <= {"", "missing photo"}
        assert all(photo.licence and photo.url for photo in present)
        masks = [mask for photo in present for mask in photo.annotations or ()]
        assert masks and all(mask.label and isinstance(mask.mask, PolygonMask | RunMask) for mask in masks)


def test_real_panoptic_photos(data_folder: Path) -> None:
    photos = listed(data_folder / "panoptic_sample/panoptic_examples.json")
    assert photos and not any(photo.problem for photo in photos)
    for photo in photos:
        rgb = decode(read_bytes(photo.uri)).rgb
        assert photo.annotations is not None
        masks, counts = masks_of(photo.annotations, *rgb.shape[:2])
        assert counts == {} and len(masks) == len(photo.annotations)
        assert sum(mask.sum() for mask, _ in masks) <= rgb.shape[0] * rgb.shape[1]


def test_real_mattes(data_folder: Path) -> None:
    for folder, names in (("gfm_am2k_alpha", real_photos.ANIMALS), ("p3m_portrait_alpha", real_photos.PORTRAITS)):
        photos = {os.path.basename(photo.uri): photo for photo in listed(f"matte:{data_folder / folder}")}
        paths = real_photos.present(data_folder, names)
        assert not any(photos[path.name].problem for path in paths)
        rgb = decode(paths[0].read_bytes()).rgb
        annotations = photos[paths[0].name].annotations
        assert annotations is not None
        masks, counts = masks_of(annotations, *rgb.shape[:2])
        assert len(masks) == 1 and counts == {} and 0.01 < masks[0][0].mean() < 0.99


def test_folders_beside_a_source_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there" / "photos").mkdir(parents=True)
    (tmp_path / "there" / "a.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "here")
    beside = parse_source("coco:../there/a.json?images=photos").anchored()
    assert (beside.path, beside.images) == (str(tmp_path / "there" / "a.json"), "photos")
    (tmp_path / "here" / "photos").mkdir()
    assert parse_source("coco:../there/a.json?images=photos").anchored().images == str(tmp_path / "here" / "photos")
