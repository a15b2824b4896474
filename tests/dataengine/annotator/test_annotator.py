"""The whole annotator with the installed backbone and untrained heads: shapes, odd photos, files."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from instructrestore.dataengine.annotator import weights as annotator_weights
from instructrestore.dataengine.annotator.annotator import Annotator, load_annotator
from instructrestore.dataengine.annotator.features import FeatureExtractor, working_size
from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.annotator.naming import Calibration, name_segments
from instructrestore.dataengine.annotator.network import Head
from instructrestore.dataengine.annotator.panoptic import read_panoptic
from instructrestore.dataengine.annotator.reduction import Sight, fit_reduction
from instructrestore.dataengine.annotator.segment_scores import fits
from instructrestore.dataengine.annotator.weights import TrainedHeads, load_weights, save_weights
from instructrestore.pretrained import installed
from instructrestore.pretrained.backbone import load_backbone, normalise
from instructrestore.pretrained.installed import InstalledFile
from instructrestore.pretrained.text_vectors import TextEncoder

needs_text = pytest.mark.skipif(
    installed.package_folder(installed.SENTENCES_PACKAGE) is None, reason="the text vectors' package is not installed"
)


@pytest.fixture(scope="module")
def sight() -> Sight:
    extractor = FeatureExtractor(load_backbone())
    random = np.random.default_rng(0)
    return Sight(
        extractor, fit_reduction(extractor(random.integers(0, 256, (256, 448, 3), np.uint8)) for _ in range(12))
    )


@pytest.fixture(scope="module")
def head() -> Head:
    torch.manual_seed(0)
    text = torch.nn.functional.normalize(torch.randn(len(coco_names()), 384), dim=1)
    return Head(text, channels=8).eval().requires_grad_(False)


def test_folded_weights_are_the_published_classifier() -> None:
    """Against the package that published them, where it is installed, at a size whose paddings agree."""
    published = pytest.importorskip("efficientnet_lite_pytorch")
    path = installed.backbone().checked()
    theirs = published.EfficientNet.from_name("efficientnet-lite2", image_size=256)
    theirs.load_state_dict(torch.load(path, weights_only=True))
    ours, pixels = load_backbone(), torch.rand(1, 3, 256, 256, generator=torch.manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = theirs.eval().extract_features(pixels)
        assert torch.allclose(ours.head(ours(pixels)[32]), expected, atol=2e-3)


def test_the_classifier_knows_a_cat() -> None:
    data = pytest.importorskip("skimage.data")
    photo = torch.from_numpy(data.chelsea()[:288, 80:368].copy()).permute(2, 0, 1)[None]
    ours = load_backbone()
    with torch.no_grad():
        chances = ours.classify(ours.head(ours(normalise(photo))[32])).mean((2, 3)).softmax(1)[0]
    assert chances[281:286].sum() > 0.7  # ImageNet's five house cats


@needs_text
def test_near_words_are_near() -> None:
    dog, puppy, bridge = TextEncoder()(["dog", "puppy", "bridge"])
    assert dog @ puppy > 0.7 > 0.4 > dog @ bridge
    assert torch.linalg.vector_norm(dog) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("shape", [(64, 64), (40, 1600), (7, 5), (480, 640), (333, 217)])
def test_odd_photos_have_segments_of_their_size(sight: Sight, head: Head, shape: tuple[int, int]) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    for rgb in (photo, np.zeros_like(photo)):
        segments = Annotator(sight, (head,))(rgb)
        assert all(each.mask.shape == shape and 0 <= each.name <= each.kind + 1e-6 <= 1 + 2e-6 for each in segments)
        assert sum(each.mask.astype(int) for each in segments).max(initial=0) <= 1 if segments else True


def test_working_sizes() -> None:
    assert working_size(480, 640, 576) == (448, 576)
    assert working_size(2048, 50, 576) == (576, 64)


def test_weights_come_back(sight: Sight, head: Head, tmp_path: Path) -> None:
    path, calibration = tmp_path / "w.safetensors", Calibration(0.1, 0.9, -0.2, 0.3, 0.8, -0.1, bar=0.55)
    save_weights(TrainedHeads(sight.reduction, (head, head), calibration), path, {"seed": "0"})
    back = load_weights(path)
    assert back.calibration == calibration
    assert len(back.heads) == 2
    photo = np.random.default_rng(2).integers(0, 256, (128, 192, 3), np.uint8)
    before = Annotator(sight, (head,)).probabilities(photo)
    after = Annotator(Sight(sight.extractor, back.reduction), back.heads).probabilities(photo)
    assert torch.allclose(before, after, atol=2e-3)  # float16 in the file


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is damaged: train it anew"), (b"\0" * 100, "is damaged"), (None, "there are no weights")],
)
def test_damaged_or_missing_weights_are_one_sentence(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        load_weights(path)


def test_what_ships_and_what_installs_is_whole_or_a_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One changed byte, a file cut short, and none at all, of each file; by what reads them."""
    for place, need, load in (
        (annotator_weights, "shipped", load_weights),
        (installed, "backbone", load_backbone),
        (installed, "sentences", TextEncoder),
    ):
        whole: InstalledFile = getattr(place, need)()
        content = whole.checked().read_bytes()
        middle = len(content) // 2
        for broken in (content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], content[:middle], None):
            path = tmp_path / "broken"
            path.unlink(missing_ok=True)
            if broken is not None:
                path.write_bytes(broken)
            with monkeypatch.context() as patch:
                patch.setattr(place, need, partial(replace, whole, path=path))
                with pytest.raises(ValueError, match=r"the weights of the .* are (damaged|not installed)") as said:
                    load()
            assert str(said.value).endswith(whole.fix) and "\n" not in str(said.value)


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="does not hold an annotator"):
        load_weights(tmp_path / "w.safetensors")


