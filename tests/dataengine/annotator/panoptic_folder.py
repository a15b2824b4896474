"""A panoptic data set of drawn photos: a sky over grass, each its own colour, in COCO's layout."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from instructrestore.dataengine.annotator.panoptic import PanopticPhoto, read_panoptic

SKY, GRASS = 187, 193  # COCO's numbers


def panoptic_folder(folder: Path, photos: int = 2, side: int = 128) -> list[PanopticPhoto]:
    """Writes it to `folder` and reads it."""
    for name in ("photos", "pngs"):
        (folder / name).mkdir(parents=True)
    images, annotations = [], []
    for number in range(photos):
        random = np.random.default_rng(number)
        rgb = np.zeros((side, side, 3), np.uint8)
        horizon = side // 2 + 8 * number
        rgb[:horizon], rgb[horizon:] = (90, 150, 230), (60, 140, 40)
        rgb = np.clip(rgb + random.normal(0, 8, rgb.shape), 0, 255).astype(np.uint8)
        segments = np.zeros((side, side, 3), np.uint8)  # BGR: blue the highest, red the lowest of the number's bytes
        segments[:horizon, :, 2], segments[horizon:, :, 1] = 7, 1  # 7 and 256
        cv2.imwrite(str(folder / "photos" / f"{number:03d}.png"), rgb[..., ::-1])
        cv2.imwrite(str(folder / "pngs" / f"{number:03d}-a.png"), segments)
        images.append({"id": number, "file_name": f"{number:03d}.png"})
        info = [{"id": 7, "category_id": SKY, "iscrowd": 0}, {"id": 256, "category_id": GRASS, "iscrowd": 0}]
        annotations.append({"image_id": number, "file_name": f"{number:03d}-a.png", "segments_info": info})
    categories = [{"id": SKY, "name": "sky-other-merged"}, {"id": GRASS, "name": "grass-merged"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(content))
    return read_panoptic(folder / "panoptic.json", folder / "pngs", folder / "photos")
