"""Loading a base, a trained ControlNet, or a whole pipeline from folders or the hub: nothing half-loaded.

How the files of a folder are read is in weight_files; here is what has to be in which folder and what must fit
together. Everything that can be seen without reading the weights is checked before any of them is read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from pydantic import ValidationError
from safetensors import safe_open
from transformers import BertTokenizer, CLIPTextModel, CLIPTokenizer, PreTrainedTokenizerBase

from instructrestore.model.networks.autoencoder import Autoencoder
from instructrestore.model.networks.checkpoint_record import check_model
from instructrestore.model.networks.devices import find_device, find_dtype
from instructrestore.model.networks.model_folder import (
    check_weights,
    find_folder,
    fitting,
    load_model,
    quiet,
    read_json,
)
from instructrestore.model.networks.region_controlnet import WEIGHTS_NAME, RegionControlNet
from instructrestore.model.networks.sentence_encoder import SentenceEncoder
from instructrestore.model.networks.wavelet_autoencoder import MOST_LEVELS, WaveletAutoencoder, channels_of
from instructrestore.model.restoring.base_record import VERSION, check_recorded, check_version
from instructrestore.model.restoring.memory import (
    EIGHT_BITS,
    NONE,
    arrange,
    find_preset,
    half_precision,
    keep_in_eight_bits,
)
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.model.restoring.small_model import base_place
from instructrestore.shards.errors import first_error
from instructrestore.shards.weight_files import readable

SD_CHANNELS = 4  # of Stable Diffusion's latents

# The text encoders that a base may have, by the name in its config.json.
TEXT_ENCODERS: dict[str, Any] = {"CLIPTextModel": CLIPTextModel, "SentenceEncoder": SentenceEncoder}
# How the tokenizers package calls the kind of tokenizer that each reads, and the class that loads it.
_TOKENIZERS: dict[str, tuple[str, Any]] = {
    "CLIPTextModel": ("BPE", CLIPTokenizer),
    "SentenceEncoder": ("WordPiece", BertTokenizer),
}

# What is fetched from the hub, by folder: no pickles, no second copies in other precisions, no code.
_MODEL_FILES = ["config.json", WEIGHTS_NAME, "diffusion_pytorch_model-*-of-*", f"{WEIGHTS_NAME}.index.json"]
_CONTROLNET_FILES = [f"controlnet/{name}" for name in _MODEL_FILES]
_CHECKPOINT_FILES = [*_MODEL_FILES, *_CONTROLNET_FILES, *(f"unet/{name}" for name in _MODEL_FILES)]
BASE_FILES = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    *(f"tokenizer/{name}" for name in ("*.json", "merges.txt")),
    *(f"text_encoder/{name}" for name in ("config.json", "model.safetensors")),
    *(f"{part}/{name}" for part in ("vae", "unet") for name in _MODEL_FILES),
]


@dataclass(frozen=True)
class BaseNetworks:
    """A base in Stable Diffusion 2.1-base's layout: all of a pipeline but the ControlNet, in eval mode.

    scheduler: UniPC on the base's noise schedule, as the release samples; a saved InstructRestorePipeline's own.
    sampling: of a saved InstructRestorePipeline, the settings that it is restored with.
    """

    vae: Autoencoder
    text_encoder: CLIPTextModel | SentenceEncoder
    tokenizer: PreTrainedTokenizerBase
    unet: UNet2DConditionModel
    scheduler: SchedulerMixin
    sampling: dict[str, Any] | None = None


def load_pipeline(
    base: str | Path,
    checkpoint: str | Path | None = None,
    *,
    dtype: str | None = None,
    device: str | None = None,
    base_revision: str | None = None,
    checkpoint_revision: str | None = None,
    memory: str | int = NONE,
) -> InstructRestorePipeline:
    """The pipeline of a base in Stable Diffusion 2.1-base's layout and a trained ControlNet, ready to restore.

    base: a folder as `save_pretrained` writes it, a hub id (owner/name), or "small", the model that ships.
    checkpoint: a folder or hub id with the ControlNet's config.json and weights, itself or in `controlnet/`; a `unet/`
        beside that folder takes the place of the base's, since the ControlNet was trained with it. None: the base's
        own `controlnet/`.
    dtype: float32, bfloat16, float16, or float8: UNet's and ControlNet's weights in 8 bits, computed in half precision;
        None: float32, or with a preset of `memory` half precision. device: as torch names them; None: cuda, else mps,
        else cpu, what there is.
    revisions: branch, tag or commit, of what comes from the hub; None: its main branch.
    memory: 4, 8, 12 or 24, a preset for a GPU with so many gigabytes (`memory.PRESETS`); auto: the largest that fits;
        none: everything stays on the device. On a CPU, and on mps, each is none.

    Samples with UniPC on the base's noise schedule, as the release does; a saved InstructRestorePipeline keeps its own
    scheduler. Raises ValueError in one sentence for whatever cannot be loaded.
    """
    place = find_device(device)
    preset = find_preset(memory, place)
    if dtype == EIGHT_BITS or (preset and not dtype):
        precision = find_dtype(half_precision(place))
    else:
        precision = find_dtype(dtype or "float32")
    offload_to = place if preset and preset.cpu_offload else None
    place = torch.device("cpu") if offload_to else place
    base, checkpoint = str(base), checkpoint and str(checkpoint)
    if checkpoint is None:
        folder = find_folder("base", base_place(base), base_revision, [*BASE_FILES, *_CONTROLNET_FILES])
        controlnet_folder = folder / "controlnet"
        with readable(folder):
            if not controlnet_folder.is_dir():
                raise ValueError(f"{base} has no controlnet folder of its own: name a checkpoint as well")
    else:
        folder = find_folder("base", base_place(base), base_revision, BASE_FILES)
        controlnet_folder = checkpoint_folder(checkpoint, checkpoint_revision)
        check_version(checkpoint, check_model(controlnet_folder).get(VERSION), folder)
    files = _check_base(base, folder, trained_unet(controlnet_folder))
    _check_controlnet(controlnet_folder, files.unet)
    parts = _read_base(files, precision, place)
    controlnet = _read_controlnet(controlnet_folder, precision, place)
    pipe = InstructRestorePipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=parts.unet,
        controlnet=controlnet,
        scheduler=parts.scheduler,
        sampling=joined_sampling(parts.sampling, controlnet),
    )
    if dtype == EIGHT_BITS:
        keep_in_eight_bits(pipe)
    if preset:
        arrange(pipe, **preset.switches(), offload_to=offload_to)
    return pipe


def load_base(
    base: str,
    *,
    dtype: str = "float32",
    device: str | None = None,
    revision: str | None = None,
    checkpoint: str | None = None,
    checkpoint_revision: str | None = None,
) -> BaseNetworks:
    """A base without a ControlNet, whether its folder has one or not; everything else as `load_pipeline` says.

    checkpoint: whose UNet takes the place of the base's, if it has one.
    """
    precision, place = find_dtype(dtype), find_device(device)
    folder = find_folder("base", base_place(base), revision, BASE_FILES)
    unet = trained_unet(checkpoint_folder(checkpoint, checkpoint_revision)) if checkpoint else None
    return _read_base(_check_base(base, folder, unet), precision, place)


def model_sampling(
    base: str, revision: str | None = None, checkpoint: str | None = None, checkpoint_revision: str | None = None
) -> dict[str, Any] | None:
    """The settings that a saved InstructRestorePipeline is restored with, and those that a checkpoint was distilled
    for in their place; None where neither, or a base, has any.

    Reads model_index.json and the ControlNet's config.json alone. Arguments, errors: as in `load_pipeline`.
    """
    folder = find_folder("base", base_place(base), revision, BASE_FILES[:1])
    path = folder / "model_index.json"
    of_base = _sampling(read_json(path, f"{base} is not a saved pipeline"), path)
    if checkpoint is None:
        return of_base
    path = checkpoint_folder(checkpoint, checkpoint_revision) / "config.json"
    of_checkpoint = _sampling(read_json(path, "the controlnet is missing"), path)
    return {**(of_base or {}), **(of_checkpoint or {})} or None


def joined_sampling(of_base: Mapping[str, Any] | None, controlnet: RegionControlNet) -> dict[str, Any] | None:
    """A base's own sampling settings with those that a ControlNet was distilled for in their place; None: neither."""
    return {**(of_base or {}), **(controlnet.config["sampling"] or {})} or None


