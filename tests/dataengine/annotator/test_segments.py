"""From maps to named segments: grouping by kind, the photo's edges, calibration, the scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from instructrestore.dataengine.annotator.edges import guided
from instructrestore.dataengine.annotator.evaluation import SegmentOutcome, fit_calibration
from instructrestore.dataengine.annotator.grouping import PanopticSegment, group
from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.annotator.naming import Calibration, fit_curve, name_segments
from instructrestore.dataengine.annotator.outdoors import outdoors
from instructrestore.dataengine.annotator.scores import dense_scores
from instructrestore.dataengine.annotator.segment_scores import Kept, SegmentScores

WORDS = [name.word for name in coco_names()]
SKY, DOG, CAT, CAR, TRUCK = (WORDS.index(word) for word in ("sky", "dog", "cat", "car", "truck"))


def maps(height: int, width: int, **areas: tuple[slice, slice, float]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities by word over a rectangle each, and the labels."""
    labels = np.array([WORDS.index(word) for word in areas])
    planes = np.zeros((height, width, len(labels)), np.float32)
    for index, (rows, columns, probability) in enumerate(areas.values()):
        planes[rows, columns, index] = probability
    return labels, planes


def test_names_of_one_kind_that_are_not_told_apart_are_one_segment() -> None:
    everywhere = slice(None), slice(None)
    sky = slice(0, 30), slice(None), 0.9
    segments = group(*maps(40, 40, sky=sky, car=(*everywhere, 0.35), truck=(*everywhere, 0.3)))
    assert [(WORDS[s.label], s.area) for s in segments] == [("sky", 0.75), ("car", 0.25)]
    assert segments[1].name == pytest.approx(0.35)
    assert segments[1].kind == pytest.approx(0.65)
    calibration = Calibration(bar=0.6)
    known, unknown = name_segments(segments, calibration)
    assert [each.word for each in known] == ["sky", "vehicle"]  # 0.35 a car, 0.65 a vehicle
    assert unknown == 0


def test_names_of_one_kind_that_are_told_apart_are_two_segments() -> None:
    dog, cat = (slice(None), slice(0, 20), 0.8), (slice(None), slice(20, 40), 0.7)
    segments = group(*maps(40, 40, dog=dog, cat=cat))
    assert {WORDS[s.label] for s in segments} == {"dog", "cat"}
    assert not (segments[0].mask & segments[1].mask).any()


def test_what_is_not_sure_is_not_known() -> None:
    known, unknown = name_segments([PanopticSegment(np.ones((4, 4), np.bool_), SKY, 0.3, 0.3)], Calibration(bar=0.5))
    assert (known, unknown) == ([], 1)


def test_specks_go_and_pinholes_close() -> None:
    labels, planes = maps(100, 100, sky=(slice(None), slice(None), 0.5), dog=(slice(10, 50), slice(10, 50), 0.9))
    planes[80:83, 80:83] = planes[30, 30]  # a speck of dog in the sky
    planes[20:23, 20:23] = planes[0, 0]  # a pinhole of sky in the dog
    segments = group(labels, planes)
    assert [WORDS[s.label] for s in segments] == ["sky", "dog"]
    assert segments[1].mask.sum() == 40 * 40
    assert segments[0].mask.sum() == 100 * 100 - 40 * 40


def test_edges_go_to_the_photos_own() -> None:
    """A blurred step 4 px off the photo's edge is brought to it, at twice the size."""
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[:, 32:] = (200, 120, 40)
    ramp = np.clip((np.arange(64) - 24) / 16, 0, 1).astype(np.float32)  # 0.5 at 32
    soft = np.repeat(ramp[None], 64, 0)[..., None]
    large = photo.repeat(2, 0).repeat(2, 1)
    sharp = guided(soft, photo, large)
    assert sharp.shape == (128, 128, 1)
    middle = sharp[64, :, 0]
    assert middle[62] < 0.35 and middle[65] > 0.65  # the ramp itself has 0.47 and 0.52 there
    assert np.allclose(guided(np.full((64, 64, 1), 0.4, np.float32), photo, large), 0.4, atol=1e-3)


def test_a_curve_finds_the_odds_that_made_the_examples() -> None:
    random = np.random.default_rng(0)
    probabilities, areas = random.uniform(0.05, 0.95, 20_000), random.uniform(0.01, 0.5, 20_000)
    odds = -1 + 0.5 * np.log(probabilities / (1 - probabilities)) - 0.3 * np.log(areas)
    right = (random.random(20_000) < 1 / (1 + np.exp(-odds))).astype(float)
    assert fit_curve(probabilities, areas, right) == pytest.approx((-1, 0.5, -0.3), abs=0.1)


def test_scores_of_a_perfect_and_of_a_wrong_answer() -> None:
    annotated = np.ones((20, 20), np.int32)
    annotated[:, 10:] = 2
    categories = {1: DOG, 2: SKY}
    scores = SegmentScores()
    scores.add([Kept(annotated == 1, "dog", DOG), Kept(annotated == 2, "sky", SKY)], annotated, categories)
    figures = scores.figures()
    assert all(figures[key] == 1 for key in ("right", "right_merged", "named", "covered", "pq"))
    assert figures["kept"] == 2
    wrong = SegmentScores()
    wrong.add([Kept(annotated == 1, "animal", DOG), Kept(annotated == 2, "car", CAR)], annotated, categories)
    assert wrong.figures()["right"] == 0.5  # the parent is right, a car is not
    assert wrong.figures()["pq"] == pytest.approx(1 / 3)  # dog; sky missed; a car too many


def test_asked_for_names() -> None:
    labels = np.full((8, 8), SKY, np.uint8)
    labels[:, 4:] = DOG
    candidates = np.array([SKY, DOG, CAT])
    maps = np.zeros((8, 8, 3), np.float32)
    maps[:, :4, 0] = maps[:, 4:, 1] = 0.9
    scores = dense_scores([(candidates, maps, labels)])
    assert scores.asked == scores.argmax == scores.accuracy == 1
    maps[:, 4:, 1], maps[:, 4:, 2] = 0.1, 0.3  # taken for a cat, but asked for a dog it is found
    scores = dense_scores([(candidates, maps, labels)])
    assert (scores.asked, scores.argmax, scores.accuracy) == (1, 0.5, 0.5)


def test_what_shows_nothing_says_nothing_of_how_sure_the_rest_is() -> None:
    random = np.random.default_rng(0)
    chances = random.random(60)
    seen = [SegmentOutcome(p, p, 0.1, bool(random.random() < p), False, False) for p in chances.tolist()]
    nothing = [SegmentOutcome(0.0, 0.0, 0.5, True, False, False)] * 20
    assert fit_calibration([*seen, *nothing], 0.8) == fit_calibration(seen, 0.8)


def test_a_sky_needs_a_hundredth_of_the_outdoors() -> None:
    probabilities = torch.zeros(len(WORDS), 20, 30)
    probabilities[SKY] = 1
    assert not outdoors(probabilities)
    probabilities[DOG, 5:, :] = 1
    assert not outdoors(probabilities)
    probabilities[CAR, 0, :4], probabilities[TRUCK, 0, :4] = 0.9, 0.9
    assert not outdoors(probabilities), "too few"
    probabilities[CAR, 0, :], probabilities[TRUCK, 0, :] = 0.4, 0.4
    assert outdoors(probabilities), "whichever it is"
