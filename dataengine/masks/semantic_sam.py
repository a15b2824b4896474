"""Semantic-SAM (Li et al., arXiv 2307.04767), the paper's segmenter, by its own code and automatic mask generator.

It is not a package: its code is a git checkout named in the settings, and so is detectron2, which it needs. Both are
put first on this process's module search path, and their code runs; configuring them is the user's consent. Their
modules have names as general as `utils` and `tasks`, so the stage's workers serve no other stage
(`StageSpec.own_workers`).

Its own `build_semantic_sam` is not used: it finds its configuration relative to the working folder, needs a GPU,
downloads a backbone, unpickles anything in the checkpoint, and continues with random weights if some are missing. The
rest is the same: the photo's shorter side is scaled to 640 pixels (bicubic), one photo at a time, and
`SemanticSamAutomaticMaskGenerator` asks for masks and chooses among them. If its deformable attention is not compiled
for this torch, its own plain torch code is used instead.

Its masks have the size that the model saw. They are cleaned at that size, and only the remaining ones are enlarged to
the photo's, by bilinear interpolation and a threshold of one half. That is closer than nearest neighbours to what the
model's own logits, which the generator discards, would give (0.62% of the pixels differ instead of 0.79%, for random
blobs enlarged from 960x640 to 2040x1356), and nearly as fast (6 and 3 ms a mask; 22 ms for logits).

The same photo gives the same masks on the same machine; the random state is not used.
"""

from __future__ import annotations

import importlib
import inspect
import pickle
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from instructrestore.dataengine.masks.cleanup import CleanupSettings, clean
from instructrestore.dataengine.masks.semantic_sam_settings import REVISION, SemanticSamSettings
from instructrestore.dataengine.weights.model_weights import choose_device
from instructrestore.shards import rle
from instructrestore.shards.errors import first_line
from instructrestore.shards.rle import BoolArray

LONGEST_ASPECT = 4  # a photo longer than this is scaled down further: its masks would not fit in memory
CONFIGS = {"T": "configs/semantic_sam_only_sa-1b_swinT.yaml", "L": "configs/semantic_sam_only_sa-1b_swinL.yaml"}
OPERATION = "MultiScaleDeformableAttention"  # the compiled deformable attention, if it is there

LOW_PREDICTED_IOU = "low predicted IoU"
UNSTABLE_OR_DUPLICATE = "unstable or duplicate"


class SemanticSamSegmenter:
    """Maps a photo, (H, W, 3) uint8 RGB upright sRGB, to its masks, (H, W) bool each, enlarged one at a time, and the
    number of the points' masks that were removed, by reason.

    name: checkpoint, its revision and that of this file, for the record of every mask.
    cleanup: decides at the model's size which masks are too small, too large, duplicates or parts of another.

    Raises ValueError, in one sentence, if a checkout, the checkpoint, a package or the device is missing or wrong.
    """

    def __init__(self, settings: SemanticSamSettings, cleanup: CleanupSettings) -> None:
        self.settings = settings
        self.cleanup = cleanup
        self.device = choose_device(settings.device, "Semantic-SAM", "masks.semantic_sam.device")
        checkout = _checkout("checkout", settings.checkout, ("semantic_sam/build_semantic_sam.py", *CONFIGS.values()))
        checkpoint = _checkpoint(settings.checkpoint)
        folders = [checkout]
        if settings.detectron2:
            folders.append(_checkout("detectron2", settings.detectron2, ("detectron2/modeling/__init__.py",)))
        modules = _modules(folders)
        self.name = f"semantic_sam {REVISION} {checkpoint.stem}@{settings.revision}"
        network = _network(modules, checkout / CONFIGS[settings.model_type], self.device)
        load(network, checkpoint, settings.model_type)
        self.model = _CountingModel(network, self.device, settings.predicted_iou)
        self.generator = _generator(modules, self.model, settings)

    def __call__(self, rgb: NDArray[np.uint8]) -> tuple[Iterator[BoolArray], Counter[str]]:
        assert rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.dtype == np.uint8, (rgb.shape, rgb.dtype)
        height, width = rgb.shape[:2]
        found, counts = self.generate(rgb)
        coarse = clean((_decoded(each) for each in found), self.cleanup)
        counts.update(coarse.masks_removed)
        return (enlarge(mask, height, width) for mask in coarse.each()), +counts

    def generate(self, rgb: NDArray[np.uint8]) -> tuple[list[dict[str, Any]], Counter[str]]:
        """The results of Semantic-SAM's generator, masks as COCO RLE at the model's size, and the number of masks that
        it discarded, by reason."""
        self.model.asked = self.model.low = 0
        found = self.generator.generate(prepare(rgb, self.settings.short_side).to(self.device))
        others = self.model.asked - self.model.low - len(found)
        return found, Counter({LOW_PREDICTED_IOU: self.model.low, UNSTABLE_OR_DUPLICATE: others})


