"""What the tests share: where the data lies, and one Ray cluster for all that need one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from instructrestore.dataengine.running.on_ray.runner import Cluster, cluster

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real photos, masks and captions; tests that need them are skipped where they are absent."""
    folder = Path(os.environ.get("INSTRUCTRESTORE_DATA", ROOT / "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}: set INSTRUCTRESTORE_DATA")
    return folder


@pytest.fixture(scope="session")
def _ray() -> Iterator[None]:
    with cluster(None, 2):
        yield


@pytest.fixture
def ray_cluster(_ray: None) -> Iterator[Cluster]:
    """A Ray cluster of two CPUs on this machine, started once for all tests; its workers go with the test."""
    with cluster(None, 2) as connected:
        yield connected


def reference_path() -> Path:
    return Path(os.environ.get("INSTRUCTRESTORE_REFERENCE", ROOT / "../shared/reference")).resolve()


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    """Arrays computed by the official code; tests that compare with them are skipped where they are absent."""
    folder = reference_path()
    if not folder.is_dir():
        pytest.skip(f"no reference arrays at {folder}: set INSTRUCTRESTORE_REFERENCE")
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved pipeline with tiny networks, made once for all tests; not to be written to."""
    from instructrestore.model.restoring.tiny_base import build_tiny_base

    folder = tmp_path_factory.mktemp("tiny") / "base"
    build_tiny_base(folder)
    return folder
