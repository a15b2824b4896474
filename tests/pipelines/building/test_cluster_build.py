"""Whole builds with the embedded annotators whose workers and nodes are killed."""

from __future__ import annotations

import io
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster as Nodes
from rich.console import Console

from instructrestore.dataengine.running.on_ray.runner import Cluster
from instructrestore.dataengine.running.part_files import PartFile, PartSummary
from instructrestore.dataengine.running.stage import StageSpec, Task
from instructrestore.dataengine.sources import parse_source
from instructrestore.pipelines.building.build import BuildResult, build, print_summary
from instructrestore.pipelines.building.presets import embedded, with_values
from instructrestore.shards.index import Dataset
from tests.dataengine.running.test_cluster import SMALL_NODE
from tests.dataengine.running.trial_stages import Deadly
from tests.pipelines.building.test_resume import ROOT, command, hashes
from tests.pipelines.building.test_resume import build as build_in_peace
from tests.pipelines.photos import BY_COLOUR, make_photos
from tests.pipelines.processes import workers_below

VICTIM = "photo 003.png"


class DeadlyCluster(Cluster):
    """Wraps the stages of the names given in `Deadly`."""

    def __init__(self, stages: Sequence[str], marks: Path, **deadly: Any) -> None:
        super().__init__()
        self._stages = stages
        self._deadly = deadly
        self._marks = marks

    def run_stage(
        self, spec: StageSpec, tasks: Sequence[Task], max_failures_in_a_row: int, on_part: Callable[[PartSummary], None]
    ) -> list[PartFile]:
        if spec.name in self._stages:
            marks = self._marks / spec.name
            marks.mkdir(parents=True)
            spec = replace(spec, build=partial(Deadly, spec.build, marks, **self._deadly))
        return super().run_stage(spec, tasks, max_failures_in_a_row, on_part)


def run(folder: Path, photos: Path, stages: Sequence[str] = (), **deadly: Any) -> BuildResult:
    @contextmanager
    def cluster(*_: Any) -> Iterator[Cluster]:
        held = DeadlyCluster(stages, folder / "marks", **deadly)
        try:
            yield held
        finally:
            held.dismiss()

    small = {"shards": {"photos_per_shard": 5}, "quality_gate": {"short_side": 64, "score": 0.0}, "photos_per_part": 4}
    settings = with_values(embedded(), {"sources": [parse_source(str(photos))], **small, **BY_COLOUR})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("instructrestore.pipelines.building.build.cluster", cluster)
        result = build(settings, folder / "run", Console(file=io.StringIO()))
    print_summary(result, Console(file=io.StringIO()))  # asserts that input = ok + dropped + failed at every stage
    return result


def names(result: BuildResult) -> list[str]:
    dataset = Dataset(str(result.dataset))
    return [dataset.read(row)[0].photo.name for row in range(dataset.index.num_rows)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    make_photos(folder, 12)
    return folder


@pytest.fixture(scope="module")
def peace(photos: Path, tmp_path_factory: pytest.TempPathFactory, _ray: None) -> BuildResult:
    return run(tmp_path_factory.mktemp("peace"), photos)


@pytest.mark.usefixtures("ray_cluster")
def test_a_photo_that_kills_every_worker_is_failed_and_the_others_are_in_the_data_set(
    photos: Path, tmp_path: Path, peace: BuildResult
) -> None:
    assert VICTIM in names(peace)
    made = run(tmp_path, photos, ["masks"], photo=VICTIM)
    masks = next(summary for summary in made.summaries if summary.name == "masks")
    assert masks.failed == {"worker died": 1}
    assert masks.ok == 11
    assert sorted(names(made)) == sorted(name for name in names(peace) if name != VICTIM)


@pytest.mark.usefixtures("ray_cluster")
def test_every_worker_of_two_stages_killed_once_changes_no_byte(
    photos: Path, tmp_path: Path, peace: BuildResult
) -> None:
    made = run(tmp_path, photos, ["masks", "png shards"], first=2)
    killed = {path.name: len(list(path.iterdir())) for path in (tmp_path / "marks").iterdir()}
    assert killed == {"masks": 2, "png shards": 2}
    assert hashes(Path(str(made.dataset))) == hashes(Path(str(peace.dataset)))


@pytest.mark.slow
def test_a_node_lost_in_the_middle_of_a_build_changes_no_byte(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    make_photos(photos, 120)
    build_in_peace(photos, tmp_path / "peace", cpus=2)
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, **SMALL_NODE, "include_dashboard": False})
    try:
        node = nodes.add_node(num_cpus=2, **SMALL_NODE)
        raylet = node.all_processes["raylet"][0].process.pid
        driver = subprocess.Popen(
            [*command(photos, tmp_path / "out", 1), "--set", f"run.address={nodes.address}"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            masks = tmp_path / "out/stages/04-masks"
            deadline = time.monotonic() + 300
            while len(list(masks.glob("0*.parquet"))) < 6 or not workers_below(raylet):
                assert driver.poll() is None, "the build ended early"
                assert time.monotonic() < deadline
                time.sleep(0.01)
            nodes.remove_node(node, allow_graceful=False)
            done = len(list(masks.glob("0*.parquet")))
            said, _ = driver.communicate(timeout=300)
        finally:
            driver.kill()
        assert driver.returncode == 0, said
        assert done < 30, "the node went after the end of the stage"
    finally:
        nodes.shutdown()
    assert hashes(tmp_path / "out/dataset") == hashes(tmp_path / "peace/dataset")
