"""What the degradation draws from: probabilities and ranges of both stages, with two presets."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if not (0 <= bounds[0] <= bounds[1] < math.inf):
        raise ValueError("A range is two numbers from 0 on, the smaller one first.")
    return bounds


def _sum_to_one(values: tuple[float, ...]) -> tuple[float, ...]:
    if not math.isclose(sum(values), 1, abs_tol=1e-9):
        raise ValueError("Probabilities of alternatives must add up to 1.")
    return values


Range = Annotated[tuple[float, float], AfterValidator(_ascending)]
# Probabilities of enlarging, shrinking and keeping the size.
ResizeProbabilities = Annotated[tuple[Probability, Probability, Probability], AfterValidator(_sum_to_one)]
# Probabilities of the families in `recipe.FAMILIES`.
FamilyProbabilities = Annotated[
    tuple[Probability, Probability, Probability, Probability, Probability, Probability], AfterValidator(_sum_to_one)
]


class StageSettings(BaseModel):
    """One stage: blur, resize, noise, JPEG.

    blur_probability: of any blur at all. sinc_probability: of a sinc kernel where there is a blur.
    sigma: of a blur kernel along either axis, px. generalised_beta, plateau_beta: exponents; half of the draws lie
    between the lower end and 1, half between 1 and the upper end.
    resize_range: a factor, drawn from 1 to the upper end for "up" and from the lower end to 1 for "down"; in the
    second stage a factor of a quarter of the photo's side.
    gaussian_probability: Poisson noise otherwise. gaussian_sigma: of 255. poisson_scale: 1 is the noise of counting
    as many photons as the picture has distinct values. grey_probability: one pattern for all three channels.
    jpeg_quality: 0 to 100.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    blur_probability: Probability
    sinc_probability: Probability = 0.1
    sigma: Range
    generalised_beta: Range
    plateau_beta: Range
    resize_probabilities: ResizeProbabilities
    resize_range: Range
    gaussian_probability: Probability = 0.5
    gaussian_sigma: Range
    poisson_scale: Range
    grey_probability: Probability = 0.4
    jpeg_quality: Range

    @model_validator(mode="after")
    def _check(self) -> StageSettings:
        if self.sigma[0] == 0 or self.jpeg_quality[0] == 0 or self.jpeg_quality[1] > 100:
            raise ValueError("Blur sigmas lie above 0, and JPEG qualities above 0 and at most at 100.")
        if not self.resize_range[0] <= 1 <= self.resize_range[1] or self.resize_range[0] < 0.15:
            raise ValueError("A resize range begins at 0.15 or above and holds 1.")
        if not all(low <= 1 <= high for low, high in (self.generalised_beta, self.plateau_beta)):
            raise ValueError("Ranges of beta hold 1.")
        return self


class DegradationSettings(BaseModel):
    """Both stages and the end of the chain.

    family_probabilities: of the blur kernels in `recipe.FAMILIES`, in both stages.
    last_sinc_probability: of a sinc filter at the end. jpeg_last_probability: of resizing back and filtering before
    the second JPEG rather than after it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: StageSettings
    second: StageSettings
    family_probabilities: FamilyProbabilities = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    last_sinc_probability: Probability = 0.8
    jpeg_last_probability: Probability = 0.5


# InstructRestore's public release: milder than Real-ESRGAN's.
RELEASE = DegradationSettings(
    first=StageSettings(
        blur_probability=1.0,
        sigma=(0.2, 1.5),
        generalised_beta=(0.5, 2.0),
        plateau_beta=(1.0, 1.5),
        resize_probabilities=(0.2, 0.7, 0.1),
        resize_range=(0.3, 1.5),
        gaussian_sigma=(1, 15),
        poisson_scale=(0.05, 2.0),
        jpeg_quality=(60, 95),
    ),
    second=StageSettings(
        blur_probability=0.5,
        sigma=(0.2, 1.0),
        generalised_beta=(0.5, 2.0),
        plateau_beta=(1.0, 1.5),
        resize_probabilities=(0.3, 0.4, 0.3),
        resize_range=(0.6, 1.2),
        gaussian_sigma=(1, 12),
        poisson_scale=(0.05, 1.0),
        jpeg_quality=(60, 100),
    ),
)

# Real-ESRGAN (arXiv 2107.10833), its x4 training settings.
REAL_ESRGAN = DegradationSettings(
    first=StageSettings(
        blur_probability=1.0,
        sigma=(0.2, 3.0),
        generalised_beta=(0.5, 4.0),
        plateau_beta=(1.0, 2.0),
        resize_probabilities=(0.2, 0.7, 0.1),
        resize_range=(0.15, 1.5),
        gaussian_sigma=(1, 30),
        poisson_scale=(0.05, 3.0),
        jpeg_quality=(30, 95),
    ),
    second=StageSettings(
        blur_probability=0.8,
        sigma=(0.2, 1.5),
        generalised_beta=(0.5, 4.0),
        plateau_beta=(1.0, 2.0),
        resize_probabilities=(0.3, 0.4, 0.3),
        resize_range=(0.3, 1.2),
        gaussian_sigma=(1, 25),
        poisson_scale=(0.05, 2.5),
        jpeg_quality=(30, 95),
    ),
)

PRESETS = {"release": RELEASE, "real-esrgan": REAL_ESRGAN}
