"""What jobs say of damage that they find and go on from."""

from __future__ import annotations

from rich.console import Console

from instructrestore.shards.index import Dataset


def print_line(line: str, console: Console) -> None:
    """Prints a line as it is."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def say_damaged(dataset: Dataset, console: Console) -> None:
    """Names the damaged shards of a data set that is about to be read: a photo that can be told to be damaged is left
    out, but not all that a record says can be checked."""
    for name in dataset.damaged_shards():
        line = (
            f"{dataset.path}/{name} is damaged: copy it again; photos in it that are known to be damaged are left out"
        )
        print_line(line, console)
