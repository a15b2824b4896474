"""What one worker that restores gets of a machine, and how long it may be silent before it counts as stalled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from instructrestore.dataengine.running.on_ray.runner import Cluster

FAILURES_IN_A_ROW = 100  # end a run: what fails this often has one cause
# With the usual 4 GiB of memory per CPU, one CPU for every 2 GiB of weights lets a machine hold as many workers as it
# has CPUs for.
WEIGHTS_PER_CPU = 2 << 30
# Limits far above what slow machines need: to start, and for one denoising step of a megapixel.
START_S = 600
MEGAPIXEL_STEP_S = {"cpu": 900.0, "gpu": 10.0}
LEAST_MEGAPIXELS = 0.25


@dataclass(frozen=True)
class WorkerShare:
    """What a worker gets.

    device: as torch names it; None: the fastest there is. threads: torch's; None: as they are. megapixel_step_s: the
    longest that one denoising step of a megapixel may take before the worker counts as stalled.
    """

    device: str | None
    cpus: int
    gpus: int
    threads: int | None
    megapixel_step_s: float

    def stage_fields(self, megapixels: Iterable[float], steps: int, rows_per_part: int, batch: int) -> dict[str, Any]:
        """The fields of a StageSpec that follow. megapixels: of the restored photos. steps: denoising steps of each."""
        longest_s = max((LEAST_MEGAPIXELS, *megapixels)) * steps * self.megapixel_step_s
        return {
            "cpus": self.cpus,
            "gpus": self.gpus,
            "part_limit_s": START_S + rows_per_part * longest_s,
            "row_limit_s": START_S + batch * longest_s,  # a row that is done alone fills its whole batch
        }


def share_of(device: str | None, weights_bytes: int, cluster: Cluster | None) -> WorkerShare:
    """A GPU for each worker where the cluster has any and the device allows it, otherwise CPUs.

    cluster: None where stages run in this process, which no limit watches and whose device is the caller's choice.
    """
    if cluster is None:
        return WorkerShare(device, 1, 0, None, MEGAPIXEL_STEP_S["cpu"])
    cluster_cpus, cluster_gpus = cluster.resources()
    device = device or ("cuda" if cluster_gpus else "cpu")
    if device.startswith("cuda"):  # Ray shows each worker only its own GPU
        return WorkerShare("cuda", 1, 1, None, MEGAPIXEL_STEP_S["gpu"])
    cpus = max(1, min(1 + weights_bytes // WEIGHTS_PER_CPU, cluster_cpus))
    return WorkerShare(device, cpus, 0, cpus, MEGAPIXEL_STEP_S["cpu"])
