"""What a worker does of a data set's restoration: reads photos, restores them in batches (inference/batches.py), puts
results into the folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.photos.encode import ShardSink
from instructrestore.dataengine.photos.intake import describe
from instructrestore.dataengine.photos.photo_file import DecodedPhoto
from instructrestore.dataengine.photos.row import SourcePhoto
from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.outcomes import describe_error
from instructrestore.dataengine.running.part_files import Outcome, PartFile, PartSummary, read_outcomes
from instructrestore.dataengine.running.stage import Failed, PartSink
from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.inference.batches import restore_in_batches
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.pictures.restored_photo import to_png
from instructrestore.shards.files import commit
from instructrestore.shards.index import Dataset, ShardEntry
from instructrestore.shards.members import DamagedMember
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import AnnotatedPhoto, Region

CAPTION = "{caption}"

Regions = Literal["largest", "all"]


@dataclass(frozen=True)
class RestoreRow:
    """A row of the work: a photo to be restored, and the region that the instruction is to name.

    place: the photo's row in the data set's index. key: the photo's. region: its number in the photo's record, from 0.
    caption: the region's. width, height: the photo's, in pixels.
    slot, together: its place in a batch of so many rows of one size.
    """

    place: int
    key: str
    region: int
    caption: str
    width: int
    height: int
    slot: int = 0
    together: int = 1

    @property
    def name(self) -> str:
        return f"{self.key}-{self.region}"

    @property
    def family(self) -> str:
        """Which shards the result goes to: those of PNG photos."""
        return "png"


@dataclass(frozen=True)
class RestoreResult:
    """What a part keeps of a row; of a failed one the first three fields alone.

    key, region, caption: as in RestoreRow. instruction: as it was understood, in words. scales: of the region, and of
    the rest of the photo. seed: of this row's generator. reports: what the pipeline had to say.
    file: the restored photo's name in its folder, or its shard's and, after "#", its key there. bytes: its size.
    photo: its original name. index: its row of the shards' index. entry: with the first photo of a shard, the shard.
    """

    key: str
    region: int
    caption: str
    instruction: str = ""
    scales: list[float] = field(default_factory=list)
    seed: int | None = None
    reports: list[str] = field(default_factory=list)
    file: str = ""
    bytes: int = 0
    photo: str = ""
    index: dict[str, Any] | None = None
    entry: ShardEntry | None = None


@dataclass(frozen=True)
class RestoreOutput:
    """A restored photo on its way to the folder."""

    result: RestoreResult
    sample: AnnotatedPhoto
    png: bytes


_results = TypeAdapter(RestoreResult)


def with_caption(template: Instruction, caption: str) -> Instruction:
    """The instruction with a region's caption in place of `{caption}`; the caption may hold any text."""
    regions = (replace(region, caption=region.caption.replace(CAPTION, caption)) for region in template.regions)
    return replace(template, regions=tuple(regions))


def row_seed(seed: int, row: RestoreRow) -> int:
    """The seed of a row's own generator, 63 bits: results do not depend on which rows it is restored with."""
    return int(digest("restore", seed, row.key, row.region), 16) >> 1


@dataclass(frozen=True)
class _PreparedRow:
    """A row with what goes into the networks. rgb: (H, W, 3) uint8."""

    row: RestoreRow
    sample: AnnotatedPhoto
    rgb: NDArray[np.uint8]
    instruction: Instruction


