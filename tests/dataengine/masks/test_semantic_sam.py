"""Semantic-SAM: settings, sentences, weights, sizes and the alarm without its code; and, where a checkout of it is at
hand, its real code on the CPU with random Swin-T weights.

The latter run by `make test-checkouts`, against checkouts of UX-Decoder/Semantic-SAM and facebookresearch/detectron2
(tests/checkouts.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from instructrestore.dataengine.masks import semantic_sam
from instructrestore.dataengine.masks.cleanup import CleanupSettings
from instructrestore.dataengine.masks.segment import AlarmSettings, MaskSettings, Segment
from instructrestore.dataengine.masks.semantic_sam import CONFIGS, SemanticSamSegmenter, enlarge, load, scaled
from instructrestore.dataengine.masks.semantic_sam_settings import SemanticSamSettings
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.running.outcomes import apply
from instructrestore.dataengine.running.stage import Drop, StageSpec, StopStage
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.dataengine.stages import photo_stages
from instructrestore.shards.rle import Mask
from tests.checkouts import DETECTRON2, SEMANTIC_SAM
from tests.dataengine.masks.test_masks import blobs, row_of, square
from tests.dataengine.masks.test_sam2 import stage_settings, tiny_model

CPU = torch.device("cpu")
ALL = CleanupSettings(hole=0, island=0, smallest=0, largest=1, duplicate_iou=1, part=1, most=1000)


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    """Leaves the search path, and what was imported from checkouts, as they were: the stage has its own process."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    added = [folder for folder in sys.path if folder not in path]
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if name == semantic_sam.OPERATION or any(origin.startswith(folder + os.sep) for folder in added):
            del sys.modules[name]


def masks_stage(masks: MaskSettings) -> StageSpec:
    return next(stage for stage in photo_stages(BuildSettings(masks=masks)) if stage.name == "masks")


# Settings


def test_other_stages_are_what_they_were_and_this_one_follows_its_settings() -> None:
    assert not {"semantic_sam", "alarm"} & set(MaskSettings().model_dump())
    assert set(MaskSettings(segmenter="sam2").model_dump()) == {*MaskSettings().model_dump(), "sam2"}
    settings = MaskSettings(segmenter="semantic_sam", semantic_sam=SemanticSamSettings(checkpoint="weights.pth"))
    unused = MaskSettings(semantic_sam=SemanticSamSettings(points_per_side=7))  # it may be set before the segmenter is
    for each in (settings, unused, MaskSettings(alarm=AlarmSettings(empty=0))):
        assert MaskSettings.model_validate(each.model_dump(mode="json")) == each
    changed = [
        MaskSettings(),
        settings,
        *(
            settings.model_copy(update={"semantic_sam": settings.semantic_sam.model_copy(update=update)})
            for update in ({"revision": "other"}, {"checkpoint": "o.pth"}, {"levels": (1, 2, 3)}, {"model_type": "T"})
        ),
    ]
    assert len({masks_stage(masks).identity for masks in changed}) == len(changed)


def test_the_alarm_is_no_part_of_what_a_stage_is() -> None:
    for segmenter in ("named", "sam2", "semantic_sam"):
        settings = MaskSettings(segmenter=segmenter)
        quiet = MaskSettings(segmenter=segmenter, alarm=AlarmSettings(empty=0))
        assert masks_stage(settings).identity == masks_stage(quiet).identity
    with pytest.raises(ValueError, match=r"alarm\.empty must not be more than alarm\.photos"):
        AlarmSettings(empty=26)


def test_it_has_workers_of_its_own() -> None:
    assert masks_stage(MaskSettings(segmenter="semantic_sam")).own_workers
    assert not masks_stage(MaskSettings(segmenter="sam2")).own_workers


# Checkouts


