"""The stage that restores: LQ photos of a test set in, results and predicted masks out, each a file of its own.

A result says of itself what it follows from, and is not made again while that is the same: whichever photos are asked
for, and however many.
Rows have their places in batches from the plan on (inference/batches.py): interrupted or not, the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.outcomes import describe_error
from instructrestore.dataengine.running.part_files import Outcome
from instructrestore.dataengine.running.stage import Failed, PartSink, StopStage
from instructrestore.pipelines.evaluation.methods.restorers import (
    MethodGroup,
    MethodInput,
    MethodOutput,
    Restorer,
    instruction_for,
)
from instructrestore.pipelines.evaluation.row import EvaluationRow, photo_seed
from instructrestore.pipelines.inference.batches import restore_in_batches
from instructrestore.pipelines.pictures.restored_photo import read_record, to_png
from instructrestore.shards.checksums import sha256
from instructrestore.shards.files import commit
from instructrestore.shards.members import DamagedMember
from instructrestore.shards.pairs import Pair, TestSet
from instructrestore.shards.paths import remove

REVISION = "1"  # raised by hand when the same photo, settings and weights give another result


@dataclass(frozen=True)
class MethodResult:
    """A result on its way to the folder. png: None where it is there already. mask: None where there is none."""

    row: EvaluationRow
    png: bytes | None = None
    mask: bytes | None = None


@dataclass(frozen=True)
class _Prepared:
    """What is asked of the restorer. follows_from: hash of all that the result follows from."""

    row: EvaluationRow
    asked: MethodInput
    follows_from: str


class MethodStage:
    """The stage. Loads the method with the first photo that has no result yet.

    out: the evaluation's folder. threads: torch's on the CPU; None: as they are.
    """

    def __init__(
        self, testset: str, out: Path, group: MethodGroup, device: str | None, seed: int, threads: int | None
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._testset, self._out, self._group, self._seed = TestSet(testset), out, group, seed
        self._device = device

    @cached_property
    def _restorer(self) -> Restorer:
        try:
            return self._group.build(self._device)
        except ValueError as error:
            raise StopStage(f"the {self._group.name} stage cannot start: {error}") from None

    def __call__(self, rows: Sequence[EvaluationRow]) -> list[MethodResult | Failed]:
        prepared = [self._prepare(row) for row in rows]
        return restore_in_batches(rows, prepared, _Prepared, self._restore)

    def _prepare(self, row: EvaluationRow) -> _Prepared | MethodResult | Failed:
        """What is asked of the restorer, or the result that is there. Faults of the data are said here and not raised:
        they must not cost the other rows of a batch their common pass."""
        try:
            pair = read_pair(self._testset, row)
            rgb = pixels(pair.lq, row, "LQ photo")
        except Unreadable as fault:
            return Failed(str(fault))
        seed, bokeh = photo_seed(self._seed, row.key), self._testset.bokeh
        given = pair.region.mask if self._group.given_masks else None
        asked = MethodInput(rgb, row.caption, row.s1, row.s2, bokeh, seed, None if given is None else given.array())
        if asked.s1 is not None:
            try:
                instruction_for(asked)
            except ValueError:
                return Failed("caption no instruction can hold")
        lq = sha256(pair.lq)
        known = (row.caption, row.s1, row.s2, bokeh, seed, lq, given and given.counts)
        follows_from = digest(REVISION, photo_file.REVISION, self._group.follows_from, *known)
        return self._kept(row, follows_from) or _Prepared(row, asked, follows_from)

    def _kept(self, row: EvaluationRow, follows_from: str) -> MethodResult | None:
        """The result that is there, if it and its mask are whole and those that would be made."""
        try:
            record = read_record(self._out / row.file)
            data = (self._out / row.file).read_bytes()
            pixels(data, row, "result")
            mask = (self._out / mask_name(row.file)).read_bytes() if record.get("mask") else b""
        except (OSError, ValueError):
            return None
        if record.get("follows_from") != follows_from or (mask and sha256(mask) != record["mask"]):
            return None
        return MethodResult(_with_result(row, data, mask or None, record["reports"]))

    def _restore(self, slots: list[_Prepared]) -> list[MethodResult | Failed]:
        """Photos of one size."""
        answers = self._restorer([each.asked for each in slots])
        assert len(answers) == len(slots), (len(answers), len(slots))
        return [
            answer if isinstance(answer, Failed) else self._restored(each, answer)
            for each, answer in zip(slots, answers, strict=True)
        ]

    def _restored(self, ready: _Prepared, answer: MethodOutput) -> MethodResult:
        row, asked = ready.row, ready.asked
        if answer.rgb.shape != asked.rgb.shape or answer.rgb.dtype != np.uint8:
            raise ValueError(
                f"the method gave {answer.rgb.shape} {answer.rgb.dtype} for a photo of {asked.rgb.shape} uint8"
            )
        mask = None if answer.mask is None else _mask_png(answer.mask)
        record = {
            "instruction": answer.instruction,
            "scales": [row.s1, row.s2],
            "seed": asked.seed,
            "source": {"key": row.key, "caption": row.caption},
            **self._group.record,
            "reports": answer.reports,
            "mask": mask and sha256(mask),
            "follows_from": ready.follows_from,
        }
        png = to_png(Image.fromarray(answer.rgb), record)
        return MethodResult(_with_result(row, png, mask, answer.reports), png, mask)


class MethodSink(PartSink):
    """Writes each result to its file in the task's target, its mask first, then the part file that says so."""

    def add(self, outcome: Outcome[Any]) -> None:
        restored = outcome.row
        if isinstance(restored, MethodResult):
            row, out = restored.row, self._task.target
            assert out
            if restored.mask is not None:
                commit(out / row.mask, restored.mask)
            elif restored.png is not None:  # an earlier result's, which saw another one
                remove([out / mask_name(row.file)])
            if restored.png is not None:
                commit(out / row.file, restored.png)
            outcome = replace(outcome, row=row)
        super().add(outcome)


