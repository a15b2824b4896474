"""What makes a stage's output stale: every setting of every stage, and which kind it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from instructrestore.dataengine.descriptions.describe import DescribeSettings
from instructrestore.dataengine.descriptions.vision_language import VisionLanguageSettings, VisionServerSettings
from instructrestore.dataengine.masks.segment import AlarmSettings, MaskSettings
from instructrestore.dataengine.merging.agreement_settings import AgreementSettings
from instructrestore.dataengine.noun_phrases.parser import ParserSettings
from instructrestore.dataengine.noun_phrases.rounds import NounPhraseSettings
from instructrestore.dataengine.quality.quality_gate import QualityGateSettings
from instructrestore.dataengine.run_folder import RunLayout
from instructrestore.dataengine.running.identity import Counts
from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.server_settings import ServerSettings, VllmSettings
from instructrestore.dataengine.running.stage_kinds import TableStage
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.dataengine.stages import build_stages
from instructrestore.pipelines.building.presets import PRESETS, with_values

# Another value of these gives other results: it makes the parts of their stage stale.
CHANGES_RESULTS = """
    intake: max_pixels max_bytes licences
    (build): near_duplicate_bits
    quality_gate: short_side score metric
    quality_gate.musiq: weights revision
    masks: segmenter reuse_annotations
    masks.cleanup: hole island smallest largest duplicate_iou part most
    masks.annotated_cleanup: hole island smallest largest duplicate_iou part most
    masks.sam2: model revision points_per_side predicted_iou stability duplicate_iou dtype
    masks.semantic_sam: model_type revision levels points_per_side points_per_batch predicted_iou stability
        duplicate_iou smallest_area short_side
    descriptions: describer reuse_annotations
    descriptions.vision_language.server: model revision max_tokens temperature sampled_from_round retry_temperature
    descriptions.vision_language: noun_phrases longest_side jpeg_quality
    descriptions.osprey: model revision vision_tower vision_tower_file vision_tower_revision max_new_tokens dtype
    noun_phrases.small: kind strict
    noun_phrases.small.server: model revision max_tokens temperature sampled_from_round retry_temperature
    noun_phrases: rounds rank rare invalid
    merge: synonyms
    agreement: judge model revision threshold dtype
    bokeh: ratio
"""

# Of the value of these a part counts: of a checkpoint's path its file name.
CHANGES_RESULTS_IN_PART = """
    masks.semantic_sam: checkpoint
"""

# These never change a result, and no part is done again for them.
CHANGES_NO_RESULT = """
    quality_gate.musiq: device
    masks.sam2: points_per_batch device
    masks.semantic_sam: checkout detectron2 device
    masks: alarm
    descriptions.vision_language.server: where urls vllm api_key_env requests_in_flight timeout_s tries backoff_s
        give_up_s failures_in_a_row
    descriptions.osprey: checkout batch device
    noun_phrases.small.server: where urls vllm api_key_env requests_in_flight timeout_s tries backoff_s give_up_s
        failures_in_a_row
    agreement: regions_per_batch device
