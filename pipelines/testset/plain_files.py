"""A test set as plain files, for programs that read those.

OUT/files/lq/KEY.png, hq/KEY.png, masks/KEY.png (white inside), and lq.csv, which `instructrestore restore` takes.
"""

from __future__ import annotations

import csv
import io
from io import BytesIO
from pathlib import Path

from PIL import Image

from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.pipelines.evaluation.tables.published import SCALES
from instructrestore.pipelines.testset.sample import EncodedSample
from instructrestore.shards.checksums import sha256
from instructrestore.shards.files import commit

PLAIN_FILES = "files"


class PlainFiles:
    """Writes samples as they come; `finish` writes the CSV. Raises OSError if the folder cannot be written.

    checksums: the sha256 of what was written, by its name relative to the test set.
    """

    def __init__(self, out: Path, bokeh: bool) -> None:
        self._folder, self._bokeh = out / PLAIN_FILES, bokeh
        self._rows: list[tuple[str, str]] = []
        self.checksums: dict[str, str] = {}
        for name in ("lq", "hq", "masks"):
            (self._folder / name).mkdir(parents=True)

    def add(self, sample: EncodedSample) -> None:
        name = f"{sample.record.photo.key}.png"
        mask = BytesIO()
        Image.fromarray(sample.mask).convert("L").save(mask, "PNG")
        for folder, data in (("lq", sample.lq), ("hq", sample.hq), ("masks", mask.getvalue())):
            self._commit(f"{folder}/{name}", data)
        s1, s2 = SCALES[4 if self._bokeh else 3]
        region = RegionScale(sample.record.regions[0].caption, s1)
        self._rows.append((f"lq/{name}", str(Instruction((region,), s2, self._bokeh))))

    def finish(self) -> None:
        text = io.StringIO(newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("photo", "instruction"))
        table.writerows(self._rows)
        self._commit("lq.csv", text.getvalue().encode())

    def _commit(self, name: str, data: bytes) -> None:
        commit(self._folder / name, data)
        self.checksums[f"{PLAIN_FILES}/{name}"] = sha256(data)
