"""Bad data wherever data enters the engine: it comes out as a counted reason or a named error, never as an error that
stands for a defect of the program (TypeError, KeyError and the like), which would stop the run."""

from __future__ import annotations

import copy
import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter

from instructrestore.dataengine.descriptions import annotated as category_names
from instructrestore.dataengine.descriptions.vision_language import (
    RegionDescription,
    VisionLanguageDescriber,
    VisionLanguageSettings,
    VisionServerSettings,
    read_reply,
)
from instructrestore.dataengine.masks.annotated import NOTES, each_mask
from instructrestore.dataengine.noun_phrases.english.noun_phrase import NounPhrase
from instructrestore.dataengine.noun_phrases.grammar import Grammar
from instructrestore.dataengine.noun_phrases.parser import ParserAnswer, Question, judged
from instructrestore.dataengine.noun_phrases.validation import FAULTS, read_answer
from instructrestore.dataengine.photos.intake import licence_name
from instructrestore.dataengine.photos.photo_file import UnusablePhoto, decode, read_bytes
from instructrestore.dataengine.photos.row import Annotation, PolygonMask, RunMask, SegmentMask, SourcePhoto
from instructrestore.dataengine.sources import SourceSettings, list_photos
from instructrestore.shards.sample import AnnotatedPhoto
from tests.dataengine.photos.colour_profiles import cmyk_profile, rgb_profile
from tests.dataengine.photos.named_colours import (
    ADOBE_POINTS,
    PIXELS,
    bitmap,
    chrm,
    exif_block,
    gama,
    with_chunks,
)
from tests.dataengine.photos.test_photo_file import saved, scene
from tests.dataengine.photos.tiff_files import Page, tiff
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset

HEIGHT, WIDTH = 24, 40
serialised = TypeAdapter(SourcePhoto)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)  # lone surrogates too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)


def photos() -> dict[str, bytes]:
    """A small photo in every format that is read, with a colour profile and an orientation where it can have them."""
    picture = Image.fromarray(scene(HEIGHT, WIDTH))
    exif = Image.Exif()
    exif[0x0112] = 6
    known: dict[str, Any] = {"icc_profile": rgb_profile(), "exif": exif}
    return {
        "jpg": saved(picture, "JPEG", **known),
        "cmyk jpg": saved(picture.convert("CMYK"), "JPEG", icc_profile=cmyk_profile()),
        "png": saved(picture, "PNG", **known),
        "palette png": saved(picture.convert("P"), "PNG", transparency=3),
        "16-bit png": saved(Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100), "PNG"),
        "webp": saved(picture, "WEBP", **known),
        "tiff": saved(picture, "TIFF", **known),
        "lzw tiff": saved(picture, "TIFF", compression="tiff_lzw"),
        "bmp": saved(picture, "BMP"),
        "gif": saved(picture, "GIF"),
        "ppm": saved(picture, "PPM"),
        "jp2": saved(picture, "JPEG2000"),
        "jpg named by EXIF": saved(picture, "JPEG", exif=exif_block(0xFFFF, "R03")),
        "jpg without its end": saved(picture, "JPEG", progressive=True)[:-2],
        "png of numbers": with_chunks(saved(picture, "PNG"), gAMA=gama(1.0), cHRM=chrm(ADOBE_POINTS)),
        "png of a code": with_chunks(saved(picture, "PNG"), cICP=bytes([12, 13, 0, 1])),
        "tiff with a small copy": tiff([Page(PIXELS), Page(PIXELS[:4, :4].copy(), {254: 1})]),
        "tiff of tags": saved(picture, "TIFF", tiffinfo={318: ADOBE_POINTS[:2], 319: ADOBE_POINTS[2:]}),
        "bmp with a profile": bitmap(b"DEBM", b"", rgb_profile()),
    }


PHOTOS = photos()


