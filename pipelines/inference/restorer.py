"""The loaded model at work: restorations of photos, and the pictures that are written of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.restoring.careful import CarefulArea, record_of
from instructrestore.model.restoring.locating import PhotoCutter
from instructrestore.model.restoring.output import RestorationOutput, as_output
from instructrestore.model.restoring.pipeline import InstructRestorePipeline, StepCallback
from instructrestore.model.restoring.settings import SamplingSettings, resolve
from instructrestore.model.restoring.shaping import MaskEdits, shapes_masks
from instructrestore.pipelines.inference.best_scales import find_scales
from instructrestore.pipelines.inference.photo_job import PhotoJob
from instructrestore.pipelines.inference.photo_parts import PhotoParts
from instructrestore.pipelines.inference.prepared_photo import PreparedPhoto
from instructrestore.pipelines.pictures.contact_sheet import HeldOnSheet, comparison, mask_image, scale_sheet
from instructrestore.pipelines.pictures.output_file import ENDINGS, AskedFormat, Format, is_deep
from instructrestore.pipelines.pictures.source_photo import SourceImage

HELD_CLOSER = "held_closer"  # in the records of results: what --careful found in the photo


@dataclass(frozen=True)
class OutputSettings:
    """What is written for each photo.

    sweep: scales for the first region; empty: no sweep. skip_existing: photos are skipped if their results, of the same
    photo, instruction, settings and weights, already exist. format: of the restored photo's file; masks and sheets are
    PNGs. deep: restorations come with 16 bits a channel too, whatever the format. auto: the aim that scales are found
    for; None: the instruction has them. seeds: how many are tried for it.
    """

    save_mask: bool = False
    mask_only: bool = False
    compare: bool = False
    sweep: tuple[float, ...] = ()
    skip_existing: bool = False
    format: AskedFormat = "png"
    deep: bool = False
    auto: str | None = None
    seeds: int = 1

    def names(self, job: PhotoJob, format: Format = "png") -> list[str]:
        """The files that a job writes, relative to the output folder. format: of its restored photo."""
        if self.mask_only:
            return job.mask_names()
        names = [f"{job.stem}{ENDINGS[format]}"]
        names += job.mask_names() if self.save_mask and not job.scale_map else []
        names += [f"{job.stem}-compare.png"] if self.compare else []
        return names + ([f"{job.stem}-sweep.png"] if self.sweep else [])

    def asked(self, job: PhotoJob) -> dict[str, Any]:
        """What the records say of scales that are to be found: the aim, and what the search begins with."""
        if self.auto is None:
            return {}
        return {"auto": {"aim": self.auto, "seeds": self.seeds, "seed": job.seed, "instruction": str(job.instruction)}}


def as_asked(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of a result without what the picture shows, and what was found for it: scales, what was held closer."""
    kept = {name: value for name, value in record.items() if name not in ("shows", HELD_CLOSER)}
    if isinstance(auto := kept.get("auto"), dict):
        for name in ("instruction", "regions", "others", "seed"):
            kept.pop(name, None)
        kept["auto"] = {name: auto.get(name) for name in ("aim", "seeds", "seed", "instruction")}
    return kept


@dataclass(frozen=True)
class Restoration:
    """image: the restored photo; None with `mask_only`. masks: (R, H, W) float32 in [0, 1]. deep: (H, W, 3), the
    restored photo with 16 bits a channel; None where it was not asked for. found: of the scales that were found and of
    what was held closer, what joins or takes the place of what the photo's record says. instruction: with these scales.
    areas: what was held closer."""

    image: Image.Image | None
    masks: NDArray[np.float32]
    reports: list[str]
    deep: NDArray[np.uint16] | None = None
    found: dict[str, Any] = field(default_factory=dict)
    instruction: Instruction | None = None
    areas: Sequence[CarefulArea] = ()


