"""A restored photo as the bytes of a file: PNG, JPEG, WebP, AVIF or TIFF, with its photo's own data and the record."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from instructrestore.pipelines.pictures.deep_png import deep_png
from instructrestore.pipelines.pictures.deep_tiff import deep_tiff
from instructrestore.pipelines.pictures.exif import sized_exif, without_orientation
from instructrestore.pipelines.pictures.iptc import jpeg_segment
from instructrestore.pipelines.pictures.restored_photo import to_png
from instructrestore.pipelines.pictures.sealed_record import AVIF_BOX, WEBP_CHUNK, sealed, unsealed_text
from instructrestore.pipelines.pictures.source_photo import SourceImage

Format = Literal["png", "jpeg", "webp", "avif", "tiff"]
AskedFormat = Literal["png", "jpeg", "webp", "avif", "tiff", "original"]
ENDINGS: dict[Format, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "avif": ".avif", "tiff": ".tif"}
_BY_CONTENT: dict[str, Format] = {"jpg": "jpeg", "webp": "webp", "avif": "avif", "tiff": "tiff"}
QUALITY = 95  # of a JPEG and an AVIF, whose colours are stored at full size
LOSSY = ("jpeg", "avif")
_LONGEST = {"jpeg": 65_500, "webp": 16_383, "avif": 65_536}  # px; limits of the formats and their libraries
_SEGMENT = 65_533  # bytes of a JPEG's segment
_XMP_NAME = b"http://ns.adobe.com/xap/1.0/\0"
_EXIF_NAME = b"Exif\0\0"


def checked_format(text: str, what: str = "--format") -> AskedFormat:
    """The format of that name. Raises ValueError, in one sentence that begins with `what`."""
    names: tuple[AskedFormat, ...] = get_args(AskedFormat)
    for name in names:
        if name == text:
            return name
    raise ValueError(f"{what} must be {', '.join(names[:-1])} or {names[-1]}, not {text!r}")


def format_for(asked: AskedFormat, source: SourceImage) -> Format:
    """The format of a photo's result; "original" is that of the photo's own file, or PNG where it has another."""
    return _BY_CONTENT.get(source.format, "png") if asked == "original" else asked


def endings(asked: AskedFormat) -> tuple[str, ...]:
    """The endings that results may have."""
    return tuple(ENDINGS.values()) if asked == "original" else (ENDINGS[asked],)


def check_fits(format: Format, source: SourceImage, size: tuple[int, int]) -> None:
    """Raises ValueError, in one sentence, where a result of this (width, height) would lose something by its format."""
    other = "take another --format, such as png"
    if max(size) > (longest := _LONGEST.get(format, max(size))):
        raise ValueError(
            f"its result would be {size[0]}x{size[1]}, and {article(format)} has sides of at most {longest} pixels: "
            f"{other}"
        )
    if format == "avif" and not features.check("avif"):
        raise ValueError(f"the installed Pillow was built without AVIF: {other}")
    if format != "jpeg":
        return
    if source.alpha is not None:
        raise ValueError(f"it is transparent in places, which a JPEG cannot say: {other}")
    sizes = {"EXIF": len(_jpeg_exif(source.exif or b"")), "XMP": len(_XMP_NAME) + len(source.xmp.encode()),
             "IPTC": len(jpeg_segment(source.iptc)) - 4}  # fmt: skip
    for what, length in sizes.items():
        if length > _SEGMENT:
            raise ValueError(f"its {what} data has {length:,} bytes, and a JPEG holds at most {_SEGMENT:,}: {other}")


def left_out(format: Format, source: SourceImage) -> list[str]:
    """What of the photo its format has no place for, a plain sentence each."""
    said = []
    if source.iptc and format in ("webp", "avif"):
        said.append(f"{article(format)} has no place for the IPTC data: it was left out")
    if source.deep is not None and format not in ("png", "tiff"):
        said.append(f"{article(format)} has 8 bits a channel, and the photo 16: --format png or tiff keeps them")
    return said


def is_deep(asked: AskedFormat, source: SourceImage) -> bool:
    """Whether the photo's result is written with 16 bits a channel."""
    format = format_for(asked, source)
    return (format == "tiff" and asked == "tiff") or (format in ("png", "tiff") and source.deep is not None)


