"""Loading a pipeline from folders or the hub: safetensors only, nothing half-loaded, every fault one sentence.

diffusers and transformers warn where weights are missing or left over and go on with random ones; here that is an
error. What they raise is turned into sentences in one place, `_readable` and `_fitting`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, RevisionResolutionError, StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import CLIPTextModel, CLIPTokenizer

from model.pipeline import InstructRestorePipeline
from model.region_controlnet import WEIGHTS_NAME, RegionControlNet

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
LATENT_CHANNELS = 4

# What is fetched from the hub, by folder: no pickles, no second copies in other precisions, no code.
_MODEL_FILES = ["config.json", WEIGHTS_NAME, "diffusion_pytorch_model-*-of-*", f"{WEIGHTS_NAME}.index.json"]
_BASE_FILES = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    *(f"tokenizer/{name}" for name in ("*.json", "merges.txt")),
    *(f"text_encoder/{name}" for name in ("config.json", "model.safetensors")),
    *(f"{part}/{name}" for part in ("vae", "unet", "controlnet") for name in _MODEL_FILES),
]
_CHECKPOINT_FILES = [*_MODEL_FILES, *(f"controlnet/{name}" for name in _MODEL_FILES)]
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_pipeline(
    base: str,
    checkpoint: str | None = None,
    *,
    dtype: str = "float32",
    device: str | None = None,
    base_revision: str | None = None,
    checkpoint_revision: str | None = None,
) -> InstructRestorePipeline:
    """The pipeline of a base in Stable Diffusion 2.1-base's layout and a trained ControlNet, ready to restore.

    base: a folder as `save_pretrained` writes it, or a hub id (owner/name).
    checkpoint: a folder or hub id with the ControlNet's config.json and weights, itself or in `controlnet/`; None: the
        base's own `controlnet/`.
    dtype: float32, bfloat16 or float16. device: as torch names them; None: cuda, else mps, else cpu, what there is.
    revisions: branch, tag or commit, of what comes from the hub; None: its main branch.

    Samples with UniPC on the base's noise schedule, as the release does; a saved InstructRestorePipeline keeps its own
    scheduler. Raises ValueError in one sentence for whatever cannot be loaded.
    """
    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    place = _device(device)
    folder = _folder("base", base, base_revision, _BASE_FILES)
    if checkpoint is None:
        controlnet_folder = folder / "controlnet"
        with _readable(folder):
            if not controlnet_folder.is_dir():
                raise ValueError(f"{base} has no controlnet folder of its own: name a checkpoint as well")
    else:
        controlnet_folder = _folder("checkpoint", checkpoint, checkpoint_revision, _CHECKPOINT_FILES)
        with _readable(controlnet_folder):
            if (controlnet_folder / "controlnet").is_dir():
                controlnet_folder /= "controlnet"

    index = _read_json(folder / "model_index.json", f"{base} is not a saved pipeline")
    parts = {name: folder / name for name in ("vae", "text_encoder", "unet")} | {"controlnet": controlnet_folder}
    configs = {name: _read_json(path / "config.json", f"the {name} is missing") for name, path in parts.items()}
    _check_architecture(configs, parts)
    for name, path in parts.items():
        _check_weights(path, "model.safetensors" if name == "text_encoder" else WEIGHTS_NAME)
    _check_mask_decoder(controlnet_folder)

    with quiet():
        options = {"dtype": DTYPES[dtype]}
        text_encoder = _load(CLIPTextModel, parts["text_encoder"], options)
        options = {"torch_dtype": DTYPES[dtype]}
        pipeline = InstructRestorePipeline(
            vae=_load(AutoencoderKL, parts["vae"], options),
            text_encoder=text_encoder,
            tokenizer=_tokenizer(folder / "tokenizer", configs["text_encoder"]),
            unet=_load(UNet2DConditionModel, parts["unet"], options),
            controlnet=_load(RegionControlNet, controlnet_folder, options),
            scheduler=_scheduler(folder / "scheduler", index),
        )
        return pipeline.to(place)


def _device(name: str | None) -> torch.device:
    mps = torch.backends.mps.is_available()
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as fault:
        raise ValueError(f"unknown device {name!r}: name one such as cpu, cuda, cuda:1 or mps") from fault
    if (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not mps
    ):
        raise ValueError(f"there is no device {name} here: leave it out, or take cpu")
    return device


def _folder(what: str, source: str, revision: str | None, files: Sequence[str]) -> Path:
    """The folder itself, or the one that the hub's files were fetched into."""
    path = Path(source).expanduser()
    with _readable(path):
        if path.is_dir():
            if revision is not None:
                raise ValueError(f"{source} is a folder, which has no revision {revision}: leave the revision out")
            next(path.iterdir(), None)
            return path
        if path.exists():
            raise ValueError(f"the {what} {source} is a file: name the folder that it is in")
    if not _HUB_ID.fullmatch(source):
        raise ValueError(f"there is no folder {source}: the {what} is a folder or a hub id (owner/name)")
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(files)))
    except (OSError, HFValidationError, RevisionResolutionError) as fault:
        at = f" at revision {revision}" if revision else ""
        raise ValueError(
            f"the {what} {source} is no folder here and cannot be fetched from the hub{at}: check the name, the "
            f"revision, the connection and HF_HUB_OFFLINE ({_first_line(fault)})"
        ) from fault


