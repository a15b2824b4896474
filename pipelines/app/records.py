"""What the app's routes take and give: photos, masks, instructions, jobs, folders. The HTTP API's one vocabulary."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from instructrestore.model.instruction.instruction import MAX_REGIONS, Instruction, RegionScale
from instructrestore.model.instruction.parser import MAX_TEXT_LENGTH, parse
from instructrestore.pipelines.inference.options import MAX_PLACES, MAX_SWEEP
from instructrestore.pipelines.terminal.arguments import MAX_SEED
from instructrestore.pipelines.understanding.prompt import MAX_WISH_LENGTH

ID = r"^[0-9a-f]{32}$"
Kind = Literal["restore", "mask", "sweep"]
State = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
ENDED = ("done", "failed", "cancelled", "interrupted")


class Given(BaseModel):
    """What a client sends: what is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RegionGiven(Given):
    caption: str = Field(max_length=MAX_TEXT_LENGTH)
    scale: float = 1.0


class InstructionGiven(Given):
    """An instruction as text, or as its parts."""

    text: str | None = Field(default=None, description="in own words")
    regions: tuple[RegionGiven, ...] = Field(default=(), max_length=MAX_REGIONS)
    others: float = 1.0
    bokeh: bool = False

    def instruction(self) -> Instruction:
        """Raises ValueError, in one sentence, for what is not understood."""
        if self.text is not None:
            if self.regions:
                raise ValueError("give the text or the regions of an instruction, not both")
            return parse(self.text)
        return Instruction(tuple(RegionScale(r.caption, r.scale) for r in self.regions), self.others, self.bokeh)


class InstructionRead(BaseModel):
    """text: the canonical form."""

    text: str
    regions: list[RegionGiven]
    others: float
    bokeh: bool

    @classmethod
    def of(cls, instruction: Instruction) -> InstructionRead:
        regions = [RegionGiven(caption=region.caption, scale=region.scale) for region in instruction.regions]
        return cls(text=str(instruction), regions=regions, others=instruction.others, bokeh=instruction.bokeh)


class WishGiven(Given):
    """A wish in any words and language."""

    text: str = Field(max_length=MAX_WISH_LENGTH)


class WishRead(InstructionRead):
    """model: the language model that read the wish; None where the grammar understood it. text: the canonical form."""

    model: str | None


class ReadFrom(Given):
    """What an instruction was read from, and by which language model: for the record of the result."""

    typed: str = Field(max_length=MAX_WISH_LENGTH)
    model: str = Field(min_length=1, max_length=200)


class GivenWish(Given):
    """How photos are restored, whichever they are."""

    instruction: str | InstructionGiven
    read_from: ReadFrom | None = Field(default=None, description="the wish of which a model made the instruction")
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    rest: Literal["restored", "keep"] = Field(default="restored", description="keep: the rest stays exactly as it is")
    feather: int = Field(
        default=0, ge=0, le=1000, description="pixels of a soft edge around the masks, or around what is kept"
    )
    deep: bool | None = Field(
        default=None,
        description="keep 16 bits a channel too, for TIFF: 6 bytes a pixel; unset: for single photos, not for folders",
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="sampling settings that differ from the model's own", max_length=40
    )

    def sampling(self) -> dict[str, Any]:
        """The sampling settings that are asked for, by name. Raises ValueError where the rest is among them."""
        if twice := {"rest", "feather"} & set(self.settings):
            raise ValueError(f"{min(twice)} stands beside the settings, not among them")
        kept: dict[str, Any] = {"rest": "keep", "feather": self.feather} if self.rest == "keep" else {}
        return {**self.settings, **({"feather": self.feather} if self.feather else {}), **kept}

    def understood(self) -> Instruction:
        """Raises ValueError, in one sentence."""
        given = self.instruction
        return parse(given) if isinstance(given, str) else given.instruction()


