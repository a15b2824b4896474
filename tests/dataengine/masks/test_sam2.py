"""SAM 2.1 by transformers' own classes, with small random weights: where points and masks lie, what is kept and why.

What the processor does to pixels, points and masks is compared with transformers' own code as far as that runs without
torchvision, and with the processor itself where torchvision is there.
"""

from __future__ import annotations

import ast
import runpy
import shutil
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Sam2Config, Sam2Model, Sam2Processor
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import PILImageResampling
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from instructrestore.dataengine.masks import sam2
from instructrestore.dataengine.masks.cleanup import CleanupSettings
from instructrestore.dataengine.masks.sam2 import Sam2Segmenter
from instructrestore.dataengine.masks.sam2_settings import Sam2Settings
from instructrestore.dataengine.masks.segment import MaskSettings, Segment
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.running.stage import Drop
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.dataengine.stages import photo_stages
from tests import numerics
from tests.dataengine.masks.test_masks import blobs, row_of

CPU = torch.device("cpu")
SIDE = 64
ALL = CleanupSettings(hole=0, island=0, smallest=0, largest=1, duplicate_iou=1, part=1, most=1000)
OPEN: dict[str, Any] = {"predicted_iou": 0.0, "stability": 0.0, "duplicate_iou": 1.0, "device": "cpu"}


