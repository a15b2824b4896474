"""A sky comes with something else of the outdoors: trees, houses, a road, a beach. A studio's backdrop does not.

Behind a portrait a plain surface looks like a sky to the network, whose training photos hardly have studios. But in
each of the training photos in which a head that had not seen it was sure of a sky, something else of the outdoors was
there too: at the most likely hundredth of the photo at 0.73 at least.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from torch import Tensor

from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.noun_phrases.english.words import word_set

LEAST = 0.7  # probability of anything of the outdoors, without the sky itself
HUNDREDTH = 0.99  # quantile over the photo
SKY = "sky"

_KINDS = word_set("ground water building rock vehicle")
_WORDS = word_set("tree grass fence bird horse sheep cow elephant bear zebra giraffe kite skis snowboard surfboard") | {
    "traffic light"
}


@cache
def _outdoor_names() -> list[int]:
    return [
        index
        for index, name in enumerate(coco_names())
        if name.word in _WORDS or name.word in _KINDS or name.parent in _KINDS
    ]


def outdoors(probabilities: Tensor) -> bool:
    """probabilities: (names, h, w) of a photo."""
    together = probabilities[_outdoor_names()].sum(0).numpy()
    return float(np.quantile(together, HUNDREDTH)) >= LEAST
