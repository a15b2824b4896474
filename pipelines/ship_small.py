"""`make small-model` ends with this: the two trainings' last checkpoints become the small model that ships."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.small_base import SAMPLING
from instructrestore.model.restoring.small_model import ship
from instructrestore.model.training.checkpoints import last_of_run


def main() -> int:
    """Arguments: the base, the run of the preset small-base that began with it, and that of small-masks."""
    if len(sys.argv) != 4:
        print("python -m instructrestore.pipelines.ship_small BASE RUN MASKS", file=sys.stderr)
        return 2
    base, run, masks = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        pipeline = load_pipeline(base, last_of_run(run), device="cpu")
        pipeline.register_to_config(sampling=SAMPLING)
        saved = Path(folder, "pipeline")  # of the permissions that the umask leaves, which the temporary folder has not
        pipeline.save_pretrained(saved, safe_serialization=True)
        ship(saved, Path(last_of_run(masks), "controlnet"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
