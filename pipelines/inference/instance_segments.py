"""Single things by an instance segmenter of transformers, Mask2Former or MaskFormer trained on COCO: masks with names.

It is what tells things of a kind apart that touch (the people of a group), which the embedded annotator does not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from transformers import AutoImageProcessor, AutoModelForUniversalSegmentation

from instructrestore.dataengine.annotator.grouping import PanopticSegment
from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.weights.model_weights import choose_device, explaining, load, require_whole
from instructrestore.pipelines.inference.segment_settings import InstanceSettings


class InstanceSegmenter:
    """Maps a photo, (H, W, 3) uint8 RGB, to its things, which have names of COCO; the largest first.

    Raises ValueError, in one sentence, if the weights are incomplete, know no thing of COCO, or the device is missing.
    """

    def __init__(self, settings: InstanceSettings) -> None:
        self.settings = settings
        folder, kind = Path(settings.model), settings.kind
        self._device = choose_device(settings.device, kind, "--device")
        with explaining(
            f"{folder} does not hold the {kind} weights that its config.json describes, as safetensors, with a "
            "preprocessor_config.json: fetch or save them again"
        ):
            # The backend "pil" needs no torchvision.
            self._processor = AutoImageProcessor.from_pretrained(str(folder), backend="pil", local_files_only=True)
            model, missing = load(AutoModelForUniversalSegmentation, folder)
        require_whole(missing, folder, kind)
        self._model = model.to(self._device).eval()
        places = {name.word: place for place, name in enumerate(coco_names())}
        words = {number: word.lower() for number, word in model.config.id2label.items()}
        self._labels = {number: places[word] for number, word in words.items() if word in places}
        if not self._labels:
            raise ValueError(f"the {kind} in {folder} knows no name of COCO: take weights that were trained on COCO")

    @torch.inference_mode()
    def __call__(self, rgb: NDArray[np.uint8]) -> list[PanopticSegment]:
        """Masks may overlap, as the model sees them."""
        given = self._processor(rgb, return_tensors="pt", input_data_format="channels_last").to(self._device)
        answer = self._model(**given)
        scores, labels = answer.class_queries_logits[0].softmax(-1)[:, :-1].max(-1)  # (Q,) each; the last is "nothing"
        things = []
        for logits, score, label in zip(answer.masks_queries_logits[0], scores.tolist(), labels.tolist(), strict=True):
            if label in self._labels and score >= self.settings.threshold:
                # One photo is stretched to a size that the network takes, never padded.
                stretched = F.interpolate(logits[None, None], rgb.shape[:2], mode="bilinear", align_corners=False)
                inside = stretched[0, 0].sigmoid()
                mask = inside > 0.5
                sure = score * float(inside[mask].mean()) if mask.any() else 0.0  # as transformers' own scores
                if sure >= self.settings.threshold:
                    things.append(PanopticSegment(mask.cpu().numpy(), self._labels[label], sure, sure))
        return sorted(things, key=lambda thing: -int(thing.mask.sum()))
