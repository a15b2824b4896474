"""The stages, in their order: what `build` does to a photo, on one page.

photo -> intake -> deduplicate -> quality gate -> masks -> descriptions
      -> noun-phrase rounds (over all distinct descriptions of the data set: retry.py)
      -> merge -> agreement (where it is asked for) -> bokeh -> shards
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel

from instructrestore.dataengine.descriptions import describe
from instructrestore.dataengine.masks import segment
from instructrestore.dataengine.merging import agreement_settings, merge
from instructrestore.dataengine.merging.agreement_settings import AgreementSettings
from instructrestore.dataengine.photos import encode, intake, near_duplicates, photo_file
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.quality import bokeh, quality_gate
from instructrestore.dataengine.running.part_files import digest
from instructrestore.dataengine.running.stage import StageSpec
from instructrestore.dataengine.settings import BuildSettings, StageName
from instructrestore.shards.paths import Place

Build = Callable[..., Callable[..., Sequence[Any]]]

INTAKE: StageName = "intake"
DEDUPLICATE: StageName = "deduplicate"
QUALITY_GATE: StageName = "quality gate"
MASKS: StageName = "masks"
DESCRIPTIONS: StageName = "descriptions"
MERGE: StageName = "merge"
AGREEMENT: StageName = "agreement"
BOKEH: StageName = "bokeh"
SHARDS: StageName = "shards"


def photo_stages(settings: BuildSettings, answers: Place | None = None) -> list[StageSpec]:
    """The stages up to the shards, each of which maps part k to part k.

    answers: the folder in which answers of served models are kept; None: they are not.
    A stage's revision is raised by hand whenever its code gives other results: it is part of its identity.
    """

    def stage(name: StageName, build: Build, *identity: Any, **fields: Any) -> StageSpec:
        return _spec(settings, name, build, identity, **fields)

    s = settings
    scored = []
    if s.agreement:
        scored = [stage(AGREEMENT, partial(_agreement, s.agreement), agreement_settings.REVISION, s.agreement)]
    return [
        stage(INTAKE, partial(intake.Intake, s.intake), intake.REVISION, s.intake),
        stage(DEDUPLICATE, near_duplicates.Deduplicate, near_duplicates.REVISION, side_type=near_duplicates.Assignment),
        stage(QUALITY_GATE, partial(quality_gate.QualityGate, s.quality_gate), *quality_gate.identity(s.quality_gate)),
        stage(
            MASKS,
            partial(segment.Segment, s.masks),
            *(segment.REVISION, s.masks.segmenter_revision, s.masks.of_results),
            own_workers=s.masks.segmenter == "semantic_sam",
        ),
        stage(
            DESCRIPTIONS,
            partial(describe.Describe, s.descriptions, answers),
            *describe.identity(s.descriptions),
            server=s.descriptions.vision_language.server if s.descriptions.vision_language else None,
            own_workers=s.descriptions.describer == "osprey",
        ),
        stage(MERGE, merge.Merge, merge.REVISION, side_type=merge.PhraseResult),
        *scored,
        stage(BOKEH, partial(bokeh.BokehFlag, s.bokeh), bokeh.REVISION, s.bokeh),
    ]


def _agreement(settings: AgreementSettings) -> Callable[..., Sequence[Any]]:
    from instructrestore.dataengine.merging.agreement import CaptionAgreement  # noqa: PLC0415  (imports torch, which is slow)

    return CaptionAgreement(settings)


def shard_stage(settings: BuildSettings, photo_format: str) -> StageSpec:
    """The last stage, which maps a shard's photos, all of one format, to the shard."""
    return _spec(
        settings,
        SHARDS,
        encode.Encode,
        (encode.REVISION, photo_format),
        name=f"{photo_format} {SHARDS}",
        result_type=encode.StoredPhoto,
        sink=encode.ShardSink,
        batch=8,  # encoded photos are held in memory until they are written
    )


def resources(settings: BuildSettings, name: StageName) -> dict[str, Any]:
    """What the settings give a worker of a stage: fields of StageSpec."""
    return settings.run.stages.get(name, settings.run.default).model_dump()


def _spec(settings: BuildSettings, stage: StageName, build: Build, identity: Any, **fields: Any) -> StageSpec:
    known = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in identity]
    defaults = {"name": stage, "row_type": Row, "result_type": Row, **resources(settings, stage)}
    # Nearly every stage decodes photos, so what pixels they get is part of what every stage is.
    return StageSpec(build=build, identity=digest(stage, photo_file.REVISION, known), **(defaults | fields))
