"""Where masks come from: the source's own, every bad kind counted; the colour segmenter; the stage over both."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.masks import annotated
from instructrestore.dataengine.masks.cleanup import CleanupSettings, clean
from instructrestore.dataengine.masks.colour import ColourSegmenter
from instructrestore.dataengine.masks.segment import MaskSettings, Segment
from instructrestore.dataengine.photos.row import Annotation, PolygonMask, Row, RunMask, SegmentMask, SourcePhoto
from instructrestore.dataengine.running.stage import Drop
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import Photo, key_of
from tests import real_photos
from tests.dataengine.masks.all_masks import masks_of

BoolArray = NDArray[np.bool_]
HEIGHT, WIDTH = 40, 60


def square(label: str = "dog", left: float = 10) -> Annotation:
    ring = [left, 10, left + 20, 10, left + 20, 30, left, 30]
    return Annotation(PolygonMask([ring]), label)


def best_iou(regions: list[BoolArray], truth: BoolArray) -> float:
    return max((float((truth & region).sum() / (truth | region).sum()) for region in regions), default=0.0)


# The source's own masks


def test_polygons_runs_and_segments_give_the_same_mask(tmp_path: Path) -> None:
    truth = np.zeros((HEIGHT, WIDTH), np.bool_)
    truth[10:30, 10:30] = True
    ids = np.where(truth, 1 + 256 * 2 + 65536 * 3, 7)
    Image.fromarray(np.dstack([ids % 256, ids // 256 % 256, ids // 65536]).astype(np.uint8)).save(tmp_path / "ids.png")
    Image.fromarray(np.where(truth, 128, 127).astype(np.uint8)).save(tmp_path / "matte.png")
    sixteen = np.where(truth, 40_000, 30_000).astype(np.uint16)
    Image.fromarray(sixteen).save(tmp_path / "sixteen.png")
    enlarged = np.kron(truth, np.ones((3, 3), np.bool_))
    Image.fromarray(enlarged).save(tmp_path / "enlarged.png")
    columns = np.asfortranarray(truth).ravel(order="F")
    changes = np.flatnonzero(np.diff(columns, prepend=False)).tolist()
    plain_runs = np.diff([0, *changes, columns.size]).tolist()
    annotations = [
        square(),
        Annotation(RunMask(HEIGHT, WIDTH, Mask.from_array(truth).counts), "compressed"),
        Annotation(RunMask(HEIGHT, WIDTH, plain_runs), "plain"),
        Annotation(SegmentMask(str(tmp_path / "ids.png"), 1 + 256 * 2 + 65536 * 3), "segment"),
        Annotation(SegmentMask(str(tmp_path / "matte.png"), None), "matte"),
        Annotation(SegmentMask(str(tmp_path / "sixteen.png"), None), "16 bits"),
        Annotation(SegmentMask(str(tmp_path / "enlarged.png"), None), "of three times the size"),
    ]
    usable, counts = masks_of(annotations, HEIGHT, WIDTH)
    assert counts == {annotated.SCALED: 1}
    assert [annotation for _, annotation in usable] == annotations
    for mask, _ in usable:
        np.testing.assert_array_equal(mask, truth)


def bad_annotations(folder: Path) -> dict[str, Annotation]:
    """By name one of each bad kind; the name begins with the reason it is to be counted under."""
    Image.new("RGB", (WIDTH, HEIGHT), (7, 0, 0)).save(folder / "ids.png")
    Image.new("RGB", (HEIGHT, WIDTH), (7, 0, 0)).save(folder / "on its side.png")
    Image.new("L", (WIDTH, HEIGHT)).save(folder / "black.png")
    Image.new("L", (WIDTH, 2 * HEIGHT), 255).save(folder / "other aspect.png")
    whole = (folder / "ids.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("no picture")
    (folder / "nothing.png").write_bytes(b"")

    def segment(name: str, id: int | None = None) -> Annotation:
        return Annotation(SegmentMask(str(folder / name), id), "cat")

    def runs(counts: str | list[int], height: int = HEIGHT, width: int = WIDTH) -> Annotation:
        return Annotation(RunMask(height, width, counts), "cat")

    def polygon(*rings: list[float]) -> Annotation:
        return Annotation(PolygonMask(list(rings)), "cat")

    return {
        f"{annotated.FEW_POINTS}": polygon([1, 1, 5, 5]),
        f"{annotated.FEW_POINTS}, all of its rings": polygon([1, 1, 30, 1], [], [4, 4]),
        f"{annotated.BAD_POLYGON}, none": polygon(),
        f"{annotated.BAD_POLYGON}, an odd number": polygon([1, 1, 5, 5, 9, 9, 3]),
        f"{annotated.BAD_POLYGON}, not a number": polygon([1, 1, 5, 5, 9, float("nan")]),
        f"{annotated.BAD_POLYGON}, infinite": polygon([1, 1, 5, 5, 9, float("inf")]),
        f"{annotated.OUTSIDE}": polygon([1, 1, 30, 1, 30, 55]),
        f"{annotated.BAD_RUNS}, text": runs("not a code ~"),
        f"{annotated.BAD_RUNS}, cut": runs(Mask.from_array(np.eye(HEIGHT, WIDTH, dtype=np.bool_)).counts[:-9]),
        f"{annotated.BAD_RUNS}, of the whole length": runs("\u00e9"),
        f"{annotated.BAD_RUNS}, too many": runs([0, HEIGHT * WIDTH + 1]),
        f"{annotated.BAD_RUNS}, negative": runs([-5, HEIGHT * WIDTH + 5]),
        f"{annotated.OTHER_SIZE}, runs": runs([0, HEIGHT * WIDTH], WIDTH, HEIGHT),
        f"{annotated.OTHER_SIZE}, panoptic": segment("on its side.png", 7),
        f"{annotated.OTHER_SIZE}, matte": segment("other aspect.png"),
        f"{annotated.NOT_FOUND}": segment("missing.png", 7),
        f"{annotated.NOT_FOUND}, matte": segment("missing.png"),
        f"{annotated.NOT_READABLE}, cut": segment("cut.png", 7),
        f"{annotated.NOT_READABLE}, text": segment("text.png"),
        f"{annotated.NOT_READABLE}, no bytes": segment("nothing.png"),
        f"{annotated.NO_SEGMENT}": segment("ids.png", 8),
        f"{annotated.EMPTY}, matte": segment("black.png"),
        f"{annotated.EMPTY}, runs": runs([HEIGHT * WIDTH]),
    }


def test_every_bad_mask_is_counted_by_its_reason_and_the_good_one_stays(tmp_path: Path) -> None:
    bad = bad_annotations(tmp_path)
    expected: dict[str, int] = {}
    for name, annotation in bad.items():
        reason = name.split(",")[0]
        expected[reason] = expected.get(reason, 0) + 1
        assert masks_of([annotation], HEIGHT, WIDTH) == ([], {reason: 1}), name
    usable, counts = masks_of([*bad.values(), square()], HEIGHT, WIDTH)
    assert counts == expected
    assert [annotation.label for _, annotation in usable] == ["dog"]


def test_storage_that_does_not_answer_is_no_fault_of_the_mask(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="regular file"):
        masks_of([Annotation(SegmentMask(str(tmp_path), None), "a folder")], HEIGHT, WIDTH)


def test_panoptic_segments_have_the_areas_that_their_json_states(data_folder: Path) -> None:
    panoptic = json.loads((data_folder / "panoptic_sample" / "panoptic_examples.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in panoptic["images"]}
    for entry in panoptic["annotations"]:
        uri = str(data_folder / "panoptic_sample" / "panoptic_examples" / entry["file_name"])
        segments = entry["segments_info"]
        annotations = [Annotation(SegmentMask(uri, segment["id"]), str(segment["area"])) for segment in segments]
        usable, counts = masks_of(annotations, *sizes[entry["image_id"]])
        assert counts == {}
        assert [int(mask.sum()) for mask, _ in usable] == [segment["area"] for segment in segments]
        assert sum(mask.astype(int) for mask, _ in usable).max() == 1


def test_coco_polygons_have_the_areas_that_their_json_states(data_folder: Path) -> None:
    instances = json.loads((data_folder / "coco_tiny" / "annotations" / "instances_val2017.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in instances["images"]}
    ratios = []
    for entry in instances["annotations"]:
        if entry["iscrowd"] or entry["area"] < 500:
            continue
        [(mask, _)], _ = masks_of([Annotation(PolygonMask(entry["segmentation"]), "")], *sizes[entry["image_id"]])
        ratios.append(mask.sum() / entry["area"])
    assert len(ratios) > 20
    assert 0.98 < np.median(ratios) < 1.02
    assert np.mean(np.abs(np.array(ratios) - 1) < 0.06) > 0.95


# The colour segmenter


@pytest.fixture(scope="module")
def segmented(data_folder: Path) -> list[tuple[list[BoolArray], list[BoolArray]]]:
    """For every COCO photo its regions found, and those annotated that are larger than 2% of it."""
    photos = []
    named = {path.name: path for path in real_photos.present(data_folder, real_photos.COCO)}
    segmenter = ColourSegmenter()
    for split in ("train2017", "val2017"):
        instances = json.loads((data_folder / "coco_tiny" / "annotations" / f"instances_{split}.json").read_text())
        for image in instances["images"]:
            path = named.get(image["file_name"])
            if path is None or path.parent.name != split:
                continue
            annotations = [
                Annotation(PolygonMask(entry["segmentation"]), "")
                for entry in instances["annotations"]
                if entry["image_id"] == image["id"] and not entry["iscrowd"]
            ]
            masks, _ = masks_of(annotations, image["height"], image["width"])
            rgb = np.asarray(Image.open(path).convert("RGB"))
            photos.append((segmenter(rgb), [mask for mask, _ in masks if mask.mean() > 0.02]))
    return photos


def test_regions_match_what_people_drew(segmented: list[tuple[list[BoolArray], list[BoolArray]]]) -> None:
    settings = CleanupSettings()
    found = [best_iou(regions, mask) for regions, truth in segmented for mask in truth]
    cleaned = [best_iou(clean(regions, settings).masks, mask) for regions, truth in segmented for mask in truth]
    assert np.mean(found) >= 0.42
    assert np.mean(cleaned) >= 0.42


def test_photos_have_3_to_15_regions(segmented: list[tuple[list[BoolArray], list[BoolArray]]]) -> None:
    for regions, _ in segmented:
        assert 3 <= len(regions) <= 15
        assert 2 <= len(clean(regions, CleanupSettings()).masks) <= 15
        # Together they leave next to nothing of the photo out.
        assert np.any(regions, axis=0).mean() > 0.97


def test_subjects_in_focus_are_found_whole(data_folder: Path) -> None:
    ious = []
    for path in real_photos.present(data_folder, real_photos.ANIMALS):
        rgb = np.asarray(Image.open(path).convert("RGB"))
        subject = np.asarray(Image.open(real_photos.matte_of(path)).convert("L")) >= 128
        ious.append(best_iou(clean(ColourSegmenter()(rgb), CleanupSettings()).masks, subject))
    assert np.median(ious) > 0.7


def blobs(height: int, width: int) -> NDArray[np.uint8]:
    """A photo-like picture: smooth colours, a bright disc before them, a little noise."""
    rng = np.random.default_rng(5)
    low = cv2.resize(rng.uniform(0, 120, (4, 5, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:height, :width]
    low[np.hypot(rows - height / 2, columns - width / 2) < height / 4] = (240, 220, 40)
    return np.clip(low + rng.normal(0, 3, low.shape), 0, 255).astype(np.uint8)


def test_a_disc_is_found_with_a_clean_outline() -> None:
    rgb = blobs(600, 900)
    rows, columns = np.mgrid[:600, :900]
    disc = np.hypot(rows - 300, columns - 450) < 150
    assert best_iou(ColourSegmenter()(rgb), disc) > 0.95


def test_the_same_pixels_give_the_same_regions() -> None:
    rgb = blobs(300, 400)
    first = ColourSegmenter()(rgb)
    segmenter = ColourSegmenter()
    segmenter(blobs(200, 300))
    cv2.setRNGSeed(99)
    for region, again in zip(first, segmenter(rgb.copy()), strict=True):
        np.testing.assert_array_equal(region, again)


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (60, 1), (15, 15), (16, 16), (17, 64), (64, 64), (16, 2000)])
@pytest.mark.parametrize("kind", ["flat", "noise", "halves", "black and white"])
def test_tiny_and_empty_photos(size: tuple[int, int], kind: str) -> None:
    rgb = np.full((*size, 3), 90, np.uint8)
    if kind == "noise":
        rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    elif kind == "halves":
        rgb[:, size[1] // 2 :] = 200
    elif kind == "black and white":
        rgb[:] = np.where(np.indices(size).sum(axis=0) % 2, 255, 0)[..., None]
    regions = ColourSegmenter()(rgb)
    assert 1 <= len(regions) <= 15
    for region in regions:
        assert region.shape == size
        assert region.dtype == np.bool_
        assert region.any()


# The stage


def row_of(path: Path, annotations: tuple[Annotation, ...] | None) -> Row:
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    with Image.open(path) as image:
        width, height = image.size
    photo = Photo(
        key=key_of(sha256),
        sha256=sha256,
        name=path.name,
        source="test",
        licence="",
        url="",
        width=width,
        height=height,
        bytes=len(data),
        format="png",
        perceptual_hash="0" * 16,
    )
    return Row(SourcePhoto(str(path), path.name, "test", annotations=annotations), photo)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(blobs(300, 400)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_source_s_masks_are_used_and_the_photo_is_not_read(photo: Path) -> None:
    caption = Annotation(PolygonMask([[200, 50, 390, 50, 390, 250, 200, 250]]), "the red dog", True, "dog")
    described = Annotation(PolygonMask([[10, 40, 100, 40, 100, 280, 10, 280]]), "a cat sits", True)
    bad, speck = Annotation(PolygonMask([[1, 1, 2, 2]]), "cat"), Annotation(PolygonMask([[0, 0, 9, 0, 9, 9]]), "fly")
    row = row_of(photo, (square("sky-other"), bad, described, speck, caption))
    photo.unlink()
    [result] = Segment(MaskSettings())([row])
    assert isinstance(result, Row)
    assert result.origin.annotations is None
    assert result.counts == {annotated.FEW_POINTS: 1, "too small": 1}
    first, second, third = result.pieces
    assert (first.description, first.describer, first.noun_phrase, first.subject) == (
        "the red dog", "annotated", "the red dog", "dog",
    )  # fmt: skip
    assert [(answer.round, answer.noun_phrase, answer.subject) for answer in first.answers] == [
        (0, "the red dog", "dog")
    ]
    assert (second.description, second.describer, second.noun_phrase) == ("a cat sits", "annotated", "")
    assert (third.description, third.describer, third.noun_phrase) == ("sky-other", "", "")
    assert second.answers == third.answers == ()
    assert {piece.segmenter for piece in result.pieces} == {"annotated"}
    assert first.mask.area() > second.mask.area() > third.mask.area() == 400


def test_other_photos_are_segmented(photo: Path) -> None:
    results = Segment(MaskSettings(segmenter="colour"))([row_of(photo, None), row_of(photo, ())])
    for result in results:
        assert isinstance(result, Row)
        assert len(result.pieces) >= 2
        areas = [piece.mask.area() for piece in result.pieces]
        assert areas == sorted(areas, reverse=True)
        for piece in result.pieces:
            assert (piece.mask.height, piece.mask.width) == (300, 400)
            assert piece.segmenter.startswith("colour ")
            assert piece.description == piece.describer == ""
    assert results[0] == results[1]


def test_annotations_can_be_passed_over(photo: Path) -> None:
    [result] = Segment(MaskSettings(segmenter="colour", reuse_annotations=False))([row_of(photo, (square(),))])
    assert isinstance(result, Row)
    assert all(piece.segmenter.startswith("colour ") for piece in result.pieces)
    assert result.origin.annotations is None
    assert (result.held, result.lost) == (0, {"not used (masks.reuse_annotations is false)": 1})


def test_annotations_that_are_no_regions_are_lost_for_a_reason_each(photo: Path) -> None:
    few, tiny = ([1, 1, 2, 2], [1, 1, 4, 1, 4, 4])
    given = (square(), Annotation(PolygonMask([few]), "cat"), Annotation(PolygonMask([tiny]), "cat"), square())
    [kept, none] = Segment(MaskSettings(segmenter="annotated"))([row_of(photo, given), row_of(photo, given[1:3])])
    assert isinstance(kept, Row) and isinstance(none, Drop)
    assert (kept.held, kept.lost) == (2, {annotated.FEW_POINTS: 1, "too small": 1})
    assert none.lost == {annotated.FEW_POINTS: 1, "too small": 1}


def test_photos_without_a_region_are_dropped_with_the_reason(photo: Path) -> None:
    bad = Annotation(PolygonMask([[1, 1, 2, 2]]), "cat")
    Image.new("RGB", (30, 1)).save(photo.with_name("thin.png"))
    assert Segment(MaskSettings(segmenter="colour"))(
        [row_of(photo, (bad, bad)), row_of(photo.with_name("thin.png"), None)]
    ) == [
        Drop("no region", f"2 {annotated.FEW_POINTS}", {annotated.FEW_POINTS: 2}),
        Drop("no region", "1 too large"),
    ]
    results = Segment(MaskSettings(segmenter="annotated"))([row_of(photo, None), row_of(photo, (square(),))])
    assert isinstance(results[0], Drop)
    assert results[0].reason == "no annotated mask"
    assert isinstance(results[1], Row)


def test_a_photo_that_changed_since_intake_is_an_error_of_the_storage(photo: Path) -> None:
    row = row_of(photo, None)
    photo.write_bytes(photo.read_bytes() + b"\0")
    with pytest.raises(OSError, match="changed since intake"):
        Segment(MaskSettings())([row])
