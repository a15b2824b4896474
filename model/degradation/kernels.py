"""The blur kernels of Real-ESRGAN (arXiv 2107.10833, section 3.1 and 3.3), many at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import j1

Family = Literal[
    "iso", "aniso", "generalised_iso", "generalised_aniso", "plateau_iso", "plateau_aniso", "sinc"
]  # fmt: skip
FAMILIES: tuple[Family, ...] = (
    "iso", "aniso", "generalised_iso", "generalised_aniso", "plateau_iso", "plateau_aniso",
)  # fmt: skip
CANVAS = 21  # px, the side of every kernel with its zeros around it


@dataclass(frozen=True)
class Kernel:
    """A kernel's parameters.

    size: its side in px, odd, at most CANVAS. sigma_x, sigma_y: px, above 0; an iso family takes sigma_x for both.
    theta: the turn of an aniso family, radians. beta: the exponent of a generalised or plateau family.
    omega: the cutoff of a sinc, radians per px, above 0.
    """

    family: Family
    size: int
    sigma_x: float = 1.0
    sigma_y: float = 1.0
    theta: float = 0.0
    beta: float = 1.0
    omega: float = math.pi


def draw(kernels: Sequence[Kernel]) -> NDArray[np.float64]:
    """The kernels as (N, CANVAS, CANVAS), centred, zero outside their size, each with the sum 1.

    With (u, v) the position turned by theta and Q = u^2 / sigma_x^2 + v^2 / sigma_y^2: Gaussian exp(-Q / 2),
    generalised exp(-Q^beta / 2), plateau 1 / (1 + Q^beta). Sinc: omega J1(omega r) / (2 pi r).
    """
    assert all(k.size % 2 == 1 and k.size <= CANVAS for k in kernels), "a kernel's size is odd and at most CANVAS"
    families = np.array([k.family for k in kernels], dtype=object)
    aniso = np.array([k.family.endswith("aniso") for k in kernels], dtype=bool)
    parameters = np.array([(k.sigma_x, k.sigma_y, k.theta, k.beta, k.omega) for k in kernels], dtype=np.float64)
    sigma_x, sigma_y, theta, beta, omega = parameters.reshape(-1, 5).T[:, :, None, None]  # each (N, 1, 1)
    sigma_y = np.where(aniso[:, None, None], sigma_y, sigma_x)
    theta = np.where(aniso[:, None, None], theta, 0.0)

    y, x = np.mgrid[:CANVAS, :CANVAS] - CANVAS // 2
    u = np.cos(theta) * x + np.sin(theta) * y  # (N, CANVAS, CANVAS)
    v = np.cos(theta) * y - np.sin(theta) * x
    q = (u / sigma_x) ** 2 + (v / sigma_y) ** 2

    values = np.exp(-q / 2)
    generalised = np.isin(families, ("generalised_iso", "generalised_aniso"))
    values[generalised] = np.exp(-(q[generalised] ** beta[generalised]) / 2)
    plateau = np.isin(families, ("plateau_iso", "plateau_aniso"))
    values[plateau] = 1 / (1 + q[plateau] ** beta[plateau])
    sinc = families == "sinc"
    radius = np.hypot(x, y)
    radius[CANVAS // 2, CANVAS // 2] = 1  # the middle is set apart: J1(omega r) / r tends to omega / 2 there
    values[sinc] = omega[sinc] * j1(omega[sinc] * radius) / (2 * math.pi * radius)
    values[sinc, CANVAS // 2, CANVAS // 2] = omega[sinc, 0, 0] ** 2 / (4 * math.pi)

    reach = np.array([k.size // 2 for k in kernels])[:, None, None]
    values *= (np.abs(x) <= reach) & (np.abs(y) <= reach)
    return values / values.sum(axis=(1, 2), keepdims=True)


def gaussian_row(size: int, sigma: float) -> NDArray[np.float64]:
    """A Gaussian of one dimension, (size,), with the sum 1; its outer product with itself is the "iso" kernel."""
    values = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
    return values / values.sum()
