"""The data set card: `README.md` as Hugging Face reads it (its text in `card.md`), and Croissant metadata.

Both follow from `dataset.json`, the statistics and the annotations' counts alone, without a clock: equal builds give
equal bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files
from string import Template
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pyarrow as pa

from instructrestore.dataengine.judging.accuracy import Accuracy
from instructrestore.dataengine.judging.version import REVISED
from instructrestore.dataengine.reporting import annotation_counts, stated_accuracy
from instructrestore.dataengine.reporting.index_totals import NOT_STATED
from instructrestore.dataengine.reporting.sharing import conditions
from instructrestore.dataengine.reporting.statistics import PUBLISHED, Count, Statistics, quality_text
from instructrestore.shards.checksums import add_checksums, sha256
from instructrestore.shards.files import commit
from instructrestore.shards.index import INDEX_SCHEMA, DatasetCard
from instructrestore.shards.paths import Place
from instructrestore.shards.plain_text import json_text, markdown_text, yaml_text
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import AnnotatedPhoto

# Creative Commons and other licences under the names that Hugging Face knows.
_CREATIVE_COMMONS = {f"cc-{terms}-{version}" for terms in ("by", "by-nc") for version in ("2.0", "3.0", "4.0")} | {
    *("cc-by-2.5", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
    *("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc0-1.0"),
}
_OTHER_LICENCES = {"mit", "apache-2.0", "pddl", "odbl", "odc-by", "unlicense", "wtfpl", "openrail"}

_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))

_COLOUR_MASKS = (
    "Masks, where a source brought none of its own, come from the embedded segmenter by colour, which groups pixels by "
    "colour and texture. It finds coarse regions of even look; it knows no objects, so one object may be split, "
    "and parts of two objects joined."
)
_COLOUR_WORDS = (
    "Descriptions, where a source brought none of its own, come from the embedded describer by colour. It says what "
    "colour, texture, size and place show; it names no objects, and never says what a thing is or does."
)
# What the annotators without downloads can and cannot do, by the section of the configuration and what is chosen there;
# "embedded" is what version 0.1 called "colour".
_EMBEDDED_LIMITS = {
    "quality_gate": {
        "brisque": "The photos were scored by BRISQUE, which was fitted to people's judgement of blurred, noisy and "
        "compressed photos, in each photo's most detailed parts. It hardly sees faint noise, it knows nothing of "
        "composition or content, and it is not MUSIQ.",
        "embedded": "The photos were scored by the embedded measure of sharpness and noise. It tells blurred, noisy "
        "and heavily compressed photos from clean ones; it knows nothing of composition or content, and it is not "
        "MUSIQ.",
    },
    "masks": {
        "named": "Masks, where a source brought none of its own, come from the embedded annotator, a small network "
        "that knows 133 names. It keeps what it is sure of, so much of a photo has no region; things of one name that "
        "touch are one region; about one region in six has a wrong name or outline.",
        "colour": _COLOUR_MASKS,
        "embedded": _COLOUR_MASKS,
    },
    "descriptions": {
        "named": "Descriptions, where a source brought none of its own, come from the embedded annotator: a name out "
        "of 133, with colour and place where these are certain. It knows no actions, no parts and no proper names.",
        "colour": _COLOUR_WORDS,
        "embedded": _COLOUR_WORDS,
    },
    "noun_phrases": {
        "grammar": "Noun phrases and subjects were parsed by the embedded grammar, by rules of English. It reads "
        "short descriptions well; it may take the wrong head in long or unusual sentences.",
    },
}

_MEDIA_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_FEATURE_TYPES = {str: "string", int: "int64", float: "float64", bool: "bool"}
_CROISSANT_TYPES: dict[pa.DataType, str] = {
    pa.string(): "sc:Text",
    pa.int32(): "sc:Integer",
    pa.int64(): "sc:Integer",
    pa.float64(): "sc:Float",
    pa.bool_(): "sc:Boolean",
}
_COLUMNS = {
    "shard": "file name of the shard",
    "key": "the photo's name in the shard: the first 20 hex digits of the source's sha256",
    "format": "jpg, png or webp",
    "photo_offset": "bytes from the shard's start to the photo",
    "photo_bytes": "size of the encoded photo",
    "json_offset": "bytes from the shard's start to the record",
    "json_bytes": "size of the record",
    "width": "upright width in pixels",
    "height": "upright height in pixels",
    "quality": "no-reference quality score, 0 to 100",
    "group": "key of the first photo of the near-duplicate group",
    "source": "the source the photo came from",
    "licence": "as the source states it",
    "url": "as the source states it",
    "region_count": "regions of the photo",
    "captions": "each region's noun phrase",
    "subjects": "each region's subject",
    "areas": "each region's share of the photo, 0 to 1",
    "bokeh": "whether the region is sharp and its surroundings blurred",
}


def write_card(
    folder: Place,
    card: DatasetCard,
    stats: Statistics,
    found: Sequence[annotation_counts.Annotations] = (),
    accuracy: Accuracy | None = None,
) -> None:
    """Writes `README.md` and `croissant.json` into the data set's folder, and adds them to its checksums. found: what
    became of the annotations of its sources. accuracy: as people judged it, or the version that it was made from."""
    content = json_text(_croissant(card, stats), indent=2) + "\n"
    files = {"README.md": _readme(card, stats, found, accuracy), "croissant.json": content}
    encoded = {name: text.encode("utf-8", "replace") for name, text in files.items()}
    for name, data in encoded.items():
        commit(folder / name, data)
    add_checksums(folder, {name: sha256(data) for name, data in encoded.items()})


def hub_licence(licence: str) -> str:
    """Hugging Face's name of a licence that is given by its name, its SPDX identifier or a Creative Commons URL;
    "unknown" if none is stated and "other" if Hugging Face has no name for it."""
    text = licence.strip().casefold()
    if text in ("", NOT_STATED):
        return "unknown"
    if match := re.search(r"creativecommons\.org/(licenses/([a-z-]+)/([\d.]+)|publicdomain/zero/1\.0)", text):
        text = f"cc-{match[2]}-{match[3]}" if match[2] else "cc0-1.0"
    name = re.sub(r"[\s_]+", "-", text)
    return name if name in _CREATIVE_COMMONS | _OTHER_LICENCES else "other"


def _readme(
    card: DatasetCard,
    stats: Statistics,
    found: Sequence[annotation_counts.Annotations],
    accuracy: Accuracy | None,
) -> str:
    rows = [
        (
            markdown_text(r.name),
            f"{r.annotations:,}",
            r.min_resolution,
            r.max_resolution,
            markdown_text(quality_text(r)),
        )
        for r in (*PUBLISHED, stats.table_1)
    ]
    metric = stats.table_1.metric
    comparable = metric in ("", "MUSIQ")
    duplicates = stats.near_duplicates
    return Template(files("instructrestore.dataengine.reporting").joinpath("card.md").read_text("utf-8")).substitute(
        front_matter=_front_matter(card, stats),
        title=markdown_text(card.name),
        photos=f"{card.photos:,}",
        regions=f"{card.regions:,}",
        bokeh=f"{stats.bokeh_share:.1%}",
        table_1=_markdown(("data set", "annotations", "min resolution", "max resolution", "mean quality"), rows),
        quality_note=""
        if comparable
        else f"The {markdown_text(metric)} is another metric: its figures are not comparable to it.",
        shards=_markdown(
            ("shard", "photos", "regions", "bytes"),
            [(shard.name, f"{shard.photos:,}", f"{shard.regions:,}", f"{shard.bytes:,}") for shard in card.shards],
        ),
        duplicates=f"Here {duplicates.photos:,} photos are in {duplicates.groups:,} groups of two or more."
        if duplicates.groups
        else "Here no photo has a near-duplicate.",
        annotation=_annotation(card.configuration),
        lost=_lost(found),
        revised=_revised(card.configuration.get(REVISED)),
        accuracy=_accuracy(card, accuracy),
        licences=_markdown(("licence", "photos", "share"), _count_rows(stats.licences)) + _sharing(card, stats),
        sources=_markdown(("source", "photos", "share"), _count_rows(stats.sources)),
    )


def _front_matter(card: DatasetCard, stats: Statistics) -> str:
    """YAML with each value as JSON, which is valid YAML: no name can break out of its quotes."""
    content = {
        "pretty_name": card.name,
        "license": sorted({hub_licence(entry.name) for entry in stats.licences}) or ["unknown"],
        "task_categories": ["image-to-image", "image-segmentation"],
        "language": ["en"],
        "tags": ["image-restoration", "region-captions", "webdataset", "instructrestore"],
        "size_categories": [next((name for limit, name in _SIZES if card.photos < limit), "n>10M")],
        "dataset_info": {"features": _features(stats)},
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "*.tar"}]}],
    }
    return "\n".join(f"{key}: {yaml_text(value)}" for key, value in content.items())


def _features(stats: Statistics) -> list[dict[str, Any]]:
    """The columns in the notation of Hugging Face datasets, which would otherwise guess them from the first photos of
    the first shard: other shards have other formats, and a field that is null there may hold a number later."""
    photos = [{"name": entry.name, "dtype": "image"} for entry in sorted(stats.formats, key=lambda entry: entry.name)]
    text = [{"name": name, "dtype": "string"} for name in ("__key__", "__url__")]
    return [*photos, {"name": "json", "struct": _struct(AnnotatedPhoto)}, *text]


def _struct(record: type) -> list[dict[str, Any]]:
    return [{"name": name, **_feature(hint)} for name, hint in get_type_hints(record).items() if name[0] != "_"]


def _feature(hint: Any) -> dict[str, Any]:
    """The notation of a field's type: text, numbers, records, and tuples, literals and optionals of those."""
    if hint is Mask:  # as COCO's object has it
        return {"struct": [{"name": "size", "list": "int64"}, {"name": "counts", "dtype": "string"}]}
    if hint in _FEATURE_TYPES:
        return {"dtype": _FEATURE_TYPES[hint]}
    if get_origin(hint) is Literal:
        return _feature(type(get_args(hint)[0]))
    if get_origin(hint) is tuple:
        inner = _feature(get_args(hint)[0])
        return {"list": inner.get("struct") or inner["dtype"]}
    if options := [option for option in get_args(hint) if option is not type(None)]:
        return _feature(options[0])
    return {"struct": _struct(hint)}


