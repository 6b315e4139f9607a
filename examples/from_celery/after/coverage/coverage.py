"""After: the second link of the chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matting

if TYPE_CHECKING:
    from PIL import Image


def run(mask: Image.Image) -> float:
    """How much of a mask is white, 0 to 1."""
    return matting.share_of(mask)