def checkout(folder: Path, **code: str) -> Path:
    """A folder that looks like a checkout of Semantic-SAM; `code` is its packages' code, by their names."""
    for name in ("semantic_sam/build_semantic_sam.py", *CONFIGS.values()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for package in ("semantic_sam", "tasks", "utils"):
        (folder / package).mkdir(exist_ok=True)
        (folder / package / "__init__.py").write_text(code.get(package, ""))
    for module in ("semantic_sam/BaseModel", "utils/arguments", "tasks/automatic_mask_generator"):
        (folder / f"{module}.py").touch()
    return folder


def sentence(settings: SemanticSamSettings) -> str:
    with pytest.raises(ValueError, match=r"\w") as error:
        SemanticSamSegmenter(settings, ALL)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save({"model": {"model.weight": torch.ones(1)}}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_checkouts_and_weights_that_are_not_there_are_one_sentence(tmp_path: Path, weights: Path) -> None:
    path = list(sys.path)
    there = str(checkout(tmp_path / "there"))
    assert "needs a checkout of UX-Decoder/Semantic-SAM: git clone https" in sentence(SemanticSamSettings())
    plain = sentence(SemanticSamSettings(checkout=str(tmp_path), checkpoint=str(weights)))
    assert plain.startswith(f"{tmp_path} is not a checkout of UX-Decoder/Semantic-SAM: git clone https://github.com/")
    assert "masks.semantic_sam.checkout" in plain
    assert "needs its weights: fetch swint" in sentence(SemanticSamSettings(checkout=there))
    lost = sentence(SemanticSamSettings(checkout=there, checkpoint=str(tmp_path / "no.pth")))
    assert lost.startswith(f"there is no file {tmp_path / 'no.pth'}: fetch ")
    other = sentence(SemanticSamSettings(checkout=there, checkpoint=str(weights), detectron2=there))
    assert f"{there} is not a checkout of facebookresearch/detectron2" in other
    assert "there is no device cuda:99" in sentence(SemanticSamSettings(device="cuda:99"))
    assert sys.path == path


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import package_that_nobody_has.part", "needs the package package_that_nobody_has, which is not installed"),
        ("from torch import thing_of_another_version", "cannot be imported with the packages installed here"),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "torchvision as it belongs to torch"),
        ("", "not the version that this program was written for: git checkout e11f8b5"),
    ],
)
def test_code_that_does_not_run_is_one_sentence(tmp_path: Path, weights: Path, code: str, expected: str) -> None:
    there = str(checkout(tmp_path / "there", semantic_sam=code))
    assert expected in sentence(SemanticSamSettings(checkout=there, checkpoint=str(weights), device="cpu"))


