"""`InstructRestorePipeline`: an instruction and an LQ photo in, the restored photo and the region's mask out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.networks.autoencoder import Autoencoder, pixels_a_cell
from instructrestore.model.networks.region_controlnet import RegionControlNet
from instructrestore.model.networks.sentence_encoder import SentenceEncoder
from instructrestore.model.networks.text_mask_decoder import SURELY_MEANT, TextMaskDecoder, text_vectors
from instructrestore.model.networks.texts import Texts, TextStates, cut_texts
from instructrestore.model.restoring.begun import Begun
from instructrestore.model.restoring.careful import (
    careful_areas,
    check_careful,
    report_of,
)
from instructrestore.model.restoring.choosing import Places, chosen_masks, read_places
from instructrestore.model.restoring.colour import fix_colours
from instructrestore.model.restoring.keeping import check_keeping, lay_in, restored_share
from instructrestore.model.restoring.latents import (
    Generators,
    check_scheduler,
    copied,
    decode,
    first_latents,
    set_timesteps,
)
from instructrestore.model.restoring.locating import Box, PhotoCutter, Point
from instructrestore.model.restoring.network_inputs import NetworkInputs
from instructrestore.model.restoring.output import MaskPrediction, RestorationOutput, as_output, report_masks, warn_of
from instructrestore.model.restoring.request import MaskInput, MaskLists, PhotoInput, Request, read_request
from instructrestore.model.restoring.settings import SamplingSettings, resolve
from instructrestore.model.restoring.shaping import check_shaping, shapes_masks
from instructrestore.model.restoring.sizes import MIN_SIDE, resize, to_photo_size
from instructrestore.model.restoring.views import Views
from instructrestore.shards.weight_files import share_weights

StepCallback = Callable[[Any, int, Tensor, dict[str, Any]], dict[str, Any] | None]


class InstructRestorePipeline(DiffusionPipeline):
    """Restores the region that an instruction names and the rest of the photo with different strengths.

    vae, text_encoder, tokenizer, unet, scheduler: of Stable Diffusion 2.1-base; any scheduler of diffusers serves.
    controlnet: trained for this base. sampling: settings, by name, that this model is restored with unless others are
    asked for. Its attribute `on_this_machine` holds settings that suit the machine where neither says anything
    (`memory.arrange`); they are not saved.
    """

    model_cpu_offload_seq = "text_encoder->unet->vae"

    def __init__(
        self,
        vae: Autoencoder,
        text_encoder: CLIPTextModel | SentenceEncoder,
        tokenizer: PreTrainedTokenizerBase,
        unet: UNet2DConditionModel,
        controlnet: RegionControlNet,
        scheduler: SchedulerMixin,
        sampling: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            controlnet=controlnet,
            scheduler=scheduler,
        )
        self.register_to_config(sampling=sampling)
        self.on_this_machine: dict[str, Any] = {}
        self.vae_scale_factor = pixels_a_cell(vae)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **options: Any) -> InstructRestorePipeline:
        """diffusers' `from_pretrained`, of safetensors alone; `checkpoint.load_pipeline` explains faults."""
        return super().from_pretrained(pretrained_model_name_or_path, **{**options, "use_safetensors": True})

    def save_pretrained(self, save_directory: str | Path, *args: Any, **options: Any) -> None:
        """diffusers' `save_pretrained`; whoever may read the folder's other files may read its weights."""
        super().save_pretrained(save_directory, *args, **options)
        share_weights(Path(save_directory))

    @torch.no_grad()
    def __call__(
        self,
        photos: PhotoInput | Sequence[PhotoInput],
        instructions: str | Instruction | Sequence[str | Instruction],
        *,
        masks: MaskLists | None = None,
        scale_maps: Sequence[MaskInput] | None = None,
        scale_range: tuple[float, float] | None = None,
        unite: MaskLists | None = None,
        intersect: MaskLists | None = None,
        subtract: MaskLists | None = None,
        protect: MaskLists | None = None,
        points: Sequence[Sequence[Point]] | None = None,
        boxes: Sequence[Sequence[Box]] | None = None,
        segmenter: PhotoCutter | None = None,
        settings: SamplingSettings | None = None,
        generator: Generators = None,
        latents: Tensor | None = None,
        posterior_noise: Tensor | None = None,
        output_type: Literal["pil", "np", "pt"] = "pil",
        callback_on_step_end: StepCallback | None = None,
        **overrides: Any,
    ) -> RestorationOutput:
        """Restores a photo, or photos of one size, each by its own instruction.

        photos: as `request.PhotoInput`. instructions: one for all, or one a photo.
        masks: per photo the regions' masks in the instruction's order, each of the photo's size, or None; nothing is
            predicted for a photo that has them. scale_maps: per photo the scale of every pixel, in place of masks;
            scale_range: what black and white mean in them, as `request.scale_map_tensor` has it.
        unite, intersect, subtract: per photo a list of masks, or None, for the masks of all its regions (shaping.py);
            then predicted masks are found by one pass before the first step, as by `predict_mask`.
        protect: per photo a list of masks, or None: where they are white the result has the photo's own values.
        points, boxes: per photo where the one region of its instruction is, (x, y) and (x, y, width, height) in pixels
            of the photo: all that holds a point or fits a box. segmenter: cuts photos up, for these and for captions
            that single something out (the setting `locate`); None: the parts of what the mask decoder finds alone.
        settings, overrides: SamplingSettings, whole or by name (num_inference_steps=20, guidance_scale=3.6, ...).
        generator: one for all photos, or one a photo; then a photo comes out the same alone and in a batch.
        latents: the unit normal noise to begin with, (B, C, h, w), in place of the generator's; posterior_noise: the
            same for the draw from the VAE's posterior. h, w: the latent's size, of the restored photo made larger to
            what the networks take (SD 2.1: C = 4; an eighth, up to multiples of 4). A photo in tiles, its mask
            unknown, needs a generator all the same: for the pass that finds the mask.
        callback_on_step_end: called as diffusers does, with "latents" and "noise" (guided, as the scheduler got it);
            may return "latents" to go on with.
        Raises ValueError, in one sentence, for a photo, mask, instruction or setting that cannot be used.
        """
        settings = self._resolved(settings, overrides)
        request = read_request(
            photos, instructions, masks, scale_maps, scale_range, unite, intersect, subtract, protect
        )  # fmt: skip
        places = read_places(request, points, boxes)
        if output_type not in ("pil", "np", "pt"):
            raise ValueError(f"output_type is pil, np or pt, not {output_type!r}")
        self._check(request, settings, generator)
        chosen, said = self._chosen(request, places, settings, generator, segmenter)
        begun = self.begin(_with_chosen(request, chosen), settings, generator, latents, posterior_noise)
        pictures, used = self.finish(begun, callback_on_step_end)
        output = self.output_of(begun, pictures, used, output_type)
        for report, own in zip(output.reports, said, strict=True):
            report += own
        warn_of(output.reports)
        return output

    def begin(
        self,
        request: Request,
        settings: SamplingSettings,
        generator: Generators = None,
        latents: Tensor | None = None,
        posterior_noise: Tensor | None = None,
    ) -> Begun:
        """All of a restoration that comes before its first step; `finish` does the rest, more than once if need be.

        Without gradients: call it in torch.no_grad(). For photos in one tile nothing is read back from the device; for
        photos in several tiles, where their masks lie is. Raises ValueError, in one sentence, for what cannot be done.
        """
        self._check(request, settings, generator)
        protects = any(own is not None for own in request.protected)
        check_keeping(settings, request.instructions, request.scale_maps is not None, protects)
        check_shaping(settings, request.instructions, request.scale_maps is not None)
        check_careful(settings, request.instructions, request.scale_maps is not None)
        texts = self._texts(request, settings)
        found = [given is None and request.scale_maps is None for given in request.masks]
        changed = [shapes_masks(settings, own) for own in request.edits]
        if any(changed):
            shaped_ones = self._inputs(settings, copied(generator)).shaped_masks(request, texts)
            masks = zip(shaped_ones, request.masks, changed, strict=True)
            request = replace(request, masks=[new if changes else own for new, own, changes in masks])
        ready = self._inputs(settings, generator)
        lq, padded = ready.lq_photos(request)
        set_timesteps(self.scheduler, settings)
        areas = careful_areas(request, settings)
        held = [ready.held_closer(own, request, padded) for own in areas]
        known = ready.region_maps(request, padded, texts, held)
        groups = ready.views(padded, texts, known, held)
        noise = ready.noise(padded, latents)
        lq_latents = origin = None
        if settings.start == "lq" or self.controlnet.config["residual"]:
            lq_latents = ready.lq_latents(padded, posterior_noise)
        if self.controlnet.config["residual"]:
            origin, lq_latents = lq_latents, torch.zeros_like(noise)
        start = first_latents(
            self.scheduler, noise, lq_latents if settings.start == "lq" else None, settings.start_timestep
        )
        return Begun(
            request, texts, settings, generator, lq, padded, known, groups, start, origin, found, changed, areas, held
        )  # fmt: skip

    def finish(self, begun: Begun, callback: StepCallback | None = None) -> tuple[Tensor, list[Tensor]]:
        """The restored photos (B, 3, H, W) float32, not clamped, and each photo's masks (R, H, W), on the device.

        Without gradients, as `begin`. For photos in one tile nothing is read back from the device.
        """
        settings, lq = begun.settings, begun.lq
        set_timesteps(self.scheduler, settings)  # anew: a scheduler remembers the steps of another run
        restored = self._denoise(begun.start, begun.groups, settings, begun.generator, callback)
        restored = restored if begun.origin is None else restored + begun.origin
        pictures = decode(self.vae, restored, settings)[..., : lq.shape[-2], : lq.shape[-1]]
        used = [to_photo_size(own, begun.padded.shape[-2:], lq.shape[-2:]) for own in begun.masks_used()]
        return fix_colours(pictures, lq, settings), used

    def output_of(self, begun: Begun, pictures: Tensor, used: Sequence[Tensor], output_type: str) -> RestorationOutput:
        """What `__call__` gives back of what `finish` made; ValueError where that is no picture."""
        request, texts, settings, found = begun.request, begun.texts, begun.settings, begun.found
        unfamiliar = [self._unfamiliar(own) if looked else [] for own, looked in zip(texts, found, strict=True)]
        self.maybe_free_model_hooks()
        if not pictures.isfinite().all():
            raise ValueError(
                "the model gave pixels that are no numbers: its weights are damaged, or its precision does not suffice "
                "(try float32)"
            )
        protects = any(own is not None for own in request.protected)
        if settings.rest == "keep" or protects:
            pictures = self._with_pixels_kept(pictures, request, used, found, settings)
        size = settings.restored_size(request.size)
        used = [
            resize(known, size)[:, 0] if changes and known is not None else own.cpu()
            for own, known, changes in zip(used, request.masks, begun.changed, strict=True)
        ]
        reports = [cut_texts(self.tokenizer, each) for each in texts]
        for own, mask, looked, report, words in zip(texts, used, found, reports, unfamiliar, strict=True):
            if looked:
                report += words + report_masks(mask, own.instruction)
        for areas, report in zip(begun.areas, reports, strict=True):
            report += report_of(areas, settings)
        images = as_output(pictures, settings, output_type, protects)
        areas = [list(own) for own in begun.areas]
        return RestorationOutput(images, [mask.numpy() for mask in used], request.instructions, reports, areas)

    @torch.no_grad()
    def predict_mask(
        self,
        photos: PhotoInput | Sequence[PhotoInput],
        instructions: str | Instruction | Sequence[str | Instruction],
        *,
        points: Sequence[Sequence[Point]] | None = None,
        boxes: Sequence[Sequence[Box]] | None = None,
        segmenter: PhotoCutter | None = None,
        settings: SamplingSettings | None = None,
        unite: MaskLists | None = None,
        intersect: MaskLists | None = None,
        subtract: MaskLists | None = None,
        generator: Generators = None,
        timestep: int | None = None,
        **overrides: Any,
    ) -> MaskPrediction:
        """The masks alone, from one ControlNet pass over the photo, scaled down to one tile where it is larger.

        timestep: of the noise that the pass sees; None: the schedule's first, which gives the mask that restoring
        with the same generator begins with. The rest: as in `__call__`.
        """
        settings = self._resolved(settings, overrides)
        request = read_request(photos, instructions, unite=unite, intersect=intersect, subtract=subtract)
        self._check(request, settings, generator)
        check_shaping(settings, request.instructions, False)
        places = read_places(request, points, boxes)
        chosen, said = self._chosen(request, places, settings, generator, segmenter, timestep)
        request = _with_chosen(request, chosen)
        texts = self._texts(request, settings)
        ready = self._inputs(settings, generator)
        size = settings.restored_size(request.size)
        if any(shapes_masks(settings, own) for own in request.edits):
            found = ready.shaped_masks(request, texts, timestep)
            masks = [resize(own, size)[:, 0] for own in found]
        else:
            masks = [own.cpu() for own in ready.found_masks(request, texts, timestep)]
            masks = [own if new is None else resize(new, size)[:, 0] for own, new in zip(masks, chosen, strict=True)]
        known = [self._unfamiliar(own) for own in texts]
        self.maybe_free_model_hooks()
        reports = [
            cut_texts(self.tokenizer, each) + unfamiliar + report_masks(own, each.instruction)
            for each, own, unfamiliar in zip(texts, masks, known, strict=True)
        ]
        for number, own in enumerate(chosen):
            if own is not None:
                reports[number] = cut_texts(self.tokenizer, texts[number]) + said[number]
        warn_of(reports)
        return MaskPrediction([mask.numpy() for mask in masks], request.instructions, reports)

    def _chosen(
        self,
        request: Request,
        places: Sequence[Places],
        settings: SamplingSettings,
        generator: Generators,
        segmenter: PhotoCutter | None,
        timestep: int | None = None,
    ) -> tuple[list[Tensor | None], list[list[str]]]:
        """Per photo the masks that a caption, points or boxes single out, as `chosen_masks`; the generators stay."""
        plain = settings.model_copy(update={"locate": "decoder"})
        unfamiliar: list[list[str]] = [[] for _ in request.instructions]

        def find(number: int, wish: Instruction) -> NDArray[np.float32]:
            own = generator[number] if isinstance(generator, list) else generator
            again = own and torch.Generator(own.device).set_state(own.get_state())
            photo = request.photos[number]
            unfamiliar[number] += self._unfamiliar(Texts(wish, self.controlnet.config["bokeh_control_text"], False))
            return self.predict_mask(photo, wish, settings=plain, generator=again, timestep=timestep).masks[0]

        masks, said = chosen_masks(request, places, settings.locate, segmenter, find)
        return masks, [[*unknown, *own] for unknown, own in zip(unfamiliar, said, strict=True)]

    def passes(self, size: tuple[int, int], settings: SamplingSettings) -> int:
        """How often the UNet runs for a photo of this (height, width): in each step once for every batch of tiles."""
        ready = self._inputs(settings)
        tiles = len(ready.tiles(ready.padded_size(settings.restored_size(size))))
        return settings.num_inference_steps * -(-tiles // settings.tile_batch)

    def _resolved(self, settings: SamplingSettings | None, overrides: dict[str, Any]) -> SamplingSettings:
        return resolve(settings, overrides, {**self.on_this_machine, **(self.config["sampling"] or {})})

    def _check(self, request: Request, settings: SamplingSettings, generator: Generators) -> None:
        check_scheduler(self.scheduler)
        height, width = settings.restored_size(request.size)
        if min(height, width) < MIN_SIDE:
            raise ValueError(
                f"an upscale of {settings.upscale:g} gives a photo of {width}x{height}: less than {MIN_SIDE}"
            )
        if isinstance(generator, list) and len(generator) != len(request.photos):
            raise ValueError(f"there are {len(generator)} generators for {len(request.photos)} photos")

    def _with_pixels_kept(
        self,
        pictures: Tensor,
        request: Request,
        used: Sequence[Tensor],
        found: Sequence[bool],
        settings: SamplingSettings,
    ) -> Tensor:
        """used: the masks (R, H, W) of each photo that were predicted or given; given ones count as they came. found:
        whether a photo's were predicted."""
        weights = [
            restored_share(own[:, None].cpu() if known is None else known, not predicted, protected, settings)
            for own, known, predicted, protected in zip(used, request.masks, found, request.protected, strict=True)
        ]
        return lay_in(pictures, request.photos.to(pictures.device), torch.stack(weights).to(pictures.device))

    def _inputs(self, settings: SamplingSettings, generator: Generators = None) -> NetworkInputs:
        networks = self.vae, self.unet, self.controlnet, self.scheduler
        return NetworkInputs(*networks, self._text_states(), self._execution_device, settings, generator)

    def _text_states(self) -> TextStates:
        return TextStates(self.tokenizer, self.text_encoder, self._execution_device)

    def _texts(self, request: Request, settings: SamplingSettings) -> list[Texts]:
        bokeh_text = self.controlnet.config["bokeh_control_text"]
        return [Texts(each, bokeh_text, settings.official_demo_prompt) for each in request.instructions]

    def _unfamiliar(self, texts: Texts) -> list[str]:
        """A sentence for every region whose caption means none of the names that a TextMaskDecoder tells apart."""
        decoder, captions = self.controlnet.mask_decoder, texts.instruction.captions
        if not isinstance(decoder, TextMaskDecoder):
            return []
        asked = [texts.control(region) for region in range(len(captions))]
        states = self._text_states()(asked)
        meant = decoder.meant(text_vectors(torch.stack([states[text] for text in asked]).to(decoder.own.dtype)))
        names = self.controlnet.config["mask_names"]
        return [
            f"the model does not know {caption!r}; it looked for what is nearest, above all {names[int(nearest)]!r}"
            for caption, share, nearest in zip(captions, *meant.max(-1), strict=True)
            if share < SURELY_MEANT
        ]

    def _denoise(
        self,
        start: Tensor,
        groups: Sequence[Views],
        settings: SamplingSettings,
        generator: Generators,
        callback: StepCallback | None,
    ) -> Tensor:
        takes_generator = "generator" in inspect.signature(self.scheduler.step).parameters
        options = {"generator": generator} if takes_generator else {}
        with self.progress_bar(total=len(self.scheduler.timesteps)) as progress:  # pyright: ignore

            def after_step(step: int, timestep: Tensor, noise: Tensor, latents: Tensor) -> Tensor:
                progress.update()
                if callback is None:
                    return latents
                changed = callback(self, step, timestep, {"latents": latents, "noise": noise}) or {}
                return changed.get("latents", latents)

            return self._inputs(settings).sampler().run(start, groups, self.scheduler, options, after_step)


def _with_chosen(request: Request, chosen: Sequence[Tensor | None]) -> Request:
    """chosen: masks (R, 1, H, W) in place of those that would be predicted, or None, a photo."""
    masks = [given if own is None else own for own, given in zip(chosen, request.masks, strict=True)]
    return replace(request, masks=masks)
