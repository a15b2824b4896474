"""Pointing with SAM 2.1: small random weights in the real class, whose masks the annotator's segments name."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from instructrestore.dataengine.annotator.grouping import PanopticSegment
from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.masks.sam2_settings import Sam2Settings
from instructrestore.pipelines.app.server import make_server
from instructrestore.pipelines.inference.sam2_segments import parts_of
from instructrestore.pipelines.inference.segment_models import chosen_segments
from tests.dataengine.masks.test_sam2 import tiny_model
from tests.pipelines.app.asking import API, bring
from tests.pipelines.app.conftest import HERE, TOKEN, png_of, settings_in

CAT = [name.word for name in coco_names()].index("cat")


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((40, 60), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def test_a_smaller_mask_is_cut_out_of_a_larger_and_both_are_named_by_what_they_mostly_are() -> None:
    cat = PanopticSegment(box(0, 0, 40, 30), CAT, 0.9, 0.9)
    grass = PanopticSegment(box(0, 30, 40, 60), CAT + 1, 0.9, 0.9)
    body, head, across = box(4, 4, 36, 28), box(8, 8, 16, 16), box(18, 10, 22, 50)
    parts = parts_of([(mask, None) for mask in (head, body, across)], [cat, grass])
    assert sum(part.mask.astype(int) for part in parts).max() == 1  # pyright: ignore[reportAttributeAccessIssue]
    assert np.array_equal(parts[0].mask, body & ~head & ~across)
    assert np.array_equal(parts[1].mask, across), "of 160 pixels"
    assert np.array_equal(parts[2].mask, head)
    assert [part.seen for part in parts] == [cat, None, cat, cat, grass], "half of the one across is neither's"
    assert np.array_equal(parts[3].mask, cat.mask & ~(body | head | across)), "what SAM left"


def test_without_anything_seen_masks_have_no_names() -> None:
    (part,) = parts_of([(box(0, 0, 4, 4), None)], [])
    assert part.seen is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "sam-tiny"
    tiny_model().save_pretrained(folder)
    return folder


def test_a_click_lights_a_mask_of_sam2(tmp_path: Path, folder: Path) -> None:
    sam2 = chosen_segments(str(folder), "cpu")
    assert isinstance(sam2, Sam2Settings)
    few = sam2.model_copy(update={"points_per_side": 4, "predicted_iou": 0.0, "stability": 0.0})
    settings = replace(settings_in(tmp_path), segments=few)
    with TestClient(make_server(settings), base_url=HERE, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        assert client.get(f"{API}/model").json()["segmenter"] == "SAM 2.1 (sam-tiny)"
        photo = bring(client, png_of(240, 200))["id"]
        found = client.post(f"{API}/photos/{photo}/segments").json()
        with Image.open(io.BytesIO(client.get(f"{API}/photos/{photo}/segments.png").content)) as image:
            ids = np.asarray(image).astype(int)[..., 0]
        assert [each["id"] for each in found["segments"]] == [number for number in np.unique(ids) if number]
        for each in found["segments"]:
            assert each["area"] == pytest.approx((ids == each["id"]).mean())
        url = f"{API}/photos/{photo}/masks/segments"
        mask = client.post(url, json={"segments": [found["segments"][0]["id"]]}).json()
        assert mask["share"] == pytest.approx(found["segments"][0]["area"], abs=0.01)


def test_auto_is_the_annotator_where_there_is_no_gpu_or_no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_segments("auto", "cpu") is None
    assert chosen_segments("embedded", None) is None
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("instructrestore.pipelines.inference.segment_models.try_to_load_from_cache", lambda *_: None)
    assert chosen_segments("auto", None) is None


def test_auto_is_sam2_where_it_was_downloaded_and_a_gpu_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = "/hub/models--facebook--sam2.1-hiera-large/snapshots/c0ffee/"
    monkeypatch.setattr(
        "instructrestore.pipelines.inference.segment_models.try_to_load_from_cache", lambda _, name: cached + name
    )
    found = chosen_segments("auto", "cuda")
    assert found
    assert found.model == cached.rstrip("/")


def test_weights_that_are_nowhere_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"the weights .*none for --segments are not a local folder and cannot be fetched"
    ):
        chosen_segments(str(tmp_path / "none"), "cpu")
