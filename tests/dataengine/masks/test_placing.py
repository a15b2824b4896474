"""Masks that were made on another version of the photo: from every kind of source through intake to the masks stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.masks import annotated
from instructrestore.dataengine.masks.placing import Fit, PhotoFrame
from instructrestore.dataengine.masks.segment import MaskSettings, Segment
from instructrestore.dataengine.photos.intake import Intake, IntakeSettings
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.running.stage import Drop
from instructrestore.dataengine.sources import list_photos, parse_source
from instructrestore.shards.rle import Mask
from tests.dataengine.photos.test_photo_file import saved, scene
from tests.pipelines.test_bad_input import stored

HEIGHT, WIDTH = 48, 80
BOX = (10, 5, 50, 30)  # left, top, right, bottom of the thing in the upright photo
PHOTO = scene(HEIGHT, WIDTH)
TRUTH = np.zeros((HEIGHT, WIDTH), np.bool_)
TRUTH[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
ON_ITS_SIDE = (5, 6, 7, 8)
BoolArray = NDArray[np.bool_]


def as_stored(mask: BoolArray, orientation: int) -> BoolArray:
    return np.asarray(stored(np.dstack([mask * np.uint8(255)] * 3), orientation))[..., 0] > 0


def enlarged(mask: BoolArray, times: float) -> BoolArray:
    size = (round(mask.shape[1] * times), round(mask.shape[0] * times))
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def photo_file(upright: NDArray[np.uint8], orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(stored(upright, orientation), "PNG", exif=exif)


def coco(folder: Path, segmentation: Any, size: tuple[int, int] | None, **record: Any) -> str:
    stated = {"height": size[0], "width": size[1]} if size else {}
    content = {
        "images": [{"id": 1, "file_name": "photo.png", **stated, **record}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "segmentation": segmentation}],
    }
    (folder / "a.json").write_text(json.dumps(content))
    return f"coco:{folder / 'a.json'}"


def by_polygon(folder: Path, mask: BoolArray) -> str:
    rows, columns = np.nonzero(mask)
    left, top, right, bottom = (int(edge) for edge in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    return coco(folder, [[left, top, right, top, right, bottom, left, bottom]], mask.shape)


def by_runs(folder: Path, mask: BoolArray) -> str:
    return coco(folder, {"size": list(mask.shape), "counts": Mask.from_array(mask).counts}, None)


def by_plain_runs(folder: Path, mask: BoolArray) -> str:
    columns = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(columns, prepend=False)).tolist()
    runs = [float(run) for run in np.diff([0, *changes, columns.size])]
    return coco(folder, {"size": [float(side) for side in mask.shape], "counts": runs}, None)


def by_panoptic(folder: Path, mask: BoolArray) -> str:
    (folder / "ids").mkdir(exist_ok=True)
    ids = np.dstack([np.where(mask, 7, 0), np.where(mask, 1, 0), np.where(mask, 2, 0)]).astype(np.uint8)
    (folder / "ids/photo.png").write_bytes(saved(ids, "PNG"))
    segments = [{"id": 7 + 256 + 2 * 65536, "category_id": 3}]
    content = {
        "images": [{"id": 1, "file_name": "photo.png"}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [{"image_id": 1, "file_name": "photo.png", "segments_info": segments}],
    }
    (folder / "a.json").write_text(json.dumps(content))
    return f"panoptic:{folder / 'a.json'}?masks=ids"


def by_manifest(folder: Path, mask: BoolArray) -> str:
    (folder / "mask.png").write_bytes(saved(mask * np.uint8(255), "PNG"))
    (folder / "a.csv").write_text("uri,mask\nphoto.png,mask.png\n")
    return f"manifest:{folder / 'a.csv'}"


def by_matte(folder: Path, mask: BoolArray) -> str:
    for name in ("original", "alpha"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "original/photo.png").write_bytes((folder / "photo.png").read_bytes())
    (folder / "alpha/photo.png").write_bytes(saved(mask * np.uint8(255), "PNG"))
    return f"matte:{folder}"


def by_cut_out(folder: Path, mask: BoolArray) -> str:
    source = by_matte(folder, mask)
    cut = Image.fromarray(scene(*mask.shape))
    cut.putalpha(Image.fromarray(mask * np.uint8(255)))
    (folder / "alpha/photo.png").write_bytes(saved(cut, "PNG"))
    return source


def by_tri_ir(folder: Path, mask: BoolArray) -> str:
    root = folder / "tri/Normal/set"
    for name in ("GT", "masks", "annotated_jsons"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "GT/photo.png").write_bytes((folder / "photo.png").read_bytes())
    (root / "masks/m.png").write_bytes(saved(mask * np.uint8(255), "PNG"))
    item = {"content_image_name": "photo.png", "mask_image_name": "m.png", "corrected_mask_description": ["a cat"]}
    (root / "annotated_jsons/a.json").write_text(json.dumps([item]))
    return f"tri-ir:{folder / 'tri'}"


KINDS: list[Callable[[Path, BoolArray], str]] = [
    by_polygon, by_runs, by_plain_runs, by_panoptic, by_manifest, by_matte, by_cut_out, by_tri_ir,
]  # fmt: skip


def staged(source: str) -> Row | Drop:
    """What the masks stage makes of a source's one photo."""
    (photo,) = list_photos(parse_source(source))
    [row] = Intake(IntakeSettings())([Row(photo)])
    assert isinstance(row, Row), row
    return Segment(MaskSettings(segmenter="annotated"))([row])[0]


