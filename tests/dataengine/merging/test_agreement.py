"""CLIP agreement by transformers' own classes, with small random weights: what is shown, scored and dropped.

Where a caption has to fit, the text encoder's last layer is solved for it: its embedding becomes the region's own.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from instructrestore.dataengine.merging import agreement
from instructrestore.dataengine.merging.agreement import CaptionAgreement
from instructrestore.dataengine.merging.agreement_settings import AgreementSettings
from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.running.stage import Drop
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.dataengine.sources import parse_source
from instructrestore.dataengine.stages import photo_stages
from instructrestore.pipelines.building.build import BuildResult, build
from instructrestore.pipelines.building.presets import embedded, with_values
from instructrestore.shards.index import Dataset
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import Agreement, AnnotatedPhoto, Piece, Region, from_json, to_json
from instructrestore.shards.verify import verify
from tests import numerics
from tests.dataengine.masks.test_masks import blobs, row_of
from tests.pipelines.photos import BY_COLOUR, make_photos

SIDE = 64
WIDTH = 48


def tiny_model(tokens: int) -> CLIPModel:
    torch.manual_seed(0)
    layers = {"hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={
            **layers,
            "vocab_size": tokens,
            "max_position_embeddings": 77,
            "bos_token_id": tokens - 2,
            "eos_token_id": tokens - 1,
            "pad_token_id": 0,
        },
        vision_config={**layers, "image_size": SIDE, "patch_size": 16},
        projection_dim=32,
    )
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)  # embeddings that tell pictures and texts apart
    return model


@pytest.fixture(scope="module")
def weights(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny-clip"
    tokenizer = CLIPTokenizer.from_pretrained(tiny_base / "tokenizer")
    tokenizer.save_pretrained(folder)
    tiny_model(len(tokenizer)).save_pretrained(folder)
    return folder


def scorer(weights: Path, **settings: Any) -> CaptionAgreement:
    return CaptionAgreement(AgreementSettings(model=str(weights), **{"device": "cpu", **settings}))


def disc(height: int, width: int, y: float, x: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:height, :width]
    return np.hypot(rows - y * height, columns - x * width) < radius


PHOTO = blobs(150, 220)
REGIONS = [
    (disc(150, 220, 0.3, 0.3, 40), "a red ball"),
    (disc(150, 220, 0.7, 0.8, 25), "the dog on the grass"),
    (disc(150, 220, 0.5, 0.5, 4), "a small green leaf"),
    (np.ones((150, 220), np.bool_), "the sky"),
    (disc(150, 220, 0.9, 0.1, 30), "a very long road by the river with many trees and many people standing in the sun"),
]


def solved(
    weights: Path, folder: Path, wanted: Iterable[tuple[NDArray[np.uint8], NDArray[np.bool_], str, float]]
) -> Path:
    """Weights to which each text and its region have the wanted cosine: 1 for what it looks like."""
    shutil.copytree(weights, folder)
    tried = scorer(weights)
    with torch.inference_mode():
        looks = torch.cat(
            [near(tried.image_embeddings(agreement.picture(p, m, SIDE)[None]), c) for p, m, _, c in wanted]
        )
        tried.model.text_projection = torch.nn.Identity()
        hidden = torch.cat([tried.text_embeddings([text]) for _, _, text, _ in wanted])
    state = load_file(folder / "model.safetensors")
    solution = torch.linalg.lstsq(hidden.double(), looks.double()).solution
    state["text_projection.weight"] = solution.T.float().contiguous()
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder


def near(look: torch.Tensor, cosine: float) -> torch.Tensor:
    """A vector of length 1 with that cosine to another one, (1, D) each."""
    other = torch.randn(look.shape, generator=torch.Generator().manual_seed(5))
    aside = F.normalize(other - (other * look).sum() * look, dim=1)
    return cosine * look + (1 - cosine**2) ** 0.5 * aside


KNOWN = (90, 60, 30, 45, 0)


def rounding(weights: Path, regions: Sequence[tuple[NDArray[np.bool_], str]] = REGIONS) -> float:
    """How far the scores of these weights may lie from those of the same computation in another order."""
    tried = scorer(weights)
    found = torch.tensor(tried.scores(PHOTO, regions))
    bounds = []
    for seed in range(4):
        with numerics.nudged(tried.model, seed=seed):
            bounds.append(numerics.between(found, torch.tensor(tried.scores(PHOTO, regions))))
    return max(bounds)


@pytest.fixture(scope="module")
def known(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that give the REGIONS the scores KNOWN."""
    wanted = [(PHOTO, *region, score / 100 or -0.5) for region, score in zip(REGIONS, KNOWN, strict=True)]
    return solved(weights, tmp_path_factory.mktemp("known") / "tiny-clip", wanted)


