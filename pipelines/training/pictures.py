"""The photos that validation restored, as one sheet."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from instructrestore.model.training.held_out_photos import Restored
from instructrestore.pipelines.pictures.contact_sheet import LabelledPicture, sheet, tinted

MIN_SIDE = 192  # px; smaller photos are enlarged


def validation_sheet(restored: Sequence[Restored]) -> Image.Image:
    """One row per region: LQ with the predicted mask, the restored photo, HQ."""
    cells = []
    for each in restored:
        lq, result, hq = (_shown(Image.fromarray(pixels)) for pixels in (each.lq, each.result, each.hq))
        psnr = f"PSNR {each.psnr_inside:.1f} dB inside, {each.psnr_outside:.1f} dB outside"
        cells += [
            LabelledPicture(tinted(lq, each.mask[None]), [(f"LQ, found: {each.caption}", None)]),
            LabelledPicture(result, [("restored", None), (psnr, None)]),
            LabelledPicture(hq, [("HQ", None)]),
        ]
    return sheet(cells, columns=3)


def _shown(picture: Image.Image) -> Image.Image:
    times = -(-MIN_SIDE // min(picture.size))
    return (
        picture
        if times <= 1
        else picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    )
