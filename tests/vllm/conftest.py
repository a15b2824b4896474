"""What the vLLM tests share: the tiny model, how it is run, and a look at what still runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from instructrestore.dataengine.running.on_ray.runner import Cluster, cluster
from instructrestore.dataengine.running.server_settings import ServerSettings
from tests.vllm.tiny_qwen import save_tiny_qwen

KEY = "key-of-the-running-server"


@pytest.fixture(scope="session")
def tiny_qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-qwen2"
    save_tiny_qwen(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _surroundings() -> Iterator[None]:
    """As vLLM's build for CPUs needs it; Ray's workers inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "HF_HUB_OFFLINE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_NO_USAGE_STATS": "1",
            "NO_PROXY": "127.0.0.1",
            "TINY_KEY": KEY,
        }.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def _ray(_surroundings: None) -> Iterator[None]:
    with cluster(None, 2, 80):
        yield


@pytest.fixture
def ray_cluster(_ray: None) -> Iterator[Cluster]:
    with cluster(None, 2) as connected:
        yield connected


def served(folder: Path, **changes: Any) -> dict[str, Any]:
    """The settings of the tiny model; `where` is for the test to say."""
    vllm = {
        "folder": str(folder),
        "python": sys.executable,
        "gpus": 0,
        "dtype": "float32",
        "start_limit_s": 900,
        "restarts": 1,
        # On a CPU vLLM cannot take a prompt in pieces where the request has a seed (a generator there has no offset).
        "options": {"enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": 4096},
    }
    settings = {"where": "started", "model": "Qwen/tiny", "revision": "c0ffee", "max_tokens": 400, "vllm": vllm}
    checked = ServerSettings.model_validate({**settings, "timeout_s": 120, **changes})
    return checked.model_dump(mode="json")


def vllm_processes() -> set[int]:
    """Every process of a vLLM engine or server on this machine."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:  # it has ended
            continue
        if b"VLLM::" in line or b"vllm.entrypoints" in line or b"vLLMEngineStage" in line:
            found.add(int(path.parent.name))
    return found