def prepare(rgb: NDArray[np.uint8], short_side: int) -> Tensor:
    """(H, W, 3) uint8 RGB -> (3, h, w) uint8 RGB as the model takes it, of the size that `scaled` gives."""
    size = scaled(rgb.shape[1], rgb.shape[0], short_side)
    small = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))
    return torch.from_numpy(small.transpose(2, 0, 1).copy())


def scaled(width: int, height: int, short_side: int) -> tuple[int, int]:
    """The (width, height) that the model sees: as torchvision's Resize gives it, but at most `LONGEST_ASPECT` times
    `short_side` long; the short side of a photo longer than that is reduced accordingly."""
    short, long = sorted((width, height))
    longest = LONGEST_ASPECT * short_side
    if int(short_side * long / short) > longest:
        new_short, new_long = max(1, int(longest * short / long)), longest
    else:
        new_short, new_long = short_side, int(short_side * long / short)
    return (new_short, new_long) if width <= height else (new_long, new_short)


def enlarge(mask: BoolArray, height: int, width: int) -> BoolArray:
    """(h, w) bool -> (height, width) bool: inside where the interpolated mask is at least one half."""
    soft = cv2.resize(mask.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(soft) >= 128


def _decoded(found: dict[str, Any]) -> BoolArray:
    height, width = found["segmentation"]["size"]
    return rle.Mask(height, width, found["segmentation"]["counts"]).array()


class _CountingModel:
    """A wrapper around the model that the generator calls: counts its answers and lets it run on a CPU."""

    def __init__(self, model: Any, device: torch.device, threshold: float) -> None:
        self.model = self  # the generator asks for `.model.evaluate_demo`
        self._model = model
        self._device = device
        self._threshold = threshold
        self.asked = self.low = 0

    def evaluate_demo(self, *args: Any, **kwargs: Any) -> Any:
        with _on(self._device):
            answer = self._model.evaluate_demo(*args, **kwargs)
        predicted: Tensor = answer[1]
        self.asked += predicted.numel()
        self.low += int((~(predicted > self._threshold)).sum())
        return answer


class _CpuInsteadOfGpu(TorchFunctionMode):
    """Semantic-SAM's code asks for "the GPU" in places; in this mode that is the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        to_gpu = func is Tensor.to and isinstance(args[-1], str) and args[-1] == "cuda"
        if func is Tensor.cuda or to_gpu:
            return args[0]
        return func(*args, **(kwargs or {}))


def _on(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else _CpuInsteadOfGpu()


def _checkout(setting: str, value: str, files: tuple[str, ...]) -> Path:
    project = "UX-Decoder/Semantic-SAM" if setting == "checkout" else "facebookresearch/detectron2"
    folder = Path(value).expanduser().resolve()
    if not value or not all((folder / name).is_file() for name in files):
        what = f"{value} is not a checkout of {project}" if value else f"Semantic-SAM needs a checkout of {project}"
        raise ValueError(
            f"{what}: git clone https://github.com/{project}, and set masks.semantic_sam.{setting} to its folder"
        )
    return folder


def _checkpoint(value: str) -> Path:
    path = Path(value).expanduser()
    if not value or not path.is_file():
        what = f"there is no file {value}" if value else "Semantic-SAM needs its weights"
        raise ValueError(
            f"{what}: fetch swint_only_sam_many2many.pth or swinl_only_sam_many2many.pth from the releases of "
            "UX-Decoder/Semantic-SAM, and set masks.semantic_sam.checkpoint to it"
        )
    return path


def _modules(folders: list[Path]) -> dict[str, ModuleType]:
    """Semantic-SAM's modules, imported from the checkouts."""
    for folder in reversed(folders):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    if OPERATION not in sys.modules and find_spec(OPERATION) is None:
        sys.modules[OPERATION] = ModuleType(OPERATION)  # empty: plain torch computes what is missing
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from code of 2023 on current packages
            names = ("semantic_sam", "utils.arguments", "tasks.automatic_mask_generator")
            modules = {name: importlib.import_module(name) for name in names}
    except ModuleNotFoundError as error:
        raise ValueError(
            f"Semantic-SAM needs the package {str(error.name).partition('.')[0]}, which is not installed here: install "
            "requirements/semantic-sam.txt where this stage runs, and set masks.semantic_sam.detectron2"
        ) from error
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        raise ValueError(
            "Semantic-SAM's code cannot be imported with the packages installed here: install the versions of "
            f"requirements/semantic-sam.txt, torchvision as it belongs to torch ({first_line(error)})"
        ) from error
    origins = {"semantic_sam": folders[0], "tasks": folders[0], "utils": folders[0], "detectron2": folders[-1]}
    for name, folder in origins.items():
        place = Path(getattr(sys.modules.get(name), "__file__", None) or "").resolve()
        if folder not in place.parents and (name != "detectron2" or len(folders) > 1):
            raise ValueError(
                f"the module {name} comes from {place.parent} and not from the checkout {folder}: Semantic-SAM needs a "
                "process where no other module of that name is loaded"
            )
    return modules


def _network(modules: dict[str, ModuleType], configuration: Path, device: torch.device) -> Any:
    """The network, with random weights."""
    try:
        config = modules["utils.arguments"].load_opt_from_config_file(str(configuration))
        config["MODEL"]["BACKBONE"]["LOAD_PRETRAINED"] = (
            False  # otherwise it downloads what the checkpoint then replaces
        )
        with _on(device):
            network: Any = modules["semantic_sam"].build_model(config)
        inspect.signature(network.evaluate_demo).bind([], None, None, None, None, level=[0])
    except (AttributeError, KeyError, TypeError, ImportError, OSError) as error:
        raise _other_version(error) from error
    return network.eval().to(device)


def load(model: nn.Module, checkpoint: Path, model_type: str) -> None:
    """Fills in every parameter of the model, from the released files' layout: {"model": {"model." + name: weight}}.

    Anything else in a checkpoint is ignored (the released ones have `criterion.empty_weight`, from training).
    Raises ValueError, in one sentence, if a parameter is missing or has another shape.
    """
    try:
        state: Any = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{checkpoint} is not a file of weights that torch.load(weights_only=True) can read: fetch it again "
            f"({first_line(error)})"
        ) from error
    state = state.get("model", state) if isinstance(state, dict) else {}
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    weights = {name: state[f"model.{name}"] for name in shapes if isinstance(state.get(f"model.{name}"), Tensor)}
    missing = [name for name, shape in shapes.items() if name not in weights or weights[name].shape != shape]
    if missing:
        raise ValueError(
            f"{checkpoint} lacks {len(missing)} of the {len(shapes)} weights of Semantic-SAM {model_type}, among "
            f"them {', '.join(missing[:3])}: a plain Swin checkpoint gives no masks, nor does one of the other "
            f"masks.semantic_sam.model_type; take swin{model_type.lower()}_only_sam_many2many.pth"
        )
    model.load_state_dict(weights, strict=False)  # buffers follow from the configuration


def _generator(modules: dict[str, ModuleType], model: _CountingModel, settings: SemanticSamSettings) -> Any:
    """Semantic-SAM's mask generator over the model."""
    arguments: dict[str, Any] = {
        "points_per_side": settings.points_per_side,
        "points_per_batch": settings.points_per_batch,
        "pred_iou_thresh": settings.predicted_iou,
        "stability_score_thresh": settings.stability,
        "box_nms_thresh": settings.duplicate_iou,
        "min_mask_region_area": settings.smallest_area,
        "output_mode": "coco_rle",
        "level": list(settings.levels),
    }
    try:
        kind = modules["tasks.automatic_mask_generator"].SemanticSamAutomaticMaskGenerator
        inspect.signature(kind).bind(model, **arguments)
    except (AttributeError, TypeError) as error:
        raise _other_version(error) from error
    return kind(model, **arguments)


def _other_version(error: Exception) -> ValueError:
    return ValueError(
        "the checkout of Semantic-SAM is not the version that this program was written for: git checkout e11f8b5 there "
        f"({first_line(error)})"
    )
