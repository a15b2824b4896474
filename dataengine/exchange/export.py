"""The loop: every photo of a data set into another tool's layout, and what that layout cannot hold, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pyarrow.compute as pc

from instructrestore.dataengine.exchange.coco import CocoLayout
from instructrestore.dataengine.exchange.fiftyone import FiftyOneLayout
from instructrestore.dataengine.exchange.hugging_face import HuggingFaceLayout
from instructrestore.dataengine.exchange.label_studio import LabelStudioLayout
from instructrestore.dataengine.exchange.layout import Exported, Layout, facts
from instructrestore.dataengine.exchange.panoptic import PanopticLayout
from instructrestore.dataengine.exchange.tri_ir import TriIrLayout
from instructrestore.dataengine.exchange.yolo_seg import YoloSegLayout
from instructrestore.shards.index import Dataset
from instructrestore.shards.new_folder import new_folder
from instructrestore.shards.pairs import TEST_SET

LQ_PHOTOS = "LQ photos of a test set's pairs"
LayoutName = Literal["coco", "panoptic", "label-studio", "fiftyone", "huggingface", "yolo-seg", "tri-ir"]
NAMES: tuple[LayoutName, ...] = get_args(LayoutName)
LAYOUTS: dict[str, type[Layout]] = {
    "coco": CocoLayout,
    "panoptic": PanopticLayout,
    "label-studio": LabelStudioLayout,
    "fiftyone": FiftyOneLayout,
    "huggingface": HuggingFaceLayout,
    "yolo-seg": YoloSegLayout,
    "tri-ir": TriIrLayout,
}


@dataclass(frozen=True)
class ExportSummary:
    """held: what was said and is in the layout too, by what it is. lost: what the layout cannot hold."""

    photos: int
    regions: int
    held: Counter[str]
    lost: Counter[str]


def export(dataset: Dataset, to: str, folder: Path, on_photo: Callable[[], None] = lambda: None) -> ExportSummary:
    """Writes a data set in the layout `to` (one of `NAMES`) into a new folder, which appears whole or not at all.

    on_photo: called after each photo. Raises ValueError for a layout that is not known, a folder that is there and not
    empty, a damaged or missing shard; OSError where the folder cannot be written.
    """
    if to not in LAYOUTS:
        raise ValueError(f"there is no layout {to!r}: known are {', '.join(NAMES)}")
    dataset.check_files()
    index = dataset.index
    subjects = sorted(filter(None, pc.unique(pc.list_flatten(index["subjects"])).to_pylist()))  # pyright: ignore
    with new_folder(folder) as unfinished:
        layout = LAYOUTS[to](Exported(dataset.card.name, subjects, unfinished))
        said, lost = Counter[str](), Counter[str]()
        lost[LQ_PHOTOS] += index.num_rows if TEST_SET in dataset.card.configuration else 0
        for row in range(index.num_rows):
            sample, data = dataset.read(row)
            said.update(facts(sample))
            lost.update(layout.add(sample, data))
            on_photo()
        layout.finish()
    held = Counter({what: count for what, count in said.items() if what in layout.holds})
    return ExportSummary(index.num_rows, sum(index["region_count"].to_pylist()), held, said - held + lost)