def test_what_shows_nothing_has_no_name() -> None:
    """With the weights that ship, which call an even grey sky and a black frame a wall."""
    annotator, calibration = load_annotator()
    random, page = np.random.default_rng(0), np.full((480, 640, 3), 255, np.uint8)
    for line in range(11):
        cv2.putText(page, "The quick brown fox 0123", (10, 40 + 40 * line), 0, 1, (0, 0, 0), 2)
    even = [np.full((480, 640, 3), level, np.uint8) for level in (0, 127, 255)]
    ramp = np.repeat(np.linspace(0, 255, 640).astype(np.uint8)[None, :, None], 480, 0).repeat(3, 2)
    slanted = np.add.outer(np.arange(480), np.arange(640))[..., None].repeat(3, 2) * 255 // 1118
    even += [ramp, np.ascontiguousarray(ramp.transpose(1, 0, 2)), slanted.astype(np.uint8)]
    noise = [random.integers(0, 256, shape, np.uint8) for shape in ((480, 640, 3), (40, 1600, 3), (64, 64, 3))]
    for photo in (page, *even, *noise):
        segments = annotator(photo)
        known, unknown = name_segments(segments, calibration)
        assert [each.word for each in known] == []
        assert unknown == len(segments)


def test_a_backdrop_is_no_sky() -> None:
    """Matplotlib's portrait before a blue wall, and a photo with a sky."""
    folder = Path(pytest.importorskip("matplotlib").__file__).parent / "mpl-data/sample_data"
    annotator, calibration = load_annotator()
    for path, words in (
        (folder / "grace_hopper.jpg", {"person"}),
        (Path(pytest.importorskip("skimage.data").__file__).with_name("rocket.jpg"), {"sky"}),
    ):
        rgb = np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)
        known, _ = name_segments(annotator(rgb), calibration)
        assert {each.word for each in known} == words


def test_real_photos_have_the_names_that_people_gave(data_folder: Path) -> None:
    """Four validation photos, which no weight has seen: most of what is named is named as annotated."""
    folder = data_folder / "coco_panoptic"
    photos = read_panoptic(folder / "panoptic_validation.json", folder / "panoptic_validation", folder / "validation")
    annotator, calibration = load_annotator()
    right = kept = 0
    for photo in photos[1:9:2]:
        annotated, rgb = photo.segments(), photo.rgb()
        known, _ = name_segments(annotator(rgb), calibration)
        kept += len(known)
        right += sum(fits(each.segment.mask, each.word, annotated, photo.categories) for each in known)
        again = annotator.regions(rgb, [each.segment.mask for each in known])
        assert [each.label for each in again] == [each.segment.label for each in known]
    assert kept >= 4
    assert right >= 0.6 * kept
