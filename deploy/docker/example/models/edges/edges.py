"""The edges of an image: where its brightness changes. Runs in the NumPy that this team's library needs."""
# ruff: noqa: INP001  a model's folder is no package

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image


def edges(image: Image.Image) -> dict[str, Any]:
    """A grey image, as bright as the brightness changes there."""
    brightness = np.asarray(image.convert("L"), dtype=np.float32)
    down, right = np.gradient(brightness)
    strength = np.hypot(down, right)
    strongest = float(strength.max())
    drawn = (strength * (255 / max(strongest, 1.0))).astype(np.uint8)
    about = {"numpy": np.__version__, "strongest": round(strongest, 2)}
    return {"edges": Image.fromarray(drawn), "about": about}