def trained_unet(controlnet_folder: Path) -> Path | None:
    """The folder of the UNet that a ControlNet was trained with, where its checkpoint or pipeline holds one."""
    folder = Path(os.path.abspath(controlnet_folder))
    with readable(folder):
        return folder.parent / "unet" if folder.name == "controlnet" and (folder.parent / "unet").is_dir() else None


def load_controlnet(
    checkpoint: str,
    base: BaseNetworks,
    *,
    dtype: str = "float32",
    device: str | None = None,
    revision: str | None = None,
) -> RegionControlNet:
    """The trained ControlNet of a checkpoint, in eval mode; everything else as `load_pipeline` says.

    base: what it was trained on. Raises ValueError in one sentence where it was made for another.
    """
    precision, place = find_dtype(dtype), find_device(device)
    folder = checkpoint_folder(checkpoint, revision)
    check_model(folder)
    _check_controlnet(folder, base.unet.config)
    return _read_controlnet(folder, precision, place)


def checkpoint_folder(checkpoint: str, revision: str | None) -> Path:
    """The folder of a checkpoint's ControlNet, fetched where it is on the hub. Raises ValueError."""
    folder = find_folder("checkpoint", checkpoint, revision, _CHECKPOINT_FILES)
    with readable(folder):
        return folder / "controlnet" if (folder / "controlnet").is_dir() else folder


