"""One job's work: what goes in, and the files and figures that come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.pipelines.app.pictures import as_png
from instructrestore.pipelines.app.records import Asked, Result
from instructrestore.pipelines.app.reproduction import mask_name
from instructrestore.pipelines.app.saving import as_npy, deep_file, put_into
from instructrestore.pipelines.inference.prepared_photo import PreparedPhoto
from instructrestore.pipelines.inference.restorer import Restoration
from instructrestore.pipelines.pictures.contact_sheet import mask_image
from instructrestore.pipelines.pictures.restored_photo import to_png
from instructrestore.shards.files import commit


@dataclass(frozen=True)
class Work:
    """A job as the workbench gets it. file: the photo. masks: per region a file, None where it is to be found.

    edits: by name the files of `EDITS`. scale_map: a file in place of masks.

    out: the job's folder. also: a folder of the user's, into which a restored photo is written too.
    """

    asked: Asked
    instruction: Instruction
    file: Path
    masks: tuple[Path | None, ...]
    out: Path
    also: Path | None = None
    edits: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    scale_map: Path | None = None

    def mask_file(self, number: int) -> Path:
        """Where the mask of a region, counted from 1, is kept."""
        return self.out / f"{mask_name(number)}.png"


@dataclass(frozen=True)
class Done:
    """A job's pictures, what a person should know, and the record of how they were made."""

    results: list[Result]
    notes: list[str]
    record: dict[str, Any]


def written(work: Work, photo: PreparedPhoto, found: list[tuple[float, Restoration]], notes: list[str]) -> Done:
    """Writes a job's pictures into its folder."""
    results: list[Result] = []
    source, instruction = photo.source, photo.instruction
    for scale, each in found:
        if each.image is None:
            continue
        name = f"sweep-{scale:g}" if work.asked.kind == "sweep" else "restored"
        title = f"with {scale:g}" if work.asked.kind == "sweep" else "the restored photo"
        record = {"shows": "the restored photo", **photo.record, **each.found}
        if work.asked.kind == "sweep":
            record["regions"] = [{**photo.record["regions"][0], "scale": scale}, *photo.record["regions"][1:]]
        png = to_png(
            each.image, record, source.icc_profile, source.exif, source.alpha, source.xmp, source.dpi, source.iptc
        )
        commit(work.out / f"{name}.png", png)
        if work.also and work.asked.kind == "restore" and not work.asked.preview:
            notes = [*notes, f"written to {put_into(work.also, work.file.name, png)}"]
        if each.deep is not None:
            commit(deep_file(work.out / f"{name}.png"), as_npy(each.deep))
        width, height = each.image.size
        results.append(Result(name=name, kind="image", title=title, width=width, height=height, scale=scale))
    masks = found[0][1].masks
    captions = instruction.captions if len(masks) else ()  # none where a scale map took their place
    for number, (caption, mask) in enumerate(zip(captions, masks, strict=True), 1):
        picture = mask_image(mask, source.image.size)
        commit(work.mask_file(number), as_png(picture))
        width, height = picture.size
        results.append(
            Result(
                name=mask_name(number), kind="mask", title=f"where {caption} is", width=width, height=height,
                caption=caption, share=float(np.mean(np.asarray(picture)) / 255),
            )
        )  # fmt: skip
    said = dict.fromkeys([*notes, *photo.notes, *(sentence for _, each in found for sentence in each.reports)])
    return Done(results, list(said), photo.record)
