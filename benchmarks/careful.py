"""What `--careful faces,text` changes where it holds: PSNR and SSIM against the HQ photo, with and without it.

python -m benchmarks.careful DATA [--photos N] [--others 0.5]

DATA: the folder of photos (`p3m_portrait_alpha`, `coco_tiny`, `kodak`). Three sets, scaled to a short side of 512 px
and cut to 512 x 512: the portraits; COCO photos in which a face is found at full quality; Kodak photos with four lines
of text drawn on each. Every photo is degraded by the release's chain, its seed its place in the set, and restored by
the small model as other parts alone (an empty mask), with a scale of the rest at which the prior has its way.

"there": areas found in the HQ photo, or drawn. "held": those of them that are found in the LQ photo too; the figures
are of these, all of a photo's together, then the mean over the photos.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from instructrestore.model.degradation.chain import Degradation
from instructrestore.model.metrics.fidelity import psnr, ssim
from instructrestore.model.restoring.careful import CarefulArea, careful_areas, drawn
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.request import read_request
from instructrestore.model.restoring.settings import CarefulKind, SamplingSettings

SIDE = 512
WISH = "make the sky clear"
LINES = (("STATION ROAD", 48), ("Open 9 to 17", 36), ("Do not feed the birds", 28), ("coffee and cake", 20))


def square_of(path: Path) -> Image.Image:
    photo = Image.open(path).convert("RGB")
    scale = SIDE / min(photo.size)
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BOX)
    left, top = (photo.width - SIDE) // 2, (photo.height - SIDE) // 4  # where heads are
    return photo.crop((left, top, left + SIDE, top + SIDE))


def found(photo: Image.Image | Tensor, kind: CarefulKind) -> list[CarefulArea]:
    """At any size."""
    (areas,) = careful_areas(read_request(photo, WISH), SamplingSettings(careful=(kind,), careful_size=1))
    return areas


def signs_on(photo: Image.Image, seed: int) -> list[CarefulArea]:
    """Draws the lines on the photo; where they are."""
    pen, draw, areas = ImageDraw.Draw(photo), random.Random(seed), []
    for row, (text, size) in enumerate(LINES):
        font: Any = ImageFont.load_default(size)
        place = (draw.randint(12, 100), 30 + 120 * row)
        left, top, right, bottom = (round(side) for side in pen.textbbox(place, text, font=font))
        inks = [(20, 40, 90), (250, 250, 245)]
        draw.shuffle(inks)
        pen.rectangle((left - 8, top - 6, right + 8, bottom + 6), fill=inks[0])
        pen.text(place, text, fill=inks[1], font=font)
        areas.append(CarefulArea("text", ((left, top), (right, top), (right, bottom), (left, bottom))))
    return areas


def sets(data: Path, photos: int) -> Iterator[tuple[str, CarefulKind, list[tuple[Image.Image, list[CarefulArea]]]]]:
    """Name, kind, and photos with where what is sought is."""
    portraits = [square_of(path) for path in sorted((data / "p3m_portrait_alpha/original").glob("*.jpg"))]
    yield "p3m_portrait_alpha", "faces", [(photo, found(photo, "faces")) for photo in portraits]
    seen = ((photo, found(photo, "faces")) for path in _coco(data) for photo in [square_of(path)])
    with_faces = (each for each in seen if each[1])
    yield "coco_tiny", "faces", [each for each, _ in zip(with_faces, range(photos), strict=False)]
    kodak = [square_of(path) for path in sorted((data / "kodak").glob("*.png"))[:photos]]
    yield "signs on kodak", "text", [(photo, signs_on(photo, number)) for number, photo in enumerate(kodak)]


def _coco(data: Path) -> list[Path]:
    return sorted((data / "coco_tiny").rglob("*.jpg"))


def restored(pipe: InstructRestorePipeline, lq: Tensor, others: float, **careful: Any) -> tuple[Tensor, Any]:
    made = pipe(
        lq,
        f"{WISH} with 1 and keep other parts clear with {others:g}",
        masks=[[np.zeros((SIDE, SIDE), np.float32)]],
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
        **careful,
    )
    assert isinstance(made.images, Tensor)
    return made.images, made.areas[0]


def touching(there: CarefulArea, areas: list[CarefulArea]) -> bool:
    """Whether half of it is held."""
    mask: NDArray[Any] = drawn([there], (SIDE, SIDE)).numpy() > 0
    return bool((mask & (drawn(areas, (SIDE, SIDE)).numpy() > 0)).sum() >= 0.5 * max(1, mask.sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--others", type=float, default=0.5)
    given = parser.parse_args()
    pipe = load_pipeline("small", device="cpu")
    pipe.set_progress_bar_config(disable=True)
    for name, kind, photos in sets(given.data, given.photos):
        figures, there, held = [], 0, 0
        for seed, (photo, areas) in enumerate(photos):
            hq = torch.from_numpy(np.asarray(photo).copy()).permute(2, 0, 1)[None].float() / 255
            lq = Degradation()(hq, [seed])
            made, closer = restored(pipe, lq, given.others, careful=kind, careful_size=1)
            caught = [area for area in areas if touching(area, closer)]
            there, held = there + len(areas), held + len(caught)
            if not caught:
                continue
            plain, _ = restored(pipe, lq, given.others)
            region = drawn(caught, (SIDE, SIDE)) > 0
            figures.append([float(measure(each, hq, region)) for measure in (psnr, ssim) for each in (lq, plain, made)])
        print(f"{name}: {len(photos)} photos, {there} {kind} there, {held} held in {len(figures)} photos")
        if figures:
            values = np.array(figures)
            for row, (what, unit) in enumerate((("PSNR", "dB"), ("SSIM", ""))):
                lq, plain, made = values[:, 3 * row : 3 * row + 3].mean(0)
                better = (values[:, 3 * row + 2] > values[:, 3 * row + 1]).mean()
                print(f"  {what} LQ {lq:.3f}, without {plain:.3f}, held {made:.3f} {unit}, better in {better:.0%}")


if __name__ == "__main__":
    main()
