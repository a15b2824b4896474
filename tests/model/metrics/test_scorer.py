"""One scorer for all metrics: which figures a result has, by which rule, and what the paper's own figures say of it."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from instructrestore.model.metrics import scorer
from instructrestore.model.metrics.blur import blur_detector, bokeh_iou
from instructrestore.model.metrics.fidelity import psnr, ssim
from instructrestore.model.metrics.metric import MOST_PSNR
from instructrestore.model.metrics.scorer import Scorer
from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.pretrained.brisque import brisque


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor, Tensor]:
    """A noisy photo, the HQ photo and a disc in it: (1, 3, 256, 256) each and (1, 256, 256)."""
    hq = torch.from_numpy(skimage.data.astronaut()[:256, 100:356].copy()).permute(2, 0, 1)[None] / 255
    noise = torch.randn(hq.shape, generator=torch.Generator().manual_seed(1))
    rows, columns = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    disc = ((rows - 128) ** 2 + (columns - 128) ** 2 < 70**2)[None]
    return (hq + 0.04 * noise).clamp(0, 1), hq, disc


def test_every_scope_by_the_regions_own_pixels(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    result, hq, disc = pair
    [figures] = Scorer(MetricSettings())(result, hq, disc, False, [None])
    expected = {("full", None), ("target", disc), ("remaining", ~disc)}
    assert set(figures) == {(scope, name) for scope, _ in expected for name in ("psnr", "ssim")}
    for scope, region in expected:
        assert figures[scope, "psnr"] == psnr(result, hq, region).item()  # type: ignore[index]
        assert figures[scope, "ssim"] == ssim(result, hq, region).item()  # type: ignore[index]


def test_zeroed_outside(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    """Over the whole photo with black around: errors of the parts add up to the whole's, and both parts seem better."""
    result, hq, disc = pair
    [pixels] = Scorer(MetricSettings())(result, hq, disc, False, [None])
    [zeroed] = Scorer(MetricSettings(regions="zeroed"))(result, hq, disc, False, [None])
    assert zeroed["full", "psnr"] == pixels["full", "psnr"]
    assert zeroed["full", "ssim"] == pixels["full", "ssim"]
    share = disc.float().mean().item()
    assert zeroed["target", "psnr"] == pytest.approx(pixels["target", "psnr"] - 10 * np.log10(share))
    assert zeroed["remaining", "psnr"] == pytest.approx(pixels["remaining", "psnr"] - 10 * np.log10(1 - share))
    errors = [10 ** (-zeroed[scope, "psnr"] / 10) for scope in ("target", "remaining", "full")]  # type: ignore[index]
    assert errors[0] + errors[1] == pytest.approx(errors[2])
    # A window on black alone counts 1; only those on the border between are in neither sum as they are.
    together = zeroed["target", "ssim"] + zeroed["remaining", "ssim"] - 1
    assert zeroed["full", "ssim"] < together < zeroed["full", "ssim"] + 0.1
    assert pixels["target", "ssim"] < zeroed["target", "ssim"]


