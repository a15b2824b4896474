"""What a worker that restores takes of its machine, and when it counts as stalled."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from instructrestore.dataengine.running.on_ray.runner import Cluster
from instructrestore.model.restoring.checkpoint import DTYPES
from instructrestore.pipelines.inference.loading import Loading

# A CPU worker takes one CPU more for every so many bytes of weights: with the usual 4 GiB of memory a CPU, a machine
# then holds as many workers as it has CPUs for.
WEIGHTS_PER_CPU = 2 << 30
# Time limits, far above what a megapixel takes in one denoising step on slow machines.
START_S = 600
MEGAPIXEL_STEP_S = {"cpu": 900.0, "gpu": 10.0}
LEAST_MEGAPIXELS = 0.25


@dataclass(frozen=True)
class WorkerResources:
    """What a worker gets.

    device: as torch names it; None: the caller's choice. threads: torch's; None: as they are. megapixel_step_s: the
    longest that a denoising step of a megapixel may take.
    """

    device: str | None
    cpus: int = 1
    gpus: int = 0
    threads: int | None = None
    megapixel_step_s: float = MEGAPIXEL_STEP_S["cpu"]

    def stage_fields(self, megapixels: Iterable[float], steps: int, rows_per_part: int, batch: int) -> dict[str, Any]:
        """The fields of a StageSpec that follow. megapixels: of the restored photos. steps: denoising steps of each."""
        longest_s = max(LEAST_MEGAPIXELS, *megapixels) * steps * self.megapixel_step_s
        return {
            "cpus": self.cpus,
            "gpus": self.gpus,
            "part_limit_s": START_S + rows_per_part * longest_s,
            "row_limit_s": START_S + batch * longest_s,  # a row that is done alone fills its whole batch
        }


def worker_resources(device: str | None, weights_bytes: int, cluster: Cluster | None) -> WorkerResources:
    """A GPU for each worker where the cluster has any and the device allows it, else processors. cluster: None where
    stages run in this process."""
    if cluster is None:
        return WorkerResources(device)
    cpus, gpus = cluster.resources()
    device = device or ("cuda" if gpus else "cpu")
    if device.startswith("cuda"):  # Ray shows each worker its own GPU alone
        return WorkerResources("cuda", gpus=1, megapixel_step_s=MEGAPIXEL_STEP_S["gpu"])
    share = max(1, min(1 + weights_bytes // WEIGHTS_PER_CPU, cpus))
    return WorkerResources(device, share, threads=share)


def check_device(loading: Loading, address: str | None) -> None:
    """Raises ValueError for a dtype or a device that no worker could use; a cluster elsewhere may have any device."""
    if loading.dtype not in DTYPES:
        raise ValueError(f"unknown dtype {loading.dtype!r}: choose one of {', '.join(DTYPES)}")
    if loading.device is None:
        return
    try:
        kind = torch.device(loading.device).type
    except RuntimeError:
        raise ValueError(f"unknown device {loading.device!r}: name one such as cpu or cuda") from None
    if loading.cpu_offload and kind == "cpu":
        raise ValueError("--cpu-offload keeps on the CPU what a GPU does not need just now: leave out --device cpu")
    here = address is None and "RAY_ADDRESS" not in os.environ
    if here and (
        (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available())
    ):
        raise ValueError(f"there is no device {loading.device} here: leave --device out, or take cpu")
