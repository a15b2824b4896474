"""What is measured: a metric's name, range, direction and source. How: fidelity, learned, blur and sweep beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

# full: the whole photo. target: the region that the instruction names. remaining: all the rest, which Table 4 of the
# paper calls the background.
Scope = Literal["full", "target", "remaining"]


@dataclass(frozen=True)
class Metric:
    """A metric of one photo.

    name: in files and options. title: in tables. unit: "dB", or "" where it has none.
    better: which way is good. low, high: its range; what is reached only by equal photos is in it.
    noise: a change of a test set's mean up to this is taken for noise by the regression gate.
    digits: decimals in tables. with_hq: compares with the HQ photo; the others judge the result alone.
    source: who defined it.
    """

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower"]
    low: float
    high: float
    noise: float
    digits: int
    with_hq: bool
    source: str


PSNR = Metric(
    "psnr", "PSNR", "dB", "higher", 0, math.inf, 0.05, 2, True,
    "10 log10 of 1 over the mean squared error, of Y of ITU-R BT.601 in studio range",
)  # fmt: skip
SSIM = Metric(
    "ssim", "SSIM", "", "higher", -1, 1, 0.002, 4, True,
    "Wang et al., Image quality assessment: from error visibility to structural similarity, 2004; on the same Y",
)  # fmt: skip
LPIPS = Metric(
    "lpips", "LPIPS", "", "lower", 0, math.inf, 0.002, 4, True,
    "Zhang et al., The unreasonable effectiveness of deep features as a perceptual metric, 2018; AlexNet, v0.1",
)  # fmt: skip
CLIPIQA = Metric(
    "clipiqa", "CLIPIQA", "", "higher", 0, 1, 0.005, 4, False,
    "Wang et al., Exploring CLIP for assessing the look and feel of images, 2023",
)  # fmt: skip
MUSIQ = Metric(
    "musiq", "MUSIQ", "", "higher", 0, 100, 0.3, 2, False,
    "Ke et al., MUSIQ: multi-scale image quality transformer, 2021; KonIQ-10k",
)  # fmt: skip
MANIQA = Metric(
    "maniqa", "MANIQA", "", "higher", 0, 1, 0.005, 4, False,
    "Yang et al., MANIQA: multi-dimension attention network for no-reference image quality assessment, 2022; PIPAL",
)  # fmt: skip
BRISQUE = Metric(
    "brisque", "BRISQUE", "", "lower", -math.inf, math.inf, 0.5, 2, False,
    "Mittal et al., No-reference image quality assessment in the spatial domain, 2012; LIVE, 0 (best) to about 100",
)  # fmt: skip
BOKEH_IOU = Metric(
    "bokeh_iou", "Bokeh IoU", "", "higher", 0, 1, 0.01, 4, True,
    "InstructRestore paper, section 4: overlap of what is blurred in the result and in the HQ photo",
)  # fmt: skip
MASK_IOU = Metric(
    "mask_iou", "Mask IoU", "", "higher", 0, 1, 0.01, 4, True,
    "overlap of the mask that the model predicted, cut at 0.5, and the region's own",
)  # fmt: skip

# Of a sweep of s1 over a test set (sweep.py), not of a photo: so neither METRICS nor BY_NAME has them.
LOCALITY = Metric(
    "locality", "Locality", "", "lower", 0, math.inf, 0.05, 2, True,
    "this project: how much PSNR outside the region moves over the scales s1 for what it moves inside",
)  # fmt: skip
FOLLOWING = Metric(
    "following", "Instruction following", "", "higher", -1, 1, 0.05, 2, True,
    "this project: Kendall's tau of s1 and the target's PSNR, the mean over photos",
)  # fmt: skip

MOST_PSNR = 100.0  # dB; what equal photos count as in a test set, so that there is a mean

METRICS = (PSNR, SSIM, LPIPS, CLIPIQA, MUSIQ, MANIQA, BRISQUE, BOKEH_IOU, MASK_IOU)
SCOPES: tuple[Scope, ...] = ("full", "target", "remaining")
BY_NAME = {metric.name: metric for metric in METRICS}
EMBEDDED = ("psnr", "ssim", "bokeh_iou", "mask_iou")  # need no weights; nor does BRISQUE, asked for by its name
LEARNED = ("lpips", "clipiqa", "musiq", "maniqa")  # need pyiqa and its weights


def figure_order(figure: Sequence[Any]) -> tuple[int, int]:
    """What figures (scope, metric, ...) are sorted by: both in the order above."""
    return SCOPES.index(figure[0]), [*BY_NAME].index(figure[1])