def tiny_model() -> Sam2Model:
    """Sam2Model at 64 pixels a side, masks of 16x16, random weights large enough for masks that are not flat."""
    torch.manual_seed(0)
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [8, 4, 4, 4],
        "global_attention_blocks": [3],
    }
    config = Sam2Config(
        vision_config={
            "model_type": "sam2_vision_model",
            "backbone_config": backbone,
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 32,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE, "patch_size": 16},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
    )
    model = Sam2Model(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                last = "hypernetworks" in name and "proj_out" in name
                parameter.mul_(128 if last else 8)  # logits of a few units, as the stability score expects them
    return model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny-sam2"
    tiny_model().save_pretrained(folder)
    return folder


def segmenter(weights: Path, cleanup: CleanupSettings = ALL, **settings: Any) -> Sam2Segmenter:
    return Sam2Segmenter(Sam2Settings(model=str(weights), points_per_side=3, **{**OPEN, **settings}), cleanup)


@torch.inference_mode()
def predictions(tried: Sam2Segmenter, photo: NDArray[np.uint8]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(tried._predictions(photo))


def stacked(found: tuple[Any, Counter[str]]) -> NDArray[np.bool_]:
    return np.array(list(found[0]))


def normalised(side: int, points: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Points of a photo of the size, (height, width), by the processor's own method, which does not use the rest of it:
    that would need torchvision."""
    method: Any = Sam2Processor._normalize_coordinates
    return method(None, side, points, size)


# The masks


@pytest.mark.parametrize("size", [(90, 130), (130, 50), (64, 64), (7, 300), (1, 1)])
def test_masks_are_of_the_photo_s_size_and_every_mask_is_kept_or_counted(weights: Path, size: tuple[int, int]) -> None:
    masks, counts = segmenter(weights)(blobs(*size))
    found = list(masks)
    assert len(found) >= 2
    assert all(mask.shape == size and mask.dtype == np.bool_ for mask in found)
    assert len(found) + sum(counts.values()) == 3 * 3**2


def test_the_same_pixels_give_the_same_masks(weights: Path) -> None:
    first = stacked(segmenter(weights)(blobs(80, 120)))
    again = segmenter(weights)
    again(blobs(50, 60))
    np.testing.assert_array_equal(first, stacked(again(blobs(80, 120))))
    other = stacked(again(np.ascontiguousarray(blobs(80, 120)[:, ::-1])))
    assert other.shape != first.shape or (other != first).any()


def test_a_batch_of_points_gives_what_single_points_give(weights: Path) -> None:
    photo = blobs(80, 120)
    together = segmenter(weights, points_per_batch=9)
    [(logits, scores)] = predictions(together, photo)
    with numerics.nudged(together.model):
        [(nudged, nudged_scores)] = predictions(together, photo)
    bound, bound_of_scores = numerics.between(logits, nudged), numerics.between(scores, nudged_scores)
    whole = stacked(together(photo))
    # Where a logit is 0 but for rounding, a pixel is in the mask or not.
    undecided = sum(
        int((sam2.upscale(mask + bound, 80, 120) != sam2.upscale(mask - bound, 80, 120)).sum())
        for mask in logits.flatten(0, -3)
    )
    assert undecided < 0.001 * whole.size
    for size in (1, 4):
        parts = predictions(segmenter(weights, points_per_batch=size), photo)
        assert len(parts) == -(-9 // size)
        torch.testing.assert_close(torch.cat([part[0] for part in parts]), logits, rtol=0, atol=bound)
        torch.testing.assert_close(torch.cat([part[1] for part in parts]), scores, rtol=0, atol=bound_of_scores)
        assert (stacked(segmenter(weights, points_per_batch=size)(photo)) != whole).sum() <= undecided


def test_a_photo_is_encoded_once_however_many_points(weights: Path) -> None:
    tried = segmenter(weights, points_per_batch=2)
    calls: Counter[str] = Counter()
    for name in ("vision_encoder", "mask_decoder"):
        module = getattr(tried.model, name)
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    list(tried(blobs(80, 120))[0])
    assert calls == {"vision_encoder": 1, "mask_decoder": 5}


def test_masks_are_those_of_the_model_called_directly(weights: Path) -> None:
    """Pixels, the point and the mask, each in its own frame, through the model's own forward."""
    photo = blobs(48, 200)
    tried = Sam2Segmenter(Sam2Settings(model=str(weights), points_per_side=1, **OPEN), ALL)
    # The middle of the photo, (100, 24), by the processor's own arithmetic.
    point = normalised(SIDE, torch.tensor([100.0, 24.0]), (48, 200))
    with torch.no_grad():
        answer = tried.model(sam2.preprocess(photo, SIDE, CPU), point.view(1, 1, 1, 2))
    large = F.interpolate(answer.pred_masks[0], (48, 200), mode="bilinear", align_corners=False)[0] > 0
    expected = {mask.numpy().tobytes() for mask in large if mask.any()}
    assert expected
    assert {mask.tobytes() for mask in stacked(tried(photo))} == expected


def test_thresholds_remove_and_count(weights: Path) -> None:
    photo = blobs(80, 120)
    [(logits, scores)] = predictions(segmenter(weights), photo)
    middle = float(scores.sort().values[13])
    assert 0.1 < middle < 0.9 and scores.std() > 0.01
    _, counts = segmenter(weights, predicted_iou=middle)(photo)
    assert counts[sam2.LOW_PREDICTED_IOU] == int((scores <= middle).sum()) == 14
    stable = sam2.stability(logits)
    edge = float(stable.median())
    _, counts = segmenter(weights, stability=edge)(photo)
    assert counts[sam2.UNSTABLE] == int((stable < edge).sum()) > 0
    masks, counts = segmenter(weights, predicted_iou=1.0)(photo)
    assert list(masks) == []
    assert counts == {sam2.LOW_PREDICTED_IOU: 27}


def test_reduced_precision_is_near(weights: Path) -> None:
    photo = blobs(80, 120)
    [(exact, _)] = predictions(segmenter(weights), photo)
    [(reduced, _)] = predictions(segmenter(weights, dtype="bfloat16"), photo)
    assert reduced.dtype == torch.float32
    assert 0 < (reduced - exact).abs().mean() < 0.1 * exact.abs().mean()


# Of nested masks the coarse ones


class Drawn(Sam2Segmenter):
    """A segmenter whose model has answered already: the rules over its answers are what is tested."""

    def __init__(self, masks: NDArray[np.bool_], scores: list[float], cleanup: CleanupSettings) -> None:
        self.settings = Sam2Settings()
        self.cleanup = cleanup
        self.answer = torch.from_numpy(np.where(masks, 9.0, -9.0)).float(), torch.tensor(scores)

    def _predictions(self, rgb: NDArray[np.uint8]) -> Any:
        yield self.answer


def test_of_duplicates_the_best_and_of_nested_masks_the_largest_stay() -> None:
    whole, part, shifted, other, everything, speck = np.zeros((6, 256, 256), np.bool_)
    whole[20:220, 20:120] = part[30:80, 30:90] = other[20:220, 140:250] = everything[:] = speck[:9, :9] = True
    shifted[20:220, 24:128] = True  # overlaps the whole by 0.88, is larger, and worse
    masks = np.stack([part, shifted, other, everything, whole, speck])
    drawn = Drawn(masks, [0.99, 0.9, 0.85, 0.98, 0.95, 0.97], CleanupSettings())
    found, counts = drawn(np.zeros((512, 256, 3), np.uint8))
    expected = np.repeat(np.stack([other, whole]), 2, axis=1)
    np.testing.assert_array_equal(np.array(list(found)), expected)
    assert counts == {"duplicate": 1, "part of another": 1, "too large": 1, "too small": 1}


def test_suppression_is_that_of_every_pair() -> None:
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:32, :32]
    centres = rng.uniform(8, 24, (80, 2))
    radii = rng.uniform(3, 9, 80)
    masks = np.array([np.hypot(rows - y, columns - x) < r for (y, x), r in zip(centres, radii, strict=True)])
    for most in (0.3, 0.7, 1.0):
        kept: list[int] = []
        for index, mask in enumerate(masks):
            if all((mask & masks[k]).sum() <= most * (mask | masks[k]).sum() for k in kept):
                kept.append(index)
        assert sam2.unlike(torch.from_numpy(masks), most).tolist() == kept
        assert len(kept) == 80 if most == 1.0 else 2 < len(kept) < 80


# What the processor does


def processor_code(folder: Path, *names: str) -> dict[str, Any]:
    """Functions and methods of transformers' image processor, whose file imports torchvision at its top, from its
    source; it is run as it stands."""
    spec = find_spec("transformers.models.sam2")
    assert spec is not None and spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0], "image_processing_sam2.py").read_text("utf-8")
    nodes: list[Any] = [node for node in ast.walk(ast.parse(source)) if getattr(node, "name", "") in names]
    for node in nodes:
        node.decorator_list = []
    space: dict[str, Any] = {"torch": torch, "F": F, "np": np}
    code = "from __future__ import annotations\n" + "\n".join(ast.unparse(node) for node in nodes)
    (folder / "code.py").write_text(code, "utf-8")
    return runpy.run_path(str(folder / "code.py"), space)


