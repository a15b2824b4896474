"""A tiny base in Stable Diffusion 2.1's own classes and layout, made from a seed in seconds: no download, no training.

Most weights are random. A few are set by hand, because a random network shows nothing but noise: four channels carry
the photo through the VAE, the UNet and the ControlNet, so that a restored photo can be recognised and the scales of an
instruction can be seen to act. Nothing here has learnt anything; the mask does not follow the caption.

How the photo travels:
- A latent holds, for each 8x8 block, the block's mean colour in a tight frame of four vectors (`FRAME`). The VAE's
  resampling convolutions average and interpolate the four channels; all other paths add little (`_damp`).
- GroupNorm and SiLU stand before every last convolution. A group of the channels (K, -K, s, -s, ...) with K far above s
  is divided by a constant, and silu(s) - silu(-s) = s: so both together leave s as it is (`_open_head`).
- The UNet answers a x - b z: x is the noisy latent, which the first skip carries to the last block, and z the LQ
  photo's latent, which the ControlNet adds to that skip. Over u = asinh(noise / signal) the probability flow, with its
  latent divided by the signal, then keeps exp(-a u) of what it is given at u: 13% of the starting noise and, with the
  right b, all of z.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from instructrestore.model.networks.model_folder import quiet
from instructrestore.model.networks.region_controlnet import RegionControlNet
from instructrestore.model.restoring.pipeline import InstructRestorePipeline

_Layer = TypeVar("_Layer", bound=nn.Module)

# What the tokenizer knows as one token each: the templates' words, and words that captions are made of.
WORDS = """
a an and are as at back background behind beside big black blue blur bokeh bright brown bush by clear close colorful
dark down face field floor front full gold gray green ground group hair hand have head high in into is keep large light
little long look make man many metal middle near new of old on one open orange other others out over part parts people
person picture pink plate purple red round sharp short side sign sitting sky small snow soft standing stone tall that
the three through to top tree trees two under up wall water wearing white with woman wood wooden yellow young
airplane apple baby bag ball banana beach bear bed bench bike bird board boat body book bottle bowl box boy bread bridge
bus cake camera car cat chair child clock cloud clouds coat coffee couch cow cup desk dog door dress eyes fence fire
flower flowers food fork frame fruit girl glass glasses grass hat hill horse house jacket kite knife lake lamp leaf
leaves leg mirror motorcycle mountain mountains orange oven pants paper phone pizza plant plants pole pot river road
rock rocks roof room sand sheep ship shirt shoe shoes sign sink skateboard sofa stairs street suitcase sun surfboard
table tail tie tower towel toy traffic train truck umbrella van vase wave wheel window windows wing
"""
TEXT_WIDTH = 64
MASK_CHANNELS = 64
SCALING = 0.18215  # SD's latents times this have about unit variance; ours too

SIGNALS = 4  # channels that carry the photo, and groups of the last GroupNorms that do
# Rows: latent channels; columns: red, green, blue in [-1, 1]. FRAME.T @ FRAME is 4 times the identity.
FRAME = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
DOMINANT = 16.0  # K
DAMPED = 0.03  # what a layer's random answer is multiplied by
NOISE_GAIN = 1.4  # a
PHOTO_GAIN = 0.88  # b: 1 over the integral of exp(-a u) cosh(u) from 0 to the schedule's end, asinh(14.6)
PHOTO_PLACE = 16  # first of the four channels of the ControlNet's input features that hold the LQ photo's latent

POINT = torch.ones(1, 1)
HERE = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]])
MEAN_FROM_HERE = torch.tensor([[0.0, 0, 0], [0, 1, 1], [0, 1, 1]]) / 4  # stride 2 with padding on all sides
MEAN_FROM_FIRST = (
    torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 0]]) / 4
)  # stride 2 padded at the end alone, as in the VAE
LINEAR = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])) / 16  # after doubling: linear interpolation

UNET: dict[str, Any] = {
    "sample_size": 16,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (32, 64, 96, 96),
    "norm_num_groups": 8,
    "cross_attention_dim": TEXT_WIDTH,
    "attention_head_dim": (1, 2, 3, 3),  # the number of heads under diffusers' historical name, as in SD 2.1
    "use_linear_projection": True,
}
VAE: dict[str, Any] = {
    "sample_size": 128,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (16, 16, 32, 32),
    "norm_num_groups": SIGNALS,
    "layers_per_block": 2,
    "latent_channels": SIGNALS,
    "scaling_factor": SCALING,
}
# The keys of stable-diffusion-2-1-base.
SCHEDULER: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}


def build_tiny_base(folder: str | Path, seed: int = 0) -> None:
    """Writes a saved InstructRestorePipeline of about 9M parameters, `controlnet/` included, into `folder`.

    The same seed gives the same bytes; torch's random state is left as it was. A photo of 512x512 comes back blurred
    to 8x8 blocks, by `scale` times what it was, with noise where the scale is low.
    """
    folder = Path(folder)
    with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        tokenizer = _tokenizer()
        text_encoder = _text_encoder(tokenizer)
        vae = _vae()
        unet = _unet()
        controlnet = _controlnet(unet)
        _centre_mask(controlnet, text_encoder, tokenizer)
        scheduler: Any = UniPCMultistepScheduler.from_config(SCHEDULER)
        pipeline = InstructRestorePipeline(vae, text_encoder, tokenizer, unet, controlnet, scheduler)
        pipeline.save_pretrained(folder, safe_serialization=True)
    tokenizer.backend_tokenizer.model.save(str(folder / "tokenizer"))  # vocab.json and merges.txt, as SD 2.1 has them


def _tokenizer() -> CLIPTokenizer:
    """CLIP's byte-level tokenizer with a vocabulary of its own: every one of WORDS is one token."""
    alphabet = sorted(ByteLevel.alphabet())  # "!" comes first, so padding is token 0 as in SD 2.1
    merges = _merges({(*word[:-1], word[-1] + "</w>"): 1 for word in WORDS.split()})
    pieces = [*alphabet, *(piece + "</w>" for piece in alphabet), *dict.fromkeys(map("".join, merges))]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token="!", model_max_length=77)  # pyright: ignore[reportArgumentType]