def test_modules_of_the_same_name_from_elsewhere_are_one_sentence(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = checkout(tmp_path / "first"), checkout(tmp_path / "second")
    sentence(SemanticSamSettings(checkout=str(first), checkpoint=str(weights), device="cpu"))
    monkeypatch.delitem(sys.modules, "semantic_sam")
    found = sentence(SemanticSamSettings(checkout=str(second), checkpoint=str(weights), device="cpu"))
    assert f"module tasks comes from {first / 'tasks'} and not from the checkout {second}" in found


# Weights


class Small(nn.Module):
    """Two layers and a buffer, named as a network's."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)
        self.index: torch.Tensor
        self.register_buffer("index", torch.arange(4))


def released(model: nn.Module, path: Path, **more: Any) -> Path:
    """A checkpoint in the layout of the released files."""
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"model": {**state, "criterion.empty_weight": torch.ones(2), **more}, "iteration": 7}, path)
    return path


def test_every_weight_is_read_and_the_rest_is_passed_over(tmp_path: Path) -> None:
    truth, model = Small(), Small()
    truth.index += 5  # follows from the configuration, whatever the file says
    load(model, released(truth, tmp_path / "a.pth", **{"model.unknown": torch.ones(1)}), "T")
    for (name, expected), value in zip(truth.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0, msg=name)
    assert model.index.tolist() == [0, 1, 2, 3]


def test_weights_that_lack_something_are_one_sentence(tmp_path: Path) -> None:
    swin = {name: value for name, value in Small().state_dict().items() if name.startswith("backbone")}
    torch.save({"model": swin}, tmp_path / "swin.pth")  # names without the prefix, as those of a plain Swin are
    with pytest.raises(
        ValueError, match=r"lacks 4 of the 4 weights of Semantic-SAM T, among them backbone\.weight, "
    ) as e:
        load(Small(), tmp_path / "swin.pth", "T")
    assert "a plain Swin checkpoint gives no masks" in str(e.value) and "swint_only_sam_many2many.pth" in str(e.value)
    wide = Small()
    wide.head = nn.Linear(5, 2)
    with pytest.raises(ValueError, match=r"lacks 1 of the 4 weights of Semantic-SAM L, among them head\.weight: "):
        load(Small(), released(wide, tmp_path / "wide.pth"), "L")


class Code:
    """What must never be run from a checkpoint."""

    def __reduce__(self) -> Any:
        return (os.mkdir, ("ran",))


@pytest.mark.parametrize("fault", ["code", "truncated", "text", "no dictionary", "nothing"])
def test_files_that_are_no_weights_are_one_sentence(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = released(Small(), tmp_path / "a.pth")
    data = path.read_bytes()
    if fault == "code":
        torch.save({"model": Code()}, path)
    elif fault == "no dictionary":
        torch.save(torch.ones(3), path)
    else:
        path.write_bytes({"truncated": data[: len(data) // 2], "text": b"weights", "nothing": b""}[fault])
    with pytest.raises(
        ValueError, match=r"holds no weights|is damaged or not a file|holds more than weights|lacks 4 of"
    ) as error:
        load(Small(), path, "T")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


# Sizes


@pytest.mark.parametrize("size", [(640, 427), (427, 640), (2040, 1356), (1356, 2040), (640, 640), (513, 2052), (3, 4)])
def test_the_model_sees_the_size_that_torchvision_gives(size: tuple[int, int]) -> None:
    width, height = scaled(*size, 640)
    assert min(width, height) == 640
    assert max(width, height) == int(640 * max(size) / min(size))
    assert (width <= height) == (size[0] <= size[1])


def test_a_long_strip_is_scaled_further_down() -> None:
    assert scaled(10_000, 1000, 640) == (2560, 256)
    assert scaled(1, 9000, 640) == (1, 2560)
    assert scaled(4010, 1000, 640) == (2560, 638)


@pytest.mark.parametrize("size", [(900, 1350), (640, 960), (513, 770)])
def test_masks_keep_their_place_at_the_photo_s_size(size: tuple[int, int]) -> None:
    def disc(height: int, width: int) -> NDArray[np.bool_]:
        rows, columns = np.mgrid[:height, :width]
        return np.hypot((rows + 0.5) / height - 0.4, 1.5 * (columns + 0.5) / width - 0.6) < 0.25

    small = disc(640, 960)
    large, truth = enlarge(small, *size), disc(*size)
    assert large.shape == size and large.dtype == np.bool_
    assert (large & truth).sum() / (large | truth).sum() > 0.995
    if size == small.shape:
        np.testing.assert_array_equal(large, small)
    nearest = np.asarray(Image.fromarray(small).resize((size[1], size[0]), Image.Resampling.NEAREST))
    assert (large != truth).sum() <= (nearest != truth).sum()
    everything = enlarge(np.ones((640, 960), np.bool_), *size)
    assert everything.all() and not enlarge(~everything, 7, 9).any()


def test_code_that_asks_for_a_gpu_stays_on_the_cpu() -> None:
    tensor = torch.arange(3)
    with semantic_sam._on(CPU):
        assert tensor.cuda() is tensor and tensor.to("cuda") is tensor
        assert tensor.to(torch.float64).dtype == torch.float64 and tensor.to("meta").device.type == "meta"
    if not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError)):
            tensor.cuda()


# The alarm


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for index in range(30):
        Image.fromarray(np.roll(blobs(30, 40), index, axis=1)).save(folder / f"{index}.png")
        rows.append(row_of(folder / f"{index}.png", None))
    return rows


@pytest.fixture(scope="module")
def sam2_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny-sam2"
    tiny_model().save_pretrained(folder)
    return folder


def stage(weights: Path, alarm: AlarmSettings | None = None, **settings: Any) -> Segment:
    """A stage with real weights of a small SAM 2; predicted_iou=1.0 makes it one that finds nothing."""
    masks = stage_settings(weights, points_per_side=1, **settings)
    return Segment(masks.model_copy(update={"alarm": alarm or AlarmSettings()}))


def test_a_segmenter_that_finds_nothing_stops_the_run(sam2_weights: Path, photos: list[Row]) -> None:
    broken = stage(sam2_weights, predicted_iou=1.0)
    assert {type(result) for result in broken(photos[:24])} == {Drop}
    with pytest.raises(StopStage, match=r"25 of the last 25 photos got no region from sam2: its checkpoint") as error:
        apply(broken, [(row.origin.name, row) for row in photos[24:25]], None)
    assert "\n" not in str(error.value) and "masks.sam2.revision" in str(error.value)
    assert "masks.alarm.empty" in str(error.value)


def test_the_alarm_counts_the_latest_photos_of_the_worker_each_once(sam2_weights: Path, photos: list[Row]) -> None:
    broken, whole = stage(sam2_weights, AlarmSettings(empty=4, photos=5), predicted_iou=1.0), stage(sam2_weights)
    for _ in range(5):
        broken(photos[:3])  # a part done again, row by row
    whole.alarm = broken.alarm
    assert all(isinstance(result, Row) for result in whole(photos[3:5]))
    broken(photos[5:8])
    with pytest.raises(StopStage, match="4 of the last 5"):
        broken(photos[8:9])


def test_the_alarm_is_silent_where_it_has_no_place(sam2_weights: Path, photos: list[Row]) -> None:
    off = stage(sam2_weights, AlarmSettings(empty=0), predicted_iou=1.0)
    assert len(off(photos)) == 30
    annotated = [row_of(Path(row.origin.uri), (square(left=500),)) for row in photos]
    assert {type(result) for result in stage(sam2_weights, predicted_iou=1.0)(annotated)} == {Drop}
    strict = CleanupSettings(smallest=0.999, largest=1)
    dropped = Segment(MaskSettings(cleanup=strict, alarm=AlarmSettings(empty=1, photos=1)))(photos[:3])
    assert {type(result) for result in dropped} == {Drop}


# Its real code


def real_folders() -> tuple[str, str]:
    return str(SEMANTIC_SAM.folder), str(DETECTRON2.folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random Swin-T weights in the released layout, scaled so that masks are not flat and scores lie around a half."""
    code, detectron2 = real_folders()
    path, modules = list(sys.path), set(sys.modules)
    theirs = semantic_sam._modules([Path(folder).resolve() for folder in (code, detectron2) if folder])
    network = their_network(theirs, Path(code))
    predictor = network.model.sem_seg_head.predictor
    with torch.no_grad():
        predictor.mask_embed.layers[-1].weight.mul_(10)
        predictor.mask_embed.layers[0].weight.mul_(3)
        predictor.mask_tokens.weight.mul_(3)
        predictor.iou_prediction_head.layers[-1].weight.mul_(3)
        predictor.iou_prediction_head.layers[-1].bias.fill_(0.5)
    file = tmp_path_factory.mktemp("semantic-sam") / "swint_random.pth"
    torch.save({"model": {**network.state_dict(), "criterion.empty_weight": torch.ones(2)}}, file)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith((code, detectron2 or code)):
            del sys.modules[name]
    return file


def their_network(modules: Any, code: Path) -> Any:
    config = modules["utils.arguments"].load_opt_from_config_file(str(code / CONFIGS["T"]))
    config["MODEL"]["BACKBONE"]["LOAD_PRETRAINED"] = False
    torch.manual_seed(0)
    with semantic_sam._on(CPU):
        network = modules["semantic_sam"].build_model(config)
        return sys.modules["semantic_sam.BaseModel"].BaseModel(config, network).eval()


def real_settings(checkpoint: Path, **settings: Any) -> SemanticSamSettings:
    code, detectron2 = real_folders()
    small: dict[str, Any] = {
        "points_per_side": 3,
        "predicted_iou": 0.0,
        "stability": 0.0,
        "duplicate_iou": 1.0,
        "short_side": 128,
        "device": "cpu",
        "model_type": "T",
    }
    return SemanticSamSettings(
        checkout=code, detectron2=detectron2, checkpoint=str(checkpoint), **{**small, **settings}
    )


@pytest.mark.checkouts
def test_real_masks_are_those_of_its_own_loader_and_generator(checkpoint: Path) -> None:
    photo = blobs(150, 260)
    ours = SemanticSamSegmenter(real_settings(checkpoint, stability=0.9, duplicate_iou=0.97), ALL)
    modules = {name: sys.modules[name] for name in ("utils.arguments", "semantic_sam")}
    network = their_network(modules, Path(ours.settings.checkout))
    with semantic_sam._on(CPU):
        network.from_pretrained(str(checkpoint))
        generator = modules["semantic_sam"].SemanticSamAutomaticMaskGenerator(
            network,
            points_per_side=3,
            pred_iou_thresh=0.0,
            stability_score_thresh=0.9,
            box_nms_thresh=0.97,
            output_mode="binary_mask",
            level=[1, 2],
        )
        expected = generator.generate(semantic_sam.prepare(photo, 128))
    found, counts = ours.generate(photo)
    assert 2 <= len(found) < len(found) + sum(counts.values()) == 2 * 3**2
    for each, their in zip(found, expected, strict=True):
        assert their["segmentation"].shape == (128, 221)
        np.testing.assert_array_equal(Mask(128, 221, each["segmentation"]["counts"]).array(), their["segmentation"])
        assert each["predicted_iou"] == their["predicted_iou"] and each["point_coords"] == their["point_coords"]
    masks, _ = ours(photo)
    assert {mask.tobytes() for mask in masks} == {
        enlarge(each["segmentation"], 150, 260).tobytes() for each in expected
    }


@pytest.mark.checkouts
@pytest.mark.parametrize("size", [(150, 260), (901, 700)])
def test_real_pixels_are_those_of_its_own_preparation(size: tuple[int, int], tmp_path: Path) -> None:
    modules = semantic_sam._modules([Path(folder).resolve() for folder in real_folders() if folder])
    Image.fromarray(blobs(*size)).save(tmp_path / "photo.png")
    with semantic_sam._on(CPU):
        _, expected = modules["semantic_sam"].prepare_image(str(tmp_path / "photo.png"))
    ours = semantic_sam.prepare(blobs(*size), 640)
    assert ours.shape == expected.shape and ours.dtype == expected.dtype == torch.uint8
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)


