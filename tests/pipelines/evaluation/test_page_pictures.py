from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from instructrestore.pipelines.evaluation.page.page import page_bytes
from instructrestore.pipelines.evaluation.page.pictures import encoded, outline, view_of
from instructrestore.pipelines.evaluation.page.shown import ShownPhoto
from instructrestore.pipelines.evaluation.tables.report import report_of
from tests.pipelines.evaluation.page_by_hand import OTHER, SWEPT, evaluated_of, key_of


def test_the_page_stays_small_whatever_the_photos() -> None:
    noise = np.random.default_rng(0)
    loud = [Image.fromarray(noise.integers(0, 256, (320, 320, 3), dtype=np.uint8)) for _ in range(4)]
    for limit in (400_000, 100_000):
        files = encoded(loud, limit)
        assert limit / 3 < sum(map(len, files)) <= limit
        opened = [Image.open(io.BytesIO(file)) for file in files]
        assert len({picture.size for picture in opened}) == 1
        assert all(picture.quantization == opened[0].quantization for picture in opened)  # type: ignore[attr-defined]
    assert Image.open(io.BytesIO(encoded([Image.new("RGB", (3000, 1500))])[0])).size == (1024, 512)
    evaluated = evaluated_of(3)
    shown = []
    for k in range(3):
        rgb = [Image.fromarray(noise.integers(0, 256, (512, 512, 3), dtype=np.uint8)) for _ in range(8)]
        titles = [method.title for method in (*SWEPT, OTHER)]
        results = tuple(zip(titles, rgb[2:], strict=True))
        shown.append(ShownPhoto(key_of(k), "p", "c", rgb[0], rgb[1], np.ones((512, 512), bool), results))
    assert len(page_bytes(evaluated, report_of(evaluated), shown)) < 12_500_000


def test_an_outline_runs_along_the_region_and_round_its_holes() -> None:
    mask = np.zeros((100, 200), bool)
    assert outline(mask) == ""
    mask[20:60, 0:90] = True  # at the photo's edge
    mask[30:40, 20:40] = False
    rings = [
        np.array([point.split() for point in ring.split("L")], float) for ring in re.findall("M([^Z]*)Z", outline(mask))
    ]
    assert len(rings) == 2
    np.testing.assert_allclose([rings[0].min(0), rings[0].max(0)], [(0, 20), (90, 60)], atol=1)
    np.testing.assert_allclose([rings[1].min(0), rings[1].max(0)], [(20, 30), (40, 40)], atol=1)


@pytest.mark.parametrize(
    "box", [(0, 0, 10, 10), (190, 90, 200, 100), (40, 20, 160, 60), (0, 0, 200, 100), (7, 3, 8, 4)]
)
def test_the_view_holds_the_region(box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    mask = np.zeros((100, 200), bool)
    mask[top:bottom, left:right] = True
    view = view_of(mask)
    share = 1 / view.zoom
    slack = 1e-3
    assert 1 <= view.zoom <= 8
    assert -slack <= view.left <= left / 200 + slack and right / 200 <= view.left + share + slack <= 1 + 2 * slack
    assert -slack <= view.top <= top / 100 + slack and bottom / 100 <= view.top + share + slack <= 1 + 2 * slack
    assert view_of(np.zeros((5, 5), bool)).zoom == 1