def test_a_figure_that_cannot_be_had_is_left_out(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    result, hq, disc = pair
    whole = torch.ones_like(disc)
    figures, other = Scorer(MetricSettings())(
        result.repeat(2, 1, 1, 1), hq.repeat(2, 1, 1, 1), torch.cat([whole, disc]), False, [None, None]
    )
    assert {scope for scope, _ in figures} == {"full", "target"}
    assert figures["target", "psnr"] == figures["full", "psnr"]
    assert {scope for scope, _ in other} == {"full", "target", "remaining"}
    edge = torch.zeros_like(disc)
    edge[:, :3] = True
    for rule in ("pixels", "zeroed"):
        [figures] = Scorer(MetricSettings(regions=rule))(result, hq, edge, False, [None])
        assert ("target", "psnr") in figures
        assert (("target", "ssim") in figures) == (rule == "zeroed")
        assert all(np.isfinite(value) for value in figures.values())


def test_equal_photos_count_as_100_db(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    _, hq, disc = pair
    [figures] = Scorer(MetricSettings(metrics=("psnr",)))(hq, hq, disc, True, [None])
    assert figures == dict.fromkeys([("full", "psnr"), ("target", "psnr"), ("remaining", "psnr")], MOST_PSNR)


def test_mask_iou_by_hand(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    result, hq, _ = pair
    mask = torch.zeros(1, 256, 256, dtype=torch.bool)
    mask[:, :100, :100] = True
    seen = np.zeros((256, 256), np.float32)
    seen[50:100, :100] = 0.9
    seen[100:150, :100] = 0.6
    seen[:50, :100] = 0.5  # not over the threshold
    measure = Scorer(MetricSettings(metrics=("mask_iou",)))
    [figures] = measure(result, hq, mask, False, [seen])
    assert figures == {("target", "mask_iou"): 5000 / 15000}
    assert measure(result, hq, mask, False, [None]) == [{}]


def test_bokeh_iou_is_of_bokeh_sets(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    result, hq, disc = pair
    measure = Scorer(MetricSettings(metrics=("bokeh_iou",)))
    assert measure(result, hq, disc, False, [None]) == [{}]
    [figures] = measure(hq, hq, disc, True, [None])
    assert figures == {("remaining", "bokeh_iou"): 1.0}


def test_settings_say_what_is_no_metric() -> None:
    assert MetricSettings(metrics=("ssim", "psnr", "ssim")).metrics == ("psnr", "ssim")
    with pytest.raises(ValueError, match="there is no metric 'pnsr'; there are psnr, ssim, lpips"):
        MetricSettings(metrics=("pnsr",))


class Brightness:
    """A stand-in for a network that needs weights: the mean of a result."""

    def __init__(self, name: str, settings: MetricSettings) -> None:
        self.name = name

    def __call__(self, results: Tensor, hq: Tensor) -> Tensor:
        return results.double().mean((1, 2, 3)) + 10 * hq.double().mean((1, 2, 3))


def test_learned_metrics_see_the_region_on_black(
    pair: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorer, "LearnedMetric", Brightness)
    result, hq, disc = pair
    [figures] = Scorer(MetricSettings(metrics=("lpips",)))(result, hq, disc, False, [None])
    expected = [(each.double() * part).mean() for part in (1, disc[:, None]) for each in (result, hq)]
    full, target = expected[0] + 10 * expected[1], expected[2] + 10 * expected[3]
    assert figures == {("full", "lpips"): pytest.approx(full), ("target", "lpips"): pytest.approx(target)}


def test_bokeh_iou_compares_the_result_with_the_hq_photo(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    _, hq, disc = pair
    settings = MetricSettings(metrics=("bokeh_iou",))
    detector = blur_detector(settings)
    soft = torch.nn.functional.avg_pool2d(hq, 9, 1, 4)
    [figures] = Scorer(settings)(soft, hq, disc, True, [None])
    expected = bokeh_iou(detector(soft), detector(hq)).item()
    assert figures == {("remaining", "bokeh_iou"): expected} and expected < 0.9


def test_photos_smaller_than_a_window_have_no_ssim() -> None:
    small, region = torch.rand(1, 3, 10, 30), torch.zeros(1, 10, 30, dtype=torch.bool)
    region[:, :, :9] = True
    [figures] = Scorer(MetricSettings())(small, small, region, False, [None])
    assert set(figures) == {("full", "psnr"), ("target", "psnr"), ("remaining", "psnr")}


def test_brisque_judges_the_whole_result_alone(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    result, hq, disc = pair
    settings = MetricSettings(metrics=("brisque",))
    noisy, other = (Scorer(settings)(photo, hq, disc, False, [None])[0] for photo in (result, hq))
    assert set(noisy) == {("full", "brisque")}
    expected = brisque((255 * result[0]).round().byte().permute(1, 2, 0).numpy())
    assert noisy["full", "brisque"] == pytest.approx(expected)
    assert noisy["full", "brisque"] > other["full", "brisque"] + 5  # lower is better
    assert Scorer(settings)(result, 1 - hq, disc, True, [None]) == [noisy]
    small = torch.rand(1, 3, 31, 64)
    assert Scorer(settings)(small, small, disc[:, :31, :64], False, [None]) == [{}]