@pytest.mark.checkouts
def test_real_masks_of_photos_of_any_size_and_every_mask_is_kept_or_counted(checkpoint: Path) -> None:
    tried = SemanticSamSegmenter(real_settings(checkpoint), ALL)
    assert tried.name == "semantic_sam 1 swint_random@main"
    for size in ((200, 300), (300, 140), (40, 500)):
        masks, counts = tried(blobs(*size))
        found = list(masks)
        assert len(found) >= 2
        assert all(mask.shape == size and mask.dtype == np.bool_ and mask.any() for mask in found)
        assert len(found) + sum(counts.values()) == 2 * 3**2


@pytest.mark.checkouts
def test_real_masks_are_the_same_again(checkpoint: Path) -> None:
    photo = blobs(140, 200)
    first = SemanticSamSegmenter(real_settings(checkpoint), ALL)
    expected = list(first(photo)[0])
    first(blobs(130, 130))
    torch.manual_seed(99)
    np.testing.assert_array_equal(np.array(list(first(photo)[0])), np.array(expected))
    other_photo = list(first(np.ascontiguousarray(photo[:, ::-1]))[0])
    assert any((mask != other).any() for mask, other in zip(other_photo, expected, strict=False))


@pytest.mark.checkouts
def test_real_thresholds_remove_and_count(checkpoint: Path) -> None:
    photo = blobs(140, 200)
    found, _ = SemanticSamSegmenter(real_settings(checkpoint), ALL).generate(photo)
    ious = sorted(each["predicted_iou"] for each in found)
    stable = sorted(each["stability_score"] for each in found)
    assert 0 < ious[0] < ious[-1] < 1 and len(found) == 18
    some = SemanticSamSegmenter(real_settings(checkpoint, predicted_iou=ious[5], stability=stable[3]), ALL)
    _, counts = some.generate(photo)
    assert counts[semantic_sam.LOW_PREDICTED_IOU] == 6
    none, counts = SemanticSamSegmenter(real_settings(checkpoint, predicted_iou=1.0), ALL)(photo)
    assert list(none) == [] and counts == {semantic_sam.LOW_PREDICTED_IOU: 18}


