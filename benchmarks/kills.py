"""Kills a build 50 times at random moments (its driver, its workers, or both), resumes it, and compares the bytes.

python -m benchmarks.kills [KILLS] [SEED]
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.pipelines.building.test_resume import build, hashes, kill_at_random, make_flawed_photos


def main(kills: int, seed: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = folder / "photos"
        make_flawed_photos(photos, 60)
        build(photos, folder / "peace", cpus=1)
        expected = hashes(folder / "peace/dataset")
        rng = random.Random(seed)
        killed: Counter[str] = Counter()
        runs = done = same = 0
        while done < kills:
            runs += 1
            out = folder / f"killed-{runs}"
            for left in reversed(range(min(5, kills - done))):
                victim = rng.choice(["driver", "both"]) if left else "worker"  # after that a build goes on to its end
                killed += kill_at_random(photos, out, victim, rng, longest_s=1.5)
                done += 1
            build(photos, out, cpus=2)
            same += hashes(out / "dataset") == expected
            print(f"{done} interruptions, {same} of {runs} data sets byte-identical", flush=True)
    print(
        f"{done} interruptions, killed {dict(killed)}; {same} of {runs} data sets byte-identical to the undisturbed one"
    )
    return 0 if same == runs else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50, int(sys.argv[2]) if len(sys.argv) > 2 else 0))