def _merges(words: dict[tuple[str, ...], int]) -> list[tuple[str, str]]:
    """Byte-pair merges, the commonest pair first (then by spelling), until every word is one piece."""
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for word in words for pair in pairwise(word)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {_merged(word, best): 1 for word in words}
    return merges


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    pieces: list[str] = []
    for piece in word:
        if pieces and (pieces[-1], piece) == pair:
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return tuple(pieces)


def _text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        hidden_act="gelu",
        projection_dim=TEXT_WIDTH,
        bos_token_id=len(tokenizer) - 2,
        eos_token_id=len(tokenizer) - 1,
        pad_token_id=0,
    )
    return CLIPTextModel(config).eval()


def _vae() -> AutoencoderKL:
    vae = AutoencoderKL(**VAE).eval()
    _damp(vae)

    norm = _layer(nn.GroupNorm, vae, "encoder.conv_norm_out")
    _carry(_conv(vae, "encoder.conv_in"), FRAME[:, :, None, None] * HERE)
    for level in (0, 1):
        _carry(_conv(vae, f"encoder.down_blocks.{level}.downsamplers.0.conv"), _each(MEAN_FROM_FIRST))
    _carry(_conv(vae, "encoder.down_blocks.2.resnets.0.conv_shortcut"), _each(POINT))
    _split(_conv(vae, "encoder.down_blocks.2.downsamplers.0.conv"), _each(MEAN_FROM_FIRST), norm)
    head = _conv(vae, "encoder.conv_out")
    _open_head(norm, _conv(vae, "encoder.mid_block.resnets.1.conv2"), head, torch.eye(SIGNALS) / SCALING)
    head.weight[SIGNALS:] = 0
    _bias(head)[SIGNALS:] = -6  # the log variance: about 1% of a latent's deviation
    _carry(_conv(vae, "quant_conv"), torch.eye(2 * SIGNALS)[:, :, None, None])

    norm = _layer(nn.GroupNorm, vae, "decoder.conv_norm_out")
    _carry(_conv(vae, "post_quant_conv"), _each(POINT))
    _carry(_conv(vae, "decoder.conv_in"), _each(HERE * SCALING))
    for level in (0, 1):
        _carry(_conv(vae, f"decoder.up_blocks.{level}.upsamplers.0.conv"), _each(LINEAR))
    _carry(_conv(vae, "decoder.up_blocks.2.resnets.0.conv_shortcut"), _each(POINT))
    _split(_conv(vae, "decoder.up_blocks.2.upsamplers.0.conv"), _each(LINEAR), norm)
    _open_head(norm, _conv(vae, "decoder.up_blocks.3.resnets.2.conv2"), _conv(vae, "decoder.conv_out"), FRAME.T / 4)
    return vae


