"""A data set restored by Ray workers with a tiny base: what comes out, and that nothing disturbs its bytes."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter
from rich.console import Console

from instructrestore.dataengine.reporting import statistics
from instructrestore.dataengine.running.stage import Failed
from instructrestore.dataengine.running.stage_summary import StageSummary
from instructrestore.model.instruction.parser import parse
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.building.dataset_commands import show, verify
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.inference.weights import Fingerprint, fingerprint_of
from instructrestore.pipelines.pictures.restored_photo import read_record
from instructrestore.pipelines.restoration.dataset import (
    DatasetRestoration,
    read_template,
    restore_dataset,
    triplets_of,
)
from instructrestore.pipelines.restoration.dataset_folder import RestoreFolder
from instructrestore.pipelines.restoration.dataset_stage import RestoreOutput, RestoreRow, RestoreStage, with_caption
from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import AnnotatedPhoto
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset
from tests.pipelines.processes import workers_of

pytestmark = pytest.mark.usefixtures("ray_cluster")
ROOT = Path(__file__).resolve().parents[3]
QUICK = SamplingSettings(num_inference_steps=2, guidance_scale=1, tile=128, overlap=32, upscale=1.25)
ODD_CAPTION = 'the "red", {caption} and blue box with 0.5, clear'


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine photos of two sizes in a png and a webp shard, with two regions each, the second the larger one."""
    samples = []
    for number in range(9):
        width, height = (72, 64) if number % 3 else (64, 88)
        photo, rgb = photo_of(number, width, height, format="webp" if number > 5 else "png", url=f"x:{number}")
        small = region_of(photo, 2, 3, 20, 11, f"the small box {number}", "box")
        large = region_of(photo, 5, 20, 50, 40, ODD_CAPTION if number == 4 else "the large box", "box")
        samples.append((AnnotatedPhoto(photo, (small, large)), rgb))
    folder = tmp_path_factory.mktemp("small")
    write_dataset(folder, samples)
    return folder


def restore(dataset: Path, out: Path, base: Path, **changes: Any) -> tuple[StageSummary, str]:
    """Restores in parts of two rows; returns the counts and what was said."""
    options: dict[str, Any] = {"instruction": None, "settings": QUICK, "seed": 3, "regions": "largest"}
    options |= {"output": "shards", "address": None, "batch": 2, "rows_per_part": 2}
    said = io.StringIO()
    restoration = DatasetRestoration(
        dataset=str(dataset),
        out=out,
        loading=ModelSource(str(base), device="cpu"),
        **(options | changes),
    )
    return restore_dataset(restoration, Console(file=said, width=200)), said.getvalue()


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.iterdir())}


def results(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "results.parquet").to_pylist()


