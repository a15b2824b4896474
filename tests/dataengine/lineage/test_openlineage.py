"""Events of stages that end: what they say, to a server and to a file, and that nothing that fails stops anything."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from instructrestore.dataengine.lineage.openlineage import LineageEvents
from instructrestore.dataengine.running.stage_summary import StageSummary

INTAKE = StageSummary("intake", 5, 4, {"corrupt": 1}, {}, {})
MASKS = StageSummary("masks", 4, 2, {"no mask": 1}, {"OSError: gone": 1}, {})


class Server(HTTPServer):
    """Keeps what is posted to it, and answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[bytes] = []
        self.status = 201

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api/v1/lineage"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Server)
        self.server.got.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


def test_events_go_to_a_server_and_are_what_the_specification_asks_for(server: Server) -> None:
    said: list[str] = []
    events = LineageEvents(server.address, "animals", "/runs/animals/dataset", said.append)
    events.ended(INTAKE)
    events.ended(MASKS)
    first, second = map(json.loads, server.got)
    assert said == []
    for event in (first, second):
        assert {"eventTime", "run", "job", "producer", "schemaURL"} <= event.keys()  # required
        assert event["eventType"] == "COMPLETE"
        assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
        assert uuid.UUID(event["run"]["runId"])
        assert event["job"]["namespace"] == "instructrestore"
    assert first["run"]["runId"] != second["run"]["runId"]
    assert (first["inputs"], second["job"]["name"]) == ([], "animals.masks")
    # The rows that a stage gives are those that the next one takes.
    given = {name: first["outputs"][0][name] for name in ("namespace", "name")}
    assert second["inputs"] == [given]
    assert second["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 2
    rows = second["run"]["facets"]["instructrestore_rows"]
    assert (rows["input"], rows["dropped"], rows["failed"]) == (4, {"no mask": 1}, {"OSError: gone": 1})
    assert rows["_producer"]
    assert rows["_schemaURL"]


def test_events_go_to_a_file_a_line_each(tmp_path: Path) -> None:
    for _ in range(2):  # a build that is gone on with adds to it
        events = LineageEvents(str(tmp_path / "events.jsonl"), "animals", "dataset", pytest.fail)
        events.ended(INTAKE)
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["job"]["name"] for line in lines] == ["animals.intake"] * 2


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:1/lineage", "http://[", "{}/nowhere/events.jsonl", "{}", "http://"]
)
def test_what_cannot_be_told_is_said_once_and_stops_nothing(target: str, tmp_path: Path) -> None:
    said: list[str] = []
    events = LineageEvents(target.format(tmp_path), "animals", "dataset", said.append)
    for summary in (INTAKE, MASKS, MASKS):
        events.ended(summary)
    assert len(said) == 1
    assert said[0].startswith("lineage is no longer told to ")


def test_a_server_that_refuses_is_asked_no_more(server: Server) -> None:
    said: list[str] = []
    server.status = 500
    events = LineageEvents(server.address, "animals", "dataset", said.append)
    events.ended(INTAKE)
    events.ended(MASKS)
    assert len(server.got) == len(said) == 1