# What the model is shown


def test_outside_the_region_details_go_and_colours_stay() -> None:
    rng = np.random.default_rng(0)
    photo = np.asarray(rng.choice([60, 180], (200, 200, 1)).repeat(3, 2), np.uint8)
    mask = disc(200, 200, 0.5, 0.5, 40.5)
    shown = agreement.picture(photo, mask, 105)  # the box: 81 pixels and 12 of margin at each side
    inside = disc(105, 105, 0.5, 0.5, 38)
    outside = ~disc(105, 105, 0.5, 0.5, 43)
    near = photo[48:153, 48:153]
    np.testing.assert_allclose(shown[inside].astype(int), near[inside], atol=1)
    assert near[outside].std() > 55 > 10 > shown[outside].std()
    assert abs(shown[outside].mean() - near[outside].mean()) < 5


def test_what_a_narrow_photo_leaves_of_the_square_has_the_model_s_mean_colour() -> None:
    photo = np.full((300, 100, 3), (250, 10, 10), np.uint8)
    mask = np.zeros((300, 100), np.bool_)
    mask[100:300, :50] = True
    shown = agreement.picture(photo, mask, 130)  # 200 and 2 x 30 pixels a side: (40..300, 0..100), halved
    assert shown.shape == (130, 130, 3) and shown.dtype == np.uint8
    assert (shown[:, 40:90] == (250, 10, 10)).all()
    around = np.concatenate([shown[:, :40], shown[:, 90:]], axis=1)
    assert agreement.preprocess(around[None]).abs().max() < 0.01


@pytest.mark.parametrize("size", [(64, 64), (640, 640), (31, 31), (5, 5)])
def test_pixels_are_those_of_transformers_processor(size: tuple[int, int]) -> None:
    """A region that is the whole of a square photo is resized and normalised, nothing else."""
    photo = blobs(*size)
    shown = agreement.picture(photo, np.ones(size, np.bool_), SIDE)
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    expected = processor(photo, return_tensors="pt").pixel_values
    torch.testing.assert_close(agreement.preprocess(shown[None]), expected, rtol=0, atol=1e-6)
    assert (tuple(processor.image_mean), tuple(processor.image_std)) == (agreement.MEAN, agreement.STD)


def test_regions_thin_or_tiny_are_shown(weights: Path) -> None:
    for box in ((0, 1, 0, 1), (149, 150, 0, 220), (0, 150, 219, 220), (70, 71, 0, 220)):
        mask = np.zeros((150, 220), np.bool_)
        mask[box[0] : box[1], box[2] : box[3]] = True
        [score] = scorer(weights).scores(PHOTO, [(mask, "the wall")])
        assert 0 <= score <= 100


# The score


def test_scores_are_the_model_s_own_cosines(known: Path) -> None:
    tried = scorer(known)
    pictures = np.stack([agreement.picture(PHOTO, mask, SIDE) for mask, _ in REGIONS])
    texts = tried.tokenizer(["A photo depicts " + text for _, text in REGIONS], padding=True, return_tensors="pt")
    with torch.no_grad():
        answer = tried.model(pixel_values=agreement.preprocess(pictures), **texts)
        cosines = (answer.image_embeds * answer.text_embeds).sum(1)
    assert cosines.std() > 0.01 and (cosines > 0).sum() > 2
    bound = rounding(known)
    np.testing.assert_allclose(tried.scores(PHOTO, REGIONS), 100 * cosines.clamp(min=0), rtol=0, atol=bound)


def test_a_batch_gives_what_single_regions_give(known: Path) -> None:
    together, bound = scorer(known).scores(PHOTO, REGIONS), rounding(known)
    assert together == pytest.approx(KNOWN, abs=bound)
    for size in (1, 2):
        some = scorer(known, regions_per_batch=size).scores(PHOTO, REGIONS)
        np.testing.assert_allclose(some, together, rtol=0, atol=bound)
    assert scorer(known).scores(PHOTO, REGIONS) == together == scorer(known).scores(PHOTO, iter(REGIONS))


def test_texts_longer_than_the_model_reads_are_cut(weights: Path) -> None:
    long = "the dog " * 200
    [score] = scorer(weights).scores(PHOTO, [(REGIONS[0][0], long)])
    assert 0 <= score <= 100