def damaged(data: bytes, seed: int) -> bytes:
    """Bytes changed, lost and put in, near the beginning half of the time; the first three stay."""
    rng = random.Random(seed)
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 20))):
        end = len(result) if rng.random() < 0.5 else min(len(result), 200)
        if end < 5:
            break
        place, kind = rng.randrange(3, end), rng.random()
        if kind < 0.6:
            result[place] = rng.choice((0, 1, 128, 255, rng.randrange(256)))
        elif kind < 0.75:
            del result[place : place + rng.randrange(1, 9)]
        elif kind < 0.9:
            result[place:place] = rng.randbytes(rng.randrange(1, 9))
        else:
            del result[place:]
    return bytes(result)


def holders(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every object and list in JSON, with each of its keys or places."""
    for key, value in list(document.items() if isinstance(document, dict) else enumerate(document)):
        yield document, key
        if isinstance(value, dict | list):
            yield from holders(value)


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """The JSON with a few of its values lost or something else."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        places = list(holders(document))
        if not places:
            break
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        if draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = draw(JSON)
    return document


def usable(source: SourceSettings) -> list[SourcePhoto]:
    """What a source lists; nothing where it says in a sentence that it cannot be read."""
    try:
        listed = list(list_photos(source))
    except ValueError:
        return []
    for photo in listed:
        assert serialised.validate_json(serialised.dump_json(photo)) == photo
        masks = each_mask(photo.annotations or (), HEIGHT, WIDTH, Counter())
        assert all(mask.shape == (HEIGHT, WIDTH) and mask.any() for mask, _ in masks)
        category_names.phrase_of("".join(annotation.label for annotation in photo.annotations or ()))
        licence_name(photo.licence)
    return listed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("source")
    (place / "photo.png").write_bytes(PHOTOS["png"])
    for name in ("masks", "GT", "annotated_jsons"):
        (place / "Normal" / "set" / name).mkdir(parents=True)
    (place / "panoptic").mkdir()
    for picture in (
        place / "Normal/set/GT/photo.png",
        place / "Normal/set/masks/mask.png",
        place / "panoptic/photo.png",
    ):
        picture.write_bytes(PHOTOS["png"])
    return place


# Photos


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", PHOTOS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_damaged_photos(kind: str, seed: int) -> None:
    try:
        photo = decode(damaged(PHOTOS[kind], seed), 1_000_000)
    except UnusablePhoto:
        return
    assert photo.rgb.dtype == np.uint8 and photo.rgb.ndim == 3 and photo.rgb.shape[2] == 3


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(("", "file:///", "zip://", "tar://", "memory://", "nowhere://", "data:")), ANY_TEXT)
def test_addresses_that_lead_nowhere(protocol: str, rest: str) -> None:
    with pytest.raises((OSError, ValueError)):
        read_bytes(f"{protocol}no such folder/{rest}")


@pytest.mark.parametrize("part", [f"{10**30},4", f"4,{10**30}", f"{2**63},1", "5,1"])
def test_a_byte_range_beyond_the_file(tmp_path: Path, part: str) -> None:
    (tmp_path / "shard").write_bytes(b"12345")
    with pytest.raises((OSError, UnusablePhoto)):
        read_bytes(f"{tmp_path}/shard#{part}")


# Masks

