"""The settings of restoration, shared by the pipeline, the command and the restoration of data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from instructrestore.model.instruction.instruction import MAX_SCALE
from instructrestore.shards.errors import first_error

CarefulKind = Literal["faces", "text"]
MASK_THRESHOLD = 0.5  # above it a pixel of a predicted mask belongs to the region
# What the release does where it departs from the paper, and the last training timestep that it starts from.
OFFICIAL: dict[str, Any] = {
    "mask": "hard",
    "mask_resize": "nearest",
    "modulate_from": 1,
    "posterior": "sample",
    "start_timestep": 999,
}


class SamplingSettings(BaseModel):
    """How a photo is restored. The defaults follow the paper, and nothing in them trades exactness for time.

    Steps are counted as the scheduler makes them: one of second order (Heun) makes about two for each that is asked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_inference_steps: int = Field(default=20, ge=1, le=1000, description="Denoising steps.")
    least_timestep: int = Field(
        default=0,
        ge=0,
        description="The steps lie at even distances from the last timestep towards this one, at which the next would "
        "lie; 0: where the scheduler puts them. For a base that learnt the timesteps above it alone.",
    )
    guidance_scale: float = Field(
        default=3.6,
        ge=1,
        le=50,
        allow_inf_nan=False,
        description="Scale of classifier-free guidance; 1 turns it off and halves the work.",
    )
    start: Literal["lq", "noise"] = Field(
        default="lq", description="Begin from the LQ photo's latent with noise added, or from noise alone."
    )
    start_timestep: int | None = Field(
        default=None,
        ge=0,
        description="The timestep whose noise is added to the LQ latent; unset: the schedule's first.",
    )
    posterior: Literal["mean", "sample"] = Field(
        default="mean", description="The LQ latent: the VAE posterior's mean, or a draw from it as in the release."
    )
    mask: Literal["soft", "hard"] = Field(default="soft", description="Predicted masks as they are, or cut at 0.5.")
    mask_resize: Literal["area", "nearest"] = Field(
        default="area", description="How masks are resized to each residual."
    )
    mask_steps: int | None = Field(
        default=None, ge=1, description="Predict the mask in this many first steps and then keep it; unset: in all."
    )
    modulate_from: int = Field(
        default=0, ge=0, description="The first step (from 0) that is modulated; the release: 1."
    )
    guidance_until: float = Field(
        default=1.0, ge=0, le=1, description="Approximate: guidance only in this first share of the steps."
    )
    controlnet_every: int = Field(
        default=1,
        ge=1,
        description="Approximate: run the ControlNet every this many steps and reuse its features in between.",
    )
    upscale: float = Field(default=1.0, gt=0, le=8, description="Size of the restored photo over that of the LQ photo.")
    tile: int = Field(
        default=512, ge=128, multiple_of=64, description="Photos larger than this are restored in tiles; pixels."
    )
    overlap: int = Field(default=128, ge=32, multiple_of=32, description="Least overlap of neighbouring tiles; pixels.")
    tile_batch: int = Field(default=1, ge=1, description="Tiles that go through the networks together.")
    colour_fix: Literal["wavelet", "adain", "none"] = Field(
        default="wavelet",
        description="Take the colours from the LQ photo: by its low frequencies, by mean and deviation, or not.",
    )
    locate: Literal["decoder", "segments", "both"] = Field(
        default="decoder",
        description="Where single things are sought, as in `the left dog`: in the mask decoder's answer to the whole "
        "caption, among the segments of that name, or among segments and the parts of what the decoder finds.",
    )
    rest: Literal["restored", "keep"] = Field(
        default="restored",
        description="The other parts: restored with their scale, or kept pixel for pixel as they were.",
    )
    feather: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="The width in pixels of a soft edge around the masks; with `rest=keep` of the transition to the LQ "
        "photo.",
    )
    grow: int = Field(
        default=0, ge=-1000, le=1000, description="Make the masks larger by so many pixels, or smaller by -1 and less."
    )
    invert: bool = Field(default=False, description="Take what is outside the mask for the region.")
    careful: tuple[CarefulKind, ...] = Field(
        default=(),
        description="What is held closer to the photo where the instruction does not name it: faces, text, or both.",
    )
    careful_scale: float = Field(
        default=1.2,
        ge=0,
        le=MAX_SCALE,
        allow_inf_nan=False,
        description="The scale of what `careful` holds closer; a higher one of the other parts stays.",
    )
    careful_size: float = Field(
        default=0.25,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="What `careful` holds closer is smaller than this share of the photo's short side: a face by its "
        "long side, a line of text by its height.",
    )
    compat: Literal["official"] | None = Field(
        default=None,
        description="`official`: the release's numbers: hard mask, first step unmodulated, posterior draw.",
    )
    official_demo_prompt: bool = Field(
        default=False,
        description="Use the texts of the release's demo, which puts the bokeh words into the region's caption.",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_released(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("compat") == "official":
            return {**OFFICIAL, **values}
        return values

    @field_validator("careful", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        """ "faces,text" as the command line has it, too; every kind once."""
        names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
        if not isinstance(names, (list, tuple)) or not all(name in get_args(CarefulKind) for name in names):
            raise ValueError("it names faces, text or both, as in faces,text")
        return tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _overlap_fits(self) -> SamplingSettings:
        if self.overlap > self.tile // 2:
            raise ValueError(f"the overlap of {self.overlap} is more than half a tile of {self.tile}")
        return self

    @model_validator(mode="after")
    def _rest_can_be_kept(self) -> SamplingSettings:
        if self.rest == "keep" and self.upscale != 1:
            raise ValueError(
                f"rest=keep leaves the photo's own pixels as they are, and an upscale of {self.upscale:g} moves them: "
                "upscale by 1, or restore the rest too"
            )
        return self

    @model_validator(mode="after")
    def _something_is_left_for_care(self) -> SamplingSettings:
        if self.careful and self.rest == "keep":
            raise ValueError("rest=keep leaves the other parts exactly as they are: leave out careful")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is as it always was goes without saying, so that results from before it could be chosen are known."""
        values = handler(self)
        if self.locate == "decoder":
            values.pop("locate", None)
        if self.rest == "restored":
            values.pop("rest", None)
            if not self.feather:
                values.pop("feather", None)
        if not self.careful:
            for name in ("careful", "careful_scale", "careful_size"):
                values.pop(name, None)
        for name in ("grow", "invert"):
            if not getattr(self, name):
                values.pop(name, None)
        return values

    def restored_size(self, size: Sequence[int]) -> tuple[int, int]:
        """The restored (height, width) of a photo of this (height, width)."""
        return round(size[0] * self.upscale), round(size[1] * self.upscale)


def resolve(
    settings: SamplingSettings | None, overrides: Mapping[str, Any], model: Mapping[str, Any] | None = None
) -> SamplingSettings:
    """The settings with overrides by name. Raises ValueError, in one sentence, for what is not valid.

    model: what the model itself asks for where neither says anything.
    """
    if settings is not None and not isinstance(settings, SamplingSettings):
        raise ValueError(f"settings are SamplingSettings, not {type(settings).__name__}; single ones go by name")
    chosen = {name: getattr(settings, name) for name in settings.model_fields_set} if settings else {}
    if settings and settings.compat:  # its presets are set and unset with it
        chosen = {name: value for name, value in chosen.items() if OFFICIAL.get(name) != value}
    try:
        return SamplingSettings.model_validate({**(model or {}), **chosen, **overrides})
    except ValidationError as error:
        raise ValueError(f"setting {first_error(error)}") from None
