"""Vectors beside a data set: made once, gone on from, never of another version, never inside the data set."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from instructrestore.dataengine.search.making import dataset_identity, make_vectors, open_vectors, vectors_beside
from instructrestore.dataengine.search.space import folder_name, of_length_1
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import commit
from instructrestore.shards.index import Dataset
from tests.dataengine.search.made_space import MadeSpace
from tests.shards.samples import write_dataset


def number(row: int, region: int) -> list[float]:
    """A direction of its own for each of the 6 photos and their 2 regions each."""
    return np.eye(18)[3 * row + region + 1].tolist()


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    write_dataset(tmp_path / "data")
    return Dataset(str(tmp_path / "data"))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_every_photo_and_region_has_its_vector_and_the_data_set_is_as_it_was(dataset: Dataset) -> None:
    before = files(Path(dataset.path))
    folder = vectors_beside(dataset.path)
    assert folder == Path(f"{dataset.path}.vectors")
    space = MadeSpace(number, 18)
    table = make_vectors(dataset, space, folder)
    for row in range(6):
        assert table.of_photo(row) == pytest.approx(np.eye(18)[3 * row : 3 * row + 3])
    assert (table.record.photos, table.record.regions, table.record.lost) == (6, 12, 0)
    assert table.record.dataset == dataset_identity(dataset)
    assert table.record.dataset == hashlib.sha256((Path(dataset.path) / "dataset.json").read_bytes()).hexdigest()
    assert files(Path(dataset.path)) == before


def test_what_is_done_is_not_done_again_and_an_interrupted_run_gives_the_same_bytes(
    dataset: Dataset, tmp_path: Path
) -> None:
    whole = MadeSpace(number, 18)
    make_vectors(dataset, whole, tmp_path / "whole")
    space = MadeSpace(number, 18)

    def interrupt(done: int) -> None:
        if len(space.asked) > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_vectors(dataset, space, tmp_path / "cut", progress=interrupt)
    with pytest.raises(ValueError, match=r"there are no such vectors of .*: run instructrestore index-vectors"):
        open_vectors(dataset, space, tmp_path / "cut")
    assert space.asked == [0, 1, 2, 3, 4, 5]  # a shard, and the one that was lost
    make_vectors(dataset, space, tmp_path / "cut")
    assert space.asked == [0, 1, 2, 3, 4, 5, 3, 4, 5]
    make_vectors(dataset, space, tmp_path / "cut")
    assert len(space.asked) == 9
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_vectors_of_equal_shards_are_kept_for_another_version(dataset: Dataset, tmp_path: Path) -> None:
    space = MadeSpace(number, 18)
    make_vectors(dataset, space, tmp_path / "vectors")
    card = Path(dataset.path) / "dataset.json"
    commit(card, card.read_bytes().replace(b'"made-up"', b'"renamed"'))
    (Path(dataset.path) / "checksums.sha256").unlink()
    renamed = Dataset(dataset.path)
    with pytest.raises(ValueError, match="the vectors are of another version"):
        open_vectors(renamed, space, tmp_path / "vectors")
    space.asked.clear()
    assert make_vectors(renamed, space, tmp_path / "vectors").record.regions == 12
    assert space.asked == []


def test_a_damaged_part_is_named_and_made_again(dataset: Dataset, tmp_path: Path) -> None:
    space = MadeSpace(number, 18)
    table = make_vectors(dataset, space, tmp_path)
    part = sorted((tmp_path / folder_name(space)).glob("*.arrow"))[0]
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(DamagedFile, match=r"arrow is damaged: remove it and run instructrestore index-vectors again"):
        list(table.parts())
    (tmp_path / folder_name(space) / "vectors.json").unlink()
    said: list[str] = []
    make_vectors(dataset, space, tmp_path, say=said.append)
    assert said == [f"{part} was damaged: it is made again"]
    assert len(list(open_vectors(dataset, space, tmp_path).parts())) == 2


def test_a_part_of_any_bytes_is_named_and_nothing_else(dataset: Dataset, tmp_path: Path) -> None:
    table = make_vectors(dataset, MadeSpace(number, 18), tmp_path)
    part = sorted(table.folder.glob("*.arrow"))[0]
    sound = part.read_bytes()
    named = set()
    for place in range(0, len(sound), 37):
        commit(part, sound[:place] + bytes([sound[place] ^ 0x55]) + sound[place + 1 :])
        try:
            assert sum(len(each.vectors) for each in table.parts()) == 18  # a changed vector is not seen
        except DamagedFile as damage:
            named.add(damage.place)
    assert named == {str(part)}
    for content in (b"", b"ARROW1", sound[: len(sound) // 2]):
        commit(part, content)
        with pytest.raises(DamagedFile):
            list(table.parts())


def test_a_photo_that_cannot_be_read_is_counted_and_said(dataset: Dataset, tmp_path: Path) -> None:
    space = MadeSpace(number, 18)
    space.unreadable = {4}
    said: list[str] = []
    table = make_vectors(dataset, space, tmp_path, say=said.append)
    assert said == ["left out: row 4 is damaged"]
    assert (table.record.photos, table.record.lost) == (5, 1)
    with pytest.raises(ValueError, match="has no vectors"):
        table.of_photo(4)
    assert table.of_photo(5)[0] == pytest.approx(np.eye(18)[15])


def test_the_table_is_one_that_arrow_reads(dataset: Dataset, tmp_path: Path) -> None:
    space = MadeSpace(number, 18)
    make_vectors(dataset, space, tmp_path)
    parts = sorted((tmp_path / folder_name(space)).glob("*.arrow"))
    table = pa.concat_tables([pa.ipc.open_file(pa.memory_map(str(part))).read_all() for part in parts])
    assert table.schema.names == ["row", "region", "vector"]
    assert len(table) == 18


def test_models_whose_names_look_alike_have_folders_of_their_own() -> None:
    one, two = MadeSpace(number, 18), MadeSpace(number, 18)
    one.model, two.model = "org/SigLIP_base", "other/SigLIP base"
    assert folder_name(one) != folder_name(two)
    one.model = "../../etc/pass\x1bwd"
    assert folder_name(one).startswith("pictures-pass-wd-")


def test_a_data_set_in_a_store_needs_a_folder_for_its_vectors() -> None:
    with pytest.raises(ValueError, match="name a local folder for its vectors with --vectors"):
        vectors_beside("s3://bucket/dataset")
    assert vectors_beside("s3://bucket/dataset", "here") == Path("here")


def test_vectors_of_nothing_stay_zeros() -> None:
    assert of_length_1(np.zeros((1, 3))).tolist() == [[0, 0, 0]]