def _read_json(path: Path, otherwise: str) -> dict[str, Any]:
    with _readable(path):
        if not path.is_file():
            raise ValueError(f"{otherwise}: there is no {path}")
        content = path.read_bytes()
    try:
        values = json.loads(content)
    except ValueError as fault:
        raise ValueError(f"{path} is not valid JSON: fetch or save it again ({_first_line(fault)})") from fault
    if not isinstance(values, dict):
        raise ValueError(f"{path} does not hold a configuration: fetch or save it again")
    return values


def _check_architecture(configs: Mapping[str, Mapping[str, Any]], parts: Mapping[str, Path]) -> None:
    """That these are the networks of SD 2.1-base, whatever their sizes, and that they fit together."""
    vae, text_encoder, unet, controlnet = (configs[name] for name in ("vae", "text_encoder", "unet", "controlnet"))
    width = text_encoder.get("hidden_size")
    expected = [
        ("vae", "_class_name", ("AutoencoderKL",)),
        ("vae", "latent_channels", (LATENT_CHANNELS,)),
        ("text_encoder", "architectures", (["CLIPTextModel"],)),
        ("unet", "_class_name", ("UNet2DConditionModel",)),
        ("unet", "addition_embed_type", (None,)),  # SDXL has "text_time"
        ("unet", "in_channels", (LATENT_CHANNELS,)),
        ("unet", "out_channels", (LATENT_CHANNELS,)),
        ("controlnet", "_class_name", ("ControlNetModel", "RegionControlNet")),
        ("controlnet", "addition_embed_type", (None,)),
    ]
    for name, key, allowed in expected:
        if (found := configs[name].get(key)) not in allowed:
            raise ValueError(
                f"the {name} in {parts[name]} is of another architecture ({key} is {found}, not {allowed[0]}): "
                "take a base in the layout of Stable Diffusion 2.1-base and a checkpoint made for it"
            )
    if len(vae.get("block_out_channels") or ()) != 4:
        raise ValueError(f"the vae in {parts['vae']} does not reduce a photo 8 times: take that of SD 2.1-base")
    if unet.get("cross_attention_dim") != width:
        raise ValueError(
            f"the text encoder gives {width} numbers a token where the unet takes {unet.get('cross_attention_dim')}: "
            f"{parts['text_encoder']} and {parts['unet']} are not of one base"
        )
    for key in ("block_out_channels", "layers_per_block", "cross_attention_dim", "in_channels", "down_block_types"):
        if controlnet.get(key) != unet.get(key):
            raise ValueError(
                f"the controlnet in {parts['controlnet']} was made for another base: "
                f"its {key} is {controlnet.get(key)}, the unet's {unet.get(key)}"
            )


def _check_weights(folder: Path, name: str) -> None:
    """That there are safetensors, whole as far as their headers tell."""
    with _readable(folder):
        files = sorted(folder.iterdir())
        if not any(path.name in (name, f"{name}.index.json") for path in files):
            pickles = [path.name for path in files if path.suffix in PICKLES]
            if pickles:
                raise ValueError(
                    f"{folder} holds its weights as a pickle ({pickles[0]}), which is never loaded since it can run "
                    f"code: convert it to {name}"
                )
            raise ValueError(f"there are no weights in {folder}: {name} is missing")
        for path in files:
            if path.suffix == ".safetensors":
                path.open("rb").close()  # safetensors says of what it may not read that it does not exist
                with safe_open(path, "pt"):
                    pass


