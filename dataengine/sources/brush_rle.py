"""Label Studio's run-length code of brushed masks (rle-pack): bits, in bytes, of RGBA pixels row by row.

    32 bits  how many values there are: 4 x height x width     5 bits  a value's bits, less 1
    4 x 4 bits  the four lengths in bits, less 1, in which a run may be counted
    then     1 bit: a run of one value, or values one by one; 2 bits: which length; that many bits: how many, less 1;
             and the value, or the values

The alpha of a pixel says whether it belongs to the mask.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from instructrestore.shards.rle import MAX_PIXELS, BoolArray

CHANNELS = 4
_VALUE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_ALPHA = 128  # from here on a pixel belongs to the mask


def encode(mask: BoolArray) -> list[int]:
    """mask: (H, W) bool. Returns bytes as numbers of 0 to 255, those of Label Studio's own converter."""
    flat = mask.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate(([0], edges))
    lengths = np.diff(np.append(starts, flat.size)) * CHANNELS
    bits = [f"{flat.size * CHANNELS:032b}{_VALUE_BITS - 1:05b}", *(f"{bits - 1:04b}" for bits in _LENGTH_BITS)]
    for length, value in zip(lengths.tolist(), flat[starts].tolist(), strict=True):
        said = f"{255 if value else 0:08b}"
        while length:
            part = min(length, 1 << _LENGTH_BITS[-1])
            which = next(place for place, size in enumerate(_LENGTH_BITS) if part <= 1 << size)
            bits.append(f"1{which:02b}{part - 1:0{_LENGTH_BITS[which]}b}{said}")
            length -= part
    text = "".join(bits)
    text += "0" * (8 - len(text) % 8)  # a byte of them where the bits fill theirs: so does the converter
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode(code: list[int], height: int, width: int) -> BoolArray:
    """The mask of a photo of that size as (H, W) bool. Raises ValueError for what is no such code."""
    if height * width > MAX_PIXELS:
        raise ValueError(f"a mask of {width}x{height} is over {MAX_PIXELS} pixels")
    if not isinstance(code, list):  # of a number, bytes() would make as many bytes
        raise ValueError("the brush mask is not a list of bytes")
    try:
        data = bytes(code)
    except (ValueError, TypeError):
        raise ValueError("the brush mask is not a list of bytes") from None
    bits = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}" if data else ""
    if len(bits) < 53:
        raise ValueError("the brush mask ends before its first run")
    count, size = int(bits[:32], 2), int(bits[32:37], 2) + 1
    if count != CHANNELS * height * width:
        raise ValueError(f"the brush mask has {count} values and a photo of {width}x{height} {CHANNELS} a pixel")
    length_bits = [int(bits[start : start + 4], 2) + 1 for start in range(37, 53, 4)]
    mask = np.zeros(height * width, np.bool_)
    place, done = 53, 0
    while done < count:
        try:
            is_run, which = bits[place] == "1", int(bits[place + 1 : place + 3], 2)
            place += 3
            number = int(bits[place : place + length_bits[which]], 2) + 1
            place += length_bits[which]
            values = _values(bits, place, 1 if is_run else number, size)
        except (ValueError, IndexError):
            raise ValueError("the brush mask ends before its last pixel") from None
        place += size * len(values)
        if done + number > count:
            raise ValueError("the brush mask has more pixels than its photo")
        # A pixel's alpha is the last of its four values.
        first, last = (-(-(each - 3) // CHANNELS) for each in (done, done + number))
        alphas = values if is_run else values[(3 - done) % CHANNELS :: CHANNELS]
        mask[first:last] = alphas >= _ALPHA
        done += number
    return mask.reshape(height, width)


def _values(bits: str, place: int, number: int, size: int) -> NDArray[np.int64]:
    end = place + number * size
    if end > len(bits):
        raise ValueError
    return np.array([int(bits[start : start + size], 2) for start in range(place, end, size)], np.int64)
