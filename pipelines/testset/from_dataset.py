"""A data set as a source of test samples."""

from __future__ import annotations

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.photos.row import SourcePhoto
from instructrestore.pipelines.testset.material import NO_BOKEH, SMALL, Material, UnfitPhoto
from instructrestore.pipelines.testset.settings import TestSetSettings
from instructrestore.shards.index import Dataset
from instructrestore.shards.members import DamagedMember


class DatasetSource:
    """The photos of a data set, in its index's order. Raises ValueError if it is none or a shard is missing."""

    def __init__(self, path: str) -> None:
        self.dataset = Dataset(path)
        self.dataset.check_files()
        self._keys: list[str] = self.dataset.index["key"].to_pylist()
        self.name = self.dataset.card.name
        self.sha256 = self.dataset.card.index_sha256

    def __len__(self) -> int:
        return len(self._keys)

    def name_of(self, row: int) -> str:
        return self._keys[row]

    def read(self, row: int, settings: TestSetSettings) -> Material:
        """The photo of a row. Raises UnfitPhoto, UnusablePhoto or OSError if it gives no sample."""
        facts = self.dataset.index.slice(row, 1).select(["width", "height", "bokeh"]).to_pylist()[0]
        # Checked on the index, without reading the photo.
        if min(facts["width"], facts["height"]) < settings.size:
            raise UnfitPhoto(SMALL, f"{facts['width']}x{facts['height']}")
        if settings.bokeh and not any(facts["bokeh"]):
            raise UnfitPhoto(NO_BOKEH)
        try:
            sample, data = self.dataset.read(row)
        except DamagedMember as damage:
            raise UnfitPhoto(damage.reason, damage.detail) from None
        except ValueError as error:
            raise UnfitPhoto("damaged record", str(error)) from None
        photo = sample.photo
        hq = photo_file.decode(data, photo.width * photo.height).rgb
        if hq.shape[:2] != (photo.height, photo.width):
            raise UnfitPhoto("photo and record differ in size", f"{hq.shape[1]}x{hq.shape[0]}")
        origin = SourcePhoto("", photo.name, photo.source, photo.licence, photo.url)
        return Material(origin, photo.group or photo.key, hq, sample.regions)