MASK_FILES = {
    "palette png": saved(Image.fromarray(scene(HEIGHT, WIDTH)).convert("P"), "PNG"),
    "16-bit png": saved(Image.fromarray(np.full((HEIGHT, WIDTH), 40_000, np.uint16)), "PNG"),
    "tiff": PHOTOS["tiff"],
    "lab tiff": saved(Image.new("LAB", (WIDTH, HEIGHT)), "TIFF"),
    "float tiff": saved(Image.new("F", (WIDTH, HEIGHT), 200.0), "TIFF"),
    "jpg": PHOTOS["jpg"],
    "webp": PHOTOS["webp"],
    "bmp": PHOTOS["bmp"],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", MASK_FILES)
@pytest.mark.parametrize("segment", [None, 3])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32) | st.none())
def test_damaged_mask_files(folder: Path, kind: str, segment: int | None, seed: int | None) -> None:
    """seed: None is the file as it is."""
    file = folder / "mask file"
    file.write_bytes(MASK_FILES[kind] if seed is None else damaged(MASK_FILES[kind], seed))
    counts: Counter[str] = Counter()
    usable_masks = list(each_mask([Annotation(SegmentMask(str(file), segment), "x")], HEIGHT, WIDTH, counts))
    assert len(usable_masks) + sum(counts[reason] for reason in counts if reason not in NOTES) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats() | st.integers(-(10**9), 10**9).map(float), max_size=10), max_size=3).map(PolygonMask)
    | st.builds(RunMask, st.just(HEIGHT), st.just(WIDTH), ANY_TEXT | st.lists(st.integers(-1, 2**33), max_size=6))
)
def test_any_polygon_or_run(mask: PolygonMask | RunMask) -> None:
    counts: Counter[str] = Counter()
    usable_masks = list(each_mask([Annotation(mask, "x")], HEIGHT, WIDTH, counts))
    assert len(usable_masks) + sum(counts[reason] for reason in counts if reason not in NOTES) == 1


# Sources

COCO = {
    "images": [{"id": 1, "file_name": "photo.png", "license": 2, "coco_url": "http://images.cocodataset.org/a/b.jpg"}],
    "licenses": [{"id": 2, "name": "x", "url": "http://creativecommons.org/licenses/by/2.0/"}],
    "categories": [{"id": 3, "name": "wall-brick"}],
    "annotations": [
        {"image_id": 1, "category_id": 3, "segmentation": [[1, 1, 9, 1, 9, 9]], "iscrowd": 0},
        {"image_id": 1, "category_id": 3, "segmentation": {"size": [HEIGHT, WIDTH], "counts": [5, 5, 950]}},
        {"image_id": 1, "category_id": 3, "segmentation": {"size": [HEIGHT, WIDTH], "counts": "U5"}},
    ],
}
PANOPTIC = COCO | {
    "annotations": [{"image_id": 1, "file_name": "photo.png", "segments_info": [{"id": 7, "category_id": 3}]}]
}
TRI_IR = [
    {
        "content_image_name": "photo.png",
        "mask_image_name": "mask.png",
        "img_source": "LSDIR",
        "corrected_mask_description": ["the red cow", "a cow"],
        "subject": "cow",
    }
]


@settings(max_examples=60, deadline=None)
@given(changed(COCO))
def test_changed_coco(folder: Path, document: Any) -> None:
    (folder / "coco.json").write_text(json.dumps(document))
    usable(SourceSettings(kind="coco", path=str(folder / "coco.json")))


@settings(max_examples=60, deadline=None)
@given(changed(PANOPTIC))
def test_changed_panoptic(folder: Path, document: Any) -> None:
    (folder / "panoptic.json").write_text(json.dumps(document))
    usable(SourceSettings(kind="panoptic", path=str(folder / "panoptic.json"), masks=str(folder / "panoptic")))


@settings(max_examples=60, deadline=None)
@given(changed(TRI_IR))
def test_changed_tri_ir(folder: Path, document: Any) -> None:
    (folder / "Normal" / "set" / "annotated_jsons" / "items.json").write_text(json.dumps(document))
    usable(SourceSettings(kind="tri-ir", path=str(folder)))


def table() -> dict[str, bytes]:
    rows = pa.table({"uri": ["photo.png"], "name": ["x"], "licence": ["y"], "label": ["cow"], "mask": ["photo.png"]})
    file = io.BytesIO()
    pq.write_table(rows, file)
    text = b"uri,name,licence,label,mask\nphoto.png,x,y,cow,photo.png\n"
    return {"manifest.parquet": file.getvalue(), "manifest.csv": text}


