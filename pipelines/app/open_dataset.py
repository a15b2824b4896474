"""The data set that an app was started with: what is asked of it, and what is read of it behind the page's back."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from instructrestore.dataengine.catalogue.catalogue import Catalogue, DroppedLine
from instructrestore.dataengine.catalogue.dropped import DroppedPhotos, run_of
from instructrestore.dataengine.catalogue.records import read_records
from instructrestore.dataengine.catalogue.tables import Ended
from instructrestore.dataengine.photos.photo_file import UnusablePhoto, local_path, read_bytes
from instructrestore.pipelines.app import dataset_pictures
from instructrestore.pipelines.app.judging import Judging
from instructrestore.pipelines.app.shelf import Missing
from instructrestore.pipelines.app.thumbnails import Thumbnails
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import KEY_LENGTH, AnnotatedPhoto

logger = logging.getLogger(__name__)
State = Literal["being read", "ready", "failed"]
_KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
_KEPT = 4  # catalogues of data sets that were opened before


class OpenDataset:
    """place: the data set's folder. folder: the app's, for catalogues and thumbnails. alone: whether nobody but this
    machine's users can ask. Raises ValueError, in one sentence, where it is no data set.

    state, error: of the catalogue. records: photos read so far, of the index and, once that is ready, of the records;
    None: all.
    """

    def __init__(self, place: Path, folder: Path, alone: bool) -> None:
        self.dataset = Dataset(str(place.absolute()))
        self.sha256 = self.dataset.sha256
        self.judging = Judging(self.dataset)
        self.run = run_of(self.dataset.path)
        self.state: State = "being read"
        self.error = ""
        self.records: int | None = 0
        self._alone = alone
        self._folder = folder / "datasets" / self.sha256[:32]
        self.thumbnails = Thumbnails(self._folder / "thumbnails")
        self._catalogue: Catalogue | None = None
        self._ending = threading.Event()
        self._reading = threading.Thread(target=self._read, name="data set", daemon=True)

    def start(self) -> None:
        self._reading.start()

    def close(self) -> None:
        self._ending.set()
        self._reading.join()
        if self._catalogue:
            self._catalogue.close()

    @property
    def catalogue(self) -> Catalogue:
        """Raises ValueError, in one sentence, while there is none."""
        if self._catalogue is None:
            raise ValueError(self.error or "the data set's index is being read: ask again in a few seconds")
        return self._catalogue

    def place(self, key: str) -> dict[str, Any]:
        """The index's row of a photo. Raises Missing."""
        place = self.catalogue.place(key)
        if place is None:
            raise Missing
        return place

    def record(self, key: str) -> AnnotatedPhoto:
        """Raises Missing, and ValueError, in one sentence, where the shard is damaged there."""
        return self.dataset.record_at(self.place(key))

    def photo(self, key: str) -> tuple[AnnotatedPhoto, bytes]:
        """The record and the photo's file. Raises as `record` does."""
        return self.dataset.read_at(self.place(key))

    def thumbnail(self, key: str, regions: bool) -> bytes:
        """Raises as `record` does."""
        if not _KEY.fullmatch(key):  # what is kept is named by it
            raise Missing

        def make() -> bytes:
            sample, data = self.photo(key)
            if regions:
                return dataset_pictures.small_with_regions(sample, data)
            return dataset_pictures.small(data, sample.photo.width, sample.photo.height)

        return self.thumbnails.get(f"{key}-regions" if regions else key, make)

    def dropped_thumbnail(self, line: DroppedLine, max_pixels: int) -> bytes:
        """Of a photo that was left out, where its file is on this machine, which must then be nobody else's to ask: its
        place comes from the run. Raises Missing."""
        path = local_path(line.uri)
        if not self._alone or path is None or not Path(path).is_file():
            raise Missing

        def make() -> bytes:
            return dataset_pictures.small_of_any(read_bytes(line.uri), max_pixels)

        name = hashlib.sha256(line.uri.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        try:
            return self.thumbnails.get(f"{name}-dropped", make)
        except (UnusablePhoto, OSError):  # which may be why it was left out
            raise Missing from None

    def _read(self) -> None:
        """What takes long: the catalogue, the photos that were left out, the records."""
        try:
            self._forget_others()
            catalogue = Catalogue(self.dataset, self._folder, self._told, self._ending.is_set)
            self.records = None if catalogue.has_records else 0
            self._catalogue, self.state = catalogue, "ready"
            if self.run:
                self._read_dropped(catalogue, self.run)
            if self.records is not None:
                read_records(catalogue, self._told, self._ending.is_set)
                self.records = None
        except Ended:
            pass
        except (ValueError, OSError) as error:
            self.error = str(error)
            if self._catalogue is None:
                self.state = "failed"
            logger.error("%s", error)

    def _read_dropped(self, catalogue: Catalogue, run: Path) -> None:
        try:
            catalogue.take_dropped(DroppedPhotos(run))
        except (DamagedFile, FileNotFoundError) as error:  # a run that goes on replaces its parts
            logger.error("the photos that were left out are not known: %s", error)

    def _told(self, photos: int) -> None:
        self.records = photos

    def _forget_others(self) -> None:
        """Removes what is kept of data sets that were opened long ago."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.touch()
        others = sorted(
            (each for each in self._folder.parent.iterdir() if each.is_dir()), key=lambda each: -each.stat().st_mtime
        )
        for folder in others[_KEPT:]:
            with suppress(OSError):
                shutil.rmtree(folder)