def test_reduced_precision_is_near(weights: Path) -> None:
    exact = scorer(weights)
    reduced = scorer(weights, dtype="bfloat16")
    pictures = np.stack([agreement.picture(PHOTO, mask, SIDE) for mask, _ in REGIONS])
    with torch.inference_mode():
        for one, two in (
            (exact.image_embeddings(pictures), reduced.image_embeddings(pictures)),
            (exact.text_embeddings([text for _, text in REGIONS]), reduced.text_embeddings([t for _, t in REGIONS])),
        ):
            assert two.dtype == torch.float32
            assert 0.98 < float(F.cosine_similarity(one, two).min()) < 1


def test_a_caption_that_fits_scores_higher_than_one_that_does_not(weights: Path, tmp_path: Path) -> None:
    """The text encoder knows two of the regions by name; each caption then fits its own region and no other."""
    (ball, red), (dog, grass) = REGIONS[:2]
    folder = solved(weights, tmp_path / "taught", [(PHOTO, ball, red, 1), (PHOTO, dog, grass, 1)])
    taught = scorer(folder)
    right = taught.scores(PHOTO, [(ball, red), (dog, grass)])
    wrong = taught.scores(PHOTO, [(ball, grass), (dog, red)])
    assert right == pytest.approx([100, 100], abs=rounding(folder, [(ball, red), (dog, grass)]))
    assert max(wrong) < 99


# The stage


def row_with(folder: Path, regions: Iterable[tuple[NDArray[np.bool_], str]]) -> Row:
    Image.fromarray(PHOTO).save(folder / "photo.png")
    made = []
    for pixels, caption in regions:
        mask = Mask.from_array(pixels)
        made.append(Region(caption, caption.split()[-1], mask, False, (Piece(mask, "test"),)))
    return replace(row_of(folder / "photo.png", None), regions=tuple(made))


def test_the_stage_records_scores_and_drops_below_the_threshold(known: Path, tmp_path: Path) -> None:
    row = row_with(tmp_path, REGIONS)
    [scored] = scorer(known, revision="seed 0")([row])
    assert isinstance(scored, Row)
    scores = [region.agreement.score for region in scored.regions if region.agreement]
    assert scores == [round(score, 2) for score in scorer(known).scores(PHOTO, REGIONS)]
    assert scores == pytest.approx(KNOWN, abs=0.005 + rounding(known))
    assert {region.agreement.model for region in scored.regions if region.agreement} == {"clip 1 tiny-clip@seed 0"}
    assert [replace(region, agreement=None) for region in scored.regions] == list(row.regions)
    assert scored.counts == {}
    [kept] = scorer(known, revision="seed 0", threshold=scores[3])([row])  # those that score exactly that stay
    assert isinstance(kept, Row)
    assert kept.regions == (scored.regions[0], scored.regions[1], scored.regions[3])
    assert kept.counts == {"low agreement": 2}
    [dropped] = scorer(known, threshold=95)([row])
    assert dropped == Drop("no valid region", "low agreement")


def test_a_record_without_a_score_is_what_it_was_and_one_with_it_comes_back(tmp_path: Path) -> None:
    row = row_with(tmp_path, REGIONS[:2])
    assert row.photo
    plain = AnnotatedPhoto(row.photo, row.regions)
    assert b"agreement" not in to_json(plain)
    assert from_json(to_json(plain)) == plain
    first = replace(row.regions[0], agreement=Agreement(31.25, "clip 1 x@y"))
    scored = AnnotatedPhoto(row.photo, (first, row.regions[1]))
    assert from_json(to_json(scored)) == scored
    assert to_json(scored).replace(b',"agreement":{"score":31.25,"model":"clip 1 x@y"}', b"") == to_json(plain)
    rows = TypeAdapter(Row)
    assert rows.validate_json(rows.dump_json(replace(row, regions=scored.regions))).regions == scored.regions


def test_without_the_stage_nothing_changes_and_with_it_all_before_it_stays() -> None:
    plain, scored = BuildSettings(), BuildSettings(agreement=AgreementSettings())
    assert "agreement" not in plain.model_dump() and "agreement" not in plain.model_dump(mode="json", exclude={"run"})
    assert BuildSettings.model_validate(scored.model_dump(mode="json")) == scored
    before = {stage.name: stage.identity for stage in photo_stages(plain)}
    after = {stage.name: stage.identity for stage in photo_stages(scored)}
    assert list(after) == [*list(before)[:-1], "agreement", "bokeh"]
    assert {name: after[name] for name in before} == before
    other = BuildSettings(agreement=AgreementSettings(revision="other"))
    assert {stage.name: stage.identity for stage in photo_stages(other)}["agreement"] != after["agreement"]


