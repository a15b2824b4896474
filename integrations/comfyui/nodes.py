"""The four nodes. What they compute is the pipeline of `instructrestore.load_pipeline`; nothing is done twice here.

ComfyUI calls FUNCTION with the inputs by name and takes a tuple as RETURN_TYPES says. An error is a ValueError in one
sentence, which ComfyUI shows at the node.
"""

from __future__ import annotations

from typing import Any

import comfy.model_management  # pyright: ignore[reportMissingImports]
import comfy.utils  # pyright: ignore[reportMissingImports]
import torch
from torch import Tensor

from instructrestore import InstructRestorePipeline, load_pipeline, parse_instruction

from .given_masks import given_masks
from .images import image_of, one_mask, photos_of
from .inputs import AS_COMFYUI, PIPE, REGIONS, load_inputs, mask_inputs, region_inputs, restore_inputs
from .regions import Regions, joined, read

CATEGORY = "image/InstructRestore"
_NOT_LINKED = object()


class LoadInstructRestore:
    """A base and a trained checkpoint, loaded once and kept for as long as the inputs stay."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Loads the model: the small one that comes with InstructRestore, or a base with a trained checkpoint."
    FUNCTION = "load"
    RETURN_TYPES = (PIPE,)
    RETURN_NAMES = ("pipe",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return load_inputs()

    def load(self, base: str, checkpoint: str, device: str, dtype: str) -> tuple[InstructRestorePipeline]:
        place = str(comfy.model_management.get_torch_device()) if device == AS_COMFYUI else device
        if not place.startswith("cpu"):
            comfy.model_management.unload_all_models()  # ComfyUI does not see what this model takes; its own come back
        with torch.inference_mode(False):  # ComfyUI's mode, which would stay with the weights
            return (load_pipeline(base.strip(), checkpoint.strip() or None, dtype=dtype, device=place),)


class RestoreByInstruction:
    """Images, each restored by one instruction."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Restores the region that the instruction names, and the rest with a strength of its own."
    FUNCTION = "restore"
    RETURN_TYPES = ("IMAGE", "MASK", "STRING")
    RETURN_NAMES = ("image", "mask", "report")
    OUTPUT_TOOLTIPS = (
        "The restored images.",
        "All regions, as they were used.",
        "What was understood and what to know.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return restore_inputs()

    @classmethod
    def VALIDATE_INPUTS(cls, instruction: str | None, regions: object = _NOT_LINKED) -> bool | str:
        return _readable(instruction, regions)

    def restore(
        self,
        pipe: InstructRestorePipeline,
        image: Tensor,
        instruction: str,
        seed: int,
        steps: int,
        guidance: float,
        upscale: float,
        rest: str,
        feather: int,
        regions: Regions | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, str]:
        asked = read(instruction, regions)
        photos, notes = photos_of(image)
        settings: dict[str, Any] = {"upscale": upscale}
        if steps:
            settings["num_inference_steps"] = steps
        if guidance:
            settings["guidance_scale"] = guidance
        if rest != "restored":
            settings |= {"rest": rest, "feather": feather}
        masks = given_masks(asked, mask, photos, lambda photo: _found(pipe, photo, asked, seed).masks[0])
        bar = comfy.utils.ProgressBar(len(photos))
        pictures, used, reports = [], [], []
        for place, (photo, own) in enumerate(zip(photos, masks, strict=True)):

            def after_step(
                running: InstructRestorePipeline,
                step: int,
                _timestep: Tensor,
                _tensors: dict[str, Any],
                done: int = place,
            ) -> None:
                comfy.model_management.throw_exception_if_processing_interrupted()
                a_photo = len(running.scheduler.timesteps)
                bar.update_absolute(done * a_photo + step + 1, len(photos) * a_photo)

            output = pipe(
                photo,
                asked.instruction,
                masks=None if own is None else [own],
                generator=_generator(seed),
                output_type="pt",
                callback_on_step_end=after_step,
                **settings,
            )
            pictures.append(output.images)
            used.append(one_mask(output.masks[0]))
            reports.append(output.reports[0])
        return image_of(pictures), torch.cat(used), _report(asked, notes, reports)


class MaskByInstruction:
    """Where the regions of an instruction are in each image."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Finds the regions that the instruction names, in one step; nothing is restored."
    FUNCTION = "find"
    RETURN_TYPES = ("MASK", "MASK", "STRING")
    RETURN_NAMES = ("mask", "masks", "report")
    OUTPUT_TOOLTIPS = (
        "All regions of an image in one mask.",
        "One mask a region, image by image: the restoring node takes them.",
        "What was understood and what to know.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return mask_inputs()

    @classmethod
    def VALIDATE_INPUTS(cls, instruction: str | None, regions: object = _NOT_LINKED) -> bool | str:
        return _readable(instruction, regions)

    def find(
        self, pipe: InstructRestorePipeline, image: Tensor, instruction: str, seed: int, regions: Regions | None = None
    ) -> tuple[Tensor, Tensor, str]:
        asked = read(instruction, regions)
        photos, notes = photos_of(image)
        bar = comfy.utils.ProgressBar(len(photos))
        found, reports = [], []
        for photo in photos:
            comfy.model_management.throw_exception_if_processing_interrupted()
            output = _found(pipe, photo, asked, seed)
            found.append(output.masks[0])
            reports.append(output.reports[0])
            bar.update(1)
        each = torch.cat([torch.from_numpy(masks) for masks in found])
        return torch.cat([one_mask(masks) for masks in found]), each, _report(asked, notes, reports)


class SeveralRegions:
    """One region more; linked into the next, an instruction of several."""

    CATEGORY = CATEGORY
    DESCRIPTION = "One region with its strength and, if there is one, its mask. Link several in a row."
    FUNCTION = "join"
    RETURN_TYPES = (REGIONS, "STRING")
    RETURN_NAMES = ("regions", "instruction")
    OUTPUT_TOOLTIPS = ("For the next of these nodes, or for restoring.", "The same as a text.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return region_inputs()

    def join(
        self,
        caption: str,
        scale: float,
        others: float,
        bokeh: bool,
        regions: Regions | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Regions, str]:
        whole = joined(regions, caption, scale, others, bokeh, mask)
        return whole, str(whole.instruction)


def _readable(instruction: str | None, regions: object) -> bool | str:
    """What ComfyUI asks before it runs anything: True, or what is wrong. What is linked comes as None."""
    if instruction is not None and regions is _NOT_LINKED:
        try:
            parse_instruction(instruction)
        except ValueError as error:
            return str(error)
    return True


def _found(pipe: InstructRestorePipeline, photo: Tensor, asked: Regions, seed: int) -> Any:
    return pipe.predict_mask(photo, asked.instruction, generator=_generator(seed))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _report(asked: Regions, notes: list[str], reports: list[list[str]]) -> str:
    """A line for the instruction as it was understood, and one for every sentence on an image."""
    lines = [str(asked.instruction), *notes]
    for place, own in enumerate(reports, start=1):
        lines += [f"image {place}: {sentence}" if len(reports) > 1 else sentence for sentence in own]
    return "\n".join(lines)


NODE_CLASS_MAPPINGS = {
    "LoadInstructRestore": LoadInstructRestore,
    "RestoreByInstruction": RestoreByInstruction,
    "MaskByInstruction": MaskByInstruction,
    "InstructRestoreRegions": SeveralRegions,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "LoadInstructRestore": "Load InstructRestore",
    "RestoreByInstruction": "Restore by instruction",
    "MaskByInstruction": "Mask by instruction",
    "InstructRestoreRegions": "Several regions",
}
