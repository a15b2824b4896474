"""The photos that a run left out on the way to its data set, each with the stage and the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from instructrestore.dataengine.run_folder import RunLayout
from instructrestore.dataengine.running.integrity import digest, reading
from instructrestore.dataengine.running.part_files import PartFile, list_parts, summaries

DROPPED_SCHEMA = pa.schema(
    [
        ("stage", pa.string()),  # "quality gate"
        ("kind", pa.string()),  # dropped | failed
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("uri", pa.string()),  # of the photo, as its source lists it
    ]
)
MAX_DETAIL = 2000  # characters


def run_of(dataset: str) -> Path | None:
    """The folder of the run that made a data set, where it lies around it on this machine; None where there is none."""
    if "://" in dataset:
        return None
    folder = Path(dataset).absolute()
    run = folder.parent
    return run if (run / "run.json").is_file() and RunLayout(run).dataset == folder else None


class DroppedPhotos:
    """What the parts of a run say now. version: another one where they have changed."""

    def __init__(self, run: Path) -> None:
        self._parts: list[tuple[str, PartFile]] = []
        stages = run / "stages"
        for folder in sorted(stages.iterdir()) if stages.is_dir() else ():
            stage = folder.name.partition("-")[2].replace("-", " ")
            for _, files in sorted(list_parts(folder).items()):
                latest = max(files, key=lambda file: (file.attempt, file.content))
                self._parts.append((stage, latest))
        self.version = digest([[stage, str(file.path.name)] for stage, file in self._parts])

    def table(self) -> pa.Table:
        """A row a photo (columns: `DROPPED_SCHEMA`), in the order of stages and parts. Raises DamagedFile."""
        return pa.Table.from_batches(
            [batch for table in self._tables() for batch in table.to_batches()], schema=DROPPED_SCHEMA
        )

    def _tables(self) -> Iterator[pa.Table]:
        told = summaries([file for _, file in self._parts])
        for (stage, file), summary in zip(self._parts, told, strict=True):
            if not set(summary.outcomes) - {"o"}:
                continue
            with reading(file.path):
                table = pq.read_table(str(file.path), columns=["outcome", "reason", "detail", "name"])
                left = table.filter(pc.call_function("not_equal", [table["outcome"], "ok"]))
                details = pa.array([(text or "")[:MAX_DETAIL] for text in left["detail"].to_pylist()], pa.string())
                columns = [pa.array([stage] * len(left)), left["outcome"], left["reason"], details, left["name"]]
                yield pa.table(columns, schema=DROPPED_SCHEMA)
