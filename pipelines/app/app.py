"""Everything that the app's routes need, in one place: the settings, the visitors, the model and its queue."""

from __future__ import annotations

import logging
from contextlib import suppress

from instructrestore.pipelines.app.job_queue import JobQueue
from instructrestore.pipelines.app.open_dataset import OpenDataset
from instructrestore.pipelines.app.records import ENDED
from instructrestore.pipelines.app.segments import Segmenter
from instructrestore.pipelines.app.settings import LOOPBACK, AppSettings
from instructrestore.pipelines.app.shelf import Missing, Shelf, now
from instructrestore.pipelines.app.visitors import SharedPhotos, Visitors
from instructrestore.pipelines.app.wishes import Wishes
from instructrestore.pipelines.app.workbench import Workbench

logger = logging.getLogger(__name__)


class App:
    """Raises ValueError, in one sentence, for settings that cannot be used."""

    def __init__(self, settings: AppSettings) -> None:
        settings.check()
        self.settings = settings
        self.visitors = Visitors(settings.folder / "sessions", settings.token)
        self.shared = SharedPhotos(settings.folder / "shared", settings.photos)
        self.bench = Workbench(settings.source, settings.folder / "speeds.json", settings.limits.room)
        self.queue = JobQueue(self.bench, settings.batch)
        self.segmenter = Segmenter(settings.segments)
        self.wishes = Wishes(settings.wishes)
        alone = settings.host in LOOPBACK
        self.dataset = OpenDataset(settings.dataset, settings.folder, alone) if settings.dataset else None

    def expire(self) -> None:
        """Removes what is older than the stated lifetime."""
        before = now() - 3600 * self.settings.lifetime_hours
        for shelf in self.visitors.all():
            try:
                self._expire(shelf, before)
            except OSError as error:  # the next time it is tried again, and the others' now
                logger.error("what is too old could not be removed: %s", error)

    def _expire(self, shelf: Shelf, before: float) -> None:
        for job in self.queue.jobs(shelf):
            if job.state in ENDED and (job.ended or job.created) < before:
                with suppress(Missing):  # its visitor was quicker
                    self.queue.forget(shelf, job.id)
        shelf.expire(before, self.queue.jobs(shelf))

    def warm(self) -> None:
        """Loads what finds segments, so that the first photo does not wait for it."""
        try:
            self.segmenter.warm()
        except ValueError as error:
            logger.error("%s", error)