TABLES = table()


@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_damaged_manifests(folder: Path, name: str, seed: int) -> None:
    (folder / name).write_bytes(damaged(TABLES[name], seed))
    usable(SourceSettings(kind="manifest", path=str(folder / name)))


def test_a_manifest_with_a_column_twice(folder: Path) -> None:
    (folder / "twice.csv").write_bytes(b"uri,uri,name\nphoto.png,other.png,x\n")
    with pytest.raises(ValueError, match=r"has several columns of one meaning, uri and uri: leave one of them$"):
        list(list_photos(SourceSettings(kind="manifest", path=str(folder / "twice.csv"))))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    photo, rgb = photo_of(1, WIDTH, HEIGHT)
    region = region_of(photo, 2, 2, 20, 10, "the red cow", "cow")
    place = tmp_path_factory.mktemp("shards")
    write_dataset(place, [(AnnotatedPhoto(photo, (region,)), rgb)])
    return place


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_damaged_records_of_a_data_set(shards: Path, seed: int) -> None:
    [shard] = shards.glob("*.tar")
    whole = shard.read_bytes()
    begin = whole.index(b'{"photo"')
    end = whole.index(b"\0", begin)
    shard.write_bytes(
        whole[: begin - 3] + (damaged(whole[begin - 3 : end], seed) + bytes(end))[: end - begin + 3] + whole[end:]
    )
    try:
        assert len(usable(SourceSettings(kind="dataset", path=str(shards)))) == 1
    finally:
        shard.write_bytes(whole)


# Replies of models

SERVER = VisionServerSettings(urls=("http://127.0.0.1:9",), model="m")
REPLY = {"noun_phrase": "the red cow", "subject": "cow"}
SEEN = {"description": "a red cow on a field"} | REPLY


@settings(max_examples=80, deadline=None)
@given(changed(REPLY).map(json.dumps) | ANY_TEXT | JSON.map(json.dumps))
def test_any_reply_is_an_answer_or_a_fault(reply: str) -> None:
    answer = judged(Question("a red cow", 1), read_answer(reply), "m", "")
    assert TypeAdapter(ParserAnswer).validate_json(TypeAdapter(ParserAnswer).dump_json(answer)) == answer
    assert set(answer.answer.faults.split()) <= set(FAULTS)


@pytest.mark.parametrize("noun_phrases", [False, True])
@settings(max_examples=80, deadline=None)
@given(reply=changed(SEEN).map(json.dumps) | ANY_TEXT | JSON.map(json.dumps))
def test_any_reply_is_a_description_or_a_fault(noun_phrases: bool, reply: str) -> None:
    seen = read_reply(reply, VisionLanguageSettings(server=SERVER, noun_phrases=noun_phrases))
    if isinstance(seen, RegionDescription):
        TypeAdapter(RegionDescription).dump_json(seen)
    else:
        assert set(seen.split()) <= set(FAULTS)


@settings(max_examples=80, deadline=None)
@given(ANY_TEXT)
def test_any_description_is_parsed(text: str) -> None:
    for strict in (False, True):
        phrase = Grammar(strict)(text)
        assert phrase is None or isinstance(phrase, NounPhrase)
    category_names.phrase_of(text)
    licence_name(text)


@pytest.fixture(scope="module")
def describer(folder: Path) -> VisionLanguageDescriber:
    return VisionLanguageDescriber(VisionLanguageSettings(server=SERVER), folder)


@settings(max_examples=40, deadline=None)
@given(content=changed({"0" * 64: {"round": 1, "reply": json.dumps(SEEN)}}).map(json.dumps) | ANY_TEXT)
def test_changed_kept_answers(describer: VisionLanguageDescriber, content: str) -> None:
    path = describer._path("ab")
    assert path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, errors="surrogatepass")
    with suppress(ValueError):
        describer._kept("ab")