@dataclass(frozen=True)
class _BaseFiles:
    """A checked base's folder and the configurations in it. unet_folder: another's, where a checkpoint has its own."""

    folder: Path
    unet_folder: Path
    index: Mapping[str, Any]
    sampling: dict[str, Any] | None
    vae: Mapping[str, Any]
    text_encoder: Mapping[str, Any]
    unet: Mapping[str, Any]


def _check_base(base: str, folder: Path, unet_folder: Path | None = None) -> _BaseFiles:
    """That these are the networks of SD 2.1-base, whatever their sizes, and that they fit together.

    unet_folder: of the UNet, where it is not the base's own.
    """
    index = read_json(folder / "model_index.json", f"{base} is not a saved pipeline")
    parts = {"vae": folder / "vae", "text_encoder": folder / "text_encoder", "unet": unet_folder or folder / "unet"}
    vae, text_encoder, unet = (read_json(parts[name] / "config.json", f"the {name} is missing") for name in parts)
    _check_kind("text_encoder", parts["text_encoder"], text_encoder, architectures=[[name] for name in TEXT_ENCODERS])
    channels = _check_vae(parts["vae"], vae)
    _check_kind(
        "unet",
        parts["unet"],
        unet,
        _class_name=["UNet2DConditionModel"],
        addition_embed_type=[None],  # SDXL has "text_time"
        in_channels=[channels],
        out_channels=[channels],
    )
    width = text_encoder.get("hidden_size")
    if unet.get("cross_attention_dim") != width:
        raise ValueError(
            f"the text encoder gives {width} numbers a token where the unet takes {unet.get('cross_attention_dim')}: "
            f"{parts['text_encoder']} and {parts['unet']} are not of one base"
        )
    for name, path in parts.items():
        check_weights(path, "model.safetensors" if name == "text_encoder" else WEIGHTS_NAME)
    return _BaseFiles(
        folder, parts["unet"], index, _sampling(index, folder / "model_index.json"), vae, text_encoder, unet
    )


def _check_vae(folder: Path, config: Mapping[str, Any]) -> int:
    """The channels of its latents."""
    if config.get("_class_name") == WaveletAutoencoder.__name__:
        levels, scaling = config.get("levels"), config.get("scaling_factor")
        if type(levels) is not int or not 1 <= levels <= MOST_LEVELS:
            raise ValueError(f"the vae in {folder} has {levels!r} levels: a wavelet has 1 to {MOST_LEVELS}")
        if not isinstance(scaling, (int, float)) or not 0 < scaling < math.inf:
            raise ValueError(f"the vae in {folder} has a scaling_factor of {scaling!r}: it is a number above 0")
        return channels_of(levels)
    _check_kind("vae", folder, config, _class_name=["AutoencoderKL"], latent_channels=[SD_CHANNELS])
    if len(config.get("block_out_channels") or ()) != 4:
        raise ValueError(f"the vae in {folder} does not reduce a photo 8 times: take that of SD 2.1-base")
    return SD_CHANNELS


def _check_controlnet(folder: Path, unet: Mapping[str, Any]) -> None:
    """That it is a ControlNet with a mask decoder, made for a base whose unet has this configuration."""
    config = read_json(folder / "config.json", "the controlnet is missing")
    _check_kind(
        "controlnet", folder, config, _class_name=["ControlNetModel", "RegionControlNet"], addition_embed_type=[None]
    )
    for key in ("block_out_channels", "layers_per_block", "cross_attention_dim", "in_channels", "down_block_types"):
        ours, theirs = (
            list(value) if isinstance(value, tuple) else value for value in (config.get(key), unet.get(key))
        )
        if ours != theirs:
            raise ValueError(
                f"the controlnet in {folder} was made for another base: its {key} is {ours}, the unet's {theirs}"
            )
    _sampling(config, folder / "config.json")
    check_weights(folder, WEIGHTS_NAME)
    with readable(folder), safe_open(folder / WEIGHTS_NAME, "pt") as file:
        if not any(key.startswith("mask_decoder.") for key in file.keys()):  # noqa: SIM118 (not a dictionary)
            raise ValueError(f"{folder} is a ControlNet without a mask decoder: name an InstructRestore checkpoint")


