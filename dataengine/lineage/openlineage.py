"""What each stage of a build did, told to a lineage server as OpenLineage events, or written to a file, a line each.

Only where it is asked for (`run.openlineage`), and for the record alone: whatever goes wrong is said once, after which
no more is told; it never stops a run. The specification: https://openlineage.io/spec/2-0-2/OpenLineage.json
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx

from instructrestore.dataengine.running.stage_summary import StageSummary
from instructrestore.shards.errors import first_line

PRODUCER = "https://pypi.org/project/instructrestore"
SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
FACETS = "https://openlineage.io/spec/facets"
NAMESPACE = "instructrestore"
TIMEOUT_S = 5.0


class LineageEvents:
    """Told of stages that have ended. target: an http or https address that takes events by POST, or a local file.

    job: what the stages are of, such as the data set's name. dataset: where that lies. say: told in one line why
    there are no more events.
    """

    def __init__(self, target: str, job: str, dataset: str, say: Callable[[str], None]) -> None:
        self._target, self._job, self._dataset, self._say = target, job, dataset, say
        self._on = True
        self._before: str | None = None

    def ended(self, summary: StageSummary) -> None:
        """A stage has come to its end, in this run or, where nothing of it was left to do, in an earlier one."""
        event = self._event(summary)
        self._before = summary.name
        if not self._on:
            return
        try:
            self._tell(event)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            self._on = False
            self._say(f"lineage is no longer told to {self._target}: {first_line(error)}")

    def _tell(self, event: dict[str, Any]) -> None:
        if self._target.startswith(("http://", "https://")):
            httpx.post(self._target, json=event, timeout=TIMEOUT_S).raise_for_status()
            return
        with Path(self._target).open("ab") as file:
            file.write(json.dumps(event).encode() + b"\n")

    def _event(self, summary: StageSummary) -> dict[str, Any]:
        rows = {
            "_producer": PRODUCER,
            "_schemaURL": SCHEMA.replace("RunEvent", "RunFacet"),
            "input": summary.input,
            "ok": summary.ok,
            "dropped": summary.dropped,
            "failed": summary.failed,
        }
        statistics = {
            "_producer": PRODUCER,
            "_schemaURL": f"{FACETS}/1-0-2/OutputStatisticsOutputDatasetFacet.json",
            "rowCount": summary.ok,
        }
        output = {**self._rows_of(summary.name), "outputFacets": {"outputStatistics": statistics}}
        return {
            "eventType": "COMPLETE",
            "eventTime": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "run": {"runId": str(uuid.uuid4()), "facets": {"instructrestore_rows": rows}},
            "job": {"namespace": NAMESPACE, "name": f"{self._job}.{summary.name}"},
            "inputs": [self._rows_of(self._before)] if self._before else [],
            "outputs": [output],
            "producer": PRODUCER,
            "schemaURL": SCHEMA,
        }

    def _rows_of(self, stage: str) -> dict[str, Any]:
        """The rows that a stage gives, as a data set of OpenLineage's."""
        return {"namespace": NAMESPACE, "name": f"{self._dataset}/{stage}"}
