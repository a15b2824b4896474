"""Which model restores, and how it is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from instructrestore.model.networks.devices import DTYPES, find_device
from instructrestore.model.restoring.checkpoint import load_pipeline, model_sampling
from instructrestore.model.restoring.memory import (
    EIGHT_BITS,
    NONE,
    MemoryPreset,
    arrange,
    check_memory,
    find_preset,
    half_precision,
)
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.settings import SamplingSettings, resolve
from instructrestore.model.restoring.small_model import SMALL, base_place
from instructrestore.model.training.checkpoints import last_of_run
from instructrestore.pipelines.inference.weights import Fingerprint, fingerprint_of
from instructrestore.pipelines.terminal.arguments import anchored_place


@dataclass(frozen=True)
class ModelSource:
    """Where the weights are and how they are run.

    base: a Stable Diffusion 2.1 base or a saved InstructRestorePipeline, a folder or a hub id; or "small", the model
        that ships, which every machine puts together for itself.
    checkpoint: the trained ControlNet with its mask decoder, a folder or a hub id; None: the base's own.
    dtype: "float32", "bfloat16", "float16" or "float8" (weights in 8 bits). device: as torch names it; None: a GPU if
        there is one.
    base_revision, checkpoint_revision: of hub ids.
    compile: torch.compile for UNet and ControlNet. channels_last: their memory layout, faster on some GPUs.
    cpu_offload: each part of the model is on the GPU only while it is used.
    slice_vae, tile_batch: as in `memory.MemoryPreset`; None: as the model or the settings say.
    """

    base: str
    checkpoint: str | None = None
    dtype: str = "float32"
    device: str | None = None
    base_revision: str | None = None
    checkpoint_revision: str | None = None
    compile: bool = False
    channels_last: bool = False
    cpu_offload: bool = False
    slice_vae: bool = False
    tile_batch: int | None = None

    @classmethod
    def named(
        cls,
        base: str | None,
        checkpoint: str | None,
        say: Callable[[str], object],
        *,
        dtype: str | None = None,
        device: str | None = None,
        memory: str | int = NONE,
        **how: Any,
    ) -> ModelSource:
        """As a command's options name it: the small model where no base is named, of which a sentence is said; the last
        checkpoint of a training run's folder; what a memory preset (`memory.NAMES`) switches on, besides what is asked.

        dtype: None: float32, or with a preset half precision. how: the other fields. Raises ValueError for a run
        without a checkpoint, and for a preset that this machine's GPU has no room for.
        """
        if base is None:
            say(
                "with the small model that ships (docs/models/small.md); for the large one name Stable Diffusion "
                "2.1-base and the released checkpoint with --base and --checkpoint"
            )
        source = cls(base or SMALL, checkpoint and last_of_run(checkpoint), dtype or "float32", device, **how)
        check_memory(memory)
        if memory == NONE:
            return source
        place = find_device(device)
        preset = find_preset(memory, place)
        if preset is None:
            say(f"--memory {memory} changes nothing here: it is for CUDA GPUs, and the model runs on {place.type}")
            return source
        dtype = dtype or half_precision(place)
        say(f"the memory preset of {preset.gib} GB, in {dtype} (docs/restoring.md)")
        return replace(source, dtype=dtype).with_preset(preset)

    def with_preset(self, preset: MemoryPreset) -> ModelSource:
        """With what a preset switches on, but for its precision, besides what is on already."""
        return replace(self, cpu_offload=self.cpu_offload or preset.cpu_offload, **preset.switches())

    def check_runnable(self, address: str | None) -> None:
        """Raises ValueError for a dtype or a device that no worker could use.

        address: of the Ray cluster; a cluster elsewhere may have any device. None: this machine's devices count.
        """
        if self.dtype not in (*DTYPES, EIGHT_BITS):
            raise ValueError(f"unknown dtype {self.dtype!r}: choose one of {', '.join((*DTYPES, EIGHT_BITS))}")
        if self.device is None:
            return
        try:
            kind = torch.device(self.device).type
        except RuntimeError:
            raise ValueError(f"unknown device {self.device!r}: name one such as cpu or cuda") from None
        if self.cpu_offload and kind == "cpu":
            raise ValueError("--cpu-offload moves idle parts of the model from a GPU to the CPU: drop --device cpu")
        here = address is None and "RAY_ADDRESS" not in os.environ
        if here and (
            (kind == "cuda" and not torch.cuda.is_available())
            or (kind == "mps" and not torch.backends.mps.is_available())
        ):
            raise ValueError(f"there is no device {self.device} here: leave out --device, or use cpu")

    def anchored(self) -> ModelSource:
        """With folders by their absolute paths: workers have other current folders."""
        checkpoint = self.checkpoint and anchored_place(self.checkpoint)
        base = self.base if self.base == SMALL else anchored_place(self.base)
        return replace(self, base=base, checkpoint=checkpoint)

    def fingerprint(self) -> Fingerprint:
        """What the weights are, without loading them. Raises ValueError, in one sentence, if they are not there."""
        return fingerprint_of(base_place(self.base), self.checkpoint, self.base_revision, self.checkpoint_revision)

    def sampling(self, asked: SamplingSettings) -> SamplingSettings:
        """The settings that photos are restored with: where `asked` says nothing, the model's own.

        Loads no weights. Raises ValueError, in one sentence, where the base is not there.
        """
        suited = {} if self.tile_batch is None else {"tile_batch": self.tile_batch}
        return resolve(asked, {}, {**suited, **(self.model_sampling() or {})})

    def model_sampling(self) -> dict[str, Any] | None:
        """The model's own sampling settings; as `checkpoint.model_sampling`."""
        return model_sampling(self.base, self.base_revision, self.checkpoint, self.checkpoint_revision)

    def load(self) -> InstructRestorePipeline:
        """The pipeline, ready to restore. Raises ValueError, in one sentence, if it cannot be loaded or run."""
        accelerator = torch.accelerator.current_accelerator()
        if self.cpu_offload and (self.device == "cpu" or accelerator is None):
            raise ValueError(
                "--cpu-offload moves idle parts of the model from a GPU to the CPU, and there is no GPU here"
            )
        pipe = load_pipeline(
            self.base,
            self.checkpoint,
            dtype=self.dtype,
            device="cpu" if self.cpu_offload else self.device,
            base_revision=self.base_revision,
            checkpoint_revision=self.checkpoint_revision,
        )
        pipe.set_progress_bar_config(disable=True)  # the command shows its own
        arrange(
            pipe,
            channels_last=self.channels_last,
            slice_vae=self.slice_vae,
            tile_batch=self.tile_batch,
            compile=self.compile,
            offload_to=(self.device or accelerator) if self.cpu_offload else None,
        )
        return pipe

    def record(self) -> dict[str, Any]:
        """What is recorded in the restored photos: a local folder by its name alone, a hub id unchanged."""
        return {
            "base": public(base_place(self.base)),
            "base_revision": self.base_revision,
            "checkpoint": self.checkpoint and public(self.checkpoint),
            "checkpoint_revision": self.checkpoint_revision,
            "dtype": self.dtype,
        }


def public(place: str) -> str:
    """A folder or file of this machine by its name alone, a hub id unchanged."""
    path = Path(place)
    return path.resolve().name if path.exists() else place
