"""From a photo with regions to a sample of a test set: one crop with one region and an LQ photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.photos.intake import describe
from instructrestore.dataengine.photos.photo_file import DecodedPhoto, encode
from instructrestore.dataengine.running.integrity import digest
from instructrestore.model.degradation.chain import Degradation
from instructrestore.model.degradation.settings import PRESETS
from instructrestore.model.instruction.instruction import RegionScale
from instructrestore.pipelines.testset.crops import CropBox, place_crop
from instructrestore.pipelines.testset.material import NO_BOKEH, SMALL, Material, UnfitPhoto
from instructrestore.pipelines.testset.settings import TestSetSettings
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import AnnotatedPhoto, Region


@dataclass(frozen=True)
class EncodedSample:
    """A sample on its way to a shard. hq, lq: PNGs of one size.

    pair: its row of `PAIRS_SCHEMA`, without the position of the LQ photo. mask: (H, W) bool.
    """

    record: AnnotatedPhoto
    hq: bytes
    lq: bytes
    pair: dict[str, Any]
    mask: NDArray[np.bool_]


def degradation_seed(seed: int, key: str) -> int:
    """The seed of a photo's own degradation, 63 bits, independent of what else is in the test set."""
    return int(digest("testset", seed, key), 16) >> 1


def degraded(hq: NDArray[np.uint8], preset: str, seed: int) -> NDArray[np.uint8]:
    """The LQ photo of an HQ photo, both (H, W, 3) uint8; the HQ photo is not sharpened first."""
    photo = torch.from_numpy(hq.copy()).permute(2, 0, 1)[None] / 255
    lq = Degradation(PRESETS[preset])(photo, [seed])[0]
    return (lq.permute(1, 2, 0) * 255).round().byte().numpy()


def make_sample(material: Material, settings: TestSetSettings) -> EncodedSample:
    """The sample of a photo. Raises UnfitPhoto if its size or its regions give none."""
    crop, region, mask = _chosen(material, settings)
    hq = crop.cut(material.hq, Image.Resampling.LANCZOS)
    png = encode(hq)
    origin = material.origin
    photo = describe(origin, png, DecodedPhoto(hq, "png", as_is=True))
    photo = replace(photo, group=material.group)
    seed = None
    if material.lq is None:
        seed = degradation_seed(settings.seed, photo.key)
        lq = degraded(hq, settings.degradation, seed)
    else:
        lq = _given(material.lq, material.hq.shape[1] // material.lq.shape[1], crop)
    pair = {
        "key": photo.key,
        "degradation": "" if seed is None else settings.degradation,
        "seed": seed,
        "scale": crop.scale,
        "left": crop.left,
        "top": crop.top,
    }
    return EncodedSample(AnnotatedPhoto(photo, (_cut(region, mask, crop),)), png, encode(lq), pair, mask)


def _chosen(material: Material, settings: TestSetSettings) -> tuple[CropBox, Region, NDArray[np.bool_]]:
    """The region with the largest allowed share of its crop, that crop, and the mask in it."""
    height, width = material.hq.shape[:2]
    regions = [region for region in material.regions if region.bokeh or not settings.bokeh]
    if not regions:
        raise UnfitPhoto(NO_BOKEH if settings.bokeh else "no region")
    step = 1 if material.lq is None else width // material.lq.shape[1]
    found: list[tuple[float, CropBox, Region, NDArray[np.bool_]]] = []
    for region in regions:
        crop = place_crop(region.mask.box(), width, height, settings.size, scalable=material.lq is None, step=step)
        if crop is None:
            raise UnfitPhoto(SMALL, f"{width}x{height}")
        mask = crop.cut_mask(region.mask.array())
        found.append((float(mask.mean()), crop, region, mask))
    fitting = [each for each in found if settings.least_share <= each[0] <= settings.most_share and each[0] > 0]
    if not fitting:
        raise UnfitPhoto(*_why_none([share for share, *_ in found], settings))
    _, crop, region, mask = max(fitting, key=lambda each: each[0])
    try:
        RegionScale(region.caption)
    except ValueError as error:
        raise UnfitPhoto("caption no instruction can hold", str(error)) from None
    return crop, region, mask


def _why_none(shares: Sequence[float], settings: TestSetSettings) -> tuple[str, str]:
    detail = ", ".join(f"{share:.3f}" for share in shares)
    if max(shares) < settings.least_share or not max(shares):
        return f"region under {settings.least_share:g} of the crop", detail
    if min(shares) > settings.most_share:
        return f"region over {settings.most_share:g} of the crop", detail
    return f"no region of {settings.least_share:g} to {settings.most_share:g} of the crop", detail


def _cut(region: Region, mask: NDArray[np.bool_], crop: CropBox) -> Region:
    """The region in the crop, with the parts of its pieces that lie there."""
    pieces = []
    for piece in region.pieces:
        cut = mask if piece.mask == region.mask else crop.cut_mask(piece.mask.array())
        if cut.any():
            pieces.append(replace(piece, mask=Mask.from_array(cut)))
    return replace(region, mask=Mask.from_array(mask), pieces=tuple(pieces))


def _given(lq: NDArray[np.uint8], factor: int, crop: CropBox) -> NDArray[np.uint8]:
    """The crop's part of an LQ photo whose side is 1 / factor of the HQ photo's, enlarged bicubically."""
    if factor == 1:
        return crop.cut(lq, Image.Resampling.BICUBIC)
    left, top, size = crop.left / factor, crop.top / factor, crop.size / factor
    box = (left, top, left + size, top + size)
    return np.asarray(Image.fromarray(lq).resize((crop.size, crop.size), Image.Resampling.BICUBIC, box=box))