class Asked(GivenWish):
    """A job. masks: one for each region, None where it is to be found; empty: all are found.

    unite, intersect, subtract: masks that change those of all regions. protect: masks of what must not change.
    scale_map: a mask whose greys are the scale of every pixel, in place of masks; scale_range: of black and white.
    """

    photo: str = Field(pattern=ID)
    kind: Kind = "restore"
    masks: tuple[str | None, ...] = ()
    unite: tuple[str, ...] = Field(default=(), max_length=MAX_REGIONS)
    intersect: tuple[str, ...] = Field(default=(), max_length=MAX_REGIONS)
    subtract: tuple[str, ...] = Field(default=(), max_length=MAX_REGIONS)
    protect: tuple[str, ...] = Field(default=(), max_length=MAX_REGIONS)
    scale_map: str | None = None
    scale_range: tuple[float, float] | None = None
    sweep: tuple[float, ...] = Field(default=(), max_length=MAX_SWEEP, description="scales of the first region")
    preview: bool = Field(default=False, description="a small picture of it, in one step")


EDITS = ("unite", "intersect", "subtract", "protect")


class FolderAsked(GivenWish):
    """The same wish for many photos; a mask for all of them, scaled to each where the aspect is the same."""

    photos: tuple[str, ...] = Field(min_length=1, max_length=2000)
    masks: tuple[str, ...] = ()


class PhotoRecord(BaseModel):
    """own: whether this visitor brought it; the others were named when the app was started."""

    id: str
    name: str
    width: int
    height: int
    bytes: int
    notes: list[str]
    created: float
    own: bool = True


class MaskRecord(BaseModel):
    """share: of the photo that is inside."""

    id: str
    photo: str
    name: str
    width: int
    height: int
    share: float
    notes: list[str]


class Result(BaseModel):
    """A picture that a job made; its file is NAME.png in the job's folder."""

    name: str
    kind: Literal["image", "mask"]
    title: str
    width: int
    height: int
    caption: str = ""
    share: float | None = None
    scale: float | None = None


class Job(BaseModel):
    """One piece of work, kept as it goes on. seconds: of work, so far or in all. position: in the queue, from 0."""

    id: str
    photo: str
    folder: str | None = None
    kind: Kind
    asked: Asked
    instruction: str
    state: State = "queued"
    doing: str = "waiting"
    position: int | None = None
    step: int = 0
    steps: int = 1
    created: float
    started: float | None = None
    ended: float | None = None
    seconds: float | None = None
    expected_seconds: float | None = None
    error: str = ""
    notes: list[str] = []
    results: list[Result] = []
    command: str = ""
    python: str = ""
    record: dict[str, Any] | None = None


class Jobs(BaseModel):
    jobs: list[Job]


class Photos(BaseModel):
    photos: list[PhotoRecord]


class Folder(BaseModel):
    """Many jobs of one wish."""

    id: str
    jobs: list[Job]
    done: int
    failed: int
    left: int
    expected_seconds: float | None


class SegmentRecord(BaseModel):
    """id: its value in segments.png. name: the likeliest; sure: whether it is likely enough to be said.

    area: share of the photo. box: x, y, width, height in the photo's pixels.
    """

    id: int
    name: str
    sure: bool
    area: float
    box: tuple[int, int, int, int]


class Segments(BaseModel):
    """width, height: of segments.png. names: captions of what the photo surely shows. vocabulary: of all it knows."""

    width: int
    height: int
    segments: list[SegmentRecord]
    names: list[str]
    vocabulary: list[str]


class SegmentsChosen(Given):
    """Segments by number, by points in them and by boxes around them, all together. points, boxes: x, y and x, y,
    width, height in the photo's pixels. feather: pixels over which the mask fades out."""

    segments: tuple[int, ...] = Field(default=(), max_length=1000)
    points: tuple[tuple[float, float], ...] = Field(default=(), max_length=MAX_PLACES)
    boxes: tuple[tuple[float, float, float, float], ...] = Field(default=(), max_length=MAX_PLACES)
    feather: int = Field(default=0, ge=0, le=512)


class ErrorSentence(BaseModel):
    """error: one sentence. start, end: where in an instruction's text."""

    error: str
    start: int | None = None
    end: int | None = None