@pytest.mark.usefixtures("ray_cluster")
def test_a_whole_build(weights: Path, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 2)

    def built(**changes: Any) -> BuildResult:
        values = {
            "sources": [parse_source(str(tmp_path / "photos"))],
            "photos_per_part": 2,
            "quality_gate": {"short_side": 64, "score": 0.0},
            **BY_COLOUR,
            **changes,
        }
        return build(with_values(embedded(), values), tmp_path / "run", Console(file=io.StringIO()))

    plain = Dataset(str(built().dataset))
    samples = [plain.read(number) for number in range(len(plain.index))]
    sample, data = max(samples, key=lambda each: len({region.caption for region in each[0].regions}))
    photo = photo_file.decode(data, 1 << 20).rgb
    distinct = {region.caption: region for region in sample.regions}
    assert len(distinct) >= 2
    sense = {caption: 1.0 if number % 2 else -1.0 for number, caption in enumerate(distinct)}
    taught = solved(
        weights,
        tmp_path / "taught",
        [(photo, region.mask.array(), caption, sense[caption]) for caption, region in distinct.items()],
    )
    settings = {"model": str(taught), "revision": "seed 0", "threshold": 50.0, "device": "cpu"}
    scored = built(agreement=settings)
    summary = next(summary for summary in scored.summaries if summary.name == "agreement")
    assert summary.input == len(samples) == summary.ok + sum(summary.dropped.values())
    assert summary.counts["low agreement"] > 0
    dataset = Dataset(str(scored.dataset))
    kept = {s.photo.key: s for s, _ in map(dataset.read, range(len(dataset.index)))}
    for region in (region for each in kept.values() for region in each.regions):
        assert region.agreement and region.agreement.score >= 50
        assert region.agreement.model == "clip 1 taught@seed 0"
    fitting = [caption for caption, sign in sense.items() if sign > 0]
    assert {region.caption for region in kept[sample.photo.key].regions} == set(fitting)
    assert verify(str(scored.dataset)) == []
    # Switched off again, the shards are what they were, though those with scores may have the same sizes.
    assert built().card.shards == plain.card.shards
    assert verify(str(scored.dataset)) == []


# Weights


def test_weights_that_lack_something_are_an_error(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lacking"
    shutil.copytree(weights, folder)
    state = load_file(folder / "model.safetensors")
    for name in ("text_projection.weight", "visual_projection.weight"):
        state.pop(name)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lack text_projection\.weight, visual_projection\.weight: they are") as error:
        scorer(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "fault", ["truncated", "pickle", "nothing", "no configuration", "other shapes", "no tokenizer"]
)
def test_folders_that_are_not_of_one_piece_are_one_sentence(weights: Path, tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "faulty"
    shutil.copytree(weights, folder)
    data = folder / "model.safetensors"
    if fault == "truncated":
        data.write_bytes(data.read_bytes()[:-1000])
    elif fault == "pickle":
        torch.save(load_file(data), folder / "pytorch_model.bin")
        data.unlink()
    elif fault == "nothing":
        data.unlink()
    elif fault == "no configuration":
        (folder / "config.json").unlink()
    elif fault == "other shapes":
        config = (folder / "config.json").read_text("utf-8")
        (folder / "config.json").write_text(config.replace('"projection_dim": 32', '"projection_dim": 16'), "utf-8")
    else:
        for path in folder.glob("*token*"):
            path.unlink()
    message = "do not belong together" if fault == "no tokenizer" else "does not hold a CLIP model"
    with pytest.raises(ValueError, match=message) as error:
        scorer(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", ["openai/clip-vit-large-patch14", "no such folder", "a/b/c"])
def test_weights_that_cannot_be_fetched_are_one_sentence(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="cannot be fetched from the hub at revision main") as error:
        CaptionAgreement(AgreementSettings(model=model))
    assert "\n" not in str(error.value)


def test_a_gpu_that_is_not_there_is_one_sentence(weights: Path) -> None:
    with pytest.raises(ValueError, match="there is no device cuda:99 for CLIP here"):
        scorer(weights, device="cuda:99")


@pytest.mark.gpu
def test_a_gpu_gives_nearly_the_same(weights: Path) -> None:
    expected = scorer(weights).scores(PHOTO, REGIONS)
    assert scorer(weights, device="cuda").scores(PHOTO, REGIONS) == pytest.approx(expected, abs=0.1)