def test_grid_stability_and_upscaling_are_the_processor_s(tmp_path: Path) -> None:
    theirs = processor_code(tmp_path, "_build_point_grid", "_compute_stability_score", "post_process_masks")
    for height, width in ((1024, 1024), (540, 960), (4464, 2244)):
        points = theirs["_build_point_grid"](32) * torch.tensor([width, height])
        expected = normalised(1024, points, (height, width))
        torch.testing.assert_close(sam2.grid(32, 1024), expected, rtol=1e-5, atol=1e-3)
    generator = torch.Generator().manual_seed(1)
    logits = F.interpolate(4 * torch.randn(1, 6, 9, 9, generator=generator), (64, 64), mode="bicubic")[0]
    torch.testing.assert_close(sam2.stability(logits), theirs["_compute_stability_score"](logits, 0.0, 1))
    [expected] = theirs["post_process_masks"](None, [logits[None]], [(90, 210)])
    for mask, their in zip(logits, expected[0], strict=True):
        np.testing.assert_array_equal(sam2.upscale(mask, 90, 210), their.numpy())
    assert sam2.stability(torch.full((1, 8, 8), -9.0)).tolist() == [0.0]


@pytest.mark.parametrize("size", [(300, 200), (90, 210), (64, 64)])
def test_pixels_are_within_a_level_of_transformers_processor_over_pillow(size: tuple[int, int]) -> None:
    photo = blobs(*size)

    class Reference(PilBackend):
        resample = PILImageResampling.BILINEAR
        image_mean, image_std = list(sam2.MEAN), list(sam2.STD)
        size = {"height": 128, "width": 128}  # noqa: RUF012
        do_resize = do_rescale = do_normalize = do_convert_rgb = True

    expected = Reference()(photo, return_tensors="pt").pixel_values
    ours = sam2.preprocess(photo, 128, CPU)
    assert ours.shape == expected.shape == (1, 3, 128, 128) and ours.dtype == torch.float32
    level = 1 / 255 / min(sam2.STD)
    assert (ours - expected).abs().max() < 1.01 * level
    assert (ours - expected).abs().mean() < 0.25 * level


