"""Everything bad at once: the run ends well, and each item is accounted for by its name."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter
from rich.console import Console

from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.running.part_files import read_outcomes
from instructrestore.dataengine.sources import parse_source
from instructrestore.pipelines.building.build import BuildResult, build, print_summary
from instructrestore.pipelines.building.presets import embedded, with_values
from instructrestore.shards.index import Dataset
from instructrestore.shards.verify import verify
from tests.dataengine.photos.colour_profiles import rgb_profile
from tests.pipelines.photos import BY_COLOUR

KEPT = ("shards", "ok", "")
_anything = TypeAdapter(dict[str, Any])
_numbers = iter(range(1000, 100_000))


def pixels() -> NDArray[np.uint8]:
    """Another (96, 128, 3) picture at each call: coloured rectangles on a textured ground."""
    rng = np.random.default_rng(next(_numbers))
    made = rng.integers(60, 120, (96, 128, 3)).astype(np.uint8)
    for _ in range(3):
        y, x = rng.integers(0, 60), rng.integers(0, 80)
        made[y : y + 36, x : x + 48] = rng.integers(0, 255, 3)
    return made


def encoded(image: Image.Image | None = None, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(pixels())).save(file, kind, **options)
    return file.getvalue()


def animated(kind: str) -> bytes:
    return encoded(None, kind, save_all=True, append_images=[Image.fromarray(pixels())])


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def stored(upright: NDArray[np.uint8], orientation: int) -> Image.Image:
    """What a camera stores of an upright picture under an EXIF orientation (EXIF 2.3, tag 0x0112)."""
    turned = upright.transpose(1, 0, 2) if orientation >= 5 else upright
    if orientation in (3, 4, 6, 7):  # the first row stored is the bottom, or the right side
        turned = turned[::-1]
    if orientation in (2, 3, 7, 8):  # the first column stored is the right side, or the bottom
        turned = turned[:, ::-1]
    return Image.fromarray(np.ascontiguousarray(turned))


def bomb(side: int = 30_000) -> bytes:
    """A whole PNG of side x side pixels of one bit."""
    squeeze = zlib.compressobj(1)
    row = bytes(1 + side // 8)
    data = b"".join([squeeze.compress(row * 1000) for _ in range(side // 1000)]) + squeeze.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    made = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def with_alpha(alpha: int) -> Image.Image:
    image = Image.fromarray(pixels()).convert("RGBA")
    image.putalpha(alpha)
    return image


def sixteen_bit(channels: int) -> bytes:
    array = pixels().astype(np.uint16) * 257
    done, data = cv2.imencode(".png", array if channels == 3 else array[..., 0])
    assert done
    return data.tobytes()


def dropped(reason: str, stage: str = "intake") -> tuple[str, str, str]:
    return stage, "dropped", reason


CORRUPT, NO_PHOTO, ANIMATED = dropped("corrupt photo"), dropped("not a photo"), dropped("animated")
SMALL = dropped("short side", "quality-gate")


@dataclass
class Items:
    """What was put in, and what is to become of it. ends: the expected end of each photo by its URI."""

    root: Path
    ends: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def expect(self, name: str | bytes, end: tuple[str, str, str]) -> None:
        path = os.path.join(os.fsencode(self.root), os.fsencode(name))
        try:
            uri = path.decode("utf-8")
        except UnicodeDecodeError:
            uri = "file://" + quote_from_bytes(path)
        self.ends[uri] = end

    def put(self, name: str | bytes, data: bytes, end: tuple[str, str, str] | None) -> None:
        """A file; end None: it is none of the source's photos."""
        path = os.path.join(os.fsencode(self.root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        if end:
            self.expect(name, end)


def fill_with_bad_content(items: Items) -> None:
    items.put("empty.jpg", b"", dropped("empty file"))
    for kind in ("jpeg", "png", "webp"):
        data = encoded(kind=kind)
        for tenth in range(1, 10):
            items.put(f"cut/{tenth} tenths.{kind}", data[: len(data) * tenth // 10], CORRUPT)
    items.put("text.jpg", b"This is no photo.\n", NO_PHOTO)
    items.put("page.png", b"<!DOCTYPE html><html><body>404</body></html>", NO_PHOTO)
    items.put("zeros.webp", bytes(5000), NO_PHOTO)
    items.put("notes.txt", b"no photo and no photo's name", None)
    items.put("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), dropped("corrupt photo"))
    for kind, name in (("GIF", "moving.gif"), ("WEBP", "moving.webp"), ("PNG", "moving.png")):
        items.put(name, animated(kind), ANIMATED)
    items.put("one pixel.png", encoded(Image.new("RGB", (1, 1), (9, 8, 7))), SMALL)
    items.put("tall.png", encoded(Image.new("RGB", (1, 60_000), (1, 2, 3))), SMALL)
    items.put("wide.png", encoded(Image.new("L", (60_000, 1), 77)), SMALL)
    items.put("bomb.png", bomb(), dropped("pixel limit"))
    items.put("lab.tif", encoded(Image.new("LAB", (96, 96)), "TIFF"), dropped("colour space"))
    items.put("alpha.png", encoded(with_alpha(90)), dropped("transparent"))


def fill_with_odd_photos(items: Items) -> None:
    items.put("opaque.png", encoded(with_alpha(255)), KEPT)
    items.put("ink.jpg", encoded(Image.fromarray(pixels()).convert("CMYK"), "JPEG", quality=95), KEPT)
    items.put("grey.jpg", encoded(Image.fromarray(pixels()).convert("L"), "JPEG", quality=95), KEPT)
    items.put("palette.png", encoded(Image.fromarray(pixels()).quantize(64)), KEPT)
    items.put("still.gif", encoded(kind="GIF"), KEPT)
    items.put("scan.tif", encoded(kind="TIFF"), KEPT)
    items.put("grey 16 bit.png", sixteen_bit(1), KEPT)
    items.put("colour 16 bit.png", sixteen_bit(3), KEPT)
    items.put("p3.jpg", encoded(kind="JPEG", quality=95, icc_profile=rgb_profile()), KEPT)
    items.put("broken profile.png", encoded(icc_profile=b"no profile"), KEPT)
    for kind in ("png", "jpeg"):
        upright = pixels()
        for orientation in range(1, 9):
            data = encoded(stored(upright, orientation), kind, exif=exif(orientation), quality=95)
            items.put(f"exif/{orientation}.{kind}", data, KEPT)


def fill_with_odd_names(items: Items) -> None:
    for name in (
        "white  space .png", "dots...and.more.png", "quotes'\"`.png", "\U0001f40e.png",
        "n" * 251 + ".png", "two\nlines.png", "star*?[a].png", "hash#0,12", "percent%20.png", "back\\slash.png",
        "a photo by content alone", "a photo.txt", "one/same name.png", "two/same name.png", "folder.jpg/inside.png",
    ):  # fmt: skip
        items.put(name, encoded(), KEPT)
    uri = str(items.root / "hash#0,12")  # would be read as a byte range
    items.ends["file://" + quote_from_bytes(os.fsencode(uri))] = items.ends.pop(uri)
    try:
        items.put(b"bytes \xff\xfe.png", encoded(), KEPT)
    except OSError:
        assert os.uname().sysname != "Linux", "only file systems of UTF-8 names refuse it"
    same = encoded()
    items.put("twins/a.png", same, KEPT)
    items.put("twins/b.png", same, dropped("exact duplicate", "deduplicate"))
    items.put(".hidden.png", encoded(), None)
    items.put(".hidden/photo.png", encoded(), None)
    (items.root / "loop").symlink_to(".", target_is_directory=True)
    (items.root / "snake.jpg").symlink_to("snake.jpg")
    items.expect("snake.jpg", dropped("broken link"))
    (items.root / "gone.png").symlink_to("nowhere.png")
    items.expect("gone.png", dropped("broken link"))
    (items.root / "gone").symlink_to("nowhere")
    os.mkfifo(items.root / "pipe.jpg")
    items.expect("pipe.jpg", dropped("not a regular file"))
    if os.geteuid() != 0:  # root reads everything
        for name in ("locked.png", "locked folder/photo.png"):
            items.put(name, encoded(), None)
        (items.root / "locked.png").chmod(0)
        (items.root / "locked folder").chmod(0)
        items.expect("locked.png", ("intake", "failed", "PermissionError: Permission denied"))
        items.expect("locked folder", dropped("folder unreadable"))


@dataclass
class Run:
    items: Items
    result: BuildResult
    ends: dict[str, tuple[str, str, str]]
    counts: dict[str, dict[str, int]]


def run(items: Items, out: Path, *sources: str, **changes: Any) -> Run:
    values = {
        "sources": [parse_source(text) for text in sources],
        "photos_per_part": 24,
        "shards": {"photos_per_shard": 20},
        "quality_gate": {"short_side": 64, "score": 0.0},
        **BY_COLOUR,
        **changes,
    }
    result = build(with_values(embedded(), values), out, Console(file=io.StringIO()))
    print_summary(result, Console(file=io.StringIO()))  # input = ok + dropped + failed, asserted there
    ends, counts = ends_of(RunFolder(out))
    return Run(items, result, ends, counts)


def ends_of(folder: RunFolder) -> tuple[dict[str, tuple[str, str, str]], dict[str, dict[str, int]]]:
    """The last stage that each photo came to, its outcome there and the reason; and the counts noted inside photos.

    At every stage each photo that came through the one before is there, once.
    """
    ends: dict[str, tuple[str, str, str]] = {}
    counts: dict[str, dict[str, int]] = {}
    expected = sorted(uri for uri, _ in folder.known())
    stages = sorted(folder.stages.iterdir())
    for number in sorted({path.name[:2] for path in stages}):
        seen: list[str] = []
        for path in (path for path in stages if path.name.startswith(number)):
            name = "shards" if path.name.endswith("shards") else path.name[3:]
            for part in sorted(path.glob("*-*.parquet")):
                for outcome in read_outcomes(part, _anything):
                    seen.append(outcome.name)
                    ends[outcome.name] = name, outcome.kind, outcome.reason
                    if outcome.row and outcome.row.get("counts"):
                        counts[f"{name} {outcome.name}"] = outcome.row["counts"]
        assert sorted(seen) == expected, number
        expected = sorted(name for name in seen if ends[name][1] == "ok")
    return ends, counts


@pytest.fixture(scope="module")
def folder(_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("bad")
    items = Items(root / "photos")
    fill_with_bad_content(items)
    fill_with_odd_photos(items)
    fill_with_odd_names(items)
    return run(items, root / "out", str(items.root))


def test_every_file_ends_as_it_should(folder: Run) -> None:
    assert len(folder.items.ends) > 75
    assert folder.ends == folder.items.ends
    for summary in folder.result.summaries:
        assert summary.input == summary.ok + sum(summary.dropped.values()) + sum(summary.failed.values())
    assert folder.result.summaries[0].input == len(folder.items.ends)
    assert folder.result.card.photos == sum(end == KEPT for end in folder.items.ends.values())
    assert verify(str(folder.result.dataset)) == []


def test_conversions_are_noted(folder: Run) -> None:
    noted = {name.rsplit("/", 1)[1]: counts for name, counts in folder.counts.items() if name.startswith("intake")}
    assert "p3.jpg" in noted
    assert "broken profile.png" in noted
    assert "opaque.png" not in noted


def test_photos_turned_in_all_eight_ways_are_upright_and_of_one_group(folder: Run) -> None:
    dataset = Dataset(str(folder.result.dataset))
    found: dict[str, tuple[NDArray[np.int16], str]] = {}
    for row in range(dataset.card.photos):
        sample, data = dataset.read(row)
        with Image.open(io.BytesIO(data)) as image:
            assert image.mode == "RGB", sample.photo.name
            assert image.getexif().get(0x0112, 1) == 1, sample.photo.name
            assert image.size == (sample.photo.width, sample.photo.height)
            found[sample.photo.name] = np.asarray(image, np.int16), sample.photo.group
    for kind, tolerance in (("png", 0.0), ("jpeg", 3.0)):  # a JPEG is compressed as it lies
        group = found[f"exif/1.{kind}"][1]
        assert {name for name, (_, other) in found.items() if other == group} == {
            f"exif/{n}.{kind}" for n in range(1, 9)
        }
        for orientation in range(1, 9):
            difference = np.abs(found[f"exif/{orientation}.{kind}"][0] - found[f"exif/1.{kind}"][0])
            assert difference.mean() <= tolerance, (kind, orientation)


BOX = [10, 10, 70, 10, 70, 60, 10, 60]


def annotation(photo: int, segmentation: Any, category: int = 1) -> dict[str, Any]:
    return {"image_id": photo, "category_id": category, "segmentation": segmentation, "iscrowd": 0}


@pytest.fixture(scope="module")
def annotated(_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """COCO and panoptic annotations and a manifest in one build that takes the sources' masks alone."""
    root = tmp_path_factory.mktemp("annotated")
    items = Items(root)
    sources = [write_coco(items), write_panoptic(items), write_manifest(items)]
    masks, descriptions = {"segmenter": "annotated"}, {"describer": "annotated"}
    return run(items, root / "out", *sources, masks=masks, descriptions=descriptions)


def write_coco(items: Items) -> str:
    no_region, no_words = dropped("no region", "masks"), dropped("no described region", "descriptions")
    segmentations = {
        "good": ([BOX], KEPT),
        "bad runs": ({"size": [96, 128], "counts": "no such code \x7f"}, no_region),
        "runs of another length": ({"size": [96, 128], "counts": [5, 5]}, no_region),
        "runs of another size": ({"size": [50, 50], "counts": [500, 2000]}, no_region),
        "two points": ([[1, 1, 50, 50]], no_region),
        "not a number": ([[float("nan")] * 8], no_region),
        "outside": ([[900, 900, 990, 900, 990, 990]], no_region),
        "nothing": (None, no_region),
        "no category": ([BOX], no_words),
        "another photo": ([BOX], no_region),
    }
    images, annotations, problems = [], [], ("missing.png", "../../etc/passwd", "/etc/passwd", None)
    for number, (name, (segmentation, end)) in enumerate(segmentations.items()):
        items.put(f"coco/images/{name}.png", encoded(), end)
        width, height = (50, 50) if name == "another photo" else (128, 96)
        images.append({"id": number, "file_name": f"{name}.png", "width": width, "height": height})
        annotations.append(annotation(number, segmentation, 99 if name == "no category" else 1))
    items.put("coco/images/good and bad.png", encoded(), KEPT)
    images.append({"id": 50, "file_name": "good and bad.png"})
    bad = ({"size": [96, 128], "counts": "\x7f"}, [[1, 1, 50, 50]])
    annotations += [annotation(50, given) for given in ([BOX], *bad)]
    items.put("coco/images/broken.png", encoded()[:900], CORRUPT)
    images.append({"id": 51, "file_name": "broken.png"})
    annotations += [annotation(51, [BOX]), annotation(777, [BOX]), annotation(0, [BOX], 99)]
    path = items.root / "coco/instances.json"
    reasons = ("missing photo", "path outside its folder", "path outside its folder", "photo without a name")
    for name, reason in zip(problems, reasons, strict=True):
        items.ends[f"{path}#images[{len(images)}]"] = dropped(reason)
        images.append({"id": 100 + len(images), "file_name": name})
    categories = [{"id": 1, "name": "horse"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return f"coco:{path}?images={items.root / 'coco/images'}"


def write_panoptic(items: Items) -> str:
    no_region = dropped("no region", "masks")
    ends = {"good": KEPT, "ids missing": no_region, "png missing": no_region, "png is text": no_region,
            "png of another size": no_region, "unlisted": dropped("no annotated mask", "masks")}  # fmt: skip
    ids = np.zeros((96, 128, 3), np.uint8)
    ids[20:70, 30:90] = (7, 1, 0)  # 7 + 256
    ids[:10] = (200, 0, 0)  # a segment that the JSON does not list
    images, annotations = [], []
    for number, (name, end) in enumerate(ends.items()):
        items.put(f"panoptic/images/{name}.jpg", encoded(kind="JPEG", quality=95), end)
        images.append({"id": number, "file_name": f"{name}.jpg"})
        if name != "unlisted":
            segments = [{"id": 9999 if name == "ids missing" else 263, "category_id": 1}]
            segments += [{"id": 31337, "category_id": 1}] if name == "good" else []
            annotations.append({"image_id": number, "file_name": f"{name}.png", "segments_info": segments})
        small = ids[:50, :50] if name == "png of another size" else ids
        data = b"no picture" if name == "png is text" else encoded(Image.fromarray(small))
        if name != "png missing":
            items.put(f"panoptic/masks/{name}.png", data, None)
    path = items.root / "panoptic/panoptic.json"
    categories = [{"id": 1, "name": "grass-merged"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return f"panoptic:{path}?images={path.parent / 'images'}&masks={path.parent / 'masks'}"


def write_manifest(items: Items) -> str:
    matte = np.zeros((96, 128), np.uint8)
    matte[20:80, 30:100] = 255
    items.put("manifest/matte.png", encoded(Image.fromarray(matte)), None)
    items.put("manifest/good.png", encoded(), KEPT)
    items.put("manifest/no mask.png", encoded(), dropped("no region", "masks"))
    items.expect("manifest/absent.png", ("intake", "failed", "FileNotFoundError: No such file or directory"))
    path = items.root / "manifest/photos.csv"
    items.ends[f"{path}#row 4"] = dropped("path outside its folder")
    items.ends[f"{path}#row 5"] = dropped("row without a URI")
    rows = ["good.png,matte.png,horse", "no mask.png,absent.png,horse", "absent.png,,", "../../x.png,,", ",matte.png,"]
    path.write_text("\n".join(["uri,mask,label", *rows]) + "\n")
    return f"manifest:{path}"


def test_every_photo_of_bad_annotations_ends_as_it_should(annotated: Run) -> None:
    assert annotated.ends == annotated.items.ends
    assert verify(str(annotated.result.dataset)) == []


def test_bad_masks_are_counted_within_the_photos_that_are_kept(annotated: Run) -> None:
    counts = {name.rsplit("/", 1)[1]: found for name, found in annotated.counts.items() if name.startswith("masks")}
    assert counts["good and bad.png"] == {"bad run-length code": 1, "polygon of fewer than three points": 1}
    assert counts["good.jpg"] == {"segment not in the picture": 1}
    described = {n.rsplit("/", 1)[1]: found for n, found in annotated.counts.items() if n.startswith("descriptions")}
    assert described["good.png"] == {"no label": 1}


def test_every_annotation_is_kept_or_lost_for_a_reason_that_people_see(annotated: Run) -> None:
    found = annotated.result.annotations
    assert [each.stage for each in found][:2] == ["sources", "intake"]
    for each, following in pairwise(found):
        if not following.stage.endswith("shards"):
            assert each.kept == following.held, (each, following)
    written = sum(each.kept for each in found if each.stage.endswith("shards"))
    dataset = Dataset(str(annotated.result.dataset))
    samples = [dataset.read(place)[0] for place in range(dataset.card.photos)]
    assert written == sum(len(region.pieces) for sample in samples for region in sample.regions) == 4
    reasons = {each.stage: dict(each.reasons) for each in found}
    assert reasons["sources"] == {"annotation of no photo": 1}
    assert reasons["intake"]["dropped: corrupt photo"] == 1
    assert reasons["intake"]["dropped: row without a URI"] == 1
    assert reasons["masks"]["polygon of fewer than three points"] == 2
    assert reasons["masks"]["bad run-length code"] == 3
    assert reasons["masks"]["mask not found"] == 2
    assert reasons["descriptions"] == {"no label": 2}
    console = Console(file=io.StringIO(), width=400)
    print_summary(annotated.result, console)
    assert isinstance(console.file, io.StringIO)
    report = (annotated.items.root / "out/report.html").read_text("utf-8")
    card = (annotated.items.root / "out/dataset/README.md").read_text("utf-8")
    for each in found:
        for reason, count in each.reasons:
            for text in (console.file.getvalue(), report, card):
                assert f"{reason} {count}" in text, (each.stage, reason)
