"""What a model's restoration gains over the LQ photos, at several scales and numbers of steps.

python -m benchmarks.restoring FOLDER... --base BASE [--checkpoint CHECKPOINT] [--photos N] [--size PX]

Of each folder the first N photos, by name, scaled to a shorter side of 512 px where it is another; of each its middle
square, degraded by the release's chain, its seed the photo's place in the list. One scale for the whole crop: no mask
is needed. Gains are differences of PSNR (RGB, of the crop against the photo itself), with the share of crops above 0;
BRISQUE, of a result in 8 bits, with the share of crops that are below their LQ photo's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from instructrestore.model.degradation.chain import Degradation
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.pretrained.brisque import brisque

SHORT_SIDE = 512
STEPS, SCALES = (1, 2, 4), (0.5, 0.7, 0.8, 0.9, 1.0, 1.1)


def crops_of(folders: list[str], photos: int, size: int) -> Tensor:
    """(B, 3, size, size) float32 in [0, 1]."""
    crops = []
    for folder in folders:
        files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in (".jpg", ".png"))
        for path in files[:photos]:
            photo = Image.open(path).convert("RGB")
            scale = SHORT_SIDE / min(photo.size)
            if scale != 1:
                kind = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
                photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), kind)
            left, top = (photo.width - size) // 2, (photo.height - size) // 2
            crops.append(np.asarray(photo.crop((left, top, left + size, top + size))))
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


def psnr(photos: Tensor, hq: Tensor) -> Tensor:
    """(B,) dB."""
    return -10 * (photos - hq).square().mean((1, 2, 3)).log10()


def looks(photos: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> (B,) BRISQUE."""
    pictures = (photos * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return torch.tensor([brisque(picture) for picture in pictures])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--base", required=True)
    parser.add_argument("--checkpoint")
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--size", type=int, default=256)
    given = parser.parse_args()
    pipe = load_pipeline(given.base, given.checkpoint, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    hq = crops_of(given.folders, given.photos, given.size)
    lq = Degradation()(hq, list(range(len(hq))))
    before, looked = psnr(lq, hq), looks(lq)
    print(f"{len(hq)} crops of {given.size} px, LQ {before.mean():.2f} dB, BRISQUE {looked.mean():.1f}")
    for steps in STEPS:
        for scale in SCALES if steps == STEPS[0] else (1.0,):
            images = pipe(
                lq,
                "make the photo clear",
                scale_maps=[np.full((given.size, given.size), scale, np.float32)] * len(hq),
                num_inference_steps=steps,
                generator=[torch.Generator().manual_seed(number) for number in range(len(hq))],
                output_type="pt",
            ).images
            assert isinstance(images, Tensor)
            restored = images.clamp(0, 1)
            gains, looking = psnr(restored, hq) - before, looks(restored)
            more, better = (f"{(each > 0).float().mean():.0%}" for each in (gains, looked - looking))
            print(f"{steps} steps, scale {scale}: {gains.mean():+.3f} dB, least {gains.min():+.3f}, ", end="")
            print(f"better {more}; BRISQUE {looking.mean():.1f}, better {better}", flush=True)


if __name__ == "__main__":
    main()
