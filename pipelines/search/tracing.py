"""`instructrestore trace`: from a region, or a sample of a training run, to all that is known of where it is from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from instructrestore.dataengine.lineage.names import parse_region, region_number
from instructrestore.dataengine.lineage.trace import Lineage, trace_dropped, trace_photo
from instructrestore.pipelines.terminal.damage import print_line
from instructrestore.shards.index import Dataset
from instructrestore.shards.paths import ObjectPath, Place, names, parse_place
from instructrestore.shards.plain_text import json_text, visible_line


def trace(
    dataset: str,
    region: str | None,
    at: int | None,
    training: Path | None,
    run: str | None,
    log: Path | None,
    as_json: bool,
    console: Console,
) -> Lineage:
    """Prints, and returns, where a region is from. The arguments are as the command's options.

    Raises ValueError, in one sentence, for a user's mistake.
    """
    if (at is None) != (training is None) or (region is None) == (at is None):
        raise ValueError("trace what? Name KEY or KEY#REGION, or a sample of a training run with --at and --training")
    if log is not None and not log.is_file():
        raise ValueError(f"there are no judgements at {visible_line(str(log))}: --log names their file")
    opened = Dataset(dataset)
    place = _run_of(dataset, run)
    sample: dict[str, Any] | None = None
    if region is not None:
        key, named = parse_region(region)
        known = any(each.startswith(key) for each in opened.index["key"].to_pylist())
        if not known and place is not None and (dropped := trace_dropped(place, key)):
            _say(dropped, as_json, console)
            return dropped
        row = opened.find(key)
        number = region_number(opened.record(row), named) if named else None
    else:
        from instructrestore.pipelines.search.training_sample import training_sample  # noqa: PLC0415  (torch: seconds)

        assert at is not None and training is not None
        sample = training_sample(opened, training, at)
        row, number = sample["row"], sample["region"] - 1
    lineage = trace_photo(opened, row, number, place, log or _log_of(dataset))
    if sample:
        lineage = {"sample": sample, **lineage}
    _say(lineage, as_json, console)
    return lineage


def _say(lineage: Lineage, as_json: bool, console: Console) -> None:
    if as_json:
        print(json_text(lineage, indent=1))
        return
    for line in _lines(lineage):
        print_line(visible_line(line), console)


def _run_of(dataset: str, named: str | None) -> Place | None:
    """The build's folder: the one named, or the one that the data set lies in, if that is a build's.

    Raises ValueError where what is named is none.
    """
    place = parse_place(named) if named else parse_place(dataset).absolute().parent
    if "run.json" in names(place):
        return place
    if named:
        raise ValueError(f"{named} is not the folder of a build: it has no run.json")
    return None


def _log_of(dataset: str) -> Path | None:
    place = parse_place(dataset)
    return None if isinstance(place, ObjectPath) else Path(f"{place.absolute()}.judgements.jsonl")


def _lines(lineage: Lineage) -> Iterator[str]:
    """The lineage as lines of plain text."""
    photo, place = lineage["photo"], lineage.get("place")
    if sample := lineage.get("sample"):
        yield f"sample {sample['position']} of {sample['training']}: step {sample['step']}; {sample['certainty']}"
    yield f"photo {photo['key']}: {photo['name']}, {photo['width']}x{photo['height']}, {photo['bytes']:,} bytes"
    yield f"  sha256 {photo['sha256']}"
    source, licence = (photo[name] or "not stated" for name in ("source", "licence"))
    yield f"  source {source}; licence {licence}; {photo['url'] or 'no URL'}"
    quality = "not judged" if photo["quality"] is None else f"{photo['quality']:.1f} by {photo['quality_metric']}"
    alone = photo["group"] in ("", photo["key"])
    yield f"  quality {quality}; {'no near-duplicate before it' if alone else 'near-duplicate of ' + photo['group']}"
    if place is None:
        yield "is not in the data set"
    else:
        where = f"{place['dataset']}/{place['shard']} at byte {place['photo_offset']}"
        yield f"lies in {where}, row {place['row']} of the index"
        yield f"  the shard's sha256 {place['shard_sha256']}"
    if parent := lineage.get("dataset", {}).get("parent"):
        yield f"  the data set is a version made of {parent}"
    for stage in lineage["stages"]:
        why = f": {stage['reason']} {stage['detail']}".rstrip() if stage["reason"] else ""
        noticed = ", ".join(f"{what} {count}" for what, count in stage["noticed"].items())
        yield f"stage {stage['stage']}: {stage['outcome']}{why}{f' ({noticed})' if noticed else ''}, in {stage['part']}"
    if not lineage["stages"]:
        yield "stages: the folder of the build is not beside the data set (--run names it)"
    for region in lineage["regions"]:
        yield from _region_lines(region)
    for judged in lineage["judgements"]:
        told = {n: v for n, v in judged.items() if n not in ("line", "when", "who", "act", "key", "undone", "dataset")}
        undone = ", taken back" if judged["undone"] else ""
        said = json_text(told) if len(json_text(told)) < 300 else f"{json_text(told)[:300]}..."
        yield f"judged {judged.get('when')} by {judged.get('who')}: {judged.get('act')} {said}{undone}"


def _region_lines(region: dict[str, Any]) -> Iterator[str]:
    ranked = (
        f"rank {region['subject_rank']}, {region['subject_count']} times" if region["subject_rank"] else "not ranked"
    )
    yield f"region {region['number']} ({region['id']}): {region['caption']!r}, subject {region['subject']!r} ({ranked})"
    x, y, width, height = region["box_xywh"]
    bokeh = ", bokeh" if region["bokeh"] else ""
    yield f"  {region['area']:.1%} of the photo, {width}x{height} px at {x}, {y}{bokeh}"
    if agreement := region["agreement"]:
        yield f"  agreement of caption and pixels {agreement['score']:.1f} by {agreement['model']}"
    pieces = region["pieces"]
    yield f"  merged from {len(pieces)} pieces" if pieces[1:] else "  one piece, nothing merged"
    for number, piece in enumerate(pieces, 1):
        yield f"  piece {number}: mask by {piece['segmenter']}, {piece['area']:.1%} of the photo"
        if piece["description"]:
            yield f"    described by {piece['describer'] or 'unnamed'}: {piece['description']!r}"
        for answer in piece["answers"]:
            who = " ".join(each for each in (answer["model"], answer["revision"]) if each)
            prompt = f", prompt {answer['prompt']}" if answer["prompt"] else ""
            faults = f" (faulty: {answer['faults']})" if answer["faults"] else ""
            rounds = f"round {answer['round']}" if answer["round"] else "given"
            said = f"{answer['noun_phrase']!r}, {answer['subject']!r}{faults}"
            yield f"    {rounds} by {who}{prompt}: {said}"