@pytest.mark.vision
def test_pixels_points_and_masks_are_the_processor_s_where_torchvision_is() -> None:
    from transformers.models.sam2.image_processing_sam2 import Sam2ImageProcessor

    photo = blobs(600, 900)
    expected = Sam2ImageProcessor()(photo, return_tensors="pt").pixel_values
    torch.testing.assert_close(sam2.preprocess(photo, 1024, CPU), expected, rtol=0, atol=1e-5)


def test_mean_and_deviation_are_the_processor_s() -> None:
    assert (list(sam2.MEAN), list(sam2.STD)) == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


def test_a_place_in_the_photo_keeps_its_place_there_and_back() -> None:
    """A bright square in a photo that is not square, seen by the model's input as if by a model that marks what is
    bright: the mask is the square again, and the point of the grid in its middle lies in it."""
    photo = np.zeros((200, 800, 3), np.uint8)
    photo[100:200, 100:300] = 255
    seen = sam2.preprocess(photo, 1024, CPU)[0, 0]
    logits = F.interpolate(seen[None, None], (256, 256), mode="area")[0, 0]
    truth = photo[..., 0] > 0
    mask = sam2.upscale(logits - (seen.max() + seen.min()) / 2, 200, 800)
    assert (mask & truth).sum() / (mask | truth).sum() > 0.97
    for (x, y), (column, row) in zip(sam2.grid(8, 1024).tolist(), sam2.grid(8, 8).tolist(), strict=True):
        assert bool(seen[int(y), int(x)] > 0) == bool(truth[int(row / 8 * 200), int(column / 8 * 800)])


# Weights


def test_weights_that_lack_something_are_an_error(weights: Path, tmp_path: Path) -> None:
    state = load_file(weights / "model.safetensors")
    for name in ("no_memory_embedding", "mask_decoder.iou_token.weight"):
        state.pop(name)
    (tmp_path / "config.json").write_bytes((weights / "config.json").read_bytes())
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ValueError, match=r"lack mask_decoder\.iou_token\.weight, no_memory_embedding: they are"
    ) as error:
        segmenter(tmp_path)
    assert "\n" not in str(error.value)


def test_video_weights_are_loaded_as_they_are_published(weights: Path, tmp_path: Path) -> None:
    """The hub's checkpoints hold the video model, whose memory has no use here."""
    state = load_file(weights / "model.safetensors")
    state["memory_encoder.fuser.layers.0.scale"] = torch.ones(3)
    config = (weights / "config.json").read_text("utf-8").replace('"model_type": "sam2"', '"model_type": "sam2_video"')
    (tmp_path / "config.json").write_text(config, "utf-8")
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    np.testing.assert_array_equal(
        stacked(segmenter(tmp_path)(blobs(80, 120))), stacked(segmenter(weights)(blobs(80, 120)))
    )


