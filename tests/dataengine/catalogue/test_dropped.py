"""The photos that a run left out, as its parts say it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from instructrestore.dataengine.catalogue.catalogue import Catalogue
from instructrestore.dataengine.catalogue.dropped import DroppedPhotos, run_of
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.running.part_files import Outcome, write_part
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.index import Dataset
from tests.shards.samples import write_dataset

ROWS = TypeAdapter(Row)


def row(name: str) -> Row:
    return Row(SourcePhoto(f"/photos/{name}", name, "made"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    write_dataset(folder.path / "dataset")  # pyright: ignore[reportArgumentType]
    gate, masks = folder.stages / "03-quality-gate", folder.stages / "04-masks"
    for stage in (gate, masks):
        Path(str(stage)).mkdir()
    kept = Outcome("/photos/kept.jpg", "ok", row("kept.jpg"))
    dropped = [Outcome(f"/photos/{n}.jpg", "dropped", None, "short side", "it has 300 pixels") for n in range(3)]
    write_part(gate, 0, "0" * 16, 0, [kept, *dropped], ROWS)
    failed = Outcome("/photos/kept.jpg", "failed", row("kept.jpg"), "OSError", "gone\u202e", 1)
    write_part(masks, 0, "1" * 16, 0, [failed], ROWS)
    write_part(masks, 0, "1" * 16, 1, [kept], ROWS)  # it was tried again
    write_part(masks, 1, "2" * 16, 0, [failed], ROWS)
    return tmp_path / "run"


def test_each_has_its_stage_and_its_reason(run: Path, tmp_path: Path) -> None:
    assert run_of(str(run / "dataset")) == run
    catalogue = Catalogue(Dataset(str(run / "dataset")), tmp_path / "app")
    catalogue.take_dropped(DroppedPhotos(run))
    assert [(line.stage, line.kind, line.reason, line.count) for line in catalogue.reasons()] == [
        ("quality gate", "dropped", "short side", 3),
        ("masks", "failed", "OSError", 1),
    ]
    count, lines = catalogue.dropped("quality gate", "", 1, 10)
    assert count == 3
    assert [line.uri for line in lines] == ["/photos/1.jpg", "/photos/2.jpg"]
    assert catalogue.dropped("", "OSError", 0, 10)[1][0].detail == "gone\u202e"
    assert catalogue.dropped_photo(99) is None
    catalogue.close()


def test_a_run_that_went_on_is_read_again(run: Path, tmp_path: Path) -> None:
    catalogue = Catalogue(Dataset(str(run / "dataset")), tmp_path / "app")
    catalogue.take_dropped(DroppedPhotos(run))
    more = [Outcome("/photos/late.jpg", "dropped", None, "score", "")]
    write_part(run / "stages" / "03-quality-gate", 1, "3" * 16, 0, more, ROWS)
    catalogue.take_dropped(DroppedPhotos(run))
    assert catalogue.dropped("", "", 0, 10)[0] == 5
    catalogue.close()


def test_a_damaged_part_is_named(run: Path) -> None:
    found = DroppedPhotos(run)
    part = next((run / "stages" / "03-quality-gate").iterdir())
    data = part.read_bytes()
    part.write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedFile, match=part.name):
        found.table()


def test_a_data_set_elsewhere_has_no_run(tmp_path: Path) -> None:
    write_dataset(tmp_path / "dataset")
    assert run_of(str(tmp_path / "dataset")) is None
    assert run_of("s3://bucket/run/dataset") is None
