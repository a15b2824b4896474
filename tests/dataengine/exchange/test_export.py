"""Each layout: what its tool reads of it, what `build` reads back, what it says it cannot hold, and names from keys."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pyarrow.parquet as pq
import pycocotools.mask
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO

from instructrestore.dataengine.exchange import layout
from instructrestore.dataengine.exchange.export import LAYOUTS, LQ_PHOTOS, NAMES, export
from instructrestore.dataengine.exchange.panoptic import COVERED, HIDDEN
from instructrestore.dataengine.exchange.tri_ir import NOT_ALL_BOKEH
from instructrestore.dataengine.exchange.yolo_seg import CHANGED
from instructrestore.dataengine.photos.row import SourcePhoto
from instructrestore.dataengine.sources import list_photos, parse_source
from instructrestore.shards.index import Dataset
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import Agreement, AnnotatedPhoto, Region, from_json
from tests.dataengine.masks.all_masks import masks_of
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset
from tests.pipelines.evaluation.small_testset import write_testset

HOSTILE = '</Label><script>alert(1)</script> \x1b[31m=HYPERLINK("x") \u202e \' " \\ {} ../../x\n\ufffe' + "é" * 500


def blob(photo: layout.Photo, caption: str, subject: str, seed: int, bokeh: bool = False) -> Region:
    """A region of several ragged parts with holes."""
    rng = np.random.default_rng(seed)
    array = cv2.GaussianBlur(rng.random((photo.height, photo.width)), (0, 0), 2) > 0.5
    mask = Mask.from_array(array)
    region = region_of(photo, 0, 0, 1, 1, caption, subject, bokeh)
    return replace(region, mask=mask, pieces=(replace(region.pieces[0], mask=mask),))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three photos: overlapping and ragged regions; one with bokeh; one of which everything that is text is hostile."""
    first, rgb = photo_of(1, 48, 36, licence="CC BY 2.0", url="https://example.org/1", name="../a b.png")
    second, rgb_2 = photo_of(2, 40, 30, format="webp", licence="", name="")
    third, rgb_3 = photo_of(3, 31, 29, licence=HOSTILE, name=HOSTILE, source=HOSTILE, url=HOSTILE)
    scored = replace(region_of(first, 4, 4, 20, 20, "a red box", "box"), agreement=Agreement(31.5, "named 1"))
    samples = [
        (AnnotatedPhoto(first, (blob(first, "the ragged sky", "sky", 1), scored)), rgb),
        (AnnotatedPhoto(second, (region_of(second, 2, 2, 30, 20, "a sharp dog", "dog", bokeh=True),)), rgb_2),
        (
            AnnotatedPhoto(third, (blob(third, HOSTILE, HOSTILE, 2), blob(third, "a wall", "wall", 3, bokeh=True))),
            rgb_3,
        ),
    ]
    return write_dataset(tmp_path_factory.mktemp("set") / "set", samples)


def samples_of(dataset: Dataset) -> dict[str, AnnotatedPhoto]:
    return {sample.photo.key: sample for sample in map(dataset.record, range(dataset.card.photos))}


def read_back(place: Path) -> dict[str, SourcePhoto]:
    photos = list(list_photos(parse_source(str(place)), Counter()))
    assert [photo.problem for photo in photos] == [""] * len(photos)
    return {Path(photo.name).stem: photo for photo in photos}


def masks_back(photo: SourcePhoto, sample: AnnotatedPhoto) -> list[NDArray[np.bool_]]:
    found, lost = masks_of(photo.annotations or (), sample.photo.height, sample.photo.width)
    assert lost == {}
    return [mask for mask, _ in found]


@pytest.mark.parametrize("to", NAMES)
def test_photos_are_the_shards_own_bytes_and_files_have_names_of_keys(
    dataset: Dataset, tmp_path: Path, to: str
) -> None:
    summary = export(dataset, to, tmp_path / "out", on_photo=lambda: None)
    assert (summary.photos, summary.regions) == (3, 5)
    key = r"[0-9a-f]{20}(-\d{3})?\.(png|webp|txt)"
    fixed = r"(annotations|panoptic|tasks|samples|metadata)\.json|config\.xml|data\.yaml|train-00000\.parquet"
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert all(re.fullmatch(f"{key}|{fixed}", path.name) for path in files), files
    if to != "huggingface":
        photos = {path.name: path.read_bytes() for path in files}
        for row in range(3):
            sample, data = dataset.read(row)
            assert photos[layout.photo_name(sample.photo)] == data or to == "panoptic"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("to", NAMES)