def _annotation(configuration: dict[str, Any]) -> str:
    used = set(_chosen(configuration))
    limits = dict.fromkeys(text for of in _EMBEDDED_LIMITS.values() for text in of.values() if text in used)
    lines = [f"- {text}" for text in limits]
    lines.append("- The whole configuration is in `dataset.json`, and each record says which model made what.")
    return "\n".join(lines)


def _lost(found: Sequence[annotation_counts.Annotations]) -> str:
    if not found:
        return ""
    table = _markdown(annotation_counts.HEAD, [tuple(map(markdown_text, row)) for row in annotation_counts.rows(found)])
    return f"\nWhat became of the sources' own annotations, by stage. {annotation_counts.SUM}\n\n{table}\n"


def _sharing(card: DatasetCard, stats: Statistics) -> str:
    """What the licences ask of whoever passes the photos on, and which photos of the data set are not in this one."""
    lines = conditions((entry.name, entry.count) for entry in stats.licences)
    for held in card.configuration.get("held_back", ()):
        licence = f" ({markdown_text(held['licence'])})" if held["licence"] else ""
        lines.append(f"{held['photos']:,} photos of the data set that this was made of are held back: "
                     f"{markdown_text(held['reason'])}{licence}.")  # fmt: skip
    return "\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def _revised(lineage: Any) -> str:
    """What a version was made from, as `judging.version` writes it; nothing for a data set that is none."""
    try:
        parent, changes = lineage["parent"], Counter(str(change["act"]) for change in lineage["changes"])
        name, sha256 = markdown_text(str(parent["name"])), markdown_text(str(parent["sha256"]))
    except (TypeError, KeyError):  # configurations may hold anything
        return ""
    counted = ", ".join(f"{markdown_text(act)} {count:,}" for act, count in sorted(changes.items())) or "nothing"
    return (
        f"\n## Version\n\nMade from {name} (sha256 of its `dataset.json`: {sha256}) by people's judgements. Changed: "
        f"{counted}. `dataset.json` lists every change, and each region's `corrections` say who made it.\n"
    )


