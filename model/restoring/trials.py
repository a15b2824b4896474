"""One photo restored again and again with other scales; what they do not change is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.restoring.output import RestorationOutput
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.request import MaskInput, PhotoInput, read_request
from instructrestore.model.restoring.settings import SamplingSettings


class Trials:
    """Restorations of a photo that differ in nothing but the scales of their instruction.

    Computed once: the texts, what the networks see in the photo, its latents, and the ControlNet's pass of the first
    step with its masks, for its noise does not depend on the scales (equations 2 and 3 only mix what the ControlNet
    gives). A trial is the same, to the last bit, as the pipeline called with the same instruction, settings and seed.
    """

    @torch.no_grad()
    def __init__(
        self,
        pipe: InstructRestorePipeline,
        photo: PhotoInput,
        instruction: Instruction,
        settings: SamplingSettings,
        seed: int,
        masks: Sequence[MaskInput] | None = None,
    ) -> None:
        """settings: whole, the model's own among them. masks: of the regions; None: they are predicted.

        Raises ValueError, in one sentence, for what cannot be restored.
        """
        self._pipe = pipe
        # On the CPU: the same noise on every device.
        self._generator = torch.Generator("cpu").manual_seed(seed)
        request = read_request(photo, instruction, None if masks is None else [masks])
        self._begun = pipe.begin(request, settings, self._generator)
        self._state = self._generator.get_state()  # some schedulers draw more noise in their steps
        for views in self._begun.groups:
            views.again = True

    @torch.no_grad()
    def __call__(self, instruction: Instruction, output_type: Literal["pil", "np", "pt"] = "pil") -> RestorationOutput:
        """The restoration with these scales; the captions are those that the trials began with."""
        assert instruction.captions == self._begun.request.instructions[0].captions
        self._generator.set_state(self._state)
        self._begun.rescale([instruction])
        return self._pipe.output_of(self._begun, *self._pipe.finish(self._begun), output_type)
