"""What goes along the wires from "Several regions": an instruction, and masks for some of its regions or none."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from instructrestore import Instruction, RegionScale, parse_instruction


@dataclass(frozen=True)
class Regions:
    """masks: one a region in the instruction's order, a MASK (1, H, W) or (B, H, W); None where its words find it."""

    instruction: Instruction
    masks: tuple[Tensor | None, ...]

    def __post_init__(self) -> None:
        assert len(self.masks) == len(self.instruction.regions)


def joined(
    before: Regions | None, caption: str, scale: float, others: float, bokeh: bool, mask: Tensor | None
) -> Regions:
    """The regions so far and one more. Raises ValueError for a caption that is there already or names nothing."""
    regions = before.instruction.regions if before else ()
    masks = before.masks if before else ()
    instruction = Instruction((*regions, RegionScale(caption, scale)), others, bokeh)
    return Regions(instruction, (*masks, mask))


def read(instruction: str, regions: Regions | None) -> Regions:
    """What is asked for: the regions, where some are linked, and otherwise the text. Raises ValueError."""
    if regions is not None:
        return regions
    parsed = parse_instruction(instruction)
    return Regions(parsed, (None,) * len(parsed.regions))
