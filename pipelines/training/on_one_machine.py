"""How the workers of one machine find each other and talk: by a file and over loopback.

Where torch's workers meet by address, the first one listens on every interface and believes whoever connects.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train.torch.config import TorchConfig, _setup_torch_process_group, _TorchBackend


@dataclass
class OneMachineConfig(TorchConfig):
    """For workers that are all on this machine. meeting: a folder of this user alone, that lasts as long as they."""

    meeting: str = ""

    @property
    def backend_cls(self) -> type[_OneMachine]:
        return _OneMachine


class _OneMachine(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: OneMachineConfig) -> None:
        gpus = worker_group.get_resources_per_worker().get("GPU", 0)
        ranks = len(worker_group)
        meeting = (Path(backend_config.meeting) / uuid.uuid4().hex).as_uri()  # a new one: Ray may begin once more
        joined = [
            worker_group.execute_single_async(
                rank,
                _setup_torch_process_group,
                backend="nccl" if gpus else "gloo",
                world_rank=rank,
                world_size=ranks,
                init_method=meeting,
                timeout_s=backend_config.timeout_s,
            )
            for rank in range(ranks)
        ]
        ray.get(joined)
