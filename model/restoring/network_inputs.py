"""From photos and texts to the networks' inputs: sizes, tiles, noise, LQ latents, masks found by one pass, views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from instructrestore.model.networks.autoencoder import Autoencoder, pixels_a_cell
from instructrestore.model.networks.region_controlnet import RegionControlNet
from instructrestore.model.networks.texts import Texts, TextStates
from instructrestore.model.networks.tiling import Tile, plan_tiles
from instructrestore.model.restoring.careful import CarefulArea, HeldCloser, drawn
from instructrestore.model.restoring.latents import Generators, draw_noise, encode, noised, set_timesteps
from instructrestore.model.restoring.request import Request
from instructrestore.model.restoring.sampling import Sampler
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.model.restoring.shaping import shaped
from instructrestore.model.restoring.sizes import pad, resize, shrink, to_latent_size, to_photo_size
from instructrestore.model.restoring.views import RegionMaps, Views, maps_of_masks, maps_of_scales, plan_views


@dataclass(frozen=True)
class NetworkInputs:
    """The networks, with the settings, the generator and the encoded texts of one call.

    "padded" photos, below, are (B, 3, H, W) float32 in [0, 1] of a size that the networks take. h, w: the latent's.
    """

    vae: Autoencoder
    unet: UNet2DConditionModel
    controlnet: RegionControlNet
    scheduler: Any
    encode_texts: TextStates
    device: torch.device
    settings: SamplingSettings
    generator: Generators = None

    @property
    def cell(self) -> int:
        """The pixels of a side of a latent cell."""
        return pixels_a_cell(self.vae)

    @property
    def multiple(self) -> int:
        """The number of pixels that both sides of a photo must be multiples of."""
        return self.cell * self.controlnet.size_multiple

    def padded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The next larger (height, width) that the networks take."""
        height, width = (-(-side // self.multiple) * self.multiple for side in size)
        return height, width

    def lq_photos(self, request: Request) -> tuple[Tensor, Tensor]:
        """The LQ photos (B, 3, H, W) at the restored size, and padded."""
        lq = resize(request.photos.to(self.device), self.settings.restored_size(request.size))
        return lq, pad(lq, self.padded_size((lq.shape[-2], lq.shape[-1])))

    def tiles(self, padded_size: Sequence[int]) -> list[Tile]:
        """Tiles of the latent of a padded photo of this (height, width)."""
        tile, overlap = self.settings.tile // self.cell, self.settings.overlap // self.cell
        return plan_tiles(*self._latent_size(padded_size), tile, overlap, step=self.controlnet.size_multiple)

    def noise(self, padded: Tensor, given: Tensor | None = None) -> Tensor:
        """Unit normal noise (B, C, h, w); `given` where the caller brings it."""
        shape = (len(padded), self.unet.config["in_channels"], *self._latent_size(padded.shape[-2:]))
        return draw_noise(shape, self.generator, given, padded.device)

    def lq_latents(self, padded: Tensor, posterior_noise: Tensor | None = None) -> Tensor:
        """The padded photos as latents (B, C, h, w): the posterior's mean, or a draw from it."""
        mean, deviation = encode(self.vae, padded, self.settings)
        if self.settings.posterior == "mean":
            return mean
        return mean + deviation * self.noise(padded, posterior_noise)

    def held_closer(self, areas: Sequence[CarefulArea], request: Request, padded: Tensor) -> HeldCloser | None:
        """What is held closer in a photo, at latent size; None where there is nothing."""
        if not areas:
            return None
        maps = self._at_latents(drawn(areas, request.size)[None], request, padded)
        return HeldCloser(maps, self.settings.careful_scale)

    def region_maps(
        self, request: Request, padded: Tensor, texts: Sequence[Texts], held: Sequence[HeldCloser | None]
    ) -> list[RegionMaps | None]:
        """Per photo its region maps, where masks are given or, for a photo in tiles, predicted ahead; else None."""
        if request.scale_maps is not None:
            maps = self._at_latents(request.scale_maps, request, padded)
            # Averages lie between the extremes, but for what is rounded: a constant map stays exactly that scale.
            least, most = request.scale_maps.amin((1, 2, 3), True), request.scale_maps.amax((1, 2, 3), True)
            maps = maps.clamp(least.to(maps.device), most.to(maps.device))
            return [maps_of_scales(own, each.instruction) for own, each in zip(maps, texts, strict=True)]
        masks = [None if own is None else self._at_latents(own, request, padded) for own in request.masks]
        size = padded.shape[-2:]
        if len(self.tiles(size)) > 1 and (unknown := [photo for photo, own in enumerate(masks) if own is None]):
            found = self._of(unknown)._masks_of_one_step(padded[unknown], [texts[photo] for photo in unknown])
            for photo, own in zip(unknown, found, strict=True):
                masks[photo] = F.interpolate(own, self._latent_size(size), mode="bilinear")
        hard = self.settings.mask == "hard"
        return [
            None if own is None else maps_of_masks(own, each.instruction, hard, closer)
            for own, each, closer in zip(masks, texts, held, strict=True)
        ]

    def views(
        self,
        padded: Tensor,
        texts: Sequence[Texts],
        known: Sequence[RegionMaps | None],
        held: Sequence[HeldCloser | None],
    ) -> list[Views]:
        """All views of all photos, in the groups that go through the networks together."""
        return self._views(padded, texts, self.tiles(padded.shape[-2:]), known, held, self.settings.guidance_scale != 1)

    def sampler(self) -> Sampler:
        return Sampler(self.unet, self.controlnet, self.settings, self.settings.overlap // self.cell)

    def found_masks(self, request: Request, texts: Sequence[Texts], timestep: int | None = None) -> list[Tensor]:
        """Per photo the masks (R, H, W) that one pass finds, at the restored size.

        timestep: of the noise that the pass sees; None: the schedule's first.
        """
        lq, padded = self.lq_photos(request)
        set_timesteps(self.scheduler, self.settings)
        found = self._masks_of_one_step(padded, texts, timestep)
        return [to_photo_size(own, padded.shape[-2:], lq.shape[-2:]) for own in found]

    def shaped_masks(self, request: Request, texts: Sequence[Texts], timestep: int | None = None) -> list[Tensor]:
        """Per photo its regions' masks (R, 1, H, W) of its size, on the CPU: given, or found by one pass; shaped."""
        masks = list(request.masks)
        if unknown := [photo for photo, own in enumerate(masks) if own is None]:
            asked = replace(request, photos=request.photos[unknown])
            found = self._of(unknown).found_masks(asked, [texts[photo] for photo in unknown], timestep)
            for photo, own in zip(unknown, found, strict=True):
                masks[photo] = resize(own[:, None], request.size).cpu()
        return [
            shaped(own, edits, self.settings)
            for own, edits in zip(masks, request.edits, strict=True)
            if own is not None
        ]  # fmt: skip

    def _of(self, photos: Sequence[int]) -> NetworkInputs:
        """The same for some of the photos alone, each with its own generator where there are several."""
        generator = self.generator
        own = [generator[photo] for photo in photos] if isinstance(generator, list) else generator
        return replace(self, generator=own)

    def _latent_size(self, padded_size: Sequence[int]) -> tuple[int, int]:
        height, width = padded_size
        return height // self.cell, width // self.cell

    def _at_latents(self, maps: Tensor, request: Request, padded: Tensor) -> Tensor:
        """A caller's maps (R, 1, H, W) at latent size."""
        photo_size = self.settings.restored_size(request.size)
        return to_latent_size(maps.to(padded.device), photo_size, self._latent_size(padded.shape[-2:]), self.cell)

    def _masks_of_one_step(self, padded: Tensor, texts: Sequence[Texts], timestep: int | None = None) -> list[Tensor]:
        """Per photo the masks (R, 1, h, w) of one ControlNet pass over it, scaled down to fit into a tile."""
        settings = self.settings
        small = shrink(padded, settings.tile, self.multiple)
        latents = self.noise(small)
        first = round(float(self.scheduler.timesteps[0]))
        seen = first if timestep is None else timestep
        added = settings.start_timestep if timestep is None and settings.start_timestep is not None else seen
        if settings.start == "lq":
            residual = self.controlnet.config["residual"]
            lq_latents = torch.zeros_like(latents) if residual else self.lq_latents(small)
            latents = noised(self.scheduler, lq_latents, latents, added)
        whole = [Tile(0, 0, *latents.shape[-2:])]
        nothing = [None] * len(small)
        (views,) = self._views(small, texts, whole, nothing, nothing, guided=False)
        masks = self.sampler().predict_masks(
            latents.to(self.unet.dtype), torch.tensor(seen, device=latents.device), views
        )
        return list(masks.split(views.counts))

    def _views(
        self,
        padded: Tensor,
        texts: Sequence[Texts],
        tiles: Sequence[Tile],
        known: Sequence[RegionMaps | None],
        held: Sequence[HeldCloser | None],
        guided: bool,
    ) -> list[Views]:
        def embed_condition(photo: int, tile: Tile) -> Tensor:
            crop = tile.times(self.cell).crop(padded[photo : photo + 1])
            return self.controlnet.embed_condition(crop.to(self.controlnet.dtype))

        batch = self.settings.tile_batch if len(tiles) > 1 else None
        groups = plan_views(texts, tiles, known, guided, batch, embed_condition, self.encode_texts, held)
        for views in groups:
            if views.maps is None:  # of whole photos, whose masks are decoded in each step
                views.seen = self.controlnet.see(padded[[photo for photo, _ in views.places]].to(self.controlnet.dtype))
        return groups