class RestoreStage:
    """The stage: rows in, restored photos out. threads: torch's on the CPU; None: as they are."""

    def __init__(
        self,
        dataset: str,
        template: Instruction,
        loading: ModelSource,
        settings: SamplingSettings,
        seed: int,
        threads: int | None,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._dataset = Dataset(dataset)
        self._template, self._settings, self._seed = template, settings, seed
        self._pipeline = loading.load()
        self._record = loading.record()

    def __call__(self, rows: Sequence[RestoreRow]) -> list[RestoreOutput | Failed]:
        prepared = [self._prepare(row) for row in rows]
        return restore_in_batches(rows, prepared, _PreparedRow, self._restore)

    def _prepare(self, row: RestoreRow) -> _PreparedRow | Failed:
        """What goes into the networks. Faults of the data are said here and not raised: they must not cost the other
        rows of a batch their common pass."""
        try:
            sample, data = self._dataset.read(row.place)
            rgb = photo_file.decode(data, min(photo_file.MAX_PIXELS, row.width * row.height)).rgb
        except photo_file.UnusablePhoto as fault:
            return Failed(fault.reason)
        except OSError as error:
            return Failed(describe_error(error)[0])
        except DamagedMember as damage:
            return Failed(damage.reason)
        except ValueError:
            return Failed("damaged record")
        captions = [region.caption for region in sample.regions]
        if sample.photo.key != row.key or captions[row.region : row.region + 1] != [row.caption]:
            return Failed("record and index differ")
        if rgb.shape[:2] != (row.height, row.width):
            return Failed("photo and index differ in size")
        try:
            return _PreparedRow(row, sample, rgb, with_caption(self._template, row.caption))
        except ValueError:
            return Failed("caption no instruction can hold")

    def _restore(self, slots: list[_PreparedRow]) -> list[RestoreOutput]:
        """Photos of one size through the networks."""
        output = self._pipeline(
            [each.rgb for each in slots],
            [each.instruction for each in slots],
            settings=self._settings,
            generator=[torch.Generator("cpu").manual_seed(row_seed(self._seed, each.row)) for each in slots],
        )
        assert isinstance(output.images, list)
        return [self._restored(*each) for each in zip(slots, output.images, output.reports, strict=True)]

    def _restored(self, prepared: _PreparedRow, image: Image.Image, reports: list[str]) -> RestoreOutput:
        row, instruction = prepared.row, prepared.instruction
        seed = row_seed(self._seed, row)
        record = {
            "instruction": str(instruction),
            "seed": seed,
            "source": {"key": row.key, "region": row.region, "caption": row.caption},
            "settings": self._settings.model_dump(mode="json"),
            **self._record,
        }
        png = to_png(image, record)
        scales = [*(region.scale for region in instruction.regions), instruction.others]
        result = RestoreResult(
            row.key, row.region, row.caption, str(instruction), scales, seed, reports, photo=prepared.sample.photo.name
        )
        return RestoreOutput(result, _restored_sample(prepared.sample, row, np.asarray(image), png), png)


def _restored_sample(source: AnnotatedPhoto, row: RestoreRow, rgb: NDArray[np.uint8], png: bytes) -> AnnotatedPhoto:
    """The restored photo as a record: a photo of its own that says where it comes from, with the row's region.

    It stays in its source's group: a split by group never has one in training and the other in validation.
    """
    known = source.photo
    origin = SourcePhoto("", row.name, known.source, known.licence, known.url)
    photo = describe(origin, png, DecodedPhoto(rgb, "png", as_is=True))
    return AnnotatedPhoto(
        replace(photo, group=known.group or known.key),
        (_resized(source.regions[row.region], photo.width, photo.height),),
    )


def _resized(region: Region, width: int, height: int) -> Region:
    if (region.mask.width, region.mask.height) == (width, height):
        return region
    pieces = tuple(replace(piece, mask=_resized_mask(piece.mask, width, height)) for piece in region.pieces)
    return replace(region, mask=_resized_mask(region.mask, width, height), pieces=pieces)


def _resized_mask(mask: Mask, width: int, height: int) -> Mask:
    """The mask at another size: a pixel is in it where at least half of it was, or any of it where that leaves none."""
    grey = Image.fromarray(mask.array().astype(np.uint8) * 255)
    share = np.asarray(grey.resize((width, height), Image.Resampling.BOX))
    return Mask.from_array(share >= 128 if (share >= 128).any() else share > 0)


def _without_row(outcome: Outcome[Any]) -> Outcome[Any]:
    """A failed row's outcome with what is known of its result, in place of the row."""
    row = outcome.row
    return (
        replace(outcome, row=RestoreResult(row.key, row.region, row.caption))
        if isinstance(row, RestoreRow)
        else outcome
    )


class FileSink(PartSink):
    """Writes every restored photo to a file of its own, then the part file that says so."""

    def add(self, outcome: Outcome[Any]) -> None:
        restored = outcome.row
        if isinstance(restored, RestoreOutput):
            assert self._task.target
            name = f"{outcome.name}.png"
            commit(self._task.target / name, restored.png)
            outcome = replace(outcome, row=replace(restored.result, file=name, bytes=len(restored.png)))
        super().add(_without_row(outcome))


class RestoredShardSink(ShardSink):
    """Writes a part's restored photos to a shard, then the part file that says so."""

    def add(self, outcome: Outcome[Any]) -> None:
        restored = outcome.row
        if isinstance(restored, RestoreOutput):
            self._writer.add(restored.sample, restored.png)
            file = f"{self._writer.name}#{restored.sample.photo.key}"
            kept = replace(restored.result, file=file, bytes=len(restored.png), index=self._writer.rows[-1])
            outcome = replace(outcome, row=kept)
        self._outcomes.append(_without_row(outcome))

    def commit(self) -> tuple[PartFile, PartSummary]:
        entry = self._writer.close()
        self._stack.close()
        for place, outcome in enumerate(self._outcomes):
            if outcome.row and outcome.kind == "ok":
                self._outcomes[place] = replace(outcome, row=replace(outcome.row, entry=entry))
                break
        sink = PartSink(self._task, self._rows)
        for outcome in self._outcomes:
            sink.add(outcome)
        return sink.commit()


def results_of(file: PartFile) -> list[Outcome[RestoreResult]]:
    """The outcomes of a committed part, in its rows' order."""
    return read_outcomes(file.path, _results)
