"""The report of a build for people: one self-contained HTML file, with its layout in `report.html` and `report.css`.

Nothing is fetched: pictures are data URIs, there is no script, and a content security policy forbids everything else,
which is why bars use SVG attributes and not inline styles. All text from data goes through `html_text`.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Sequence
from importlib.resources import files
from string import Template

import numpy as np
from PIL import Image
from wordcloud import WordCloud

from instructrestore.dataengine.judging.accuracy import Accuracy
from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.reporting import annotation_counts, drawing, stated_accuracy
from instructrestore.dataengine.reporting.statistics import (
    PUBLISHED,
    Count,
    Histogram,
    Statistics,
    histograms,
    quality_text,
)
from instructrestore.dataengine.running.stage_summary import StageSummary
from instructrestore.shards.files import commit
from instructrestore.shards.index import Dataset
from instructrestore.shards.paths import Place
from instructrestore.shards.plain_text import html_text
from instructrestore.shards.sample import AnnotatedPhoto

PICTURE_SIDE = 640
PICTURES_BYTES = 4_500_000  # of all JPEGs together; a third more as base64
SUBJECTS_SHOWN = 30
CLOUD_WORDS = 120
REASONS_SHOWN = 20
NAMES_SHOWN = 30


def write_report(
    path: Place,
    dataset: Dataset,
    stats: Statistics,
    summaries: Sequence[StageSummary],
    settings_toml: str,
    samples: int = 24,
    found: Sequence[annotation_counts.Annotations] = (),
    accuracy: Accuracy | None = None,
) -> None:
    """Writes the report to `path`, completely or not at all; a few MB at most.

    summaries: what each stage did, in order. settings_toml: the settings that reproduce the run. samples: photos
    shown, spread evenly over the data set. found: what became of the sources' annotations. accuracy: as
    people judged it.
    """
    sections = {"Stages": _funnel(summaries)} if summaries else {}
    sections |= {"Annotations": annotation_counts.html(found)} if found else {}
    sections |= {"Accuracy": stated_accuracy.html(accuracy, dataset.sha256)} if accuracy else {}
    if stats.photos:
        sections |= {
            "Table 1": _table_1(stats),
            "Subjects": _subjects(stats),
            "Histograms": f'<div class="columns">{"".join(map(_histogram, histograms(stats)))}</div>',
            "Licences and sources": '<div class="columns">'
            + _name_table("Licence", stats.licences)
            + _name_table("Source", stats.sources)
            + "</div>",
            "Near-duplicates": _near_duplicates(stats),
            "Samples": _samples(dataset, samples),
        }
    else:
        sections = {"Empty": "<p>No photo was kept: the data set is empty. The stages show why.</p>"} | sections
    sections["Settings"] = f'<pre tabindex="0">{html_text(settings_toml)}</pre>'
    style = files("instructrestore.dataengine.reporting").joinpath("report.css").read_text("utf-8")
    page = Template(
        files("instructrestore.dataengine.reporting").joinpath("report.html").read_text("utf-8")
    ).substitute(
        name=html_text(stats.name),
        style=style,
        style_hash="sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        headline=_headline(stats),
        nav="<nav><ul>"
        + "".join(f'<li><a href="#{_anchor(title)}">{title}</a></li>' for title in sections)
        + "</ul></nav>",
        sections="\n".join(
            f'<section id="{_anchor(title)}"><h2>{title}</h2>\n{content}</section>'
            for title, content in sections.items()
        ),
    )
    # A caption may contain a lone surrogate, which UTF-8 cannot represent.
    commit(path, page.encode("utf-8", "replace"))


def word_cloud(subjects: Sequence[Count], width: int = 560, height: int = 420) -> Image.Image | None:
    """The most common subjects by frequency (as in Fig. 3 of the paper) on a transparent background, the same picture
    for the same counts; None if there is no subject to draw."""
    words = {}
    for entry in subjects[:CLOUD_WORDS]:
        word = "".join(letter for letter in entry.name if letter.isprintable())[:40].strip()
        if word:
            words.setdefault(word, entry.count)
    if not words:
        return None
    palette = ("#1b7fc0", "#009e73", "#d55e00", "#b8609a", "#a97900", "#3b8fa6")  # readable on white and on black
    place = {word: number for number, word in enumerate(words)}
    cloud = WordCloud(
        width=width,
        height=height,
        scale=2,
        mode="RGBA",
        background_color=None,  # type: ignore[arg-type]
        random_state=1,
        prefer_horizontal=1.0,
        relative_scaling=0.5,  # type: ignore[arg-type]
        max_font_size=height // 5,
        color_func=lambda word, **_: palette[place[word] % len(palette)],
    )
    return cloud.generate_from_frequencies(words).to_image()


def _headline(stats: Statistics) -> str:
    figures = [
        ("Photos", f"{stats.photos:,}", ""),
        ("Regions", f"{stats.regions:,}", "one caption and mask each"),
        ("Subjects", f"{len(stats.subjects):,}", "distinct"),
        ("Bokeh", f"{stats.bokeh_share:.1%}", f"of the regions, in {stats.bokeh_photos:,} photos"),
        ("Near-duplicates", f"{stats.near_duplicates.groups:,}", f"groups, {stats.near_duplicates.photos:,} photos"),
    ]
    if stats.table_1.quality is not None:
        figures.insert(3, ("Mean quality", f"{stats.table_1.quality:.1f}", stats.table_1.metric))
    cells = (f"<div><dt>{n}</dt><dd>{v}<small>{html_text(note)}</small></dd></div>" for n, v, note in figures)
    return f'<dl class="figures">{"".join(cells)}</dl>'


def _funnel(summaries: Sequence[StageSummary]) -> str:
    rows = []
    for stage in summaries:
        dropped, failed = sum(stage.dropped.values()), sum(stage.failed.values())
        parts = {"ok": stage.ok, "dropped": dropped, "failed": failed}
        numbers = {"Input": stage.input, "Ok": stage.ok, "Dropped": dropped, "Failed": failed}
        cells = (f'<td class="number" data-label="{label}">{count:,}</td>' for label, count in numbers.items())
        reasons = {f"dropped, {reason}": count for reason, count in _largest(stage.dropped)}
        reasons |= {f"failed, {reason}": count for reason, count in _largest(stage.failed)}
        rows.append(
            f'<tr><th scope="row">{html_text(stage.name)}{_bar(parts, stage.input)}</th>{"".join(cells)}'
            f'<td class="reasons">{_reasons(reasons.items())}</td>'
            f'<td class="reasons" data-label="Inside the photos kept">{_reasons(_largest(stage.counts))}</td></tr>'
        )
    key = "".join(
        f'<span><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="{kind}" width="10" height="10"/></svg> '
        f"{kind}</span>"
        for kind in ("ok", "dropped", "failed")
    )
    head = "".join(
        f'<th scope="col">{title}</th>'
        for title in ("Stage", "Input", "Ok", "Dropped", "Failed", "Reasons", "Inside the photos kept")
    )
    table = f'<table class="funnel"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<p class="key">{key}</p><div class="wide" tabindex="0">{table}</div>'


def _largest(counts: dict[str, int]) -> list[tuple[str, int]]:
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    rest = ranked[REASONS_SHOWN:]
    return [*ranked[:REASONS_SHOWN], *([(f"{len(rest)} more", sum(c for _, c in rest))] if rest else [])]


def _reasons(counts: Iterable[tuple[str, int]]) -> str:
    items = "".join(f"<li>{html_text(reason)}: {count:,}</li>" for reason, count in counts)
    return f"<ul>{items}</ul>" if items else ""


def _samples(dataset: Dataset, samples: int) -> str:
    photos = dataset.card.photos
    rows = np.unique(np.linspace(0, photos - 1, min(samples, photos)).astype(int))
    figures = []
    for place in dataset.places(rows.tolist()):
        try:
            sample, encoded = dataset.read_at(place)
            rgb = photo_file.decode(encoded, sample.photo.width * sample.photo.height).rgb
            picture = drawing.overlay(rgb, sample, PICTURE_SIDE)
        except ValueError as error:
            figures.append(f"<figure><figcaption><p>{html_text(str(error))}</p></figcaption></figure>")
            continue
        figures.append(_figure(sample, picture, PICTURES_BYTES // len(rows)))
    note = f"{len(rows):,} of {photos:,} photos, spread evenly over the data set. A ringed number is a bokeh region."
    return f'<p class="note">{note}</p><div class="samples">{"".join(figures)}</div>'


def _figure(sample: AnnotatedPhoto, picture: Image.Image, max_bytes: int) -> str:
    photo = sample.photo
    items = []
    for number, (region, colour) in enumerate(
        zip(sample.regions, drawing.colours(len(sample.regions)), strict=True), 1
    ):
        swatch = f'<circle cx="5" cy="5" r="5" fill="rgb{colour}"/>'
        share = drawing.share_text(region.mask.area() / (photo.width * photo.height))
        fit = f", agreement {region.agreement.score:.0f}" if region.agreement else ""
        note = f"{html_text(region.subject)}, {share}{', bokeh' if region.bokeh else ''}{fit}"
        items.append(
            f'<li><svg viewBox="0 0 10 10" aria-hidden="true">{swatch}</svg><span class="order">{number}</span> '
            f"{html_text(region.caption)} <small>({note})</small></li>"
        )
    quality = "" if photo.quality is None else f", quality {photo.quality:.1f}"
    facts = f"{photo.name}, {photo.width}x{photo.height}{quality}, {photo.key}"
    source = _data_uri("jpeg", _jpeg(picture, max_bytes))
    size = f'width="{picture.width}" height="{picture.height}"'
    image = f'<img src="{source}" {size} alt="{html_text(photo.name)} with its regions coloured and numbered">'
    return (
        f"<figure>{image}<figcaption><p>{html_text(facts)}</p>"
        f'<ol class="regions">{"".join(items)}</ol></figcaption></figure>'
    )


def _jpeg(picture: Image.Image, max_bytes: int) -> bytes:
    """The picture as JPEG at the best of a few qualities that fits `max_bytes`, scaled down if none does."""
    while True:
        for quality in (82, 65, 45):
            file = io.BytesIO()
            picture.save(file, "jpeg", quality=quality, optimize=True)
            if file.tell() <= max_bytes or max(picture.size) < 64:
                return file.getvalue()
        picture = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.BOX)


def _table_1(stats: Statistics) -> str:
    titles = ("Data set", "Annotations", "Min resolution", "Max resolution", "Mean quality")
    rows = "".join(
        f'<tr{" class=ours" if row is stats.table_1 else ""}><th scope="row">{html_text(row.name)}</th>'
        + "".join(
            f'<td class="number">{html_text(cell)}</td>'
            for cell in (f"{row.annotations:,}", row.min_resolution, row.max_resolution, quality_text(row))
        )
        + "</tr>"
        for row in (*PUBLISHED, stats.table_1)
    )
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    note = "The published rows are Table 1 of the InstructRestore paper (arXiv 2503.24357); their quality is MUSIQ."
    if stats.table_1.quality is not None and stats.table_1.metric != "MUSIQ":
        note += f" The {stats.table_1.metric} of this data set is another metric: the figures are not comparable."
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="wide" tabindex="0">{table}</div><p class="note">{html_text(note)}</p>'


def _subjects(stats: Statistics) -> str:
    shown = stats.subjects[:SUBJECTS_SHOWN]
    rows = [(f"{rank}. {s.name}", s.count, f"{s.count:,} ({s.share:.1%})") for rank, s in enumerate(shown, 1)]
    table = _bar_table(f"The {len(rows)} most common of {len(stats.subjects):,} subjects", rows, "names")
    cloud = word_cloud(stats.subjects)
    if cloud is None:
        return table
    file = io.BytesIO()
    cloud.save(file, "png", optimize=True)
    size = f'width="{cloud.width}" height="{cloud.height}"'
    image = f'<img class="cloud" src="{_data_uri("png", file.getvalue())}" {size} alt="Word cloud of the subjects">'
    return f'<div class="columns"><div>{image}</div>{table}</div>'


def _histogram(histogram: Histogram) -> str:
    title = f"{histogram.what.capitalize()} by {histogram.of}"
    return _bar_table(title, [(label, count, f"{count:,}") for label, count in histogram.filled()])


def _name_table(title: str, counts: Sequence[Count]) -> str:
    rows = [(entry.name, entry.count, f"{entry.count:,} ({entry.share:.1%})") for entry in counts[:NAMES_SHOWN]]
    if rest := counts[NAMES_SHOWN:]:
        total = sum(entry.count for entry in rest)
        rows.append((f"{len(rest):,} more", total, f"{total:,} ({sum(entry.share for entry in rest):.1%})"))
    return _bar_table(f"{title}, photos", rows, "names")


def _bar_table(title: str, rows: Sequence[tuple[str, int, str]], kind: str = "") -> str:
    """rows: label, value, and the value as text."""
    longest = max((value for _, value, _ in rows), default=0)
    body = "".join(
        f'<tr><th scope="row">{html_text(label)}</th><td>{_bar({"value": value}, longest)}</td>'
        f'<td class="number">{html_text(text)}</td></tr>'
        for label, value, text in rows
    )
    return f'<div><table class="bars {kind}"><caption>{html_text(title)}</caption><tbody>{body}</tbody></table></div>'


def _bar(parts: dict[str, int], whole: int) -> str:
    """A bar of coloured parts, by class, out of `whole`. Hidden from screen readers: the figures are next to it."""
    rects, left = ['<rect class="track" width="100" height="10"/>'], 0.0
    for kind, value in parts.items():
        width = 100 * value / whole if whole else 0.0
        rects.append(f'<rect class="{kind}" x="{left:.2f}" width="{width:.2f}" height="10"/>')
        left += width
    drawn = "".join(rects)
    return f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{drawn}</svg>'


def _near_duplicates(stats: Statistics) -> str:
    found = stats.near_duplicates
    if not found.groups:
        return "<p>No two photos are near-duplicates of each other.</p>"
    return (
        f"<p>{found.photos:,} photos are in {found.groups:,} groups of near-duplicates; the largest has "
        f"{found.largest:,}. Every record names its group: if you split by group, no validation photo has a "
        "near-duplicate in training.</p>"
    )


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")
