"""The list of stages, whole: what `build` does to photos, in order.

    intake -> near-duplicates -> deduplicate -> quality gate -> masks -> descriptions -> noun phrases -> merge
           -> agreement (where it is asked for) -> bokeh -> shards

running/run.py takes a run's parts through it. To add an annotator see CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from instructrestore.dataengine.descriptions import describe
from instructrestore.dataengine.masks import segment
from instructrestore.dataengine.merging import agreement_settings, merge
from instructrestore.dataengine.merging.agreement_settings import AgreementSettings
from instructrestore.dataengine.noun_phrases.parser import PhraseResult
from instructrestore.dataengine.noun_phrases.phrase_table import PhraseTable
from instructrestore.dataengine.photos import duplicate_table, encode, intake, near_duplicates, photo_file
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.quality import bokeh, quality_gate
from instructrestore.dataengine.run_folder import RunLayout
from instructrestore.dataengine.running.identity import counting
from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.stage import StageSpec
from instructrestore.dataengine.running.stage_kinds import PartStage, ShardStage, TableStage
from instructrestore.dataengine.settings import BuildSettings, StageName
from instructrestore.shards.sample import PHOTO_FORMATS

ListedStage = PartStage | TableStage | ShardStage
Build = Callable[..., Callable[..., Sequence[Any]]]

SHARDS: StageName = "shards"


def build_stages(settings: BuildSettings, folder: RunLayout) -> list[ListedStage]:
    """The stages of a build, in the order in which they run.

    A PartStage's folder within the run begins with its number. Agreement is not always there and shares the number of
    merge, so that the stages after it find their folders again.
    """
    s = settings

    def part(number: int, name: StageName, build: Build, *identity: Any, table: str = "", **fields: Any) -> PartStage:
        spec = stage_spec(settings, name, build, *identity, **fields)
        return PartStage(spec, f"{number:02d}-{name.replace(' ', '-')}", table)

    listed: list[ListedStage] = [
        part(1, "intake", partial(intake.Intake, s.intake), intake.REVISION, s.intake),
        duplicate_table.DuplicateTable(s.near_duplicate_bits),
        part(
            *(2, "deduplicate", near_duplicates.Deduplicate, near_duplicates.REVISION),
            side_type=near_duplicates.Assignment,
            table=duplicate_table.NAME,
        ),
        part(
            *(3, "quality gate", partial(quality_gate.QualityGate, s.quality_gate)),
            *quality_gate.identity(s.quality_gate),
        ),
        part(
            *(4, "masks", partial(segment.Segment, s.masks)),
            *segment.identity(s.masks),
            own_workers=s.masks.segmenter == "semantic_sam",
        ),
        part(
            *(5, "descriptions", partial(describe.Describe, s.descriptions, folder.answers)),
            *describe.identity(s.descriptions),
            server=s.descriptions.vision_language.server if s.descriptions.vision_language else None,
            own_workers=s.descriptions.describer == "osprey",
        ),
        PhraseTable(s.noun_phrases, folder.answers, folder.tables, resources(s, "noun phrases")),
        part(
            *(6, "merge", partial(merge.Merge, s.merge), *merge.identity(s.merge)),
            side_type=PhraseResult,
            table="noun phrases",
        ),
    ]
    if s.agreement:
        scored = partial(_agreement, s.agreement)
        listed.append(part(6, "agreement", scored, *agreement_settings.identity(s.agreement)))
    listed.append(part(7, "bokeh", partial(bokeh.BokehFlag, s.bokeh), bokeh.REVISION, s.bokeh))
    return [*listed, *(_shards(settings, folder, photo_format) for photo_format in PHOTO_FORMATS)]


def _shards(settings: BuildSettings, folder: RunLayout, photo_format: str) -> ShardStage:
    """Photos of one format into shards."""
    spec = stage_spec(
        settings,
        SHARDS,
        encode.Encode,
        *(encode.REVISION, photo_format),
        name=f"{photo_format} {SHARDS}",
        result_type=encode.StoredPhoto,
        sink=encode.ShardSink,
        batch=8,  # encoded photos are held in memory until they are written
    )
    size, outputs = settings.shards.photos_per_shard, encode.DatasetShards(folder.dataset)
    return ShardStage(spec, f"08-{photo_format}-{SHARDS}", photo_format, size, folder.dataset, outputs)


def _agreement(settings: AgreementSettings) -> Callable[..., Sequence[Any]]:
    if settings.judge == "named":
        from instructrestore.dataengine.merging.named_agreement import NamedAgreement  # noqa: PLC0415  (the same)

        return NamedAgreement(settings)
    from instructrestore.dataengine.merging.agreement import CaptionAgreement  # noqa: PLC0415  (imports torch: slow)

    return CaptionAgreement(settings)


def stage_spec(settings: BuildSettings, stage: StageName, build: Build, *identity: Any, **fields: Any) -> StageSpec:
    """A stage with what the settings give its workers.

    identity: revisions and settings that its results follow from; of settings, what counts (running/identity.py). A
    revision is raised by hand whenever the code that it stands for gives other results.
    """
    known = [counting(each).model_dump(mode="json") if isinstance(each, BaseModel) else each for each in identity]
    # Nearly every stage decodes photos, so the pixels they get are part of what every stage is.
    hashed = digest(stage, photo_file.REVISION, known)
    defaults = {"name": stage, "row_type": Row, "result_type": Row, **resources(settings, stage)}
    return StageSpec(build=build, identity=hashed, **(defaults | fields))


def photo_stages(settings: BuildSettings) -> list[StageSpec]:
    """The stages whose workers see photos, for whoever wants to know what a build needs, without a run."""
    return [stage.spec for stage in build_stages(settings, RunLayout(Path())) if isinstance(stage, PartStage)]


def resources(settings: BuildSettings, name: StageName) -> dict[str, Any]:
    """What the settings give a worker of a stage: fields of StageSpec."""
    return settings.run.stages.get(name, settings.run.default).model_dump()
