"""All that is known of where one region is from, gathered: record, data set, run, judgements."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from instructrestore.dataengine.judging.judgement import region_id
from instructrestore.dataengine.lineage.judgements import judgements
from instructrestore.dataengine.lineage.stage_outcomes import follow
from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.dataengine.noun_phrases.parser import cache_identity
from instructrestore.dataengine.noun_phrases.prompt import PROMPT_REVISION
from instructrestore.dataengine.noun_phrases.rounds import NounPhraseSettings
from instructrestore.dataengine.run_folder import RunLayout
from instructrestore.shards.index import Dataset
from instructrestore.shards.paths import Place, names, read_if_there
from instructrestore.shards.sample import Answer, Region

Lineage = dict[str, Any]
"""Plain JSON: `photo`, `place`, `stages`, `regions` (each with its `pieces`), `judgements`, `dataset`, `run`."""


def trace_photo(dataset: Dataset, row: int, region: int | None, run: Place | None, log: Path | None) -> Lineage:
    """Where a photo, or one of its regions (number from 0), is from.

    run: the folder of the build; None: only what the data set itself says. log: of judgements, which need not be there.
    Raises DamagedMember and DamagedFile where what is read is damaged.
    """
    sample = dataset.record(row)
    photo = sample.photo
    place = {name: values[0] for name, values in dataset.index.slice(row, 1).to_pydict().items()}
    shard = next((entry for entry in dataset.card.shards if entry.name == place["shard"]), None)
    ranks = _ranks(dataset, run)
    judged = judgements(log, photo.key) if log else []
    chosen = range(len(sample.regions)) if region is None else [region]
    configuration = dataset.card.configuration
    prompts = _prompts(configuration, run)
    regions = [_region(sample.regions[number], number, ranks, configuration, prompts) for number in chosen]
    ids = {each["id"] for each in regions}
    if region is not None:  # acts on the photo, and on this region
        judged = [each for each in judged if each.get("region") in ("", None, *ids) or _touches(each, ids)]
    return {
        "photo": asdict(photo),
        "place": {
            "dataset": dataset.path,
            "row": row,
            "shard": place["shard"],
            "shard_sha256": shard.sha256 if shard else "",
            "photo_offset": place["photo_offset"],
            "photo_bytes": place["photo_bytes"],
            "record_offset": place["json_offset"],
            "record_bytes": place["json_bytes"],
        },
        "stages": [asdict(stage) for stage in follow(run, photo.key).stages] if run else [],
        "regions": regions,
        "judgements": judged,
        "dataset": {"name": dataset.card.name, "schema_version": dataset.card.schema_version, **_parent(dataset)},
        "run": str(run) if run else "",
    }


def trace_dropped(run: Place, key: str) -> Lineage | None:
    """What is known of a photo that a build did not take into its data set; None where the build does not know its key,
    which photos get that can be read at all. key: or the beginning of it. Raises DamagedFile."""
    found = follow(run, key)
    if found.photo is None:
        return None
    stages = [asdict(stage) for stage in found.stages]
    return {"photo": asdict(found.photo), "stages": stages, "regions": [], "judgements": [], "run": str(run)}


def _prompts(configuration: dict[str, Any], run: Place | None) -> Callable[[Answer], str]:
    """The prompt's revision of an answer that a language model gave in a round; "" where there was none or it cannot be
    told: it is this program's where the run keeps answers to it, under their hash."""
    kept = names(RunLayout(run).answers) if run else []
    try:
        settings = NounPhraseSettings.model_validate(configuration.get("noun_phrases", {}))
    except ValidationError:
        return lambda answer: ""

    def prompt(answer: Answer) -> str:
        parser = settings.small if answer.round == 1 else settings.large
        asked = answer.round > 0 and parser.server is not None and answer.model == parser.server.model
        return PROMPT_REVISION if asked and cache_identity(parser) in kept else ""

    return prompt


def _region(
    region: Region,
    number: int,
    ranks: dict[str, tuple[int, int]],
    configuration: dict[str, Any],
    prompts: Callable[[Answer], str],
) -> Lineage:
    box = region.mask.box()
    count, rank = ranks.get(fold(region.subject), (0, 0))
    return {
        "number": number + 1,
        "id": region_id(region),
        "caption": region.caption,
        "subject": region.subject,
        "subject_count": count,
        "subject_rank": rank,
        "bokeh": region.bokeh,
        "box_xywh": list(box),
        "area": region.mask.area() / (region.mask.height * region.mask.width),
        "agreement": asdict(region.agreement) if region.agreement else None,
        "merging": configuration.get("merge", {}),
        "pieces": [
            {
                "segmenter": piece.segmenter,
                "describer": piece.describer,
                "description": piece.description,
                "noun_phrase": piece.noun_phrase,
                "subject": piece.subject,
                "box_xywh": list(piece.mask.box()),
                "area": piece.mask.area() / (piece.mask.height * piece.mask.width),
                "answers": [{**asdict(answer), "prompt": prompts(answer)} for answer in piece.answers],
            }
            for piece in region.pieces
        ],
    }


def _ranks(dataset: Dataset, run: Place | None) -> dict[str, tuple[int, int]]:
    """(count, rank) of each subject: as the rounds of the run counted it, else as the data set's regions have it."""
    content = read_if_there(RunLayout(run).tables / "subjects.csv") if run else None
    if content is not None:
        rows = csv.DictReader(io.StringIO(content.decode("utf-8", "replace")))
        found = {}
        for row in rows:
            count, rank = row.get("count") or "", row.get("rank") or ""
            if count.isdecimal() and rank.isdecimal():
                found[row.get("subject") or ""] = (int(count), int(rank))
        return found
    counted: dict[str, int] = {}
    for subjects in dataset.index["subjects"].to_pylist():
        for subject in subjects:
            counted[fold(subject)] = counted.get(fold(subject), 0) + 1
    ordered = sorted(counted.items(), key=lambda each: (-each[1], each[0]))
    return {subject: (count, rank) for rank, (subject, count) in enumerate(ordered, 1)}


def _parent(dataset: Dataset) -> dict[str, Any]:
    """What a version that was made of another says of that."""
    parent = dataset.card.configuration.get("parent")
    return {"parent": parent} if parent else {}


def _touches(judged: dict[str, Any], ids: set[str]) -> bool:
    """Whether a judgement of another region names one of these too."""
    others = judged.get("others")
    return isinstance(others, list) and any(each in ids for each in others if isinstance(each, str))
