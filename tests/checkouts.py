"""The published code that some tests compare with: it cannot be installed by name, so it is cloned.

python -m tests.checkouts            says which are missing; status 2 where any is
python -m tests.checkouts --clone    clones the missing ones into .checkouts/
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".checkouts"


@dataclass(frozen=True)
class Checkout:
    variable: str  # the environment variable that names a checkout elsewhere
    repository: str  # on github.com
    commit: str  # the one that the tests were written against

    @property
    def folder(self) -> Path:
        return Path(os.environ.get(self.variable) or FOLDER / self.repository.split("/")[1])

    @property
    def is_there(self) -> bool:
        return self.folder.is_dir()


SEMANTIC_SAM = Checkout("INSTRUCTRESTORE_SEMANTIC_SAM", "UX-Decoder/Semantic-SAM", "e11f8b5")
DETECTRON2 = Checkout("INSTRUCTRESTORE_DETECTRON2", "facebookresearch/detectron2", "02b5c4e")
OSPREY = Checkout("INSTRUCTRESTORE_OSPREY", "CircleRadon/Osprey", "deb0e57")
D_DFFNET = Checkout("INSTRUCTRESTORE_D_DFFNET", "yuxinjin-whu/D-DFFNet", "d75c1da")
CHECKOUTS = (SEMANTIC_SAM, DETECTRON2, OSPREY, D_DFFNET)


def clone(checkout: Checkout) -> None:
    source = f"https://github.com/{checkout.repository}"
    subprocess.run(["git", "clone", "--quiet", source, str(checkout.folder)], check=True)
    subprocess.run(["git", "-C", str(checkout.folder), "checkout", "--quiet", checkout.commit], check=True)


def main() -> None:
    missing = [checkout for checkout in CHECKOUTS if not checkout.is_there]
    if "--clone" in sys.argv[1:]:
        for checkout in missing:
            clone(checkout)
    elif missing:
        each = ", ".join(f"{one.repository} at {one.commit} ({one.variable})" for one in missing)
        print(f"Run `make checkouts`, or clone from github.com and name in the variable: {each}.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
