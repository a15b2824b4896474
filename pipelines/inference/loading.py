"""Which model restores, and how it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.pipeline import InstructRestorePipeline


@dataclass(frozen=True)
class Loading:
    """Where the weights are and how they run.

    base: a Stable Diffusion 2.1 base or a saved InstructRestorePipeline: a folder or a hub id.
    checkpoint: the trained ControlNet with its mask decoder: a folder or a hub id; None: the base's own.
    dtype: "float32", "bfloat16" or "float16". device: as torch names it; None: a GPU if there is one.
    base_revision, checkpoint_revision: of hub ids.
    compile: torch.compile for UNet and ControlNet. channels_last: their memory layout, faster on some GPUs.
    cpu_offload: each part of the model is on the GPU only while it works.
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

    def load(self) -> InstructRestorePipeline:
        """The pipeline, ready to restore. Raises ValueError, in one sentence, for what cannot be loaded or run."""
        accelerator = torch.accelerator.current_accelerator()
        if self.cpu_offload and (self.device == "cpu" or accelerator is None):
            raise ValueError("--cpu-offload keeps on the CPU what the GPU does not need just now, and here is no GPU")
        pipe = load_pipeline(
            self.base,
            self.checkpoint,
            dtype=self.dtype,
            device="cpu" if self.cpu_offload else self.device,
            base_revision=self.base_revision,
            checkpoint_revision=self.checkpoint_revision,
        )
        pipe.set_progress_bar_config(disable=True)  # the command shows its own
        if self.channels_last:
            for part in (pipe.unet, pipe.controlnet, pipe.vae):
                part.to(memory_format=torch.channels_last)
        if self.compile:
            pipe.unet.compile()
            pipe.controlnet.compile()
        if self.cpu_offload and accelerator:
            pipe.enable_model_cpu_offload(device=self.device or accelerator)
        return pipe

    def record(self) -> dict[str, Any]:
        """What is written into the restored photos: a local folder by its name alone, a hub id as it is."""
        return {
            "base": public(self.base),
            "base_revision": self.base_revision,
            "checkpoint": self.checkpoint and public(self.checkpoint),
            "checkpoint_revision": self.checkpoint_revision,
            "dtype": self.dtype,
        }


def public(place: str) -> str:
    """A folder or a file of this machine by its name alone, a hub id as it is."""
    path = Path(place)
    return path.resolve().name if path.exists() else place