"""

# Not of one stage: which photos there are and how they are cut into parts and shards, and what is running where.
OF_THE_WHOLE_BUILD = {"name", "preset", "sources", "limit", "photos_per_part", "shards", "run"}


def named(listing: str) -> set[str]:
    lines = listing.replace("\n       ", "").strip().splitlines()
    split = (line.strip().partition(":") for line in lines)
    return {f"{of}.{name}".removeprefix("(build).") for of, _, names in split for name in names.split()}


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Counts | None]]:
    """Every setting, nested ones in place of those that hold them, and its mark."""
    for name, field in model.model_fields.items():
        mark = next((each for each in field.metadata if isinstance(each, Counts)), None)
        nested = list(models_in(field.annotation))
        if nested and mark is None:
            for each in nested:
                yield from settings_of(each, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", mark


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def test_every_setting_of_every_stage_is_listed_with_what_it_does() -> None:
    found: dict[str, set[str]] = {"all": set(), "part": set(), "none": set()}
    for name, mark in settings_of(BuildSettings):
        if name.split(".")[0] not in OF_THE_WHOLE_BUILD and not name.startswith("noun_phrases.large."):
            found["all" if mark is None else "part" if mark.part else "none"].add(name)
    assert found["all"] == named(CHANGES_RESULTS)
    assert found["part"] == named(CHANGES_RESULTS_IN_PART)
    assert found["none"] == named(CHANGES_NO_RESULT)


def using(name: str) -> BuildSettings:
    """Settings in which the one of this name is in use."""
    server = {"urls": ("http://127.0.0.1:1/v1",), "model": "m", "revision": "1"}
    if name.startswith("quality_gate.musiq"):
        return BuildSettings(quality_gate=QualityGateSettings(metric="musiq"))
    if name.startswith(("masks.sam2", "masks.semantic_sam")):
        return BuildSettings(masks=MaskSettings(segmenter=name.split(".")[1]))
    if name.startswith("descriptions.osprey"):
        return BuildSettings(descriptions=DescribeSettings(describer="osprey"))
    if name.startswith("descriptions.vision_language"):
        asked = VisionLanguageSettings(server=VisionServerSettings(**server))
        return BuildSettings(descriptions=DescribeSettings(describer="vision_language", vision_language=asked))
    if name.startswith("noun_phrases.small.server"):
        small = ParserSettings(kind="server", server=ServerSettings(**server))
        return BuildSettings(noun_phrases=NounPhraseSettings(small=small))
    return BuildSettings(agreement=AgreementSettings())


OTHER: dict[str, Any] = {
    "masks.segmenter": "annotated",
    "masks.semantic_sam.model_type": "T",
    "masks.semantic_sam.levels": (3,),
    "masks.alarm": AlarmSettings(empty=3),
    "descriptions.describer": "annotated",
    "descriptions.osprey.dtype": "bfloat16",
    "intake.licences": ("CC0",),
    "noun_phrases.rare": "drop",
    "noun_phrases.invalid": "keep",
    "agreement.judge": "named",
    "noun_phrases.small.kind": None,  # goes with a server, which counts itself
}


def changed(model: Any, path: list[str], name: str) -> Any:
    """The settings with another value of the one of this name; unchecked, as only its identity is looked at."""
    value = getattr(model, path[0])
    if path[1:]:
        return model.model_copy(update={path[0]: changed(value, path[1:], name)})
    if name in OTHER:
        other = OTHER[name]
    elif path[0] == "vllm":
        other = VllmSettings(replicas=2)
    elif path[0] == "where":
        other = "started"
    elif isinstance(value, bool):
        other = not value
    elif isinstance(value, int | float):
        other = value + 1
    elif isinstance(value, tuple):
        other = (*value, "http://127.0.0.1:2/v1")
    else:
        other = f"{value or ''}2"
    assert other != value
    return model.model_copy(update={path[0]: other})


def identities(settings: BuildSettings) -> dict[str, str]:
    stages = build_stages(settings, RunLayout(Path("run")))
    parts = {stage.name: stage.spec.identity for stage in stages if not isinstance(stage, TableStage)}
    return parts | {stage.name: digest(*stage.follows_from) for stage in stages if isinstance(stage, TableStage)}


def stale_for(name: str) -> set[str]:
    """The stages whose identity another value of the setting changes."""
    settings = using(name)
    before, after = identities(settings), identities(changed(settings, name.split("."), name))
    return {stage for stage in before if before[stage] != after[stage]}


STAGE_OF = {
    "intake": "intake",
    "near_duplicate_bits": "near-duplicates",
    "quality_gate": "quality gate",
    "masks": "masks",
    "descriptions": "descriptions",
    "noun_phrases": "noun phrases",
    "merge": "merge",
    "agreement": "agreement",
    "bokeh": "bokeh",
}


@pytest.mark.parametrize("name", sorted(named(CHANGES_RESULTS) - {"noun_phrases.small.kind"}))
def test_what_changes_results_makes_its_own_stage_stale_and_no_other(name: str) -> None:
    assert stale_for(name) == {STAGE_OF[name.split(".")[0]]}


@pytest.mark.parametrize("name", sorted(named(CHANGES_NO_RESULT)))
def test_what_changes_no_result_never_redoes_anything(name: str) -> None:
    assert stale_for(name) == set()


def test_of_a_checkpoint_the_file_name_counts_and_not_its_folder() -> None:
    def masks(checkpoint: str) -> str:
        settings = using("masks.semantic_sam.checkpoint")
        found = settings.masks.semantic_sam.model_copy(update={"checkpoint": checkpoint})
        chosen = settings.masks.model_copy(update={"semantic_sam": found})
        return identities(settings.model_copy(update={"masks": chosen}))["masks"]

    assert masks("/a/swinl.pth") == masks("/b/c/swinl.pth") != masks("/a/swint.pth")


# What the preset "embedded" has chosen since.
AS_IT_WAS = {"quality_gate": {"metric": "embedded"}, "merge": {"synonyms": False}}
# Of version 0.1.0: with these the parts that it left are found again. The masks and descriptions of `embedded` are
# another annotator's since, and made again. Intake reads more photos and more colours since; what follows from it is
# made again for the photos that it reads otherwise (`Row.read_by`). Shards are written anew since, in schema 2.
EARLIER = {
    "embedded": {
        "intake": "b5ad09f3a92aee17",
        "deduplicate": "0e014f144f1eb9e1",
        "quality gate": "47d6f3f33cf65d0a",
        "noun phrases": "7ffe9bd0fae7aeda",
        "merge": "173a02ee8f91dc65",
        "bokeh": "01a4ee320215a3fa",
        "png shards": "026155bab125bdce",
    },
    "paper": {
        "quality gate": "c2672d6eee341f84",
        "masks": "7bb0cbe60aa11331",
        "descriptions": "18246175c2589f43",
        "noun phrases": "1a24ff281b839879",
    },
    "modern": {
        "quality gate": "47d6f3f33cf65d0a",
        "masks": "d50541c59d0bf2b7",
        "descriptions": "1b2fe0668aa7576b",
        "noun phrases": "4fde95f17abc95f3",
    },
}


@pytest.mark.parametrize("preset", EARLIER)
def test_runs_of_the_earlier_version_are_gone_on_with(preset: str) -> None:
    """To be changed for a stage, on purpose, where its REVISION is raised."""
    now = identities(with_values(PRESETS[preset](), AS_IT_WAS if preset == "embedded" else {}))
    assert {stage: now[stage] for stage in EARLIER[preset]} == EARLIER[preset]
