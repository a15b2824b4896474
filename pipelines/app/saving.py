"""A result as a file of any format, with its photo's own data: made when it is asked for, from what a job has kept."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from instructrestore.pipelines.pictures.output_file import AskedFormat, Format, check_fits, encode, format_for, is_deep
from instructrestore.pipelines.pictures.restored_photo import read_record
from instructrestore.pipelines.pictures.source_photo import read_photo


def deep_file(png: Path) -> Path:
    """Where a result's 16 bits a channel are kept, (H, W, 3) uint16."""
    return png.with_suffix(".npy")


def as_npy(values: NDArray[np.uint16]) -> bytes:
    file = BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue()


def put_into(folder: Path, photo: str, png: bytes) -> Path:
    """Writes a result into a folder of the user's, under its photo's name; nothing that is there is overwritten.

    Raises OSError where it cannot be written.
    """
    stem, number = Path(photo).stem, 1
    while True:
        path = folder / (f"{stem}.png" if number == 1 else f"{stem}_{number}.png")
        try:
            with path.open("xb") as file:
                file.write(png)
            return path
        except FileExistsError:
            number += 1


def saved_as(asked: AskedFormat, photo: Path, png: Path) -> tuple[Format, bytes]:
    """The format and the file of a restored photo. photo: the file it was made of; png: the kept result.

    Raises ValueError, in one sentence, where the result does not fit the format.
    """
    source = read_photo(photo)
    format = format_for(asked, source)
    kept = deep_file(png).is_file()
    if format == "png" and not (kept and is_deep(asked, source)):
        return format, png.read_bytes()
    with Image.open(png, formats=("PNG",)) as image:
        picture = image.convert("RGB")
    try:
        check_fits(format, source, picture.size)
    except ValueError as error:
        raise ValueError(str(error).replace("--format", "format")) from None
    deep = None
    if is_deep(asked, source):
        if not kept:
            raise ValueError("only 8 bits a channel were kept of this result: ask for it again with deep, or take png")
        deep = np.load(deep_file(png), allow_pickle=False)
    return format, encode(format, picture, read_record(png), source, deep, asked == "original")