def _check_kind(name: str, folder: Path, config: Mapping[str, Any], **allowed: list[Any]) -> None:
    for key, values in allowed.items():
        if (found := config.get(key)) not in values:
            raise ValueError(
                f"the {name} in {folder} is of another architecture ({key} is {found}, not {values[0]}): "
                "take a base in the layout of Stable Diffusion 2.1-base and a checkpoint made for it"
            )


def _sampling(content: Mapping[str, Any], path: Path) -> dict[str, Any] | None:
    """The sampling settings in a saved pipeline's index or a ControlNet's configuration, checked; None: it has none."""
    sampling = content.get("sampling")
    if sampling is None:
        return None
    if not isinstance(sampling, dict):
        raise ValueError(f"the sampling in {path} holds no settings by name: save it again")
    try:
        SamplingSettings.model_validate(sampling)
    except ValidationError as error:
        raise ValueError(f"the sampling in {path} is unusable: {first_error(error)}") from None
    return sampling


def _read_base(files: _BaseFiles, dtype: torch.dtype, device: torch.device) -> BaseNetworks:
    folder = files.folder
    check_recorded(folder)
    if files.unet_folder != folder / "unet":
        check_model(files.unet_folder)
    vae = WaveletAutoencoder if files.vae["_class_name"] == WaveletAutoencoder.__name__ else AutoencoderKL
    text_encoder = TEXT_ENCODERS[files.text_encoder["architectures"][0]]
    with quiet():
        return BaseNetworks(
            text_encoder=load_model(text_encoder, folder / "text_encoder", {"dtype": dtype}).to(device),
            vae=load_model(vae, folder / "vae", {"torch_dtype": dtype}).to(device),
            tokenizer=_tokenizer(folder / "tokenizer", files.text_encoder),
            unet=load_model(UNet2DConditionModel, files.unet_folder, {"torch_dtype": dtype}).to(device),
            scheduler=_scheduler(folder / "scheduler", files.index),
            sampling=files.sampling,
        )


def _read_controlnet(folder: Path, dtype: torch.dtype, device: torch.device) -> RegionControlNet:
    with quiet():
        return load_model(RegionControlNet, folder, {"torch_dtype": dtype}).to(device)


def _tokenizer(folder: Path, text_encoder: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    kind, tokenizer_class = _TOKENIZERS[text_encoder["architectures"][0]]
    with readable(folder):
        # Without these transformers makes one of three tokens.
        if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            raise ValueError(f"the tokenizer is missing: there is neither tokenizer.json nor vocab.json in {folder}")
    if (folder / "tokenizer.json").is_file():
        content = read_json(folder / "tokenizer.json", "the tokenizer is missing")
        # The tokenizers package raises no kind of exception of its own, so what it would stumble over is seen before.
        made_of = content.get("model")
        if not isinstance(made_of, dict) or made_of.get("type") != kind:
            raise ValueError(
                f"the tokenizer in {folder} is not of the text encoder's kind, {kind}: take that of the base"
            )
    with fitting(folder):
        tokenizer = tokenizer_class.from_pretrained(str(folder), local_files_only=True)
    vocabulary, positions = text_encoder.get("vocab_size"), text_encoder.get("max_position_embeddings")
    if len(tokenizer) != vocabulary or tokenizer.model_max_length > (positions or 0):
        raise ValueError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens and texts of {tokenizer.model_max_length} where "
            f"the text encoder takes {vocabulary} and {positions}: they are not of one base"
        )
    return tokenizer


def _scheduler(folder: Path, index: Mapping[str, Any]) -> Any:
    path = folder / "scheduler_config.json"
    config = read_json(path, "the scheduler is missing")
    kind: Any = UniPCMultistepScheduler
    if index.get("_class_name") == InstructRestorePipeline.__name__:
        named = str(config.get("_class_name"))
        kind = getattr(diffusers, named, None)
        if not named.endswith("Scheduler") or kind is None:
            raise ValueError(f"{path} names an unknown scheduler, {named}: take one of diffusers")
    with fitting(path):
        return kind.from_config(config)
