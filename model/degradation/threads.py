"""Photos spread over a CPU's threads, each photo within one thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def photo_by_photo(work: Callable[[int], Tensor], count: int) -> Tensor:
    """The results (1, ...) of work(0) ... work(count - 1), joined; on as many threads as torch uses in this one.

    A photo's many short steps gain little from threads within each step, and lose much where other processes want the
    cores too, for every step waits for its last thread. And with one thread to a photo its result does not depend on
    how many there are. Without gradients.
    """
    threads = torch.get_num_threads()

    def quietly(number: int) -> Tensor:
        with torch.no_grad():  # gradients and the number of threads are settings of each thread
            return work(number)

    if count == 1 or threads == 1:
        torch.set_num_threads(1)
        try:
            return torch.cat([quietly(number) for number in range(count)])
        finally:
            torch.set_num_threads(threads)
    try:
        with ThreadPoolExecutor(min(threads, count), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return torch.cat(list(pool.map(quietly, range(count))))
    finally:
        torch.set_num_threads(threads)  # torch also remembers the latest number for threads to come