@pytest.mark.checkouts
def test_real_weights_of_the_other_model_and_of_a_plain_swin_are_one_sentence(checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)["model"]
    backbone = "model.backbone."
    swin = {name[len(backbone) :]: value for name, value in state.items() if name.startswith(backbone)}
    torch.save({"model": swin}, tmp_path / "swin_tiny_patch4_window7_224.pth")
    plain = sentence(real_settings(tmp_path / "swin_tiny_patch4_window7_224.pth"))
    assert "of the 526 weights of Semantic-SAM T" in plain and "a plain Swin checkpoint gives no masks" in plain
    assert "masks.semantic_sam.model_type" in sentence(real_settings(checkpoint, model_type="L"))


@pytest.mark.checkouts
def test_a_real_stage_names_checkpoint_and_revision_in_every_piece(checkpoint: Path, tmp_path: Path) -> None:
    Image.fromarray(blobs(300, 400)).save(tmp_path / "photo.png")
    row = row_of(tmp_path / "photo.png", None)
    folder = Path.cwd()
    real = real_settings(checkpoint, revision="seed 0")
    segment = Segment(MaskSettings(segmenter="semantic_sam", semantic_sam=real, cleanup=ALL))
    [result] = segment([row])
    assert isinstance(result, Row)
    assert {piece.segmenter for piece in result.pieces} == {"semantic_sam 1 swint_random@seed 0"}
    assert {(piece.mask.height, piece.mask.width) for piece in result.pieces} == {(300, 400)}
    areas = [piece.mask.area() for piece in result.pieces]
    assert areas == sorted(areas, reverse=True)
    assert segment([row]) == [result]
    assert Path.cwd() == folder