def _unet() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(**UNET).eval()
    norm = _layer(nn.GroupNorm, unet, "conv_norm_out")
    first = _conv(unet, "conv_in")
    _split(first, _each(HERE), norm)
    _carry(first, torch.zeros(SIGNALS, SIGNALS, 3, 3), PHOTO_PLACE)  # free for the ControlNet's photo

    width = UNET["block_out_channels"][0]
    _damp(unet.get_submodule("up_blocks.3.resnets.2"))
    _damp(unet.get_submodule("up_blocks.3.attentions.2"))
    shortcut = _conv(unet, "up_blocks.3.resnets.2.conv_shortcut").weight  # of (hidden, skip)
    shortcut *= DAMPED
    shortcut[:, width:, 0, 0] += NOISE_GAIN * torch.eye(width)
    adding = _layer(nn.Linear, unet, "up_blocks.3.attentions.2.proj_out")
    _open_head(norm, adding, _conv(unet, "conv_out"), torch.eye(SIGNALS))
    return unet


def _controlnet(unet: UNet2DConditionModel) -> RegionControlNet:
    controlnet = RegionControlNet.from_unet(unet, mask_channels=MASK_CHANNELS).eval()
    for name, parameter in controlnet.named_parameters():
        if name.startswith(("controlnet_down_blocks", "controlnet_mid_block")) and name.endswith("weight"):
            nn.init.normal_(parameter, std=DAMPED)

    # The LQ photo's latent, in pairs (s, -s): after a SiLU their difference is s again.
    embedding = controlnet.get_submodule("controlnet_cond_embedding")
    pair = torch.cat([torch.eye(SIGNALS), -torch.eye(SIGNALS)])
    colours = pair @ FRAME  # (8, 3), for colours in [-1, 1]; photos come in [0, 1]
    first = _conv(embedding, "conv_in")
    _carry(first, 2 * colours[:, :, None, None] * HERE)
    _bias(first)[: 2 * SIGNALS] = -colours.sum(1)
    for number in range(6):
        conv = _conv(embedding, f"blocks.{number}")
        kernel = HERE if conv.stride == (1, 1) else MEAN_FROM_HERE
        _carry(conv, (pair @ pair.T)[:, :, None, None] * kernel)
    last = _conv(embedding, "conv_out")
    nn.init.normal_(last.weight, std=0.1)
    _carry(last, pair.T[:, :, None, None] * HERE, PHOTO_PLACE)

    norm = _layer(nn.GroupNorm, unet, "conv_norm_out")
    to_skip = torch.zeros(SIGNALS, UNET["block_out_channels"][0], 1, 1)
    to_skip[:, PHOTO_PLACE : PHOTO_PLACE + SIGNALS] = -PHOTO_GAIN / NOISE_GAIN * _each(POINT)
    _split(_conv(controlnet, "controlnet_down_blocks.0"), to_skip, norm)
    return controlnet


