"""Changes one value after the other in annotation files, and looks whether what was not touched stays what it was.

An annotation that the change has nothing to do with keeps its mask and its name, or is refused with its photo or its
file, in a sentence; of those that are listed, input = kept + lost. Whatever else comes out is wrong.

python -m benchmarks.contradictions [SECONDS] [SEED]
"""

from __future__ import annotations

import copy
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter

from instructrestore.dataengine.masks import annotated
from instructrestore.dataengine.photos.intake import Intake, IntakeSettings
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.running.part_files import read_rows
from instructrestore.dataengine.sources import list_photos, parse_source
from instructrestore.shards.rle import Mask

HEIGHT, WIDTH, EACH = 48, 80, 3
SIZES = {"a.png": (HEIGHT, WIDTH), "b.png": (HEIGHT, WIDTH), "c.png": (HEIGHT // 2, WIDTH // 2)}  # c was made smaller
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, 1e308, -1e308, float("nan"), float("inf"), 10**30, "", "1", "a.png",
    "../a.png", "b.png\0", "\ud800", [], {}, [[]], [None], {"size": [1, 1], "counts": [1]},
    [[0, 0, 9, 0, 9, 9]], [1e9] * 7,
)  # fmt: skip
Steps = tuple[Any, ...]  # from the document to the value: its keys and places
Found = dict[str, list[bytes]]  # an annotation's name -> its masks


def make_photos(folder: Path) -> None:
    """Three photos: one as it was annotated, one stored on its side, one made smaller since."""
    rng = np.random.default_rng(0)
    for name, (height, width) in SIZES.items():
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        exif = Image.Exif()
        if name == "b.png":
            picture, exif[0x0112] = picture.transpose(Image.Transpose.ROTATE_90), 6
        picture.save(folder / name, exif=exif)


def box(number: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of annotation `number` of a photo."""
    return 4 + 24 * number, 6 + 8 * number, 22 + 24 * number, 22 + 8 * number


def drawn(number: int) -> NDArray[np.bool_]:
    left, top, right, bottom = box(number)
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def coco(segmentation: Callable[[int], Any]) -> dict[str, Any]:
    """Every annotation has a category of its own, by whose name it is known again."""
    images = [
        {"id": place + 1, "file_name": name, "height": HEIGHT, "width": WIDTH} for place, name in enumerate(SIZES)
    ]
    numbers = range(len(images) * EACH)
    return {
        "images": images,
        "categories": [{"id": number + 10, "name": f"thing {number}"} for number in numbers],
        "annotations": [
            {
                "id": number, "image_id": number // EACH + 1, "category_id": number + 10,
                "segmentation": segmentation(number % EACH), "iscrowd": 0,
            }
            for number in numbers
        ],
    }  # fmt: skip


def polygon(number: int) -> list[list[int]]:
    left, top, right, bottom = box(number)
    return [[left, top, right, top, right, bottom, left, bottom]]


def runs(number: int) -> dict[str, Any]:
    return {"size": [HEIGHT, WIDTH], "counts": Mask.from_array(drawn(number)).counts}


def panoptic(folder: Path) -> dict[str, Any]:
    content = coco(lambda number: None)
    (folder / "ids").mkdir()
    entries = []
    for place, name in enumerate(SIZES):
        ids = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for number in range(EACH):
            ids[drawn(number)] = (number + 1, 0, 0)
        Image.fromarray(ids).save(folder / "ids" / name)
        segments = [{"id": number + 1, "category_id": place * EACH + number + 10} for number in range(EACH)]
        entries.append({"image_id": place + 1, "file_name": name, "segments_info": segments})
    return {**content, "annotations": entries}


def places(value: Any, steps: Steps = ()) -> Iterator[Steps]:
    """The way to every value below this one."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*steps, key)
        yield from places(child, (*steps, key))


def changed(content: dict[str, Any], rng: random.Random) -> tuple[dict[str, Any], Steps]:
    """The document with one value changed, removed, doubled, or replaced by another of its own."""
    result = copy.deepcopy(content)
    ways = list(places(result))
    steps = rng.choice(ways)
    above: Any = result
    for step in steps[:-1]:
        above = above[step]
    kind = rng.random()
    if kind < 0.6:
        above[steps[-1]] = copy.deepcopy(rng.choice(NASTY))
    elif kind < 0.75:
        del above[steps[-1]]
    elif kind < 0.85 and isinstance(above, list):
        above.append(copy.deepcopy(above[steps[-1]]))
    else:
        other: Any = content
        for step in rng.choice(ways):
            other = other[step]
        above[steps[-1]] = copy.deepcopy(other)
    return result, steps


def untouched(content: dict[str, Any], steps: Steps) -> set[str]:
    """The annotations of the sound document that a change at this place has nothing to do with."""
    known: dict[str, tuple[int, int, int]] = {}  # name -> the places of its annotation, image and category
    for place, entry in enumerate(content["annotations"]):
        for own in entry.get("segments_info", [entry]):
            number = own["category_id"] - 10
            known[f"thing {number}"] = (place, entry["image_id"] - 1, number)
    if len(steps) < 2:  # a whole list
        return set()
    section = {"annotations": 0, "images": 1, "categories": 2}[steps[0]]
    return {name for name, own in known.items() if own[section] != steps[1]}


def read(source: str) -> tuple[Found, int, int]:
    """The masks by name, of photos that came in; how many annotations were kept, and how many lost."""
    left_out, found, kept, lost = Counter[str](), {}, 0, 0
    with tempfile.TemporaryDirectory() as name:
        run = RunFolder(Path(name))
        run.append(list_photos(parse_source(source), left_out), 64)
        rows = [row for part in run.parts() for _, row in read_rows([part.where], TypeAdapter(Row))]
    for photo in rows:
        [row] = Intake(IntakeSettings())([photo])
        if not isinstance(row, Row) or row.photo is None:
            lost += len(photo.origin.annotations or ())
            continue
        counts, origin = Counter[str](), row.origin
        masks = annotated.each_mask(
            origin.annotations or (), row.photo.height, row.photo.width, counts, row.orientation, origin.annotated_size
        )
        for mask, annotation in masks:
            found.setdefault(annotation.label, []).append(np.packbits(mask).tobytes())
            kept += 1
        lost += sum(number for reason, number in counts.items() if reason not in annotated.NOTES)
    return found, kept, lost + sum(left_out.values())


def listed(kind: str, content: Any) -> int | None:
    """How many annotations a document lists, a record that is there twice once; None where it has no list of them."""
    entries = content.get("annotations")
    if not isinstance(entries, list):
        return None
    if kind == "coco":
        return len(entries)
    different = [entry for at, entry in enumerate(entries) if not isinstance(entry, dict) or entry not in entries[:at]]
    segments = [entry.get("segments_info") if isinstance(entry, dict) else [entry] for entry in different]
    return sum(len(each) for each in segments if isinstance(each, list))


def ending(kind: str, source: str, content: dict[str, Any], sound: Found, steps: Steps, safe: set[str]) -> str:
    """What became of a changed document at the source's place, in capitals where it is wrong."""
    try:
        found, kept, lost = read(source)
    except ValueError as error:
        return "refused" if str(error).count("\n") == 0 and len(str(error)) < 1000 else f"NO SENTENCE {error}"
    except Exception:  # noqa: BLE001  (whatever it is, it is what is looked for)
        return f"TRACEBACK {traceback.format_exc().strip().splitlines()[-1]}"
    for name in sorted(safe):
        if name in found and sound[name][0] not in found[name]:
            return f"SILENT {name} has another mask after a change at {steps}"
    number = listed(kind, content)
    if number is not None and number != kept + lost:
        return f"NOT COUNTED {number} annotations, {kept} kept and {lost} lost, after a change at {steps}"
    gone = sum(name not in found for name in safe)
    return "as it was" if found == sound else "others gone with it" if gone else "only what was touched"


def main(seconds: float, seed: int) -> int:
    """Exit status 1 where anything came out wrong."""
    rng, wrong = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_photos(folder)
        documents = {"polygons": ("coco", coco(polygon)), "runs": ("coco", coco(runs))}
        documents["panoptic"] = ("panoptic", panoptic(folder))
        for title, (kind, content) in documents.items():
            file = folder / "a.json"
            file.write_text(json.dumps(content))
            source = f"{kind}:{file}" + ("?masks=ids" if kind == "panoptic" else "")
            sound, kept, lost = read(source)
            assert (kept, lost) == (len(SIZES) * EACH, 0), (title, kept, lost)
            endings, end = Counter[str](), time.monotonic() + seconds / len(documents)
            while time.monotonic() < end:
                changed_content, steps = changed(content, rng)
                file.write_text(json.dumps(changed_content))
                said = ending(kind, source, changed_content, sound, steps, untouched(content, steps))
                endings[said.split(" after")[0] if said[:2].isupper() else said] += 1
                wrong += said[:2].isupper()
            print(f"{title}: {endings.total()} changes")
            for said, count in endings.most_common():
                print(f"  {count:6} {said}")
    return 1 if wrong else 0


if __name__ == "__main__":
    given = [float(each) for each in sys.argv[1:]]
    sys.exit(main(given[0] if given else 60, int(given[1]) if len(given) > 1 else 0))