class PhotoRestorer:
    """The loaded model with its settings and outputs. batch: how many results of a sweep are made together.

    segmenter: cuts up photos in which something is singled out; None: the embedded annotator.
    """

    def __init__(
        self,
        pipe: InstructRestorePipeline,
        settings: SamplingSettings,
        wanted: OutputSettings,
        batch: int,
        on_step: StepCallback,
        segmenter: PhotoCutter | None = None,
    ) -> None:
        self._pipe, self._wanted = pipe, wanted
        self._segmenter = segmenter or PhotoParts()
        self._settings = resolve(settings, {}, pipe.config["sampling"])
        self._batch, self._on_step = batch, on_step

    def results(self, group: Sequence[PreparedPhoto], instructions: Sequence[Instruction]) -> list[Restoration]:
        """Restores photos of one size, each by its instruction. Raises what the pipeline raises."""
        if self._wanted.auto:
            return [self._best(photo, instruction) for photo, instruction in zip(group, instructions, strict=True)]
        photos = [_values(photo.source) for photo in group]
        # One generator per photo, on the CPU: the same result alone, in a batch, and on every device.
        generators = [torch.Generator("cpu").manual_seed(photo.job.seed) for photo in group]
        asked: dict[str, Any] = {"settings": self._settings, "generator": generators}
        for name in sorted({name for photo in group for name in photo.edits}):
            asked[name] = [photo.edits.get(name) for photo in group]
        places = any(photo.job.points or photo.job.boxes for photo in group)
        if places:
            asked |= {"points": [p.job.points for p in group], "boxes": [p.job.boxes for p in group]}
        if places or self._settings.locate != "decoder":
            asked["segmenter"] = self._segmenter
        if self._wanted.mask_only:
            asked.pop("protect", None)  # nothing is changed
            found = self._pipe.predict_mask(photos, instructions, **asked)
            return [Restoration(None, masks, said) for masks, said in zip(found.masks, found.reports, strict=True)]
        if group[0].scale_map is not None:  # all of a run have one, or none
            asked["scale_maps"] = [photo.scale_map for photo in group]
        elif any(photo.masks for photo in group):
            asked["masks"] = [photo.masks for photo in group]
        asked["output_type"] = "pt" if any(map(self._is_deep, group)) else "pil"
        made = self._pipe(photos, instructions, callback_on_step_end=self._on_step, **asked)
        return self._restorations(group, made)

    def _best(self, photo: PreparedPhoto, instruction: Instruction) -> Restoration:
        """A photo with the scales that serve the aim best."""
        assert self._wanted.auto and photo.scale_map is None
        found = find_scales(
            self._pipe,
            photo.source.image,
            instruction,
            self._wanted.auto,
            masks=photo.masks,
            seed=photo.job.seed,
            seeds=self._wanted.seeds,
            settings=self._settings,
            output_type="pt",
        )
        (made,) = self._restorations([photo], found.output)
        record = {
            "instruction": str(found.instruction),
            "regions": [asdict(region) for region in found.instruction.regions],
            "others": found.instruction.others,
            "seed": found.seed,
            "auto": {**self._wanted.asked(photo.job)["auto"], **found.record()},
        }
        return replace(
            made,
            reports=[*made.reports, found.summary()],
            found={**made.found, **record},
            instruction=found.instruction,
        )

    def _restorations(self, group: Sequence[PreparedPhoto], made: RestorationOutput) -> list[Restoration]:
        images, deep = made.images, [None] * len(group)
        if isinstance(images, torch.Tensor):
            deep = [_deep(each) if self._is_deep(photo) else None for photo, each in zip(group, images, strict=True)]
            images = as_output(images, self._settings, "pil", any("protect" in photo.edits for photo in group))
        # Masks from files are shown as they are; the pipeline returns them at the latents' resolution, unless it has
        # changed them.
        masks = [
            own if photo.masks is None or self._changes(photo) else (np.stack(photo.masks) / 255).astype(np.float32)
            for photo, own in zip(group, made.masks, strict=True)
        ]
        results = [Restoration(*result) for result in zip(images, masks, made.reports, deep, strict=True)]
        if not self._settings.careful:
            return results
        return [
            replace(result, found={HELD_CLOSER: record_of(areas)}, areas=areas)
            for result, areas in zip(results, made.areas, strict=True)
        ]

    def _changes(self, photo: PreparedPhoto) -> bool:
        """Whether the pipeline changes the photo's masks."""
        return shapes_masks(self._settings, MaskEdits()) or bool(photo.edits.keys() - {"protect"})

    def _is_deep(self, photo: PreparedPhoto) -> bool:
        return self._wanted.deep or is_deep(self._wanted.format, photo.source)

    def pictures(self, photo: PreparedPhoto, result: Restoration) -> list[tuple[str, Image.Image]]:
        """Each picture with what it shows, in the order of `OutputSettings.names`."""
        lq, instruction, wanted = photo.source.image, result.instruction or photo.instruction, self._wanted
        pictures = [("the restored photo", result.image)] if result.image else []
        if (wanted.save_mask or wanted.mask_only) and photo.scale_map is None:
            for caption, mask in zip(instruction.captions, result.masks, strict=True):
                pictures.append((f"where {caption} is", mask_image(mask, lq.size)))
        if result.image and wanted.compare:
            keeps = self._settings.rest == "keep"
            closer = HeldOnSheet(self._settings.careful_scale, result.areas) if self._settings.careful else None
            sheet = comparison(lq, result.masks, result.image, instruction, keeps, closer)
            pictures.append(("LQ photo, regions, restored photo", sheet))
        if result.image and wanted.sweep:
            sweep = scale_sheet(lq, self._sweep(photo, result.image), instruction)
            pictures.append((f"LQ photo, restored with {', '.join(f'{scale:g}' for scale in wanted.sweep)}", sweep))
        return pictures

    def _sweep(self, photo: PreparedPhoto, restored: Image.Image) -> list[tuple[float, Image.Image]]:
        """The photo restored with each scale of the sweep for the first region, everything else equal."""
        first, *others = photo.instruction.regions
        made, batch = {first.scale: restored}, self._batch
        while missing := [scale for scale in self._wanted.sweep if scale not in made][:batch]:
            asked = [replace(photo.instruction, regions=(replace(first, scale=s), *others)) for s in missing]
            found: list[Restoration] = []
            try:
                found = self.results([photo] * len(missing), asked)
            except (RuntimeError, MemoryError) as error:
                if batch == 1 or not out_of_memory(error):
                    raise
            if not found:  # after the except clause, whose error keeps the batch's memory alive
                free_memory()
                batch = 1
                continue
            for scale, each in zip(missing, found, strict=True):
                assert each.image
                made[scale] = each.image
        return [(scale, made[scale]) for scale in self._wanted.sweep]


def _values(source: SourceImage) -> Image.Image | torch.Tensor:
    """A photo as the pipeline gets it: with all the bits that it has."""
    if source.deep is None:
        return source.image
    return torch.from_numpy(source.deep[..., :3].astype(np.float32) / 65535).permute(2, 0, 1)


def _deep(picture: torch.Tensor) -> NDArray[np.uint16]:
    """A photo (3, H, W) in [0, 1] as (H, W, 3); a value of 8 bits becomes 257 times that."""
    return (picture * 65535).round().permute(1, 2, 0).cpu().numpy().astype(np.uint16)


def out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: a GPU's, or a CPU's, for which torch has no exception of its own."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )


def free_memory() -> None:
    """Returns torch's cached memory to the GPU."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
