"""The settings of a test set. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from instructrestore.model.degradation.settings import PRESETS
from instructrestore.pipelines.terminal.arguments import checked_seed

SIDE_STEP = 64  # px: the networks halve a latent of an eighth of the side three times
LARGEST_SIDE = 4096


@dataclass(frozen=True)
class TestSetSettings:
    """size: side of the crops, px: a multiple of 64 from 64 to 4096. bokeh: only regions with the bokeh flag.

    degradation: "release" or "real-esrgan", for HQ photos that come without an LQ photo. seed: from which the seed of
    each degradation is derived, 0 to 2^63 - 1. least_share, most_share: bounds for the share of the crop that its
    region takes, 0 to 1. Raises ValueError, in one sentence that names the option, for anything else.
    """

    __test__ = False  # not a class of tests, for pytest

    size: int = 512
    bokeh: bool = False
    degradation: str = "release"
    seed: int = 0
    least_share: float = 0.02
    most_share: float = 0.9

    def __post_init__(self) -> None:
        if self.size % SIDE_STEP or not SIDE_STEP <= self.size <= LARGEST_SIDE:
            raise ValueError(
                f"--size must be a multiple of {SIDE_STEP} from {SIDE_STEP} to {LARGEST_SIDE} px, not {self.size}"
            )
        if self.degradation not in PRESETS:
            raise ValueError(f"--degradation must be {' or '.join(PRESETS)}, not {self.degradation!r}")
        if not 0 <= self.least_share <= self.most_share <= 1:
            raise ValueError(
                "--least-share and --most-share must be shares of the crop from 0 to 1, the smaller one first, not "
                f"{self.least_share:g} and {self.most_share:g}"
            )
        checked_seed(self.seed, "--seed")
