"""Which space a question is about: the embedded ones, or a model's from the hub."""

from __future__ import annotations

from typing import Literal

from instructrestore.dataengine.search.captions import CaptionSpace
from instructrestore.dataengine.search.pictures import PictureSpace
from instructrestore.dataengine.search.space import Space

Kind = Literal["captions", "pictures"]


def open_space(kind: Kind, model: str | None = None, revision: str = "main") -> Space:
    """model: for pictures, a hub id or folder; None: the network that installs. Raises ValueError, in one sentence,
    for a model that is not there or not known."""
    if model is not None and kind == "captions":
        raise ValueError("--model gives vectors of pictures: leave --by captions out")
    if model is not None:
        from instructrestore.dataengine.search.hub import HubSpace  # noqa: PLC0415  (imports many models: slow)

        return HubSpace(model, revision)
    return CaptionSpace() if kind == "captions" else PictureSpace()
