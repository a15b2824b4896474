"""What the tests share: where the data lies, one Ray cluster for all that need one, and who runs what."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from instructrestore.dataengine.running.on_ray import runner

# Ray, here and in the programs that tests start: its workers run at the priority of the tests beside them, which Ray by
# itself puts first, and none is started in advance, which would not have the environment that a stage asks for.
os.environ |= {"RAY_worker_niceness": "0", "RAY_prestart_worker_first_driver": "0"}

# A shell ignores Ctrl-C in what it starts in the background, and whatever that starts ignores it too; tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--forbid-skips", action="store_true", help="a test that would be skipped fails")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With --dist loadgroup one process has all tests of a package that run on Ray, and starts it once; the rest goes
    file by file to whoever is free."""
    for item in items:
        file = item.nodeid.split("::")[0]
        on_ray = "_ray" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group(f"ray {file.split('/')[1]}" if on_ray else file))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("forbid_skips"):
        report.outcome, report.longrepr = "failed", f"skipped: {report.longrepr[2]}"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real photos, masks and captions; tests that need them are skipped where they are absent."""
    folder = Path(os.environ.get("INSTRUCTRESTORE_DATA", ROOT / "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}: set INSTRUCTRESTORE_DATA")
    return folder


@pytest.fixture(scope="session")
def _ray() -> Iterator[None]:
    """Ray, whose workers stay from one test to the next as they do from stage to stage: starting them takes longest."""
    waiting = runner.WaitingWorkers()
    with runner.cluster(None, 2), pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "WaitingWorkers", lambda: waiting)
        patch.setattr(runner.Cluster, "close", lambda self: self.servers.stop())
        yield


@pytest.fixture
def ray_cluster(_ray: None) -> Iterator[runner.Cluster]:
    """A Ray cluster of two CPUs on this machine, started once for all tests of a process."""
    with runner.cluster(None, 2) as connected:
        yield connected


@pytest.fixture
def free_cluster(ray_cluster: runner.Cluster) -> runner.Cluster:
    """The same for Ray Data and Ray Train, which would wait for the processors that our waiting workers hold."""
    ray_cluster.dismiss()
    return ray_cluster


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
