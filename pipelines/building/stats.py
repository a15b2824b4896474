"""`instructrestore stats`: what is in a data set, on the terminal or as JSON."""

from __future__ import annotations

from rich.console import Console

from instructrestore.dataengine.reporting import statistics
from instructrestore.shards.index import Dataset


def stats(dataset: str, as_json: bool = False) -> None:
    """Prints the statistics of the data set at `dataset`. Raises ValueError where there is none."""
    figures = statistics.of_dataset(Dataset(dataset))
    if as_json:
        print(statistics.to_json(figures))
    else:
        Console().print(statistics.console(figures))
