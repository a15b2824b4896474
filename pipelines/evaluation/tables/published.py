"""Tables 2, 3 and 4 of the InstructRestore paper (arXiv 2503.24357): their columns and their figures."""

from __future__ import annotations

from dataclasses import dataclass

from instructrestore.pipelines.evaluation.tables.table import Column

# Its scales (s1 for the region, s2 for the rest) in Tables 3 and 4. In Table 2, s1 takes the values of SWEEP; s2 is 1.
SCALES = {3: (0.8, 1.0), 4: (1.0, 1.0)}
SWEEP = (0.5, 0.7, 0.9, 1.1)


@dataclass(frozen=True)
class PublishedTable:
    """rows: by label, one figure per column, in the columns' order."""

    title: str
    columns: tuple[Column, ...]
    rows: dict[str, tuple[float, ...]]


_TABLE_2 = PublishedTable(
    "Sweep of the region's scale s1",
    (
        Column("target", "psnr", "Target"),
        Column("target", "ssim", "Target"),
        Column("target", "lpips", "Target"),
        Column("target", "clipiqa", "Target"),
        Column("target", "musiq", "Target"),
        Column("target", "maniqa", "Target"),
        Column("remaining", "psnr", "Remaining"),
        Column("remaining", "ssim", "Remaining"),
    ),
    {
        "s1 = 0.5": (29.71, 0.7522, 0.1610, 0.6801, 67.86, 0.6108, 31.27, 0.8949),
        "s1 = 0.7": (30.37, 0.8188, 0.1439, 0.6931, 68.23, 0.6161, 31.55, 0.9047),
        "s1 = 0.9": (30.64, 0.8494, 0.1331, 0.6832, 67.91, 0.6091, 31.61, 0.9087),
        "s1 = 1.1": (30.73, 0.8649, 0.1253, 0.6659, 66.92, 0.5934, 31.56, 0.9108),
    },
)

_TABLE_3 = PublishedTable(
    "Target region and full photo",
    (
        Column("target", "psnr", "Target"),
        Column("target", "ssim", "Target"),
        Column("target", "clipiqa", "Target"),
        Column("target", "musiq", "Target"),
        Column("target", "maniqa", "Target"),
        Column("full", "psnr", "Full"),
        Column("full", "ssim", "Full"),
        Column("full", "lpips", "Full"),
        Column("full", "clipiqa", "Full"),
        Column("full", "musiq", "Full"),
        Column("full", "maniqa", "Full"),
    ),
    {
        "Real-ESRGAN": (31.69, 0.9065, 0.7124, 58.63, 0.4991, 27.69, 0.7871, 0.3185, 0.7280, 60.39, 0.5030),
        "StableSR": (30.36, 0.8522, 0.6707, 65.75, 0.5915, 25.39, 0.7072, 0.3001, 0.7072, 69.19, 0.6691),
        "DiffBIR": (30.95, 0.8804, 0.6820, 66.80, 0.5971, 26.64, 0.6897, 0.3434, 0.7456, 69.96, 0.6609),
        "PASD": (31.80, 0.9176, 0.5724, 61.02, 0.5323, 28.37, 0.7893, 0.2590, 0.5768, 62.92, 0.5866),
        "SeeSR": (30.90, 0.8788, 0.6758, 67.73, 0.5974, 26.75, 0.7324, 0.2879, 0.7246, 71.49, 0.6691),
        "SUPIR": (30.74, 0.8682, 0.6868, 62.98, 0.5655, 26.29, 0.6997, 0.3235, 0.6840, 64.40, 0.6085),
        "OSEDiff": (30.21, 0.8657, 0.6417, 66.75, 0.5851, 26.07, 0.7340, 0.2870, 0.7342, 71.88, 0.6635),
        "InstructRestore": (30.55, 0.8368, 0.6887, 68.17, 0.6137, 25.65, 0.6999, 0.3245, 0.7278, 71.95, 0.6809),
    },
)

_TABLE_4 = PublishedTable(
    "Bokeh: background and full photo",
    (
        Column("remaining", "psnr", "Background"),
        Column("remaining", "ssim", "Background"),
        Column("remaining", "bokeh_iou", "Background"),
        Column("full", "psnr", "Full"),
        Column("full", "ssim", "Full"),
        Column("full", "lpips", "Full"),
    ),
    {
        "Real-ESRGAN": (30.86, 0.8305, 0.7203, 23.69, 0.7060, 0.3700),
        "StableSR": (30.24, 0.8049, 0.7405, 22.55, 0.6305, 0.3965),
        "DiffBIR": (30.46, 0.8017, 0.6289, 22.20, 0.5943, 0.4415),
        "PASD": (31.87, 0.8453, 0.8234, 24.27, 0.7280, 0.3523),
        "SeeSR": (30.42, 0.8149, 0.7580, 22.95, 0.6652, 0.3677),
        "SUPIR": (29.92, 0.7847, 0.7739, 21.21, 0.5745, 0.4375),
        "OSEDiff": (29.89, 0.8175, 0.7990, 22.58, 0.6707, 0.3609),
        "InstructRestore": (31.46, 0.8462, 0.8482, 24.69, 0.7437, 0.3394),
    },
)

PUBLISHED = {2: _TABLE_2, 3: _TABLE_3, 4: _TABLE_4}