def _centre_mask(controlnet: RegionControlNet, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
    """Sets the mask decoder's last layer so that about half of a mask lies above 0.5, with both ends in reach."""
    photo = torch.rand(1, 3, 16, 16)
    photo = nn.functional.interpolate(photo, size=(256, 256), mode="bicubic").clamp(0, 1)
    tokens = tokenizer("make the dog clear", padding="max_length", return_tensors="pt")
    text = text_encoder(tokens.input_ids)[0]
    noisy = torch.randn(1, SIGNALS, 32, 32)
    control = controlnet(noisy, torch.tensor(500), text, controlnet.embed_condition(photo), mask_rows=1)
    assert control.mask_logits is not None
    middle, spread = control.mask_logits.median(), control.mask_logits.std()
    last = _layer(nn.Conv2d, controlnet, "mask_decoder.final_conv")
    # Rounded, since sums of another number of threads differ in their last digits.
    gain = float(f"{2 / spread:.2g}")
    last.weight *= gain
    _bias(last).sub_(float(f"{middle:.2g}")).mul_(gain)


def _layer(kind: type[_Layer], model: nn.Module, name: str) -> _Layer:
    layer = model.get_submodule(name)
    assert isinstance(layer, kind)
    return layer


def _conv(model: nn.Module, name: str) -> nn.Conv2d:
    return _layer(nn.Conv2d, model, name)


def _bias(layer: nn.Conv2d | nn.Linear) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _each(kernel: Tensor) -> Tensor:
    """Weights (4, 4, h, w) that filter each of the four signals alone."""
    return torch.eye(SIGNALS)[:, :, None, None] * kernel


def _carry(conv: nn.Conv2d, weights: Tensor, start: int = 0) -> None:
    """Output channels from `start` on are the first input channels, filtered with weights (out, in, h, w)."""
    place = slice(start, start + len(weights))
    conv.weight[place] = 0
    conv.weight[place, : weights.shape[1]] = weights
    _bias(conv)[place] = 0


def _places(norm: nn.GroupNorm) -> tuple[Tensor, int]:
    """Where the four signals s stand before the last GroupNorm, K, -K before and -s behind, and how wide a group is."""
    size = norm.num_channels // norm.num_groups
    return torch.arange(SIGNALS) * size + 2, size


def _split(conv: nn.Conv2d, weights: Tensor, norm: nn.GroupNorm) -> None:
    """Output channels are s and -s at their places before `norm`, and 0 elsewhere in the signals' groups."""
    place, size = _places(norm)
    _carry(conv, torch.zeros(SIGNALS * size, *weights.shape[1:]))
    conv.weight[place, : weights.shape[1]] = weights
    conv.weight[place + 1, : weights.shape[1]] = -weights


def _open_head(norm: nn.GroupNorm, adding: nn.Conv2d | nn.Linear, conv: nn.Conv2d, weights: Tensor) -> None:
    """Makes GroupNorm, SiLU and the last convolution one matrix (out, 4) on the signals.

    adding: the layer whose output is the last to be added to what `norm` gets; its bias gives K and -K.
    """
    place, size = _places(norm)
    _bias(adding)[place - 2], _bias(adding)[place - 1] = DOMINANT, -DOMINANT
    norm.weight[: SIGNALS * size] = DOMINANT * (2 / size) ** 0.5  # the group's standard deviation
    conv.weight *= DAMPED
    _bias(conv).zero_()
    rows = len(weights)
    conv.weight[:rows, : SIGNALS * size] = 0
    conv.weight[:rows, place] = weights[:, :, None, None] * HERE
    conv.weight[:rows, place + 1] = -weights[:, :, None, None] * HERE


def _damp(module: nn.Module) -> None:
    """What resnets and attention add to what passes by them becomes little."""
    for part in module.modules():
        if isinstance(part, ResnetBlock2D):
            adding = part.conv2
        elif isinstance(part, Transformer2DModel):
            adding = _layer(nn.Linear, part, "proj_out")
        elif isinstance(part, Attention) and part.residual_connection:
            adding = _layer(nn.Linear, part, "to_out.0")
        else:
            continue
        for parameter in adding.parameters():
            parameter *= DAMPED
