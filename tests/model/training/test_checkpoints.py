"""What the state of a checkpoint may hold to be gone on from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from instructrestore.model.training.checkpoints import CheckpointFolder

STATE: dict[str, Any] = {
    "version": 1, "step": 3, "order": {}, "base": "abc", "started_from": [None, None], "settings": {}, "scaler": {},
    "faults": {}, "validation": {"loss": 0.5},
}  # fmt: skip


def folder_with(folder: Path, state: str) -> CheckpointFolder:
    (folder / "step-00000003").mkdir(exist_ok=True)
    (folder / "step-00000003/state.json").write_text(state)
    return CheckpointFolder(folder, 1)


def test_a_sound_state_is_read(tmp_path: Path) -> None:
    for validation in ({"loss": 0.5, "photos": 3}, {"loss": float("nan")}, None):
        [read] = folder_with(tmp_path, json.dumps({**STATE, "validation": validation})).all()
        assert read.step == 3
        assert read.validation_loss == (0.5 if validation and "photos" in validation else None)


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ("[1]", "state.json holds no values by name"),
        ("[" * 200_000, "state.json is not valid JSON: it is nested too deeply"),
        ('{"version": 1, "step": 1, "step": 2}', "says 'step' twice"),
        (json.dumps({**STATE, "version": 2}), "is of version 2; this program reads 1"),
        (json.dumps({**STATE, "version": {}}), "is of version {}; this program reads 1"),
        (json.dumps({**STATE, "step": "3"}), "step: input should be a valid integer"),
        (json.dumps({**STATE, "step": -3}), "step: input should be greater"),
        (json.dumps({**STATE, "settings": []}), "settings: input should be a valid dictionary"),
        (json.dumps({**STATE, "validation": [1]}), "validation: input should be a valid dictionary"),
        (json.dumps({**STATE, "validation": {"loss": None}}), "validation.loss: input should be a valid number"),
        (json.dumps({name: value for name, value in STATE.items() if name != "faults"}), "faults: field required"),
    ],
)
def test_any_other_state_is_one_sentence_that_names_the_checkpoint(tmp_path: Path, state: str, complaint: str) -> None:
    checkpoints = folder_with(tmp_path, state)
    with pytest.raises(ValueError, match=re.escape(complaint)) as caught:
        checkpoints.all()
    assert "step-00000003" in str(caught.value)
    assert "\n" not in str(caught.value)
