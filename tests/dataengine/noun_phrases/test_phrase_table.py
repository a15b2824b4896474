"""The table of noun phrases through the real grammar: the bytes it had when it was made in memory, and a run that is
killed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from instructrestore.dataengine.noun_phrases import answers
from instructrestore.dataengine.noun_phrases.parser import ParserAnswer, PhraseResult
from instructrestore.dataengine.noun_phrases.phrase_table import PhraseTable
from instructrestore.dataengine.noun_phrases.rounds import NounPhraseSettings
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.part_files import Outcome, Slice, read_outcomes, write_part
from instructrestore.dataengine.running.run import Run
from instructrestore.dataengine.running.side_table import SideTable
from instructrestore.dataengine.running.stage import StageSpec, StopStage, Task
from instructrestore.dataengine.running.stage_kinds import Part
from instructrestore.dataengine.running.worker import StageWorker, Stopped
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import Piece

# Hashes of the table's content and of subjects.csv as they were made of `parts` while all of it lay in memory.
GOLDEN = {
    "phrases": "c962f242b5b3a7e6",
    "subjects.csv": "5063251101e46be4168abf1a016713a5d291cfb92bffeeb657d1abc57551e85b",
}
SUBJECTS = ("dog", "dogs", "sky", "red car", "house", "houses", "men", "tall tree", "grass")
PLACES = (
    "on the field",
    "near a road",
    "behind the Ünï house",
    "'; DROP TABLE texts; --",
    "\x00",
    "",
    "is running fast",
)


def parts(folder: Path) -> list[Part]:
    """Four parts of three photos, a third of whose pieces bring their phrase."""
    rows = TypeAdapter(Row)
    mask = Mask.from_array(np.eye(4, dtype=np.bool_))
    made = []
    for part in range(4):
        outcomes = []
        for photo in range(3):
            pieces = []
            for number in range(8):
                chance = int(hashlib.sha256(f"{part} {photo} {number}".encode()).hexdigest(), 16)
                subject, place = SUBJECTS[chance % 9], PLACES[chance // 9 % 7]
                if chance // 63 % 3:
                    pieces.append(Piece(mask, "s", f"the {subject} {place}", "d"))
                else:
                    pieces.append(Piece(mask, "s", subject, "d", f"the {subject}", subject))
            row = Row(SourcePhoto(f"u{part}{photo}", "n", "s"), pieces=tuple(pieces))
            outcomes.append(Outcome(row.origin.uri, "ok", row))
        file, _ = write_part(folder, part, "0" * 16, 0, outcomes, rows)
        made.append(Part(part, Slice(str(file.path)), file.content))
    return made


class Trial:
    """The table in a folder. kill: the task at which the run is killed. asked: the questions that were answered."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tables = folder, folder / "tables"
        (folder / "stages").mkdir(parents=True)
        self.tables.mkdir()
        self.parts = parts(folder / "stages")
        self.kill: int | None = None
        self.asked: list[str] = []

    def execute(self, spec: StageSpec, tasks: Sequence[Task]) -> None:
        worker = StageWorker()
        assert worker.start(spec) is None
        for number, task in enumerate(tasks):
            if number == self.kill:
                raise StopStage("killed")
            done = worker.do_part(task)
            assert not isinstance(done, Stopped)
            rows = read_outcomes(done[0].path, TypeAdapter(ParserAnswer))
            self.asked += [f"{row.row.question.round} {row.name}" for row in rows if row.row]

    def make(self) -> dict[str, str]:
        settings = NounPhraseSettings(rank=3)
        stage = PhraseTable(settings, self.folder / "answers", self.tables, {})
        self.asked = []
        Run(self.folder / "stages", self.tables, self.execute, False).through([stage], self.parts)
        (path,) = self.tables.glob("phrases-*.parquet")
        table = SideTable(path, TypeAdapter(PhraseResult))
        assert len(table.slice(3)) > 5, "what it says it holds is there"
        subjects = hashlib.sha256((self.tables / "subjects.csv").read_bytes()).hexdigest()
        return {"phrases": digest(table.hashes, table.facts), "subjects.csv": subjects}


def test_the_bytes_are_as_they_ever_were(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    assert trial.make() == GOLDEN
    assert {line[0] for line in trial.asked} == {"1", "2", "3"}
    assert len(trial.asked) == len(set(trial.asked)), "each question once"


def test_a_run_that_is_killed_asks_the_rest_and_leaves_nothing_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "QUESTIONS_PER_CHUNK", 5)
    trial = Trial(tmp_path)
    trial.kill = 2
    with pytest.raises(StopStage):
        trial.make()
    before = set(trial.asked)
    assert len(before) == 10
    left = trial.tables / "spilled"  # of a process that was killed, and could not tidy up
    left.mkdir()
    (left / "duckdb_temp_storage_DEFAULT-0.tmp").write_bytes(b"not the truth")
    trial.kill = None
    assert trial.make() == GOLDEN
    assert before.isdisjoint(trial.asked)
    assert not left.exists()
    assert trial.make() == GOLDEN and trial.asked == [], "done is done"