@pytest.mark.parametrize("fault", ["truncated", "pickle", "nothing", "no configuration", "other shapes"])
def test_folders_that_are_not_of_one_piece_are_one_sentence(weights: Path, tmp_path: Path, fault: str) -> None:
    config, data = ((weights / name).read_bytes() for name in ("config.json", "model.safetensors"))
    if fault == "other shapes":
        config = config.replace(b'"mlp_dim": 32', b'"mlp_dim": 48')
    if fault != "no configuration":
        (tmp_path / "config.json").write_bytes(config)
    if fault == "pickle":
        torch.save(load_file(weights / "model.safetensors"), tmp_path / "pytorch_model.bin")
    elif fault != "nothing":
        (tmp_path / "model.safetensors").write_bytes(data[:-1000] if fault == "truncated" else data)
    with pytest.raises(ValueError, match="does not hold the SAM 2 weights") as error:
        segmenter(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", ["facebook/sam2.1-hiera-large", "no such folder", "a/b/c"])
def test_weights_that_cannot_be_fetched_are_one_sentence(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="cannot be fetched from the hub at revision main") as error:
        segmenter(Path(model))
    assert "\n" not in str(error.value)


def test_the_hub_s_weights_are_known_by_their_commit(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--someone--tiny-sam2" / "snapshots" / commit
    shutil.copytree(weights, snapshot)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert segmenter(Path("someone/tiny-sam2")).name == f"sam2 1 someone/tiny-sam2@{commit}"


def test_a_gpu_that_is_not_there_is_one_sentence(weights: Path) -> None:
    with pytest.raises(ValueError, match="there is no device cuda:99 for SAM 2 here"):
        segmenter(weights, device="cuda:99")


# The stage


def stage_settings(weights: Path, **settings: Any) -> MaskSettings:
    values = {"model": str(weights), "points_per_side": 3, **OPEN, "duplicate_iou": 0.7, **settings}
    return MaskSettings(segmenter="sam2", sam2=Sam2Settings(**values))


def test_the_stage_names_model_and_revision_in_every_piece(weights: Path, tmp_path: Path) -> None:
    Image.fromarray(blobs(300, 400)).save(tmp_path / "photo.png")
    row = row_of(tmp_path / "photo.png", None)
    stage = Segment(stage_settings(weights, revision="seed 0"))
    [result] = stage([row])
    assert isinstance(result, Row)
    assert {piece.segmenter for piece in result.pieces} == {"sam2 1 tiny-sam2@seed 0"}
    assert {(piece.mask.height, piece.mask.width) for piece in result.pieces} == {(300, 400)}
    areas = [piece.mask.area() for piece in result.pieces]
    assert areas == sorted(areas, reverse=True)
    assert stage([row]) == [result]
    [dropped] = Segment(stage_settings(weights, predicted_iou=1.0))([row])
    assert dropped == Drop("no region", "27 low predicted IoU")


def test_other_stages_are_what_they_were_and_this_one_follows_its_settings(weights: Path) -> None:
    assert "sam2" not in MaskSettings().model_dump() and "sam2" not in MaskSettings(segmenter="annotated").model_dump()
    settings = stage_settings(weights)
    assert MaskSettings.model_validate(settings.model_dump(mode="json")) == settings
    unused = MaskSettings(sam2=Sam2Settings(points_per_side=7))  # kept: it may be set before the segmenter is
    assert MaskSettings.model_validate(unused.model_dump(mode="json")) == unused

    def identity(masks: MaskSettings) -> str:
        return next(stage.identity for stage in photo_stages(BuildSettings(masks=masks)) if stage.name == "masks")

    changed = [
        MaskSettings(),
        settings,
        stage_settings(weights, revision="other"),
        stage_settings(weights / "other"),
        stage_settings(weights, stability=0.5),
    ]
    assert len({identity(masks) for masks in changed}) == len(changed)


@pytest.mark.gpu
def test_a_gpu_gives_nearly_the_same(weights: Path) -> None:
    photo = blobs(80, 120)
    [(expected, _)] = predictions(segmenter(weights), photo)
    [(logits, _)] = predictions(segmenter(weights, device="cuda"), photo)
    assert (logits.cpu() - expected).abs().max() < 0.02 * expected.abs().max()
    assert stacked(segmenter(weights, device="cuda")(photo)).shape[1:] == (80, 120)