@pytest.fixture(scope="module")
def undisturbed(dataset: Path, tiny_base: Path, _ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run to shards, by two workers, that nothing befell."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    summary, said = restore(dataset, out, tiny_base)
    assert (summary.input, summary.ok, summary.failed) == (9, 9, {})
    assert "input 9 = restored 9 + failed 0" in said
    return out


def test_shards_are_a_sound_data_set_with_the_regions(dataset: Path, undisturbed: Path, tmp_path: Path) -> None:
    source, made = Dataset(str(dataset)), Dataset(str(undisturbed / "dataset"))
    assert verify(made.path, Console(file=io.StringIO()))
    assert statistics.of_dataset(made).regions == made.card.regions == made.card.photos == 9
    assert len(made.card.shards) == 5
    assert show(made.path, made.index["key"][0].as_py(), str(tmp_path)).stat().st_size > 0
    mapping = {row["file"].split("#")[1]: row for row in results(undisturbed)}
    for row in range(9):
        sample, png = made.read(row)
        origin = mapping[sample.photo.key]
        before, _ = source.read(source.find(origin["key"]))
        assert sample.photo.sha256 == hashlib.sha256(png).hexdigest()
        assert sample.photo.name == f"{before.photo.key}-1"
        assert origin["name"] == before.photo.name
        for name in ("source", "licence", "url", "group"):
            assert getattr(sample.photo, name) == getattr(before.photo, name)
        (region,) = sample.regions
        assert (region.caption, region.bokeh) == (before.regions[1].caption, before.regions[1].bokeh)
        for mask in (region.mask, region.pieces[0].mask):
            box = before.regions[1].mask.box()
            assert (mask.width, mask.height) == (sample.photo.width, sample.photo.height)
            assert np.allclose(mask.box(), np.multiply(box, 1.25), atol=1)
        assert origin["file"].split("#")[0] == f"dataset/{made.index['shard'][row].as_py()}"


@pytest.mark.slow
def test_every_region_has_its_own_record_in_shards(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    chosen = {"regions": "all", "rows_per_part": 9, "batch": 4, "output": "shards"}
    restore(dataset, tmp_path / "out", tiny_base, **chosen)
    made, source = Dataset(str(tmp_path / "out/dataset")), Dataset(str(dataset))
    assert verify(made.path, Console(file=io.StringIO()))
    told = {row["file"]: row for row in results(tmp_path / "out")}
    index = made.index.to_pylist()
    assert len(index) == len(told) == 18
    for row in index:
        origin = told[f"dataset/{row['shard']}#{row['key']}"]
        before, _ = source.read(source.find(origin["key"]))
        assert row["captions"] == [before.regions[origin["region"]].caption] == [origin["caption"]]


def test_files_come_out_as_each_photo_does_alone(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    """Whatever the batches: the record in each file says how to get it again."""
    out = tmp_path / "out"
    instruction = "make {caption} clear with 0.8 and keep other parts clear with 1.1"
    chosen = {"output": "files", "regions": "all", "rows_per_part": 5, "batch": 3}
    summary, _ = restore(dataset, out, tiny_base, instruction=instruction, **chosen)
    assert summary.ok == 18
    source, pipeline = Dataset(str(dataset)), load_pipeline(str(tiny_base), device="cpu")
    table = results(out)
    assert {row["file"] for row in table} == {f"restored/{path.name}" for path in (out / "restored").iterdir()}
    assert len({row["seed"] for row in table}) == 18
    for row in table[::4] + [row for row in table if row["caption"] == ODD_CAPTION]:
        sample, data = source.read(source.find(row["key"]))
        assert row["caption"] == sample.regions[row["region"]].caption
        assert (row["scales"], row["outcome"]) == ([0.8, 1.1], "ok")
        record = read_record(out / row["file"])
        assert (record["seed"], record["instruction"]) == (row["seed"], row["instruction"])
        assert record["source"] == {name: row[name] for name in ("key", "region", "caption")}
        alone = pipeline(
            Image.open(io.BytesIO(data)).convert("RGB"),
            with_caption(read_template(instruction, "all"), row["caption"]),
            settings=QUICK,
            generator=torch.Generator().manual_seed(row["seed"]),
        )
        with Image.open(out / row["file"]) as restored:
            assert restored.size == (round(sample.photo.width * 1.25), round(sample.photo.height * 1.25))
            difference = np.abs(np.asarray(restored).astype(int) - np.asarray(alone.images[0]).astype(int))
        assert difference.max() <= 1
        assert difference.mean() < 0.02


def test_a_row_done_again_alone_comes_out_with_the_bytes_it_has_in_its_batch(
    dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """So it is when a worker died over its part; alone, without its slot in the batch, it would differ a little."""
    folder = RestoreFolder(tmp_path, "files")
    folder.plan(triplets_of(Dataset(str(dataset)), "all")[-5:], 5, 3, "")
    stored = pq.read_table(folder.rows)["row"].to_pylist()
    rows = [TypeAdapter(RestoreRow).validate_json(row) for row in stored]
    assert [(row.slot, row.together) for row in rows] == [(0, 3), (1, 3), (2, 3), (0, 2), (1, 2)]
    loading = ModelSource(str(tiny_base), device="cpu")
    stage = RestoreStage(str(dataset), read_template(None, "all"), loading, QUICK, seed=3, threads=None)
    together = [restored for batch in (rows[:3], rows[3:]) for restored in stage(batch)]
    alone = [restored for row in reversed(rows) for restored in stage([row])]
    assert together == alone[::-1]
    assert len({restored.png for restored in together if isinstance(restored, RestoreOutput)}) == 5
    outcomes = stage([replace(rows[0], caption="another"), *rows[1:3]])
    assert outcomes == [Failed("record and index differ"), *together[1:3]]


@pytest.mark.parametrize(
    "caption", [ODD_CAPTION, "the dog clear with 0.6， make the cat", "other parts", "clean plates"]
)
def test_a_caption_comes_into_the_instruction_as_it_is_or_not_at_all(caption: str) -> None:
    template = read_template("make {caption} clear with 0.7", "all")
    asked = with_caption(template, caption)
    assert asked.captions == (caption,)
    assert parse(str(asked)) == asked
    with pytest.raises(ValueError, match="at most 500 characters"):
        with_caption(template, caption * 100)


def test_nothing_is_done_twice(dataset: Path, undisturbed: Path, tiny_base: Path) -> None:
    before = {folder: times(undisturbed / folder) for folder in ("parts/shards", "dataset")}
    data = hashes(undisturbed / "dataset")
    _, said = restore(dataset, undisturbed, tiny_base)
    assert "starting Ray" not in said
    assert "input 9 = restored 9 + failed 0" in said
    assert times(undisturbed / "parts/shards") == before["parts/shards"]
    tars = [name for name in before["dataset"] if name.endswith(".tar")]
    assert all(times(undisturbed / "dataset")[name] == before["dataset"][name] for name in tars)
    assert hashes(undisturbed / "dataset") == data


@pytest.mark.slow
def test_another_seed_redoes_all_and_a_damaged_photo_is_one_failure_that_can_be_tried_again(
    dataset: Path, undisturbed: Path, tiny_base: Path, tmp_path: Path
) -> None:
    damaged, out = tmp_path / "damaged", tmp_path / "out"
    shutil.copytree(dataset, damaged)
    shutil.copytree(undisturbed, out)
    source = Dataset(str(dataset))
    shard = damaged / "png-000000.tar"
    content = shard.read_bytes()
    begin = source.index["photo_offset"][1].as_py()
    shard.write_bytes(content[: begin + 60] + bytes(80) + content[begin + 140 :])
    bad = f"{source.index['key'][1].as_py()}-1"

    summary, said = restore(damaged, out, tiny_base, seed=4)
    assert (summary.input, summary.ok, summary.failed) == (9, 8, {"corrupt photo": 1})
    assert "input 9 = restored 8 + failed 1" in said
    assert f"failed, corrupt photo: 1: {bad}" in said
    assert verify(str(out / "dataset"), Console(file=io.StringIO()))
    (row,) = (row for row in results(out) if row["outcome"] == "failed")
    assert (f"{row['key']}-{row['region']}", row["reason"], row["file"]) == (bad, "corrupt photo", "")
    assert row["name"] == source.read(1)[0].photo.name, "its record can still be read"
    made = hashes(out / "dataset")
    assert not set(made.values()) & set(hashes(undisturbed / "dataset").values())
    assert len(list((out / "parts/shards").iterdir())) == 5, "what is stale is gone"

    shard.write_bytes(content)
    _, said = restore(damaged, out, tiny_base, seed=4)
    assert "starting Ray" not in said
    assert "failed 1" in said
    lost = out / "dataset/png-000003.tar"
    lost.write_bytes(b"cut")
    summary, said = restore(damaged, out, tiny_base, seed=4, retry_failed=True)
    assert summary.ok == 9
    assert "4 of 9 rows to restore, 2 of 5 parts; starting Ray" in said
    assert said.count("restore: 2 of 2 parts, 4 rows") == 1
    healed = hashes(out / "dataset")
    assert {name for name in made if name.endswith(".tar") and healed[name] != made[name]} == {
        f"png-00000{part}.tar" for part in range(5) if bad in names_of_part(out, part)
    }
    assert verify(str(out / "dataset"), Console(file=io.StringIO()))


def names_of_part(out: Path, part: int) -> list[str]:
    return pq.read_table(out / "rows.parquet")["name"].to_pylist()[2 * part : 2 * part + 2]


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bytes(
    dataset: Path, undisturbed: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """One worker, killed in the middle; then its driver killed too; then gone on with by two workers."""
    out = tmp_path / "out"
    code = (
        "import sys; from pathlib import Path; from instructrestore.dataengine.running.on_ray.runner import cluster\n"
        "from tests.pipelines.restoration.test_dataset import restore\n"
        "with cluster(None, 1): restore(*map(Path, sys.argv[1:]))"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code, str(dataset), str(out), str(tiny_base)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(lambda: parts_done(out) >= 1, driver)
        (worker,) = workers_of(driver.pid)
        os.kill(worker, signal.SIGKILL)
        done = parts_done(out)
        wait_for(lambda: parts_done(out) > done, driver)
    finally:
        driver.kill()
        driver.wait()
    done = parts_done(out)
    assert done < 5, "the kill came after the end"
    assert not (out / "dataset/dataset.json").exists()
    kept = times(out / "parts/shards")
    restore(dataset, out, tiny_base)
    assert {name: time for name, time in times(out / "parts/shards").items() if name in kept} == kept
    assert hashes(out / "dataset") == hashes(undisturbed / "dataset")
    assert (out / "results.parquet").read_bytes() == (undisturbed / "results.parquet").read_bytes()
    assert not list(out.rglob(".partial-*"))


def parts_done(out: Path) -> int:
    return len(list((out / "parts/shards").glob("*.parquet")))


def wait_for(condition: Callable[[], bool], driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert driver.poll() is None, "the driver ended early"
        assert time.monotonic() < deadline
        time.sleep(0.02)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no data set": ({"dataset": "nowhere"}, "nowhere is not a data set"),
    "no instruction": ({"instruction": "hello"}, "expected a verb such as 'make'"),
    "caption as a scale": ({"instruction": "make the dog clear with {caption}"}, "at character 25, found '{caption}'"),
    "all without caption": ({"instruction": "make the dog clear", "regions": "all"}, "must hold {caption}"),
    "no batch": ({"batch": 0}, "at least 1, not 0"),
    "negative batch": ({"batch": -1}, "at least 1, not -1"),
    "no base": ({"base": "no/such/base"}, "there is no folder no/such/base: the base is a folder or a hub id"),
    "base of nothing": ({"base": str(ROOT / "tests")}, "is not a saved pipeline: there is no "),
    "no checkpoint": ({"checkpoint": str(ROOT / "tests")}, "is no checkpoint: neither it nor"),
    "unknown dtype": ({"dtype": "int4"}, "unknown dtype 'int4': choose one of float32"),
    "unknown device": ({"device": "gpu"}, "unknown device 'gpu': name one such as cpu"),
    "no GPU": ({"device": "cuda"}, "there is no device cuda here"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence(name: str, dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    """Before there is a folder."""
    if name == "no GPU" and torch.cuda.is_available():
        pytest.skip("here is a GPU")
    changes, sentence = MISTAKES[name]
    wrong: dict[str, Any] = {"dataset": str(dataset), "instruction": None, "regions": "largest", "batch": 1} | changes
    model: dict[str, Any] = {"base": str(tiny_base), "device": "cpu"}
    model |= {part: wrong.pop(part) for part in ("base", "checkpoint", "dtype", "device") if part in wrong}
    restoration = DatasetRestoration(
            out=tmp_path / "out", settings=QUICK, seed=0, output="files", address=None, loading=ModelSource(**model),
            **wrong,
    )  # fmt: skip
    with pytest.raises(ValueError, match=re.escape(sentence)) as told:
        restore_dataset(restoration, Console(file=io.StringIO()))
    assert not (tmp_path / "out").exists()
    assert len(str(told.value).splitlines()) == 1


def test_a_folder_of_something_else_is_left_alone(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(ValueError, match="is not empty and was not made by the restoration of a data set"):
        restore(dataset, tmp_path, tiny_base)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_rows_of_one_size_lie_together_and_the_largest_region_is_chosen(dataset: Path) -> None:
    rows = triplets_of(Dataset(str(dataset)), "largest")
    assert [row.height for row in rows] == [64] * 6 + [88] * 3
    assert {row.region for row in rows} == {1}
    assert len(triplets_of(Dataset(str(dataset)), "all")) == 18


def test_weights_trained_further_are_other_weights(tiny_base: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(tiny_base, copied)
    before = fingerprint_of(str(tiny_base), None)
    assert fingerprint_of(str(copied), None) == before
    path = copied / "unet/diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    header = int.from_bytes(content[:8], "little")
    content[8 + header] ^= 1
    path.write_bytes(content)
    changed = fingerprint_of(str(copied), None)
    assert (changed.identity != before.identity) and changed.bytes == before.bytes
    path.write_bytes(b"\x80\x02pickle")
    with pytest.raises(ValueError, match="is no safetensors file"):
        fingerprint_of(str(copied), None)
    assert fingerprint_of("org/name", None, "1") != fingerprint_of("org/name", None, "2")
    assert isinstance(fingerprint_of("org/name", None), Fingerprint)
    base = str(tiny_base)
    assert (
        fingerprint_of(base, "org/a").identity
        != fingerprint_of(base, "org/b").identity
        != fingerprint_of(base, None).identity
    )


def test_a_store_is_no_place_for_restored_photos(dataset: Path, tiny_base: Path) -> None:
    restoration = DatasetRestoration(
        dataset=str(dataset), out=Path("s3://bucket/there"), settings=QUICK,
        loading=ModelSource(base=str(tiny_base), device="cpu"),
    )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"^--out s3://bucket/there is in an object store: name a local folder instead$"
    ):
        restore_dataset(restoration, Console(file=io.StringIO()))