def test_what_is_said_is_held_or_counted_as_lost(dataset: Dataset, tmp_path: Path, to: str) -> None:
    said = sum(map(layout.facts, samples_of(dataset).values()), Counter[str]())
    assert said[layout.PIECES] == said[layout.CAPTIONS] == 5
    assert (said[layout.AGREEMENT], said[layout.BOKEH], said[layout.LICENCES], said[layout.URLS]) == (1, 2, 2, 2)
    summary = export(dataset, to, tmp_path / "out")
    for what, count in said.items():
        assert (summary.held[what], summary.lost[what]) == ((count, 0) if what in LAYOUTS[to].holds else (0, count))


@pytest.mark.parametrize(
    ("to", "place"), [("coco", "annotations.json"), ("label-studio", "tasks.json"), ("tri-ir", "")]
)
def test_a_round_trip_by_build_s_sources_keeps_every_mask_caption_and_subject(
    dataset: Dataset, tmp_path: Path, to: str, place: str
) -> None:
    export(dataset, to, tmp_path / "out")
    back = read_back(tmp_path / "out" / place)
    for key, sample in samples_of(dataset).items():
        for mask, region in zip(masks_back(back[key], sample), sample.regions, strict=True):
            np.testing.assert_array_equal(mask, region.mask.array())
        if sample.regions[0].caption != HOSTILE:
            said = [(each.label, each.subject, each.is_caption) for each in back[key].annotations or ()]
            assert said == [(region.caption, region.subject, True) for region in sample.regions]
    first, _, second = (back[key] for key in samples_of(dataset))  # PNGs first
    assert (first.bokeh, second.bokeh) == (False, True)
    if to != "tri-ir":
        assert (first.licence, first.url, second.licence) == ("CC BY 2.0", "https://example.org/1", "")


def test_panoptic_loses_the_pixels_that_two_regions_share(dataset: Dataset, tmp_path: Path) -> None:
    summary = export(dataset, "panoptic", tmp_path / "out")
    back, lost = read_back(tmp_path / "out" / "panoptic.json"), 0
    for key, sample in samples_of(dataset).items():
        for mask, region in zip(masks_back(back[key], sample), sample.regions, strict=True):
            assert not (mask & ~region.mask.array()).any()
            lost += region.mask.area() - int(mask.sum())
    assert summary.lost[COVERED] == lost > 0 and HIDDEN not in summary.lost


def test_a_region_under_smaller_ones_is_counted_as_hidden(tmp_path: Path) -> None:
    photo, rgb = photo_of(1, 20, 10)
    large, halves = region_of(photo, 0, 0, 20, 10, "a", "a"), [(0, 0, 10, 10), (10, 0, 10, 10)]
    sample = AnnotatedPhoto(photo, (large, *(region_of(photo, *half, "b", "b") for half in halves)))
    summary = export(write_dataset(tmp_path / "set", [(sample, rgb)]), "panoptic", tmp_path / "out")
    assert summary.lost[HIDDEN] == 1 and summary.lost[COVERED] == 200
    (photo,) = read_back(tmp_path / "out" / "panoptic.json").values()
    assert [each.label for each in photo.annotations or ()] == ["b", "b"]


def test_tri_ir_counts_what_it_files_under_bokeh(dataset: Dataset, tmp_path: Path) -> None:
    assert export(dataset, "tri-ir", tmp_path / "out").lost[NOT_ALL_BOKEH] == 1
    assert len(list((tmp_path / "out" / "Bokeh").rglob("GT/*"))) == 2


def test_pycocotools_reads_coco(dataset: Dataset, tmp_path: Path) -> None:
    export(dataset, "coco", tmp_path / "out")
    coco = COCO(str(tmp_path / "out" / "annotations.json"))
    regions = [region for sample in samples_of(dataset).values() for region in sample.regions]
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == sorted({region.subject for region in regions})
    for annotation, region in zip(coco.loadAnns(coco.getAnnIds()), regions, strict=True):
        np.testing.assert_array_equal(coco.annToMask(annotation), region.mask.array())
        assert annotation["bbox"] == pycocotools.mask.toBbox(annotation["segmentation"]).tolist()
        assert coco.loadCats(annotation["category_id"])[0]["name"] == region.subject
        assert (annotation["caption"], annotation["bokeh"]) == (region.caption, region.bokeh)


