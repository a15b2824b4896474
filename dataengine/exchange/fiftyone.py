"""FiftyOne: metadata.json, samples.json and data/, as its importer of LegacyFiftyOneDataset reads them.

    fiftyone.Dataset.from_dir("FOLDER", dataset_type=fiftyone.types.LegacyFiftyOneDataset)

A region is a Detection of the field `regions`: its label the subject, its mask the part inside its bounding box, its
caption, bokeh flag and agreement score attributes.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections import Counter
from typing import Any

import numpy as np

from instructrestore.dataengine.exchange.json_lists import JsonLists
from instructrestore.dataengine.exchange.layout import ALL, ANSWERS, PIECES, Exported, photo_name, write_photo
from instructrestore.shards.rle import BoolArray
from instructrestore.shards.sample import AnnotatedPhoto, Region


class FiftyOneLayout:
    """Holds masks that overlap, exactly, and what is known of the photo."""

    holds = ALL - {PIECES, ANSWERS}

    def __init__(self, exported: Exported) -> None:
        self._exported = exported
        self._json = JsonLists(exported.folder / "samples.json", "samples")

    def add(self, sample: AnnotatedPhoto, data: bytes) -> Counter[str]:
        photo = sample.photo
        write_photo(self._exported.folder / "data", photo, data)
        self._json.add(
            "samples",
            {
                "filepath": f"data/{photo_name(photo)}",
                "tags": [],
                "metadata": None,
                "_media_type": "image",
                "key": photo.key,
                "sha256": photo.sha256,
                "name": photo.name,
                "source": photo.source,
                "licence": photo.licence,
                "url": photo.url,
                "group": photo.group,
                "quality": photo.quality,
                "quality_metric": photo.quality_metric,
                "regions": {"_cls": "Detections", "detections": [_detection(region) for region in sample.regions]},
            },
        )
        return Counter()

    def finish(self) -> None:
        self._json.finish()
        metadata = JsonLists(self._exported.folder / "metadata.json", "classes")
        for subject in self._exported.subjects:
            metadata.add("classes", subject)
        metadata.finish(name=self._exported.name, media_type="image", info={})


def _detection(region: Region) -> dict[str, Any]:
    mask = region.mask
    left, top, width, height = mask.box()
    inside = mask.array()[top : top + height, left : left + width]
    found = {
        "_cls": "Detection",
        "tags": [],
        "label": region.subject,
        # Shares of the photo's sides, from its top left corner.
        "bounding_box": [left / mask.width, top / mask.height, width / mask.width, height / mask.height],
        "mask": {"$binary": {"base64": serialised(inside), "subType": "00"}},
        "caption": region.caption,
        "bokeh": region.bokeh,
    }
    if region.agreement:
        found |= {"agreement": region.agreement.score, "agreement_model": region.agreement.model}
    return found


def serialised(mask: BoolArray) -> str:
    """An array as FiftyOne keeps it: NumPy's own file without pickles, by zlib, in base 64."""
    file = io.BytesIO()
    np.save(file, mask, allow_pickle=False)
    return base64.b64encode(zlib.compress(file.getvalue())).decode("ascii")