def _accuracy(card: DatasetCard, accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return ""
    table = _markdown(stated_accuracy.HEAD, [tuple(map(markdown_text, row)) for row in stated_accuracy.rows(accuracy)])
    said = "\n\n".join(map(markdown_text, stated_accuracy.lines(accuracy, sha256(card.to_json()))))
    return f"\n## Accuracy\n\n{said}\n\n{table}\n"


def _chosen(configuration: dict[str, Any]) -> Iterator[str]:
    """The limits of the embedded annotators that the configuration chooses, at any depth."""
    for key, value in configuration.items():
        found = [_EMBEDDED_LIMITS[key].get(text) for text in _texts(value)] if key in _EMBEDDED_LIMITS else []
        if any(found):
            yield from filter(None, found)
        elif isinstance(value, dict):
            yield from _chosen(value)


def _texts(value: Any) -> list[str]:
    """All strings in plain JSON."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [text for part in inner for text in _texts(part)]


def _count_rows(counts: Sequence[Count]) -> list[tuple[str, ...]]:
    return [(markdown_text(entry.name), f"{entry.count:,}", f"{entry.share:.1%}") for entry in counts]


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "None."
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def _croissant(card: DatasetCard, stats: Statistics) -> dict[str, Any]:
    """Croissant 1.0 JSON-LD: every shard and the index with its sha256, and the index's columns as fields."""
    shards = [
        _file_object(entry.name, "application/x-tar", entry.sha256) | {"contentSize": f"{entry.bytes} B"}
        for entry in card.shards
    ]
    index = _file_object("index.parquet", "application/x-parquet", card.index_sha256)
    sets = [
        _file_set(f"{entry.name}-photos", f"*.{entry.name}", _MEDIA_TYPES[entry.name], shards, f"{entry.name}-")
        for entry in sorted(stats.formats, key=lambda entry: entry.name)
    ]
    sets += [_file_set("records", "*.json", "application/json", shards)] if shards else []
    licences = [entry.name for entry in stats.licences] or [NOT_STATED]
    return {
        "@context": _context(),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": card.name,
        "description": f"{card.photos} photos with {card.regions} regions, each a mask and a caption, for "
        "region-customised image restoration.",
        "version": f"{card.schema_version}.0.0",
        "license": licences,
        "keywords": ["image restoration", "region captions", "masks"],
        "citeAs": "InstructRestore: Region-Customized Image Restoration with Human Instructions, arXiv 2503.24357",
        "distribution": [*shards, index, *sets],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "photos",
                "name": "photos",
                "description": "A row per photo: where it lies in the shards, and its regions.",
                "key": {"@id": "photos/key"},
                "field": [_field(column) for column in INDEX_SCHEMA],
            }
        ],
    }


