"""An image in, a small image out."""

from __future__ import annotations

from PIL import Image


def thumbnail(image: Image.Image, *, size: int = 256) -> Image.Image:
    """Shrink `image` until its longer side is `size` pixels; a smaller image stays as it is."""
    small = image.copy()
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    return small