def _check_mask_decoder(folder: Path) -> None:
    with _readable(folder), safe_open(folder / WEIGHTS_NAME, "pt") as file:
        if not any(key.startswith("mask_decoder.") for key in file.keys()):  # noqa: SIM118 (not a dictionary)
            raise ValueError(f"{folder} is a ControlNet without a mask decoder: name an InstructRestore checkpoint")


def _load(kind: Any, folder: Path, options: Mapping[str, Any]) -> Any:
    """A model of the class with every weight from its folder, and no other."""
    with _fitting(folder):
        model, info = kind.from_pretrained(
            str(folder), use_safetensors=True, local_files_only=True, output_loading_info=True, **options
        )
    # Old CLIP files hold the token positions, 0 to 76, which are no weights.
    surplus = [key for key in info["unexpected_keys"] if not key.endswith("position_ids")]
    for keys, fault in ((info["missing_keys"], "lack"), (surplus, "have what the configuration does not know:")):
        if keys:
            names = ", ".join(sorted(keys)[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            raise ValueError(f"the weights in {folder} {fault} {names}: they belong to another config.json")
    return model


def _tokenizer(folder: Path, text_encoder: Mapping[str, Any]) -> CLIPTokenizer:
    with _readable(folder):
        # Without these transformers makes one of three tokens.
        if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            raise ValueError(f"the tokenizer is missing: there is neither tokenizer.json nor vocab.json in {folder}")
    if (folder / "tokenizer.json").is_file():
        content = _read_json(folder / "tokenizer.json", "the tokenizer is missing")
        # The tokenizers package raises no kind of exception of its own, so what it would stumble over is seen before.
        made_of = content.get("model")
        if not isinstance(made_of, dict) or made_of.get("type") != "BPE":
            raise ValueError(
                f"the tokenizer in {folder} is not CLIP's, which is of the kind BPE: take that of the base"
            )
    with _fitting(folder):
        tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    vocabulary, positions = text_encoder.get("vocab_size"), text_encoder.get("max_position_embeddings")
    if len(tokenizer) != vocabulary or tokenizer.model_max_length != positions:
        raise ValueError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens and texts of {tokenizer.model_max_length} where "
            f"the text encoder takes {vocabulary} and {positions}: they are not of one base"
        )
    return tokenizer


def _scheduler(folder: Path, index: Mapping[str, Any]) -> Any:
    path = folder / "scheduler_config.json"
    config = _read_json(path, "the scheduler is missing")
    kind: Any = UniPCMultistepScheduler
    if index.get("_class_name") == InstructRestorePipeline.__name__:
        named = str(config.get("_class_name"))
        kind = getattr(diffusers, named, None)
        if not named.endswith("Scheduler") or kind is None:
            raise ValueError(f"{path} names an unknown scheduler, {named}: take one of diffusers")
    with _fitting(path):
        return kind.from_config(config)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What reading files may raise, as one sentence."""
    try:
        yield
    except PermissionError as fault:
        raise ValueError(f"{fault.filename or path} may not be read: check its permissions") from fault
    except SafetensorError as fault:
        raise ValueError(
            f"the weights in {path} are truncated or corrupt: fetch or save them again ({_first_line(fault)})"
        ) from fault
    except OSError as fault:
        raise ValueError(f"{path} cannot be read: {_first_line(fault)}") from fault


@contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """What diffusers and transformers raise where a configuration is impossible or the weights have other shapes."""
    with _readable(path):
        try:
            yield
        except (ValueError, TypeError, KeyError, RuntimeError, StrictDataclassError) as fault:
            raise ValueError(
                f"what {path} holds is not of one piece: fetch or save it again ({_first_line(fault)})"
            ) from fault


def _first_line(fault: Exception) -> str:
    lines = str(fault).strip().splitlines() or [type(fault).__name__]
    return lines[0][:200]


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars and warnings of diffusers and transformers, which are set back afterwards."""
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    before = [(library, library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, verbosity, bars in before:
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()
