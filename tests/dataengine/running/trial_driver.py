"""Runs trial rows on a Ray cluster that is there already, as a process of its own, and prints what came of it.

python -m tests.dataengine.running.trial_driver FOLDER ADDRESS WAIT_FOR_NODES_S PARTS CHANGES
PARTS: the acts of each part's rows, CHANGES: fields of the stage's spec; both as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from instructrestore.dataengine.running.on_ray.runner import cluster
from instructrestore.dataengine.running.part_files import read_outcomes
from instructrestore.dataengine.running.stage import StopStage
from tests.dataengine.running.test_runner import items, spec, tasks


def main(folder: Path, address: str, wait_for_nodes_s: str, parts: str, changes: str) -> None:
    planned = tasks(folder, json.loads(parts))
    with cluster(address, None, wait_for_nodes_s=float(wait_for_nodes_s)) as connected:
        print("connected", flush=True)
        try:
            files = connected.run_stage(spec(folder, **json.loads(changes)), planned, 100, lambda summary: None)
        except StopStage as stop:
            print(json.dumps({"stopped": str(stop)}))
            return
    kinds = [outcome.kind for file in files for outcome in read_outcomes(file.path, items)]
    print(json.dumps({"contents": [file.content for file in files], "kinds": kinds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