class Unreadable(ValueError):
    """What is wrong with a photo, its record or a result, in words that can be counted."""


def read_pair(testset: TestSet, row: EvaluationRow) -> Pair:
    """The row's pair. Raises Unreadable."""
    try:
        pair = testset.read_pair(row.place)
    except OSError as error:
        raise Unreadable(describe_error(error)[0]) from None
    except DamagedMember as damage:
        what = {"record": "", "photo": "HQ photo: ", "LQ photo": "LQ photo: "}[damage.what]
        raise Unreadable(f"{what}{damage.reason}") from None
    except ValueError:
        raise Unreadable("damaged record") from None
    if (pair.sample.photo.key, pair.region.caption) != (row.key, row.caption):
        raise Unreadable("record and index differ")
    return pair


def pixels(data: bytes, row: EvaluationRow, what: str) -> NDArray[np.uint8]:
    """The pixels of an encoded photo, (H, W, 3) uint8, of the HQ photo's size. Raises Unreadable."""
    try:
        rgb = photo_file.decode(data).rgb
    except photo_file.UnusablePhoto as fault:
        raise Unreadable(f"{what}: {fault.reason}") from None
    if rgb.shape[:2] != (row.height, row.width):
        height, width = rgb.shape[:2]
        raise Unreadable(f"the {what} is {width}x{height} and the HQ photo {row.width}x{row.height}")
    return rgb


def mask_name(file: str) -> str:
    """Where the predicted mask of a result lies."""
    return f"{file.removesuffix('.png')}-mask.png"


def _with_result(row: EvaluationRow, png: bytes, mask: bytes | None, reports: list[str]) -> EvaluationRow:
    known = replace(row, sha256=sha256(png), bytes=len(png), reports=reports)
    return known if mask is None else replace(known, mask=mask_name(row.file), mask_sha256=sha256(mask))


def _mask_png(mask: NDArray[np.float32]) -> bytes:
    """A mask in [0, 1] as a grey picture; what is over 0.5 is over 127."""
    file = BytesIO()
    Image.fromarray(np.ceil(mask * 255 - 0.5).astype(np.uint8)).save(file, "PNG", compress_level=6)
    return file.getvalue()
