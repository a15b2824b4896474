"""What each stage of a build did with one photo, read from the parts in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.run_folder import RunLayout
from instructrestore.dataengine.running.part_files import Outcome, PartFile, list_parts, read_outcomes
from instructrestore.shards.paths import Place, names
from instructrestore.shards.sample import Photo

_rows = TypeAdapter(Row)


@dataclass(frozen=True)
class StageOutcome:
    """What one stage did with the photo.

    stage: its folder's name, such as "04-masks". part: its file's name. outcome: ok, dropped or failed; reason and
    detail as the stage gave them. noticed: what it removed or noticed within the photo, by reason. uri: of the photo.
    """

    stage: str
    part: str
    outcome: str
    reason: str
    detail: str
    noticed: dict[str, int]
    uri: str


@dataclass(frozen=True)
class PhotoInRun:
    """A photo on its way through a build. photo: what was last known of it; None where no stage knew it."""

    photo: Photo | None
    stages: tuple[StageOutcome, ...]


def follow(run: Place, key: str) -> PhotoInRun:
    """What became of the photo whose key is, or begins with, `key`, stage by stage; no stages where the run's folder
    does not know it.

    The parts of one stage are read until the photo is found, and of those after it the same part alone: photos keep
    their part on the way. Raises DamagedFile.
    """
    layout = RunLayout(run)
    found: list[StageOutcome] = []
    photo: Photo | None = None
    part: int | None = None
    uri = ""
    for stage in names(layout.stages):
        if stage.startswith(".") or stage.endswith("-shards"):
            continue
        latest = _latest(layout.stages / stage)
        asked = [latest[part]] if part in latest else list(latest.values()) if part is None else []
        for file in asked:
            outcome = _of_photo(read_outcomes(file.path, _rows), key, uri)
            if outcome is not None:
                part, uri = file.part, outcome.name
                photo = outcome.row.photo if outcome.row and outcome.row.photo else photo
                noticed = outcome.row.counts if outcome.kind == "ok" and outcome.row else {}
                found.append(
                    StageOutcome(
                        stage, file.path.name, outcome.kind, outcome.reason, outcome.detail, dict(noticed), outcome.name
                    )
                )
                break
    return PhotoInRun(photo, tuple(found))


def _latest(folder: Place) -> dict[int, PartFile]:
    """The last attempt of each part, in order."""
    parts = list_parts(folder)
    return {number: max(parts[number], key=lambda file: (file.attempt, file.content)) for number in sorted(parts)}


def _of_photo(outcomes: Sequence[Outcome[Row]], key: str, uri: str) -> Outcome[Row] | None:
    """The photo's, by its URI where that is known, else by its key or the beginning of it."""
    for outcome in outcomes:
        row = outcome.row
        if uri and outcome.name == uri:
            return outcome
        if not uri and row is not None and row.photo is not None and row.photo.key.startswith(key):
            return outcome
    return None
