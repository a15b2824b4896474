"""Which triplet a sample of a training run was: told by the run's order alone, which its checkpoints state."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from instructrestore.model.training.checkpoints import CheckpointFolder
from instructrestore.model.training.settings import TrainingSettings
from instructrestore.shards.errors import first_error
from instructrestore.shards.index import Dataset
from instructrestore.shards.reading.order import Order, OrderSettings
from instructrestore.shards.reading.split import validation_photos
from instructrestore.shards.reading.triplets import Triplets


def training_sample(dataset: Dataset, training: Path, position: int) -> dict[str, Any]:
    """The sample at a position (from 0, counted over all steps) of a run in the folder `training`.

    Returns plain JSON: position, step (from 1, the one that it was part of), row (of the index), region (from 1),
    certainty: whether a substitute may have taken its place.
    Raises ValueError where the folder has no checkpoint, or the sample is of another data set than this one.
    """
    checkpoint = CheckpointFolder(training / "checkpoints", keep=1).latest()
    if checkpoint is None:
        raise ValueError(f"{training} holds no checkpoint of a training run, which states the order of its samples")
    order = checkpoint.state.get("order")
    try:
        settings = TrainingSettings.model_validate(checkpoint.state["settings"])
        assert isinstance(order, dict)
        known = [str(each) for each in order["data sets"]]
        shares = [Fraction(each) for each in order["shares"]]
        batch = int(order["batch"])
    except ValidationError as error:
        raise ValueError(
            f"the checkpoint {checkpoint.folder} has settings not known here: {first_error(error)}"
        ) from None
    except (AssertionError, KeyError, TypeError, ValueError):
        raise ValueError(f"the checkpoint {checkpoint.folder} does not state the order of its samples") from None
    if dataset.card.index_sha256 not in known:
        raise ValueError(
            f"{dataset.path} is none of the data sets that {training} was trained on: its index is another"
        )
    if position >= settings.steps * batch:
        raise ValueError(
            f"{training} takes {settings.steps:,} steps of {batch:,} samples and never comes to sample {position}"
        )
    number = known.index(dataset.card.index_sha256)
    held_out = validation_photos(dataset.index, settings.validation.share, settings.seed)
    own = Triplets.of(dataset.index, ~held_out)
    # Only how the data sets take turns counts of the others, and not what is in them.
    tables = [own if place == number else _NOTHING for place in range(len(known))]
    chosen = OrderSettings(seed=settings.seed, window_shards=settings.window_shards, weighting=settings.weighting)
    place = Order(tables, shares, chosen).place(position)
    if place.dataset != number:
        raise ValueError(
            f"sample {position} of {training} is of the run's data set {place.dataset + 1}, whose index has sha256 "
            f"{known[place.dataset]}: name that one"
        )
    return {
        "position": position,
        "training": str(training),
        "step": position // batch + 1,
        "row": place.row,
        "region": place.region + 1,
        "certainty": _certainty(position, batch, checkpoint.step, checkpoint.state.get("faults")),
    }


def _certainty(position: int, batch: int, steps: int, faults: Any) -> str:
    if position >= steps * batch:
        return f"the run has taken {steps} steps so far, and will come to it"
    if not faults:
        return "no sample of the run was passed over, so it was this one"
    passed = sum(faults.values()) if isinstance(faults, dict) else "some"
    return (
        f"{passed} samples of the run were unusable, and others took their places: it was this one unless it is damaged"
    )


_NOTHING = Triplets(
    rows=np.zeros(1, np.int32),
    regions=np.zeros(1, np.int32),
    shards=np.zeros(1, np.int32),
    shard_count=1,
    areas=np.ones(1, np.float32),
    subjects=np.zeros(1, np.int32),
)
