"""How many replicas of a model a cluster has room for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from instructrestore.dataengine.running.server_settings import VllmSettings
from instructrestore.dataengine.running.stage import StopStage


def count_replicas(vllm: VllmSettings, nodes: Sequence[dict[str, Any]], may_grow: bool = False) -> int:
    """As many as the settings say, else all that fit; each on one node. nodes: as from `ray.nodes()`.

    may_grow: nodes may join, which replicas that wait make come; then there is at least one.
    Raises StopStage where there is no room for them.
    """
    gpus = vllm.gpus_per_replica
    if not gpus:
        return vllm.replicas or 1
    has = [node["Resources"].get("GPU", 0) for node in nodes if node["Alive"]]
    a_gpu = int(1 / gpus + 1e-9)  # a fraction is of one GPU
    room = sum(int(free) * a_gpu if gpus < 1 else int(free // gpus) for free in has)
    if may_grow:
        return vllm.replicas or max(1, room)
    if room < (vllm.replicas or 1):
        raise StopStage(
            f"{vllm.replicas or 1} vLLM of {gpus:g} GPUs each, on one node each, do not fit: the cluster's nodes have "
            f"{', '.join(f'{free:g}' for free in has)} GPUs"
        )
    return vllm.replicas or room
