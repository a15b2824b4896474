"""Label Studio: FOLDER/tasks.json with a prediction a photo, FOLDER/config.xml, the labelling interface that shows
them, and FOLDER/images/, which Label Studio serves as local files.

A region is a brush mask whose label is the subject, with a caption and a bokeh flag beside it (`perRegion`). Its id
is the region's name, so that what comes back can be told from what went out.
"""

from __future__ import annotations

import html
from collections import Counter
from typing import Any

from instructrestore.dataengine.exchange.json_lists import JsonLists
from instructrestore.dataengine.exchange.layout import (
    BOKEH,
    CAPTIONS,
    HASHES,
    LICENCES,
    SUBJECTS,
    URLS,
    Exported,
    photo_name,
    write_photo,
)
from instructrestore.dataengine.judging.judgement import region_id
from instructrestore.dataengine.sources.brush_rle import encode
from instructrestore.dataengine.sources.label_studio import IMAGE, IS_BOKEH, LOCAL_FILES
from instructrestore.shards.plain_text import visible_line
from instructrestore.shards.sample import AnnotatedPhoto, Region

BRUSH, CAPTION, BOKEH_FLAG = "brush", "caption", "bokeh"  # what the interface calls its controls


class LabelStudioLayout:
    """Holds masks that overlap, exactly. A photo's key, licence and address are fields of its task."""

    holds = frozenset((CAPTIONS, SUBJECTS, BOKEH, LICENCES, URLS, HASHES))

    def __init__(self, exported: Exported) -> None:
        self._exported = exported
        self._json = JsonLists(exported.folder / "tasks.json", "tasks", only=True)

    def add(self, sample: AnnotatedPhoto, data: bytes) -> Counter[str]:
        photo = sample.photo
        write_photo(self._exported.folder / "images", photo, data)
        results: list[dict[str, Any]] = []
        names: set[str] = set()
        for region in sample.regions:
            if (name := region_id(region)) not in names:  # an equal region has the same name, and nothing of its own
                names.add(name)
                results += _results(region, name)
        told = {"key": photo.key, "sha256": photo.sha256, "licence": photo.licence, "url": photo.url}
        self._json.add(
            "tasks",
            {
                "data": {IMAGE: f"{LOCAL_FILES}images/{photo_name(photo)}", **told},
                "predictions": [{"model_version": "instructrestore", "result": results}],
            },
        )
        return Counter()

    def finish(self) -> None:
        self._json.finish()
        labels = "".join(f'    <Label value="{html.escape(label_of(each))}"/>\n' for each in self._exported.subjects)
        (self._exported.folder / "config.xml").write_text(_CONFIG.format(labels=labels), "utf-8")


def label_of(subject: str) -> str:
    """A subject as the label that stands in XML: without what XML cannot hold."""
    return visible_line(subject).replace("\ufffe", "").replace("\uffff", "")


def _results(region: Region, name: str) -> list[dict[str, Any]]:
    told: dict[str, Any] = {
        "id": name,
        "to_name": IMAGE,
        "original_width": region.mask.width,
        "original_height": region.mask.height,
        "image_rotation": 0,
    }
    rle = {"format": "rle", "rle": encode(region.mask.array()), "brushlabels": [label_of(region.subject)]}
    found = [
        {**told, "from_name": BRUSH, "type": "brushlabels", "value": rle},
        {**told, "from_name": CAPTION, "type": "textarea", "value": {"text": [region.caption]}},
    ]
    if region.bokeh:
        found.append({**told, "from_name": BOKEH_FLAG, "type": "choices", "value": {"choices": [IS_BOKEH]}})
    return found


_CONFIG = f"""<View>
  <Image name="{IMAGE}" value="${IMAGE}" zoom="true" zoomControl="true"/>
  <BrushLabels name="{BRUSH}" toName="{IMAGE}">
{{labels}}  </BrushLabels>
  <TextArea name="{CAPTION}" toName="{IMAGE}" perRegion="true" editable="true" maxSubmissions="1"
            placeholder="a noun phrase, such as: the red boat"/>
  <Choices name="{BOKEH_FLAG}" toName="{IMAGE}" perRegion="true" choice="multiple">
    <Choice value="{IS_BOKEH}"/>
  </Choices>
</View>
"""
