"""MUSIQ (Ke et al., ICCV 2021, arXiv 2108.05997), trained on KonIQ-10k, with pyiqa's network and weights.

MUSIQ sees a photo at three scales: its longer side at 224 and at 384 pixels, and the photo at full size. All patches of
32x32 pixels are tokens of one sequence, so a photo of 4464x2244 has 10,000 of them, and pyiqa's own forward needs
memory for the square of that, six times in each layer. Here the arithmetic is the same, but memory grows linearly with
the pixels: patches are embedded in batches (their embeddings are independent), attention never holds the whole matrix,
and the padding tokens of the two small scales, which all others ignore, are left out.

The network's parts are pyiqa's, called in the order of `MUSIQ.forward` (pyiqa/archs/musiq_arch.py, 0.1.16); at the
start both ways are compared on a small picture, so that an incompatible version of pyiqa is noticed. The weights are
published as pickles: torch's restricted unpickler reads them, which runs no code, and not pyiqa's loader, which would.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from instructrestore.dataengine.quality.musiq_settings import WEIGHTS, MusiqSettings
from instructrestore.dataengine.weights.model_weights import choose_device, explaining, fetch_file, folder_name
from instructrestore.shards.errors import first_line

PATCHES_AT_ONCE = 1024  # about 0.4 GB
TOLERANCE = 1e-3  # relative, between the two ways of computing a score


class Musiq:
    """A photo, (H, W, 3) uint8 sRGB, -> its score, 0 (worst) to 100.

    name: metric, training set, versions of pyiqa and of the weights, for the record of every photo.

    Raises ValueError, in one sentence, if pyiqa is not installed or computes something else, the weights cannot be
    found or fetched, or the device is missing.
    """

    def __init__(self, settings: MusiqSettings) -> None:
        self.device = choose_device(settings.device, "MUSIQ", "quality_gate.musiq.device")
        network, self._patches = _pyiqa()
        self.net = network(pretrained=False, num_class=1).eval()
        file, revision = _find(settings.weights, settings.revision)
        _fill(self.net, file)
        self.net.to(self.device)
        self.name = f"musiq koniq10k, pyiqa {version('pyiqa')}, {revision}"
        self._check()

    def __call__(self, rgb: NDArray[np.uint8]) -> float:
        pixels = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).to(self.device)
        return min(100.0, max(0.0, self.score(pixels[None].float() / 255)))

    @torch.inference_mode()
    def score(self, pixels: Tensor) -> float:
        """(1, 3, H, W) float32 in [0, 1] -> the score, which is rarely outside 0..100."""
        net = self.net
        [tokens] = self._patches(2 * pixels - 1, **net.data_preprocess_opts)  # (N, 3 P P + 3)
        tokens = tokens[tokens[:, -1] > 0]  # the last column is 0 for padding
        places, scales = tokens[:, -3], tokens[:, -2]
        embedded = torch.cat([self._embed(some) for some in tokens[:, :-3].split(PATCHES_AT_ONCE)])  # (N, C)
        encoder = net.transformer_encoder
        x = encoder.scaleembed_input(encoder.posembed_input(embedded[None], places[None]), scales[None])
        x = torch.cat([encoder.cls, x], dim=1)  # (1, 1 + N, C)
        for block in encoder.transformer.values():
            x = x + _attend(block.attention, block.norm1(x))
            x = x + block.mlp(block.norm2(x))
        return float(net.head(encoder.encoder_norm(x)[:, 0]).item())

    def _embed(self, patches: Tensor) -> Tensor:
        """(n, 3 P P) -> (n, C)."""
        net = self.net
        x = patches.reshape(-1, 3, net.patch_size, net.patch_size)
        x = net.block1(net.root_pool(net.gn_root(net.conv_root(x))))
        return net.embedding(x.permute(0, 2, 3, 1).flatten(1))

    @torch.inference_mode()
    def _check(self) -> None:
        ramp = torch.linspace(0, 1, 3 * 160 * 224, device=self.device).view(1, 3, 160, 224)
        ours, theirs = self.score(ramp), float(self.net(ramp).item())
        if abs(ours - theirs) > TOLERANCE * max(1.0, abs(theirs)):
            raise ValueError(
                f"pyiqa {version('pyiqa')} computes MUSIQ differently from this program (a picture has {theirs:g} "
                f'there and {ours:g} here): install pyiqa 0.1.16, or set quality_gate.metric to "embedded"'
            )


def _attend(attention: Any, x: Tensor) -> Tensor:
    """Full self-attention, (1, N, C) -> (1, N, C), without the N x N matrix."""
    heads = attention.num_heads
    query, key, value = (
        layer(x).unflatten(2, (heads, -1)).transpose(1, 2)
        for layer in (attention.query, attention.key, attention.value)
    )
    mixed = F.scaled_dot_product_attention(query, key, value, scale=attention.scale)
    return attention.out(mixed.transpose(1, 2).flatten(2))


def _pyiqa() -> tuple[Any, Any]:
    """pyiqa's network and its function that cuts photos into patches."""
    try:
        from pyiqa.archs import musiq_arch  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
        from pyiqa.data import multiscale_trans_util  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch is a RuntimeError
        raise ValueError(
            'the quality metric "musiq" needs pyiqa: pip install "instructrestore[iqa]", or set quality_gate.metric to '
            f'"embedded" ({type(error).__name__}: {first_line(error)})'
        ) from None
    return musiq_arch.MUSIQ, multiscale_trans_util.get_multiscale_patches


def _find(weights: str, revision: str) -> tuple[Path, str]:
    """The file of the weights, fetched if necessary, and the name of the weights."""
    folder = Path(weights).expanduser()
    if folder.is_dir():
        return folder / WEIGHTS, folder_name(folder, revision)
    file = fetch_file(weights, WEIGHTS, revision, f"the weights of MUSIQ, {weights},", "folder")
    return file, f"{weights}@{file.parent.name}"


def _fill(net: torch.nn.Module, file: Path) -> None:
    with explaining(f"{file} does not hold the weights of MUSIQ: fetch them again"):
        state: Any = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}")
        net.load_state_dict({str(name).removeprefix("module."): values for name, values in state.items()})
