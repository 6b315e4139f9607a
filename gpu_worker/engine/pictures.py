"""Reading and writing images safely: known formats only, a pixel limit checked before any is decoded."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from gpu_worker.engine.job import BadInputError, BadOutputError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_WRITERS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}


def read_image(path: Path, name: str, max_pixels: int) -> Image.Image:
    """Decode an image upright (EXIF orientation applied) as RGB, or RGBA where it has transparency.

    Raises:
        BadInputError: Not an image of a known format, truncated, or of more than `max_pixels`.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            _check_size(image, name, max_pixels)
            image.load()
            return _plain(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise BadInputError(f"inputs.{name}: not an image; accepted are {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise BadInputError(f"inputs.{name}: {error}") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
    ) as error:  # what Pillow's decoders raise
        raise BadInputError(f"inputs.{name}: the image is damaged: {error}") from error


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise BadInputError(f"inputs.{name}: {width}x{height} pixels; at most {max_pixels} are accepted")


def _plain(image: Image.Image) -> Image.Image:
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode.startswith("I"):  # 16 bits per pixel: a plain convert() would clip to white
        image = image.convert("I").point(lambda value: value / 256, "L")
    return image.convert("RGB")


def write_image(value: Any, path: Path, content_type: str, name: str) -> dict[str, Any]:
    """Write a PIL image or a uint8 array [H, W], [H, W, 3] or [H, W, 4]; returns width and height.

    Raises:
        BadOutputError: It is neither, or the content type can't be written.
    """
    image = _image_of(value, name)
    writer = _WRITERS.get(content_type)
    if writer is None:
        raise BadOutputError(f"outputs.{name}: {content_type} can't be written; known: {', '.join(_WRITERS)}")
    if writer == "JPEG" and image.mode not in {"RGB", "L"}:
        image = image.convert("RGB")
    encoded = io.BytesIO()
    image.save(encoded, writer)
    path.write_bytes(encoded.getbuffer())
    return {"width": image.width, "height": image.height}


def _image_of(value: Any, name: str) -> Image.Image:
    if isinstance(value, Image.Image):
        return value
    if hasattr(value, "__array_interface__"):
        try:
            return Image.fromarray(value)
        except (TypeError, ValueError) as error:
            raise BadOutputError(f"outputs.{name}: this array is no image: {error}") from error
    raise BadOutputError(f"outputs.{name}: expected an image, not {type(value).__name__}")
