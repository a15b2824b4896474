"""Evaluations made by hand with real photos, and their pages."""

from __future__ import annotations

import base64
import io
from functools import cache

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter
from skimage import data

from instructrestore.pipelines.evaluation.methods.method import OURS, SCORE_COLUMNS, Evaluation, Method
from instructrestore.pipelines.evaluation.page.page import page_bytes
from instructrestore.pipelines.evaluation.page.shown import ShownPhoto, choose_photos
from instructrestore.pipelines.evaluation.tables.report import report_of

ATTACK = "<img src=x onerror=alert(1)>"
SWEPT = tuple(Method(OURS, "model", s1, 1.0) for s1 in (0.5, 0.7, 0.8, 0.9, 1.1))
LQ, OTHER = Method("LQ", "runner"), Method("SeeSR", "results")
METHODS = (LQ, *SWEPT, OTHER)


def evaluated_of(
    photos: int,
    methods: tuple[Method, ...] = METHODS,
    name: str = "photo",
    caption: str = "the cup",
    bokeh: bool = False,
) -> Evaluation:
    """Photo k is k dB better than photo 0 by every method, and s1 raises the target by 10 dB and the rest by 1."""
    rows = []
    for method in methods:
        for k in range(photos):
            s1 = method.s1 or 0.0
            figures = {
                ("target", "psnr"): 20 + k + 10 * s1,
                ("remaining", "psnr"): 25 + k + s1,
                ("full", "psnr"): 22 + k + 5 * s1,
                ("target", "ssim"): 0.5 + 0.01 * k + 0.2 * s1,
                ("remaining", "bokeh_iou"): 0.3 + 0.01 * k,
            }
            for (scope, metric), value in figures.items():
                own = (method.title, method.s1, method.s2, key_of(k), f"{name} {k}.png", f"{caption} {k}")
                rows.append((*own, scope, metric, value))
    scores = pd.DataFrame(rows, columns=list(SCORE_COLUMNS))
    configuration = {"sampling": {"steps": 50}, "note": f"{ATTACK}</pre>"}
    return Evaluation("photos", photos, bokeh, methods, scores, {}, configuration)


def key_of(number: int) -> str:
    return f"{number:08x}"


@cache
def pictures() -> tuple[Image.Image, ...]:
    """Real photos of different shapes."""
    loaded = (data.astronaut(), data.coffee(), data.chelsea())
    return tuple(Image.fromarray(rgb).resize((rgb.shape[1] // 4, rgb.shape[0] // 4)) for rgb in loaded)


def shown_of(evaluated: Evaluation, key: str) -> ShownPhoto:
    number = int(key, 16)
    hq = pictures()[number % len(pictures())]
    mask = np.zeros(hq.size[::-1], bool)
    mask[10:40, 20:60] = True
    blurs = {m.title: hq.filter(ImageFilter.GaussianBlur(2 - (m.s1 or 0.0))) for m in evaluated.methods if m != LQ}
    own = evaluated.scores[evaluated.scores["key"] == key].iloc[0]
    lq = hq.filter(ImageFilter.GaussianBlur(4))
    return ShownPhoto(key, own["photo"], own["caption"], lq, hq, mask, tuple(blurs.items()))


def page_of(evaluated: Evaluation, count: int = 12) -> bytes:
    report = report_of(evaluated)
    shown = [shown_of(evaluated, key) for key in choose_photos(evaluated, count)]
    return page_bytes(evaluated, report, shown)


def decoded(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))))
