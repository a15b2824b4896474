"""`instructrestore verify`: a data set checked against itself."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress

from instructrestore.shards.index import Dataset
from instructrestore.shards.verify import verify as find_faults


def verify(path: str, console: Console) -> bool:
    """Prints each fault, or what was found sound. Returns whether it is. Raises ValueError where it is no data set."""
    card = Dataset(path).card
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("verifying", total=len(card.shards))
        faults = find_faults(path, lambda: progress.advance(task))
    for fault in faults:
        console.print(fault, markup=False, highlight=False, soft_wrap=True)
    counted = f"{card.photos:,} photos, {card.regions:,} regions, {len(card.shards):,} shards"
    verdict = f"{len(faults)} faults" if faults else "sound"
    console.print(f"{path}: {counted}: {verdict}", markup=False, highlight=False, soft_wrap=True)
    return not faults
