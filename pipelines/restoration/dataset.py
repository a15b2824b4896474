"""`instructrestore restore --shards`: a data set's photos restored by Ray workers, resumable (dataset_folder.py)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.running.checkpoints import complete
from instructrestore.dataengine.running.executor import Executor
from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.on_ray.runner import cluster
from instructrestore.dataengine.running.part_files import PartFile
from instructrestore.dataengine.running.stage import StageSpec, Task
from instructrestore.dataengine.running.stage_summary import StageSummary, add_up
from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.instruction.parser import parse
from instructrestore.model.restoring.careful import check_careful
from instructrestore.model.restoring.keeping import check_keeping
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.inference.worker_share import FAILURES_IN_A_ROW, share_of
from instructrestore.pipelines.restoration.dataset_folder import Output, RestoreFolder
from instructrestore.pipelines.restoration.dataset_stage import (
    CAPTION,
    Regions,
    RestoreResult,
    RestoreRow,
    RestoreStage,
    results_of,
)
from instructrestore.pipelines.terminal.arguments import check_local
from instructrestore.pipelines.terminal.damage import print_line, say_damaged
from instructrestore.pipelines.terminal.progress import StageProgress
from instructrestore.shards.index import Dataset

REVISION = "1"  # raised by hand when the same rows, settings and weights give other results
DEFAULT_INSTRUCTION = f"make {CAPTION} clear"
# Rows of a part, and so of a shard: in a small data set fewer, so that there is work for several workers.
ROWS_PER_PART = range(8, 65)
PARTS = 64
NAMES_SHOWN = 20


@dataclass(frozen=True)
class DatasetRestoration:
    """What of a data set is restored, by what, and how.

    dataset: its folder, or its address in a store. out: the folder for the results.
    instruction: may hold `{caption}`, which stands for the region's caption; None: "make {caption} clear".
    regions: "largest": a row per photo, of its largest region; "all": a row per region.
    output: "files" or "shards". address: of a Ray cluster; None: this machine.
    batch: the most photos of one size that are restored together. rows_per_part: of a part and so of a shard; None: by
    the number of rows. retry_failed: parts with failed rows are done again.
    """

    dataset: str
    out: Path
    loading: ModelSource
    settings: SamplingSettings = field(default_factory=SamplingSettings)
    instruction: str | None = None
    seed: int = 0
    regions: Regions = "largest"
    output: Output = "files"
    address: str | None = None
    batch: int = 1
    rows_per_part: int | None = None
    retry_failed: bool = False

    def check(self) -> None:
        """Raises ValueError, in one sentence, for what can be seen to be wrong before anything is read."""
        if self.batch < 1:
            raise ValueError(f"--batch is how many photos are restored together, at least 1, not {self.batch}")
        check_local(self.out)
        self.loading.check_runnable(self.address)


def restore_dataset(asked: DatasetRestoration, console: Console) -> StageSummary:
    """Restores, or goes on restoring, the photos of a data set.

    Raises ValueError for a user's mistake, before there is a folder or a Ray cluster wherever it can be seen that
    early, and StopStage where going on is pointless, each with one sentence; what was done by then stays and is not
    done again. Settings that fail every row alike end it after FAILURES_IN_A_ROW of them. A row that cannot be
    restored is counted and named at the end.
    """
    asked.check()
    source = Dataset(asked.dataset if "://" in asked.dataset else os.path.abspath(asked.dataset))
    template = read_template(asked.instruction, asked.regions)
    rows = triplets_of(source, asked.regions)
    rows_per_part = asked.rows_per_part or max(ROWS_PER_PART[0], min(ROWS_PER_PART[-1], len(rows) // PARTS))
    loading = asked.loading.anchored()
    weights = loading.fingerprint()
    settings = loading.sampling(asked.settings)
    check_keeping(settings, [template], False)
    check_careful(settings, [template], False)
    made_by: dict[str, Any] = {
        "revision": [REVISION, photo_file.REVISION],
        "instruction": asdict(template),
        "settings": settings.model_dump(mode="json"),
        "seed": asked.seed,
        "regions": asked.regions,
        "weights": weights.identity,
        "dtype": loading.dtype,
        "source": {"name": source.card.name, "sha256": hashlib.sha256(source.card.to_json()).hexdigest()},
    }
    folder = RestoreFolder(asked.out, asked.output)

    ray = partial(cluster, asked.address, None)
    with folder.lock() as check, Executor(ray, partial(StageProgress, console), FAILURES_IN_A_ROW, check) as executor:

        def execute(spec: StageSpec, todo: Sequence[Task]) -> None:
            said = f"{_rows_in(todo, len(rows)):,} of {len(rows):,} rows to restore"
            console.print(f"{said}, {len(todo):,} of {len(tasks):,} parts; starting Ray", highlight=False)
            say_damaged(source, console)
            given = share_of(loading.device, weights.bytes, executor.cluster())
            on_device = replace(loading, device=given.device)
            megapixels = [row.width * row.height / 1e6 * settings.upscale**2 for row in rows]
            build = partial(RestoreStage, source.path, template, on_device, settings, asked.seed, given.threads)
            fields = given.stage_fields(megapixels, settings.num_inference_steps, rows_per_part, asked.batch)
            executor(replace(spec, build=build, **fields), todo)

        tasks = folder.plan(rows, rows_per_part, asked.batch, digest(made_by))
        spec = StageSpec(
            name="restore",
            build=RestoreStage,  # `execute` knows its arguments
            identity=digest(made_by),
            row_type=RestoreRow,
            result_type=RestoreResult,
            sink=folder.sink,
            batch=asked.batch,
        )
        files = complete(
            spec,
            tasks,
            execute,
            retry_failed=asked.retry_failed,
            outputs=folder,
            say=lambda line: print_line(line, console),
        )
        places = {row.name: row.place for row in rows}
        configuration = {"restored": {**made_by, "model": loading.record()}}
        folder.publish(
            files, f"{source.card.name}-restored", configuration, lambda name: _original_name(source, places[name])
        )
    summary = add_up("restore", (file.summary() for file in files))
    assert summary.input == len(rows), (summary, len(rows))
    _print_summary(summary, files, folder, console)
    return summary


def read_template(instruction: str | None, regions: Regions) -> Instruction:
    """The instruction, in which `{caption}` stands for a region's caption.

    Raises ValueError where it cannot be read or does not fit `regions`.
    """
    text = DEFAULT_INSTRUCTION if instruction is None else instruction
    template = parse(text)
    named = any(CAPTION in region.caption for region in template.regions)
    if CAPTION in text and not named:
        raise ValueError(f"in {text!r} {CAPTION} does not stand where a region is named")
    if regions == "all" and not named:
        raise ValueError(
            f"to restore every region, the instruction must hold {CAPTION}, as {DEFAULT_INSTRUCTION!r} does"
        )
    return template


def triplets_of(dataset: Dataset, regions: Regions) -> list[RestoreRow]:
    """The rows of a data set, those of one photo size together so that batches are full.

    Raises ValueError where its index cannot be used.
    """
    columns = (dataset.index[name].to_pylist() for name in ("key", "captions", "areas", "width", "height"))
    rows: list[RestoreRow] = []
    for place, (key, captions, areas, width, height) in enumerate(zip(*columns, strict=True)):
        if not captions or len(captions) != len(areas or ()):
            raise ValueError(f"{dataset.path}/index.parquet has no regions for {key}: `verify` tells more")
        chosen = range(len(captions)) if regions == "all" else [areas.index(max(areas))]
        rows += [RestoreRow(place, key, region, captions[region], width, height) for region in chosen]
    if not rows:
        raise ValueError(f"{dataset.path} holds no photos")
    if len({row.name for row in rows}) < len(rows):
        raise ValueError(f"{dataset.path}/index.parquet lists a photo twice: `verify` tells more")
    return sorted(rows, key=lambda row: (row.height, row.width, row.place, row.region))


def _rows_in(tasks: Sequence[Task], rows: int) -> int:
    """How many of all `rows` rows the tasks hold: the last part is shorter than its slice."""
    slices = [piece for task in tasks for piece in task.slices]
    return sum(min(rows, rows if piece.stop is None else piece.stop) - piece.start for piece in slices)


def _original_name(source: Dataset, place: int) -> str:
    """A photo's original name; empty where its record cannot be read."""
    try:
        return source.record(place).photo.name
    except (OSError, ValueError):
        return ""


def _print_summary(summary: StageSummary, files: Sequence[PartFile], folder: RestoreFolder, console: Console) -> None:
    """That nothing was lost on the way, and what failed why."""
    failed = sum(summary.failed.values())
    assert summary.input == summary.ok + failed, summary
    line = f"input {summary.input:,} = restored {summary.ok:,} + failed {failed:,}; {folder.target}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)
    names: dict[str, list[str]] = {}
    for file in files:
        if "f" in file.summary().outcomes:
            for outcome in results_of(file):
                if outcome.kind == "failed":
                    names.setdefault(outcome.reason, []).append(outcome.name)
    for reason, of_reason in sorted(names.items(), key=lambda item: -len(item[1])):
        shown = ", ".join(of_reason[:NAMES_SHOWN]) + (" ..." if len(of_reason) > NAMES_SHOWN else "")
        console.print(f"failed, {reason}: {len(of_reason):,}: {shown}", highlight=False, markup=False, soft_wrap=True)
    if failed:
        console.print(f"details: {folder.results}; --retry-failed tries them again", highlight=False, markup=False)
