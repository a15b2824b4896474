"""Has a stage's tasks done: in this process, or on Ray, which is started for the first stage that has work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType

from pydantic import TypeAdapter

from instructrestore.dataengine.running.on_ray.runner import Cluster
from instructrestore.dataengine.running.outcomes import FailureWatch
from instructrestore.dataengine.running.part_files import PartSummary, read_outcomes
from instructrestore.dataengine.running.stage import StageSpec, Task
from instructrestore.dataengine.running.worker import StageWorker, Stopped

OnPart = Callable[[PartSummary], None]
StageDisplay = Callable[[str, int], AbstractContextManager[OnPart]]
"""Shows a stage, by its name and number of parts; is told of every part that is committed."""


class Executor:
    """Called with a stage and its tasks, it returns when all of them are committed.

    ray: opens the cluster; None: stages run in this process. failures_in_a_row: so many stop the run. check: called
    over and over; may raise StopStage. A context manager, which closes the cluster.
    """

    def __init__(
        self,
        ray: Callable[[], AbstractContextManager[Cluster]] | None,
        progress: StageDisplay,
        failures_in_a_row: int,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._ray, self._progress, self._check = ray, progress, check
        self._failures_in_a_row = failures_in_a_row
        self._opened = ExitStack()
        self._cluster: Cluster | None = None

    def __enter__(self) -> Executor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def cluster(self) -> Cluster | None:
        """The cluster, which is started here; None where stages run in this process.

        Raises ValueError where it cannot be reached.
        """
        if self._ray and self._cluster is None:
            self._cluster = self._opened.enter_context(self._ray())
        return self._cluster

    def __call__(self, spec: StageSpec, tasks: Sequence[Task]) -> None:
        """Raises StopStage, in one sentence, where going on is pointless, and Defect for a fault of the program."""
        cluster = self.cluster()
        self._check()
        with self._progress(spec.name, len(tasks)) as show:

            def on_part(summary: PartSummary) -> None:
                self._check()
                show(summary)

            if cluster:
                cluster.run_stage(spec, tasks, self._failures_in_a_row, on_part)
            else:
                self._here(spec, tasks, on_part)

    def _here(self, spec: StageSpec, tasks: Sequence[Task], on_part: OnPart) -> None:
        worker, watch = StageWorker(), FailureWatch(spec.name, self._failures_in_a_row)
        rows = TypeAdapter(spec.result_type)
        if stopped := worker.start(spec):
            raise stopped.error()
        for task in tasks:
            done = worker.do_part(task)
            if isinstance(done, Stopped):
                raise done.error()
            file, summary = done
            on_part(summary)
            watch.part(summary, lambda path=file.path: read_outcomes(path, rows))
