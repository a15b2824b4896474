"""Files that may not be read, also where the tests run as root."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION_3 = 0x20080522
_READ_ALL = (1 << 1) | (1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@contextmanager
def as_anybody() -> Iterator[None]:
    """Without root's right to read and write every file, in this thread and what it starts."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    # twice (effective, permitted, inheritable), the lower 32 capabilities first
    held = (ctypes.c_uint32 * 6)()
    _done(libc.capget(header, held))
    fewer = (ctypes.c_uint32 * 6)(*held)
    fewer[0] &= ~_READ_ALL
    _done(libc.capset(header, fewer))
    try:
        yield
    finally:
        _done(libc.capset(header, held))


def _done(status: int) -> None:
    if status:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
