"""From any ICC profile to sRGB."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

BROKEN = "broken colour profile"
CONVERTED = "colour profile converted"
# A profile that changes no colour by more than this, in levels of 255, is sRGB under one of its many names.
_SAME = 2
# What ImageCms raises over a damaged profile.
_PROFILE_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)
_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}


def to_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, str]:
    """Converts an image of mode L, RGB or CMYK to 8-bit sRGB by its ICC profile (empty: none), perceptual intent.

    Returns the RGB image and what happened: "" (no profile, or one that is sRGB), `CONVERTED`, or `BROKEN`. A
    profile that cannot be read or is for another kind of image is ignored, as nearly all viewers do.
    """
    if not profile:
        return _plain(image), ""
    try:
        mode, transform, same = _transform(profile)
    except _PROFILE_ERRORS:
        return _plain(image), BROKEN
    if mode == "RGB" and image.mode == "L":  # many programs write a grey photo with an RGB profile
        image = image.convert("RGB")
    if image.mode != mode:
        return _plain(image), BROKEN
    if same:
        return _plain(image), ""
    try:
        converted = ImageCms.applyTransform(image, transform)
    except _PROFILE_ERRORS:
        return _plain(image), BROKEN
    assert converted is not None, "not in place"
    return converted, CONVERTED


def is_usable(profile: object, mode: str) -> bool:
    """Whether `to_srgb` can convert an image of this mode by a profile, as far as the profile alone shows."""
    try:
        of = _transform(profile)[0]  # pyright: ignore[reportArgumentType]
    except _PROFILE_ERRORS:
        return False
    return of == mode or (of == "RGB" and mode == "L")


def is_srgb(profile: bytes) -> bool:
    """Whether a usable profile leaves sRGB values as they are; an empty one does."""
    return not profile or _transform(profile)[2]


def _plain(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=64)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform, bool]:
    """The Pillow mode that a profile is for, its transform to sRGB, and whether that leaves every colour unchanged.

    Raises one of _PROFILE_ERRORS for a profile that cannot be used.
    """
    if not isinstance(profile, bytes):  # a TIFF's tag may be of any type
        raise ValueError(f"a profile of type {type(profile).__name__}")
    mode = _MODES.get(profile[16:20])  # where an ICC header names its colour space
    if mode is None:
        raise ValueError(f"a profile of colour space {profile[16:20]!r}")
    transform = ImageCms.buildTransform(ImageCms.ImageCmsProfile(BytesIO(profile)), _srgb(), mode, "RGB")
    if mode != "RGB":
        return mode, transform, False
    levels = np.arange(0, 256, 51, dtype=np.uint8)
    probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    moved = ImageCms.applyTransform(Image.fromarray(probe), transform)
    distance = np.abs(np.asarray(moved, np.int16) - probe.astype(np.int16)).max()
    return mode, transform, bool(distance <= _SAME)


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