def _file_object(name: str, kind: str, sha256: str) -> dict[str, Any]:
    head = {"@type": "cr:FileObject", "@id": name, "name": name}
    return head | {"contentUrl": name, "encodingFormat": kind, "sha256": sha256}


def _file_set(name: str, pattern: str, kind: str, shards: list[dict[str, Any]], prefix: str = "") -> dict[str, Any]:
    """The members that match `pattern` in the shards whose names begin with `prefix`."""
    inside = [{"@id": shard["@id"]} for shard in shards if shard["@id"].startswith(prefix)]
    head = {"@type": "cr:FileSet", "@id": name, "name": name, "containedIn": inside}
    return head | {"encodingFormat": kind, "includes": pattern}


def _field(column: pa.Field) -> dict[str, Any]:
    many = pa.types.is_list(column.type)
    field = {
        "@type": "cr:Field",
        "@id": f"photos/{column.name}",
        "name": column.name,
        "description": _COLUMNS[column.name],
        "dataType": _CROISSANT_TYPES[column.type.value_type if many else column.type],
        "source": {"fileObject": {"@id": "index.parquet"}, "extract": {"column": column.name}},
    }
    return field | ({"repeated": True} if many else {})


def _context() -> dict[str, Any]:
    """The JSON-LD context that the Croissant 1.0 specification gives."""
    croissant = (
        "column citeAs conformsTo equivalentProperty extract field fileProperty fileObject fileSet format includes "
        "isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate "
        "separator source subField transform"
    )
    terms: dict[str, Any] = {name: f"cr:{name}" for name in croissant.split()}
    terms |= {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "sc": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "dct": "http://purl.org/dc/terms/",
        "conformsTo": "dct:conformsTo",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "examples": {"@id": "cr:examples", "@type": "@json"},
    }
    return dict(sorted(terms.items()))