def test_hugging_face_datasets_reads_parquet_and_nothing_is_lost(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert export(dataset, "huggingface", tmp_path / "out").lost == {}
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    for row, place in zip(loaded, range(3), strict=True):
        sample, data = dataset.read(place)
        assert np.array_equal(
            np.asarray(row["image"].convert("RGB")), np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        )
        assert from_json(row["record"].encode()) == sample
        assert row["captions"] == [region.caption for region in sample.regions]
        for mask, rle, region in zip(row["masks"], row["rle"], sample.regions, strict=True):
            np.testing.assert_array_equal(np.asarray(mask), region.mask.array())
            assert (rle["size"], rle["counts"]) == ([region.mask.height, region.mask.width], region.mask.counts)
    raw = pq.read_table(tmp_path / "out" / "data" / "train-00000.parquet", columns=["image"])["image"].to_pylist()
    assert [each["bytes"] for each in raw] == [dataset.read(place)[1] for place in range(3)]


def test_label_studio_s_own_converter_reads_the_brush_masks(dataset: Dataset, tmp_path: Path) -> None:
    brush = pytest.importorskip("label_studio_converter.brush")
    export(dataset, "label-studio", tmp_path / "out")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_bytes())
    for task, sample in zip(tasks, samples_of(dataset).values(), strict=True):
        results = task["predictions"][0]["result"]
        drawn = [result for result in results if result["type"] == "brushlabels"]
        for result, region in zip(drawn, sample.regions, strict=True):
            size = result["original_height"], result["original_width"]
            alpha = np.reshape(brush.decode_rle(result["value"]["rle"]), (*size, 4))[:, :, 3]
            np.testing.assert_array_equal(alpha > 0, region.mask.array())


def test_label_studio_s_interface_has_the_labels_that_its_tasks_use(dataset: Dataset, tmp_path: Path) -> None:
    export(dataset, "label-studio", tmp_path / "out")
    config = ElementTree.parse(tmp_path / "out" / "config.xml")
    labels = [label.get("value") for label in config.iter("Label")]
    assert len(labels) == len(next(iter(config.iter("BrushLabels")))) == 5 and not list(config.iter("script"))
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_bytes())
    used = [
        label
        for task in tasks
        for each in task["predictions"][0]["result"]
        for label in each["value"].get("brushlabels", ())
    ]
    assert set(used) == set(labels)
    names = {control.get("name") for control in config.iter() if control.get("name")}
    assert {each["from_name"] for task in tasks for each in task["predictions"][0]["result"]} <= names


def test_fiftyone_s_detections_hold_the_masks_in_their_boxes(dataset: Dataset, tmp_path: Path) -> None:
    """Read as FiftyOne's own `deserialize_numpy_array` reads them."""
    export(dataset, "fiftyone", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "metadata.json").read_bytes())["media_type"] == "image"
    read = json.loads((tmp_path / "out" / "samples.json").read_bytes())["samples"]
    for found, sample in zip(read, samples_of(dataset).values(), strict=True):
        assert (tmp_path / "out" / found["filepath"]).is_file()
        height, width = sample.photo.height, sample.photo.width
        for detection, region in zip(found["regions"]["detections"], sample.regions, strict=True):
            data = zlib.decompress(base64.b64decode(detection["mask"]["$binary"]["base64"]))
            inside, canvas = np.load(io.BytesIO(data), allow_pickle=False), np.zeros((height, width), np.bool_)
            x, y = round(detection["bounding_box"][0] * width), round(detection["bounding_box"][1] * height)
            canvas[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
            np.testing.assert_array_equal(canvas, region.mask.array())
            assert (detection["label"], detection["caption"]) == (region.subject, region.caption)


def test_yolo_s_outlines_are_the_masks_but_for_what_is_counted(dataset: Dataset, tmp_path: Path) -> None:
    """Read as ultralytics reads them: shares times sides, rounded down, filled."""
    summary, changed = export(dataset, "yolo-seg", tmp_path / "out"), 0
    names = [
        line.split(": ", 1)[1] for line in (tmp_path / "out" / "data.yaml").read_text().splitlines() if line[:2] == "  "
    ]
    for key, sample in samples_of(dataset).items():
        lines = (tmp_path / "out" / "labels" / "train" / f"{key}.txt").read_text().splitlines()
        for line, region in zip(lines, sample.regions, strict=True):
            number, *shares = line.split(" ")
            assert json.loads(names[int(number)]) == region.subject
            ring = np.array(shares, np.float32).reshape(-1, 2)
            assert ring.min() >= 0 and ring.max() <= 1
            canvas = np.zeros((sample.photo.height, sample.photo.width), np.uint8)
            cv2.fillPoly(canvas, [(ring * (sample.photo.width, sample.photo.height)).astype(np.int32)], 1)
            changed += int((canvas.astype(np.bool_) != region.mask.array()).sum())
    assert summary.lost[CHANGED] == changed > 0


def test_of_a_test_set_the_lq_photos_are_counted_as_lost(tmp_path: Path) -> None:
    write_testset(tmp_path / "set", [(80, 64), (64, 64)])
    assert export(Dataset(str(tmp_path / "set")), "huggingface", tmp_path / "out").lost == {LQ_PHOTOS: 2}


def test_a_folder_with_something_in_it_is_left_alone(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="out is there already: name a new folder"):
        export(dataset, "coco", tmp_path / "out")
    with pytest.raises(ValueError, match="there is no layout 'voc': known are coco, panoptic"):
        export(dataset, "voc", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_export_that_ends_early_leaves_nothing(dataset: Dataset, tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(dataset, "coco", tmp_path / "out", on_photo=stop)
    assert list(tmp_path.iterdir()) == []