def mask_in(source: str) -> tuple[BoolArray, dict[str, int]]:
    """The one mask, and what was noticed."""
    row = staged(source)
    assert isinstance(row, Row), row
    assert row.orientation == 1 and row.origin.annotated_size is None, "no longer needed"
    (piece,) = row.pieces
    return piece.mask.array(), {reason: n for reason, n in row.counts.items() if reason != annotated.CUT_OUT}


def iou(mask: BoolArray, truth: BoolArray) -> float:
    assert mask.shape == truth.shape
    return float((mask & truth).sum() / (mask | truth).sum())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_of_the_upright_photo_lie_as_they_are(tmp_path: Path, kind: Any, orientation: int) -> None:
    (tmp_path / "photo.png").write_bytes(photo_file(PHOTO, orientation))
    mask, noticed = mask_in(kind(tmp_path, TRUTH))
    assert iou(mask, TRUTH) == 1 and noticed == {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", ON_ITS_SIDE)
def test_masks_of_the_photo_as_stored_are_turned_with_it(tmp_path: Path, kind: Any, orientation: int) -> None:
    (tmp_path / "photo.png").write_bytes(photo_file(PHOTO, orientation))
    mask, noticed = mask_in(kind(tmp_path, as_stored(TRUTH, orientation)))
    assert iou(mask, TRUTH) == 1 and noticed == {annotated.TURNED: 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("times", [0.5, 1.05, 2, 3.3])
def test_masks_of_another_size_are_scaled_and_counted(tmp_path: Path, kind: Any, times: float) -> None:
    (tmp_path / "photo.png").write_bytes(photo_file(PHOTO, 1))
    mask, noticed = mask_in(kind(tmp_path, enlarged(TRUTH, times)))
    assert iou(mask, TRUTH) > 0.93 and noticed == {annotated.SCALED: 1}
    (tmp_path / "photo.png").write_bytes(photo_file(PHOTO, 8))
    mask, noticed = mask_in(kind(tmp_path, as_stored(enlarged(TRUTH, times), 8)))
    assert iou(mask, TRUTH) > 0.93 and noticed == {annotated.SCALED: 1, annotated.TURNED: 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "orientation"), [((80, 48), 1), ((80, 48), 3), ((48, 48), 6), ((40, 80), 1)])
def test_masks_of_another_photo_are_refused(tmp_path: Path, kind: Any, size: tuple[int, int], orientation: int) -> None:
    (tmp_path / "photo.png").write_bytes(photo_file(PHOTO, orientation))
    other = np.zeros(size, np.bool_)
    other[4:30, 4:30] = True
    assert staged(kind(tmp_path, other)) == Drop("no region", f"1 {annotated.OTHER_SIZE}", {annotated.OTHER_SIZE: 1})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_where_the_size_says_nothing_masks_lie_upright(tmp_path: Path, kind: Any, orientation: int) -> None:
    (tmp_path / "photo.png").write_bytes(photo_file(PHOTO[:, :48], orientation))
    mask, noticed = mask_in(kind(tmp_path, TRUTH[:, :48]))
    assert iou(mask, TRUTH[:, :48]) == 1 and noticed == {}


@pytest.mark.parametrize("size", [{}, {"height": None, "width": None}, {"height": 0, "width": 0}, {"height": ""}])
def test_polygons_without_a_stated_size_lie_upright(tmp_path: Path, size: dict[str, Any]) -> None:
    (tmp_path / "photo.png").write_bytes(photo_file(PHOTO, 6))
    left, top, right, bottom = BOX
    ring = [left, top, right, top, right, bottom, left, bottom]
    mask, noticed = mask_in(coco(tmp_path, [ring], None, **size))
    assert iou(mask, TRUTH) == 1 and noticed == {}


def test_a_stated_size_may_be_of_floats(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo_file(PHOTO, 1))
    ring = [edge / 2 for edge in (10, 5, 50, 5, 50, 30, 10, 30)]
    mask, noticed = mask_in(coco(tmp_path, [ring], None, height=24.0, width=40.0))
    assert iou(mask, TRUTH) > 0.93 and noticed == {annotated.SCALED: 1}


def test_a_mask_with_an_orientation_of_its_own_is_not_turned_again(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo_file(PHOTO, 6))
    source = by_manifest(tmp_path, TRUTH)
    exif = Image.Exif()
    exif[0x0112] = 6
    # As the photo's own: right as it is.
    (tmp_path / "mask.png").write_bytes(saved(as_stored(TRUTH, 6) * np.uint8(255), "PNG", exif=exif))
    assert iou(mask_in(source)[0], TRUTH) == 1
    # The photo's EXIF copied to a mask that is upright already.
    (tmp_path / "mask.png").write_bytes(saved(TRUTH * np.uint8(255), "PNG", exif=exif))
    assert staged(source) == Drop("no region", f"1 {annotated.OTHER_SIZE}", {annotated.OTHER_SIZE: 1})


@pytest.mark.parametrize("picture", [scene(HEIGHT, WIDTH), np.dstack([scene(HEIGHT, WIDTH), TRUTH * np.uint8(0)])])
def test_a_photo_is_no_mask(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    (tmp_path / "photo.png").write_bytes(photo_file(PHOTO, 1))
    source = by_manifest(tmp_path, TRUTH)
    (tmp_path / "mask.png").write_bytes(saved(picture, "PNG"))
    reason = "mask not grey" if picture.shape[2] == 3 else "mask transparent without a cut-out"
    assert staged(source) == Drop("no region", f"1 {reason}", {reason: 1})


def test_runs_that_claim_more_pixels_than_a_photo_has_are_not_drawn(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo_file(PHOTO[:, :48], 1))
    source = coco(tmp_path, {"size": [65535, 65535], "counts": [0, 65535 * 65535]}, None)
    assert staged(source) == Drop("no region", f"1 {annotated.OTHER_SIZE}", {annotated.OTHER_SIZE: 1})


def test_a_speck_costs_nothing_but_itself(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo_file(PHOTO, 1))
    left, top, right, bottom = BOX
    good = [left, top, right, top, right, bottom, left, bottom]
    mask, noticed = mask_in(coco(tmp_path, [[700, 500, 700, 505], good, [5, 5], [], [7]], (HEIGHT, WIDTH)))
    assert iou(mask, TRUTH) == 1 and noticed == {annotated.RING_LEFT_OUT: 4}
    for segmentation, reason in (
        ([[1, 1, 2, 2], [5, 5]], annotated.FEW_POINTS),
        ([good, [1, 1, 2, 2, 3, 3, 4]], annotated.BAD_POLYGON),
        ({"size": [48.5, 80], "counts": [0, 48 * 80]}, annotated.BAD_RUNS),
        ({"counts": [0, 48 * 80]}, annotated.BAD_RUNS),
        ({"size": [48, 80], "counts": [0.5, 48 * 80 - 0.5]}, annotated.BAD_RUNS),
        ({"size": [48, 80], "counts": None}, annotated.BAD_RUNS),
    ):
        assert staged(coco(tmp_path, segmentation, (HEIGHT, WIDTH))) == Drop("no region", f"1 {reason}", {reason: 1})


def test_of_two_ways_the_nearer_aspect_counts_and_upright_first() -> None:
    frame = PhotoFrame(1000, 1005, orientation=6)  # stored as 1005 x 1000, high by wide
    assert frame.fit(1000, 1005) == Fit(1000, 1005, turned=False, scaled=False)
    assert frame.fit(1005, 1000) == Fit(1005, 1000, turned=True, scaled=False)
    assert frame.fit(2010, 2000) == Fit(1005, 1000, turned=True, scaled=True)
    assert frame.fit(2000, 2010) == Fit(1000, 1005, turned=False, scaled=True)
    assert frame.fit(100, 100) == Fit(1000, 1005, turned=False, scaled=True)
    assert frame.fit(2010, 2000, turnable=False) == Fit(1000, 1005, turned=False, scaled=True)
    assert PhotoFrame(1005, 1000, orientation=6).fit(100, 100) == Fit(1005, 1000, turned=False, scaled=True)
    assert frame.fit(1000, 1100) is None and frame.fit(0, 5) is None and frame.fit(-1005, -1000) is None


@pytest.mark.parametrize("sizes", [{"height": "24", "width": "40"}, {"height": 24.0, "width": "40.0"}])
def test_a_size_may_be_stated_as_text(tmp_path: Path, sizes: dict[str, Any]) -> None:
    (tmp_path / "photo.png").write_bytes(photo_file(PHOTO, 1))
    left, top, right, bottom = (edge / 2 for edge in BOX)
    source = coco(tmp_path, [[left, top, right, top, right, bottom, left, bottom]], None, **sizes)
    mask, noticed = mask_in(source)
    assert np.array_equal(mask, TRUTH) and noticed == {annotated.SCALED: 1}


@pytest.mark.parametrize(
    "sizes",
    [
        {"height": 24}, {"height": 24, "width": None}, {"height": -24, "width": -40}, {"height": [24], "width": [40]},
        {"height": "24 px", "width": "40 px"}, {"height": True, "width": True}, {"height": float("nan"), "width": 40},
    ],
)  # fmt: skip
def test_a_stated_size_that_is_none_fits_no_photo(tmp_path: Path, sizes: dict[str, Any]) -> None:
    (tmp_path / "photo.png").write_bytes(photo_file(PHOTO, 1))
    source = coco(tmp_path, [[1, 1, 30, 1, 30, 20, 1, 20]], None, **sizes)
    assert staged(source) == Drop("no region", f"1 {annotated.OTHER_SIZE}", {annotated.OTHER_SIZE: 1})
