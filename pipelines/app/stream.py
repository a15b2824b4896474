"""The changes of one session's jobs, for one page that looks on."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from instructrestore.pipelines.app.job_queue import JobQueue
from instructrestore.pipelines.app.records import Job


class Stream:
    """A slow page gets the latest of each job, not all that it was. `end` when the page is gone."""

    def __init__(self, queue: JobQueue, session: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._latest: OrderedDict[str, Job] = OrderedDict()
        self._changed = asyncio.Event()
        self._session = session
        self.end = queue.watch(self._put)

    def _put(self, session: str, job: Job) -> None:
        if session == self._session and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take, job)

    def _take(self, job: Job) -> None:
        self._latest[job.id] = job
        self._changed.set()

    async def next(self) -> Job:
        while not self._latest:
            self._changed.clear()
            await self._changed.wait()
        return self._latest.popitem(last=False)[1]