def encode(
    format: Format,
    image: Image.Image,
    record: Mapping[str, Any],
    source: SourceImage,
    deep: NDArray[np.uint16] | None = None,
    alike: bool = False,
) -> bytes:
    """The restored photo's file; equal input gives equal bytes.

    image: mode RGB, in the colour space of `source.icc_profile`. record: of how it was made, to be read by
    `restored_photo.read_record`. source: its photo, for which `check_fits` raises nothing. deep: (H, W, 3), the picture
    with 16 bits a channel, where `is_deep`. alike: a JPEG is compressed as its photo, by the same tables and sampling.
    A PNG, a WebP and a TIFF are lossless, with the image's pixels; a JPEG and an AVIF have quality 95 and colours at
    full size. A WebP and an AVIF have no resolution of their own, and a JPEG's is in whole dots per inch.
    """
    if format == "png":
        plain = (record, source.icc_profile, source.exif)
        if deep is not None and source.deep is not None:
            shell = to_png(Image.new("RGB", (1, 1)), *plain, None, source.xmp, source.dpi, source.iptc)
            return deep_png(_with_alpha(deep, source), shell)
        return to_png(image, *plain, source.alpha, source.xmp, source.dpi, source.iptc)
    text = unsealed_text(record)
    exif = sized_exif(source.exif, image.size) if source.exif else b""
    if format == "tiff":
        values = np.asarray(image) if deep is None else deep
        assert values.shape[:2] == (image.height, image.width), "the same picture"
        data = deep_tiff(
            _with_alpha(values, source), text, source.icc_profile, exif, source.xmp, source.dpi, source.iptc
        )  # fmt: skip
    elif format == "avif":
        data = _avif(_with_alpha(np.asarray(image), source), source, exif)
        data += struct.pack(">I4s", 8 + len(AVIF_BOX) + len(text), b"uuid") + AVIF_BOX + text
    elif format == "webp":
        data = _with_chunk(_webp(_with_alpha(np.asarray(image), source), source, exif), image.size, text)
    else:
        data = _jpeg(image, source, exif, text, alike)
    return sealed(data, text)


def _jpeg(image: Image.Image, source: SourceImage, exif: bytes, text: bytes, alike: bool) -> bytes:
    assert len(text) <= _SEGMENT, len(text)
    dpi = tuple(map(round, source.dpi or ()))
    strength: dict[str, Any] = {"quality": QUALITY, "subsampling": "4:4:4"}
    if alike and source.jpeg:
        strength = source.jpeg.options()
    file = BytesIO()
    image.save(
        file,
        "JPEG",
        icc_profile=source.icc_profile or b"",
        exif=_jpeg_exif(exif),
        extra=jpeg_segment(source.iptc),
        xmp=source.xmp.encode(),
        dpi=dpi if dpi and all(0 < each < 1 << 16 for each in dpi) else (0, 0),
        comment=text,
        **strength,
    )
    return file.getvalue()


def _jpeg_exif(block: bytes) -> bytes:
    return block if not block or block.startswith(_EXIF_NAME) else _EXIF_NAME + block


def _webp(pixels: NDArray[np.uint8], source: SourceImage, exif: bytes) -> bytes:
    file = BytesIO()
    # exact: colours stay where they are transparent.
    Image.fromarray(pixels).save(
        file,
        "WEBP",
        lossless=True,
        exact=True,
        icc_profile=source.icc_profile or b"",
        exif=exif,
        xmp=source.xmp.encode(),
    )
    return file.getvalue()


def _avif(pixels: NDArray[np.uint8], source: SourceImage, exif: bytes) -> bytes:
    file = BytesIO()
    # Pillow takes an orientation out of EXIF and writes the block anew; so it gets a block that seems to have none.
    nameless = without_orientation(exif) if exif else b""
    Image.fromarray(pixels).save(
        file,
        "AVIF",
        quality=QUALITY,
        subsampling="4:4:4",
        icc_profile=source.icc_profile or b"",
        exif=nameless,
        xmp=source.xmp.encode(),
    )
    data = file.getvalue()
    plain = len(_EXIF_NAME) if exif.startswith(_EXIF_NAME) else 0
    return data.replace(nameless[plain:], exif[plain:], 1) if exif else data


def _with_chunk(webp: bytes, size: tuple[int, int], text: bytes) -> bytes:
    """The file with a chunk of ours behind its last; only the extended layout (VP8X) has room for such."""
    chunks = webp[12:]
    if not chunks.startswith(b"VP8X"):
        alpha = 0x10 if chunks.startswith(b"VP8L") and chunks[12] & 0x10 else 0
        sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
        chunks = struct.pack("<4sIB3x", b"VP8X", 10, alpha) + sides + chunks
    chunks += struct.pack("<4sI", WEBP_CHUNK, len(text)) + text + b"\0" * (len(text) % 2)
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WEBP") + chunks


def _with_alpha(pixels: NDArray[Any], source: SourceImage) -> NDArray[Any]:
    """Pixels (H, W, 3) of 8 or 16 bits with the photo's transparency as a fourth channel, where it has any."""
    if source.alpha is None:
        return pixels
    size = (pixels.shape[1], pixels.shape[0])
    alpha = source.alpha if source.alpha.size == size else source.alpha.resize(size, Image.Resampling.BICUBIC)
    if pixels.dtype == np.uint16 and source.deep is not None and source.deep.shape == (*pixels.shape[:2], 4):
        return np.dstack([pixels, source.deep[..., 3]])
    values = np.asarray(alpha).astype(pixels.dtype) * (1 if pixels.dtype == np.uint8 else 257)
    return np.dstack([pixels, values.astype(pixels.dtype)])


def article(format: Format) -> str:
    """A file of that format, in a sentence."""
    return f"a{'n' if format == 'avif' else ''} {_name(format)}"


def _name(format: Format) -> str:
    return {"webp": "WebP"}.get(format, format.upper())
