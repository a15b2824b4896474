"""The settings of a training run, and the paper's two stages as presets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from instructrestore.model.degradation.settings import RELEASE, DegradationSettings
from instructrestore.model.networks.text_mask_decoder import SIDE as SEEN
from instructrestore.model.training.crops import CropSettings
from instructrestore.shards.reading.triplets import Weighting

MASK_WEIGHT = 0.01  # lambda of equation 1, in the release
MASK_TIMESTEPS = (50, 500, 999)  # at which validation scores predicted masks
_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSettings(BaseModel):
    """The optimizer, and how its learning rate goes."""

    model_config = _STRICT

    kind: Literal["adamw", "muon"] = Field(default="adamw", description="muon: orthogonal steps of weight matrices.")
    learning_rate: float = Field(default=5e-5, gt=0, description="After the warm-up.")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="cosine: down to 5% at the last step."
    )
    warmup: int = Field(default=0, ge=0, description="Steps in which the learning rate rises evenly from near 0.")
    betas: tuple[Decay, Decay] = Field(default=(0.9, 0.999), description="Of AdamW.")
    weight_decay: float = Field(default=1e-2, ge=0, description="Of all weights, times the learning rate.")
    clip: float = Field(default=1.0, gt=0, description="Largest norm of all gradients together.")
    ema: float = Field(
        default=0, ge=0, lt=1, description="Decay of the weights' moving average, which is then what is exported."
    )


class ValidationSettings(BaseModel):
    """What is held out and what is done with it."""

    model_config = _STRICT

    share: float = Field(default=0.02, ge=0, lt=1, description="Of the near-duplicate groups that is held out.")
    every: int = Field(default=2000, ge=1, description="Steps between validations.")
    photos: int = Field(default=32, ge=1, description="Held-out photos for loss and mask IoU, all their regions.")
    training_photos: int = Field(default=0, ge=0, description="Photos trained on of which the same is reported.")
    restored: int = Field(default=4, ge=0, description="Regions restored for PSNR and the pictures.")
    steps: int = Field(default=20, ge=1, le=1000, description="Denoising steps of these.")


class DistillationSettings(BaseModel):
    """How a student learns what its teacher, the checkpoint that a run begins with, takes many steps for."""

    model_config = _STRICT

    steps: int = Field(default=1, ge=1, le=4, description="The student's denoising steps, which it records.")
    teacher_steps: int = Field(default=20, ge=1, le=1000, description="The teacher's, with its own guidance.")
    rank: int = Field(
        default=16, ge=1, description="Of the updates of the UNet's weights; with train_base all of it learns instead."
    )
    hq: float = Field(
        default=0, ge=0, le=1, description="Share of the HQ photo in what is learnt; the rest is the teacher's result."
    )
    detail: float = Field(
        default=0, ge=0, description="Weight of the error in how much detail there is around each cell."
    )


class TrainingSettings(BaseModel):
    """All that decides what a run learns, and how it is computed.

    The defaults are the paper's stage 1. `batch` is the whole run's, over all workers and accumulated micro-batches.
    """

    model_config = _STRICT

    preset: str = Field(default="stage1", description="Where the settings began.")
    steps: int = Field(default=120_000, ge=1, description="Optimizer steps.")
    batch: int = Field(default=64, ge=1, description="Samples of a step, over all workers.")
    micro_batch: int | None = Field(
        default=None, ge=1, description="Samples that go through the networks together; null: a worker's whole share."
    )
    seed: int = Field(default=0, ge=0, description="Of all that is random: order, crops, degradation, noise, ...")
    mask_weight: float = Field(
        default=MASK_WEIGHT, ge=0, description="Lambda of equation 1; 0: the mask decoder stays as it is."
    )
    text_drop: float = Field(
        default=0.2, ge=0, le=1, description="Share of samples with both texts empty and a mask of ones."
    )
    instances: float = Field(
        default=0,
        ge=0,
        le=1,
        description="Share of the samples of regions with several pieces that take one piece, by a caption that names "
        "it alone; the others take the merged region.",
    )
    learns: Literal["controlnet", "mask_decoder", "student"] = Field(
        default="controlnet",
        description="The ControlNet with its mask decoder; the mask decoder alone; or a student that needs few steps.",
    )
    distillation: DistillationSettings = DistillationSettings()
    mask_decoder: Literal["MaskDecoder", "TextMaskDecoder"] = Field(
        default="MaskDecoder", description="A new one's kind: the paper's, or one on a frozen image classifier."
    )
    absent: int = Field(
        default=5, ge=0, description="Names that a photo does not show, asked of it too where masks alone are learnt."
    )
    train_base: bool = Field(default=False, description="The base's UNet learns too, from where it stands.")
    control_drop: float = Field(
        default=0, ge=0, lt=1, description="Share of samples that the UNet sees without the ControlNet."
    )
    scaled: float = Field(
        default=0,
        ge=0,
        le=1,
        description="Share of samples that are restored by a scale of their own in the region and another in the rest, "
        "so that a scale is a share of the way from the LQ photo; for a ControlNet that counts from there.",
    )
    last_timestep: float = Field(
        default=0, ge=0, le=1, description="Share of samples at the last timestep, where sampling begins."
    )
    least_timestep: int = Field(default=0, ge=0, description="The other samples are at any timestep from this one on.")
    even_photos: bool = Field(
        default=False, description="A sample's error counts by its own latents' energy: a decibel is a decibel."
    )
    mask_channels: int = Field(default=512, ge=32, multiple_of=32, description="Width of a new mask decoder.")
    sharpen: bool = Field(default=True, description="The HQ photo is sharpened (USM) before all else.")
    crop: CropSettings = CropSettings()
    degradation: DegradationSettings = RELEASE
    weighting: Weighting = Weighting()
    window_shards: int = Field(default=32, ge=1, description="Shards whose triplets are shuffled together.")
    optimizer: OptimizerSettings = OptimizerSettings()
    validation: ValidationSettings = ValidationSettings()
    dtype: Literal["float32", "bfloat16", "float16", "measured"] = Field(
        default="bfloat16",
        description="In which the networks compute; trained weights are always float32. measured: bfloat16 where it is "
        "quicker on this device, else float32; decided when the run begins.",
    )
    gradient_checkpointing: bool = Field(default=False, description="Less memory for a fourth more work.")
    compile: bool = Field(default=False, description="torch.compile for the networks.")
    loader_workers: int = Field(default=8, ge=0, description="Processes that read and crop, for each worker.")
    checkpoint_every: int = Field(default=1000, ge=1, description="Steps between checkpoints.")
    keep: int = Field(default=3, ge=1, description="Checkpoints kept, besides the best.")
    log_every: int = Field(default=10, ge=1, description="Steps between two looks at the losses.")

    @property
    def changes_base(self) -> bool:
        """Whether a checkpoint has a UNet of its own."""
        return self.train_base or self.learns == "student"

    @property
    def learns_masks(self) -> bool:
        """Whether any mask is predicted in training; else nothing is said of masks."""
        return self.learns == "mask_decoder" or self.mask_weight > 0

    @property
    def validated_timesteps(self) -> tuple[int, ...]:
        """At which fixed crops are scored; the mask decoder alone sees no noise."""
        return MASK_TIMESTEPS if self.learns == "controlnet" else MASK_TIMESTEPS[-1:]

    @model_validator(mode="after")
    def _fits(self) -> TrainingSettings:
        if self.micro_batch and self.batch % self.micro_batch:
            raise ValueError(f"a batch of {self.batch} cannot be cut into micro-batches of {self.micro_batch}")
        if self.learns == "mask_decoder" and self.mask_decoder != "TextMaskDecoder":
            raise ValueError("the mask decoder alone can be learnt where it is a TextMaskDecoder (mask_decoder)")
        if self.learns == "mask_decoder" and self.train_base:
            raise ValueError("the mask decoder alone, or the base too: leave train_base or learns=mask_decoder out")
        if self.learns == "mask_decoder" and self.crop.size != SEEN:
            raise ValueError(f"the mask decoder sees photos at {SEEN} px: make crop.size that, not {self.crop.size}")
        if self.learns == "mask_decoder" and self.instances:
            raise ValueError("a TextMaskDecoder tells names apart, not single things: leave instances out")
        if self.learns == "student" and self.optimizer.ema and not self.train_base:
            raise ValueError(
                "low-rank updates have no moving average: leave optimizer.ema out, or let the whole UNet learn "
                "(train_base)"
            )
        if self.crop.size % 64:
            raise ValueError(f"crop.size is a multiple of 64 px, which {self.crop.size} is not")
        return self


def stage1() -> TrainingSettings:
    """The paper's stage 1: 120k steps on general photos (the release's scripts: batch 32 a process)."""
    return TrainingSettings()


def stage2() -> TrainingSettings:
    """The paper's stage 2: 14k more steps, on 25% general and 75% bokeh photos: `--mix BOKEH:0.75 --init-from STAGE1`
    (the release's scripts: batch 16 a process)."""
    return TrainingSettings(preset="stage2", steps=14_000, text_drop=0.05)


def tiny() -> TrainingSettings:
    """For the tiny base, on a CPU within the hour: whole photos of 128 px, a mask weight that random features need."""
    return TrainingSettings(
        preset="tiny",
        steps=3000,
        batch=16,
        mask_weight=1.0,
        text_drop=0.05,
        mask_channels=64,
        crop=CropSettings(size=128, largest_side=128, flip=0),
        optimizer=OptimizerSettings(learning_rate=1e-3, schedule="cosine", warmup=50),
        validation=ValidationSettings(share=0.15, every=250, training_photos=100, photos=100, restored=6),
        dtype="float32",
        loader_workers=1,
        checkpoint_every=250,
    )


def small_base() -> TrainingSettings:
    """The small model's base and ControlNet together, from nothing (docs/training.md); not yet run to its end."""
    return TrainingSettings(
        preset="small-base",
        steps=60_000,
        batch=16,
        train_base=True,
        control_drop=0.05,
        last_timestep=0.9,
        even_photos=True,
        mask_weight=0,
        mask_channels=64,
        sharpen=False,
        crop=CropSettings(size=128, least_share=0, short_side=512),
        optimizer=OptimizerSettings(kind="muon", learning_rate=2e-3, warmup=30, weight_decay=1e-3, ema=0.995),
        validation=ValidationSettings(share=0.05, every=500, photos=8, restored=8, steps=4),
        dtype="measured",
        loader_workers=1,
        checkpoint_every=100,
    )


def small() -> TrainingSettings:
    """The small model's ControlNet goes on learning, from the weights that ship; its base and masks stay."""
    changed = {
        "preset": "small",
        "steps": 2000,
        "train_base": False,
        "control_drop": 0.0,
        "optimizer": OptimizerSettings(kind="muon", learning_rate=2e-4, warmup=20, weight_decay=1e-3, ema=0.98),
        "validation": ValidationSettings(share=0.1, every=500, photos=8, restored=8, steps=1),
    }
    return small_base().model_copy(update=changed)


def small_masks() -> TrainingSettings:
    """The small model's mask decoder: whole photos, all that they show and some names that they do not."""
    return TrainingSettings(
        preset="small-masks",
        steps=300,
        batch=8,
        learns="mask_decoder",
        mask_decoder="TextMaskDecoder",
        mask_channels=96,
        text_drop=0,
        sharpen=False,
        crop=CropSettings(size=SEEN, least_share=0, short_side=SEEN),
        optimizer=OptimizerSettings(
            learning_rate=1e-3, schedule="cosine", warmup=50, betas=(0.9, 0.98), weight_decay=0.05, ema=0.98
        ),
        validation=ValidationSettings(share=0.05, every=100, photos=12, restored=0),
        dtype="measured",
        loader_workers=1,
        checkpoint_every=50,
    )


def distil() -> TrainingSettings:
    """A student of SD 2.1 that needs one step, by low-rank updates (docs/training.md); not yet run."""
    return TrainingSettings(
        preset="distil",
        steps=20_000,
        batch=16,
        learns="student",
        distillation=DistillationSettings(steps=1, teacher_steps=20, rank=16, hq=0.2, detail=1.0),
        text_drop=0,
        scaled=0.5,
        validation=ValidationSettings(steps=1),
    )


def small_distil() -> TrainingSettings:
    """A student of the small model that gives in one step what it gives in four (docs/training.md)."""
    return TrainingSettings(
        preset="small-distil",
        steps=800,
        batch=8,
        learns="student",
        distillation=DistillationSettings(steps=1, teacher_steps=4, detail=3.0),
        train_base=True,
        mask_weight=0,
        text_drop=0,
        scaled=0.5,
        even_photos=True,
        sharpen=False,
        crop=CropSettings(size=64, least_share=0, short_side=512),
        optimizer=OptimizerSettings(
            kind="muon", learning_rate=1.5e-3, schedule="cosine", warmup=5, weight_decay=1e-3, ema=0.98
        ),
        validation=ValidationSettings(share=0.05, every=200, photos=8, restored=8, steps=1),
        dtype="measured",
        loader_workers=1,
        checkpoint_every=50,
    )


PRESETS: dict[str, Callable[[], TrainingSettings]] = {
    "stage1": stage1,
    "stage2": stage2,
    "tiny": tiny,
    "small": small,
    "small-base": small_base,
    "small-masks": small_masks,
    "distil": distil,
    "small-distil": small_distil,
}
