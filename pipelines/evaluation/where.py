"""Where stages run: in this process, or on Ray when asked, which is started for the first stage that has work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from instructrestore.dataengine.running.on_ray.runner import Cluster, cluster
from instructrestore.dataengine.running.outcomes import too_many_failed
from instructrestore.dataengine.running.part_files import PartSummary
from instructrestore.dataengine.running.stage import StageSpec, StopStage, Task
from instructrestore.dataengine.running.worker import Stopped, Worker
from instructrestore.pipelines.evaluation.folder import outcomes_of
from instructrestore.pipelines.inference.worker_share import FAILURES_IN_A_ROW

LOCAL = "local"  # the address that is Ray on this machine alone

OnPart = Callable[[PartSummary], None]


class Running:
    """Runs stages. address: of a Ray cluster, "local" for one of this machine, None for this process."""

    def __init__(self, address: str | None, opened: ExitStack) -> None:
        self._address, self._opened = address, opened
        self._cluster: Cluster | None = None

    def on_ray(self) -> Cluster | None:
        """The cluster; None where stages run in this process. Raises ValueError where it cannot be reached."""
        if self._address and self._cluster is None:
            address = None if self._address == LOCAL else self._address
            self._cluster = self._opened.enter_context(cluster(address, None))
        return self._cluster

    def run(self, spec: StageSpec, tasks: Sequence[Task], on_part: OnPart) -> None:
        """Does the tasks. Raises StopStage, in one sentence, where going on is pointless."""
        if connected := self.on_ray():
            connected.run_stage(spec, tasks, FAILURES_IN_A_ROW, on_part)
        else:
            _run_here(spec, tasks, on_part)


@contextmanager
def running(address: str | None) -> Iterator[Running]:
    """For the block; a cluster that was started goes with it."""
    with ExitStack() as opened:
        yield Running(address, opened)


def _run_here(spec: StageSpec, tasks: Sequence[Task], on_part: OnPart) -> None:
    worker = Worker()
    if stopped := worker.start(spec):
        raise StopStage(stopped.sentence)
    failures = 0
    for task in tasks:
        done = worker.do_part(task)
        if isinstance(done, Stopped):
            raise StopStage(done.sentence)
        file, summary = done
        on_part(summary)
        for letter in summary.outcomes:
            failures = failures + 1 if letter == "f" else 0
        if failures >= FAILURES_IN_A_ROW:
            raise too_many_failed(spec.name, failures, outcomes_of(file))
