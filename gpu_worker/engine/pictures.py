"""Reading and writing images safely: known formats only, a pixel limit checked before any is decoded.

What an algorithm gets is always RGB, or RGBA where the picture has transparency, 8 bits each, upright:

    EXIF          the orientation is applied; damaged EXIF is passed over; none of it reaches the outputs
    ICC profile   pixel values stay as they are; an RGB picture's profile goes into outputs made from it
    CMYK, Lab …   converted plainly, without their profile; what can't be is refused
    16 bits       the upper 8; 32-bit integers beyond 65535 and floating point are refused
    palette       looked up
    animation     its first frame; a TIFF's first page
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from gpu_worker.engine.job import BadInputError, BadOutputError
from gpu_worker.engine.options import MAX_PIXELS, PictureLimits

_WRITERS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}
_TRANSPARENT = {"RGBA", "LA", "PA", "RGBa", "La"}
_COLOUR = {"RGB", "RGBA", "RGBX", "P"}
"""Modes whose ICC profile still says the truth once they are RGB."""
_MAX_16 = 0xFFFF
_DEEP = {"F", "I", "I;16", "I;16B", "I;16L", "I;16N"}
"""Modes of more than 8 bits, which Pillow's conversion to 8 would clip to white."""
_KEEPS_DEEP = {"TIFF": _DEEP, "PNG": _DEEP - {"F", "I"}}
_UNWRITABLE = (OSError, ValueError, LookupError, struct.error)
"""What Pillow's encoders raise over pictures that their format can't hold."""
# What Pillow's decoders raise on damaged files, as found by changing bytes of good ones.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    EOFError,
    NotImplementedError,
    struct.error,
    zlib.error,
)
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def read_image(path: Path, name: str, limits: PictureLimits | int = MAX_PIXELS) -> Image.Image:
    """Decode an image as the table above says.

    Raises:
        BadInputError: Not an image of an accepted format, damaged, cut off, or of too many pixels.
    """
    if isinstance(limits, int):
        limits = PictureLimits(max_pixels=limits)
    try:
        with _open(path, name, limits) as image:
            image.load()
            return _plain(_upright(image), name)
    except UnidentifiedImageError as error:
        accepted = ", ".join(limits.formats)
        raise BadInputError(f"inputs.{name}: not an image; accepted are {accepted}") from error
    except _TOO_LARGE as error:
        raise BadInputError(f"inputs.{name}: {_pixels_of(error)} pixels; {_most(limits)}") from error
    except _DAMAGED as error:
        said = str(error) or type(error).__name__
        raise BadInputError(f"inputs.{name}: the image is damaged: {said}") from error


def _open(path: Path, name: str, limits: PictureLimits) -> Image.Image:
    # Pillow's own limit would refuse what a model has allowed; it only ever grows.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, limits.max_pixels)
    image = Image.open(path, formats=limits.formats)
    width, height = image.size
    if width * height > limits.max_pixels:
        image.close()
        raise BadInputError(f"inputs.{name}: {width}x{height} pixels; {_most(limits)}")
    return image


def _most(limits: PictureLimits) -> str:
    return f"at most {limits.max_pixels} are accepted"


def _pixels_of(error: Exception) -> str:
    found = re.search(r"\d+", str(error))
    return found.group() if found else "too many"


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGED:
        return image  # the pixels are whole, so a note on them that is not costs nothing


def _plain(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "F":
        raise BadInputError(f"inputs.{name}: floating point pixels; save the picture with 8 or 16 bits")
    profile = image.info.get("icc_profile") if image.mode in _COLOUR else None
    if image.mode.startswith("I"):
        image = _of_16_bits(image, name)
    transparent = image.mode in _TRANSPARENT or "transparency" in image.info
    mode = "RGBA" if transparent else "RGB"
    plain = image if image.mode == mode else image.convert(mode)
    plain.info = {"icc_profile": profile} if profile else {}
    return plain


def _of_16_bits(image: Image.Image, name: str) -> Image.Image:
    """A plain convert() would clip everything to white."""
    whole = image.convert("I")
    low, high = whole.getextrema()
    if not (isinstance(low, int | float) and isinstance(high, int | float)) or low < 0 or high > _MAX_16:
        raise BadInputError(f"inputs.{name}: 32-bit pixels from {low} to {high}; save it with 8 or 16 bits")
    narrow = whole.point(lambda value: value / 256, "L")
    narrow.info = {}
    return narrow


def write_image(value: Any, path: Path, content_type: str, name: str) -> dict[str, Any]:
    """Write a PIL image or a uint8 array [H, W], [H, W, 3] or [H, W, 4]; returns width and height.

    16 bits go into PNG and TIFF, 32 and floating point into TIFF alone.

    Raises:
        BadOutputError: It is neither, or is empty, or the content type can't be written, or can't hold it.
    """
    image = _image_of(value, name)
    writer = _WRITERS.get(content_type)
    if writer is None:
        raise BadOutputError(f"outputs.{name}: {content_type} can't be written; known: {', '.join(_WRITERS)}")
    try:
        encoded = _encoded(image, writer)
    except _UNWRITABLE as error:
        raise BadOutputError(
            _refused(value, name, f"can't be written as {content_type} ({error})")
        ) from error
    path.write_bytes(encoded.getbuffer())
    return {"width": image.width, "height": image.height}


def _encoded(image: Image.Image, writer: str) -> io.BytesIO:
    if image.mode in _DEEP - _KEEPS_DEEP.get(writer, set()):
        raise ValueError(f"no room for mode {image.mode}")
    if writer == "JPEG" and image.mode not in {"RGB", "L"}:
        image = image.convert("RGB")
    encoded = io.BytesIO()
    # A grey picture made from a colour one still carries its profile, which is wrong for it.
    profile = image.info.get("icc_profile") if image.mode in _COLOUR else None
    image.save(encoded, writer, icc_profile=profile)
    return encoded


def _image_of(value: Any, name: str) -> Image.Image:
    if isinstance(value, Image.Image):
        image = value
    elif hasattr(value, "__array_interface__"):
        try:
            image = Image.fromarray(value)
        except (TypeError, ValueError) as error:
            raise BadOutputError(_refused(value, name, "is no image")) from error
    else:
        raise BadOutputError(f"outputs.{name}: expected an image, not {type(value).__name__}")
    if 0 in image.size:
        raise BadOutputError(_refused(value, name, "has no pixels"))
    return image


def _refused(value: Any, name: str, why: str) -> str:
    """What came, what is wrong with it, and what is accepted."""
    if isinstance(value, Image.Image):
        width, height = value.size
        return (
            f"outputs.{name}: this image {why}: mode {value.mode} of {width}x{height} pixels; "
            "make it of mode L, RGB or RGBA, say with convert()"
        )
    return (
        f"outputs.{name}: this array {why}: {getattr(value, 'dtype', '?')} of shape "
        f"{getattr(value, 'shape', '?')}; make it uint8 of shape (height, width), (height, width, 3) or "
        "(height, width, 4)"
    )
