"""All settings of a build in one place; presets and command-line overrides make one of these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from instructrestore.dataengine.descriptions.describe import DescribeSettings
from instructrestore.dataengine.masks.segment import MaskSettings
from instructrestore.dataengine.merging.agreement_settings import AgreementSettings
from instructrestore.dataengine.merging.merge import MergeSettings
from instructrestore.dataengine.noun_phrases.rounds import NounPhraseSettings
from instructrestore.dataengine.photos import near_duplicates
from instructrestore.dataengine.photos.encode import ShardSettings
from instructrestore.dataengine.photos.intake import IntakeSettings
from instructrestore.dataengine.quality.bokeh import BokehSettings
from instructrestore.dataengine.quality.quality_gate import QualityGateSettings
from instructrestore.dataengine.sources import SourceSettings

StageName = Literal[
    "intake",
    "deduplicate",
    "quality gate",
    "masks",
    "descriptions",
    "noun phrases",
    "merge",
    "agreement",
    "bokeh",
    "shards",
]


class StageResources(BaseModel):
    """What a worker of a stage gets. Never changes a result."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpus: float = Field(default=1, ge=0, description="CPUs a worker.")
    gpus: float = Field(default=0, ge=0, description="GPUs a worker; a fraction shares one.")
    memory_gib: float = Field(
        default=0, ge=0, description="Memory a worker, in GiB: a machine gets no more workers than its memory holds."
    )
    resources: dict[str, float] = Field(
        default={}, description="Other Ray resources a worker, by name, as in {'accelerator_type:H100' = 0.001}."
    )
    workers: int | None = Field(default=None, ge=1, description="At most so many workers; unset: all that fit.")
    min_workers: int = Field(default=1, ge=1, description="The stage begins once so many workers are ready.")
    runtime_env: dict[str, Any] = Field(
        default={},
        description="The environment of the workers, as Ray takes it: pip, uv, conda, py_executable, env_vars, ...",
    )
    batch: int = Field(default=64, ge=1, description="Rows a call.")
    part_limit_s: float = Field(
        default=1800, gt=0, description="A worker that takes longer over a part counts as dead."
    )
    row_limit_s: float = Field(
        default=300, gt=0, description="The same for a single row, once a part is done row by row."
    )
    start_limit_s: float = Field(
        default=900, gt=0, description="A stage of which no worker is at work after so long stops the run."
    )

    @model_validator(mode="after")
    def _fewest_of_most(self) -> StageResources:
        if self.workers and self.min_workers > self.workers:
            raise ValueError(f"min_workers is {self.min_workers} and workers, which are the most, {self.workers}")
        return self


class RunSettings(BaseModel):
    """How the stages run. Never changes a result."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str | None = Field(default=None, description="A Ray cluster's address; unset: this machine.")
    cpus: int | None = Field(default=None, ge=1, description="CPUs to use of this machine; unset: all.")
    object_store_mib: int = Field(
        default=256, ge=80, description="Shared memory of the Ray that is started on this machine, in MiB."
    )
    wait_for_nodes_s: float = Field(
        default=0,
        ge=0,
        description="How long a stage that finds no room waits for machines that join, and asks a cluster that "
        "autoscales for them; 0: it stops at once.",
    )
    openlineage: str | None = Field(
        default=None,
        min_length=1,
        description="Where OpenLineage events of the stages' ends go: the http address of a lineage server, or a file.",
    )
    max_failures_in_a_row: int = Field(default=100, ge=1, description="So many failed rows in a row stop the run.")
    default: StageResources = Field(default=StageResources(), description="For every stage not named in 'stages'.")
    stages: dict[StageName, StageResources] = Field(default={}, description="By stage name.")


class BuildSettings(BaseModel):
    """A build: from these settings and the same photos come the same bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="dataset", pattern=r"^[\w.-]+$", description="The data set's name.")
    preset: str = Field(default="", description="The preset these settings began as, for people; empty: none.")
    sources: tuple[SourceSettings, ...] = Field(default=(), description="Where the photos come from.")
    limit: int | None = Field(
        default=None, ge=1, description="Take only so many photos of the sources; excluded ones all."
    )
    photos_per_part: int = Field(default=64, ge=1, le=4096, description="Photos in a part, the unit of resuming.")
    intake: IntakeSettings = IntakeSettings()
    near_duplicate_bits: int = Field(
        default=near_duplicates.DISTANCE,
        ge=0,
        le=16,
        description="Perceptual hashes this near, of 64 bits, are one group.",
    )
    quality_gate: QualityGateSettings = QualityGateSettings()
    masks: MaskSettings = MaskSettings()
    descriptions: DescribeSettings = DescribeSettings()
    noun_phrases: NounPhraseSettings = NounPhraseSettings()
    merge: MergeSettings = MergeSettings()
    agreement: AgreementSettings | None = Field(
        default=None, description="Scores how well captions fit their regions; unset: there is no such stage."
    )
    bokeh: BokehSettings = BokehSettings()
    shards: ShardSettings = ShardSettings()
    run: RunSettings = RunSettings()

    @model_serializer(mode="wrap")
    def _without_the_stage_that_is_not_there(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """So that a data set made without it says the same of itself as before there was such a stage."""
        values = handler(self)
        if self.agreement is None:
            values.pop("agreement", None)
        return values
