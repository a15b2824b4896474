"""A data set whose texts are attacks: every text that comes from data is one, in turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import Agreement, AnnotatedPhoto, Answer, Correction, Photo, Region
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset

ATTACKS = {
    "script": "<script>alert(1)</script>",
    "element": "<img src=https://evil.example/x onerror=alert(1)>",
    "attribute": "\" onmouseover='alert(1)' x=\"`",
    "end of an element": "</title></style></script></textarea><svg/onload=alert(1)>",
    "comment": "--><!--<b>",
    "formula": "=cmd|' /C calc'!A0",
    "sum": '+1+1|A";=1',
    "minus": '-2+3,"x\n=1',
    "at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "tab": "\t=1+1",
    "lines": "a\r\nb\n\n## c\n---\n- d\n1. e\n    f",
    "escape": "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b1A",
    "nul": "a\x00b\x08\x7f",
    "order": "photo\u202egpj.exe\u2066x\u2028y\u2029z",
    "link": "[x](javascript:alert(1)) <https://evil.example> ![p](https://evil.example/p.png)",
    "reference": "[a]: https://evil.example 'x'",
    "table": "a | b || `c` | *d* ~~e~~ $x$ &lt; &#60; #",
    "front matter": "---\nlicense: mit\n...\n{a: [b, !!python/object/apply:os.system ['id']]} # \"'",
    "path": "../../../etc/passwd",
    "windows": "..\\..\\CON:stream",
    "address": "javascript:alert(1)//file:///etc/passwd",
    "template": "{{7*7}}${7*7}#{7*7}<%= 7*7 %>%(x)s{0.__class__}$name $$",
    "markup": "[bold red]x[/] [link=https://evil.example]y[/link] [/nothing]",
    "letters": "Doré 犬 👩\u200d🚀 e" + "\u0301" * 60,
    "long": "very " * 2000,
    "long word": "W" * 10_000,
}
PHOTOS = 6


def hostile_samples(attacks: Mapping[str, str] = ATTACKS) -> list[tuple[AnnotatedPhoto, NDArray[np.uint8]]]:
    """Photos with regions, of which each attack is the caption of one and the subject of another. The first photos have
    what leads out of a cell, a line or an element in the name of their quality score too, which cards and reports
    compose sentences with."""
    texts, samples = list(attacks.values()), []
    said = cycle(texts)
    regions = -(-len(texts) // PHOTOS)
    metrics = cycle(attacks[name] for name in ("link", "element", "lines"))
    for seed in range(PHOTOS):
        known = {name: next(said) for name in ("name", "source", "licence", "url")}
        photo, rgb = photo_of(seed, 96, 64, **known, quality_metric=next(metrics))
        found = [_region(photo, texts, seed * regions + place, place) for place in range(regions)]
        samples.append((AnnotatedPhoto(photo, tuple(found)), rgb))
    return samples


def _region(photo: Photo, texts: list[str], number: int, place: int) -> Region:
    caption, subject, other = (texts[(number + step) % len(texts)] for step in (0, 7, 11))
    region = region_of(photo, 4 * place, 4 * place, 40, 40, caption, subject, bokeh=place == 1)
    answer = Answer(other, other, 1, caption, subject, other)
    piece = replace(region.pieces[0], segmenter=other, describer=other, description=other, answers=(answer,))
    corrections = (Correction(other, other, other),) if place == 0 else None
    return replace(region, pieces=(piece,), agreement=Agreement(50.0, other), corrections=corrections)


def write_hostile(folder: Path, attacks: Mapping[str, str] = ATTACKS) -> Dataset:
    """Its configuration is hostile too, with the entries that the card makes sentences of."""
    texts = list(attacks.values())
    configuration: dict[str, Any] = {
        name: {text: [text, {text: text}] for text in texts} for name in ("sources", "masks", texts[0])
    }
    configuration["revised"] = {
        "parent": {"name": attacks["link"], "sha256": attacks["element"]},
        "changes": [{"act": text, "key": text, "region": text, "who": text, "when": text} for text in texts],
    }
    configuration["held_back"] = [{"licence": text, "reason": text, "photos": 1} for text in texts]
    return write_dataset(folder, hostile_samples(attacks), configuration)
