"""What is wrong with a photo's bytes: the error that says so, and what Pillow raises over them."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

# What Pillow's decoders raise on damaged bytes. The bytes are all in memory by then, so no I/O error is among these.
PILLOW_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError,
    AssertionError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


class UnusablePhoto(ValueError):
    """The bytes are not a usable photo. This is a fault of the data, the same at every attempt.

    reason: a short, countable name ("corrupt photo"). detail: what exactly is wrong.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
