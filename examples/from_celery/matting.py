"""The algorithm itself, as it was with Celery and as it stays: what goes into the graph, and what comes out.

U²-Netp by Qin et al. (weights: Apache-2.0), fetched by install.py. Nothing here knows of queues.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

INPUT, OUTPUT, SIDE = "input.1", "1959", 320
HALF = 127
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


class DeviceBusyError(Exception):
    """Something else has the device's memory for a moment: worth another try."""


def tensor_of(image: Image.Image) -> np.ndarray:
    """A picture → float32 [1, 3, 320, 320], normalised as the network was trained."""
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    pixels = np.asarray(small, np.float32)
    scaled = (pixels / max(float(pixels.max()), 1.0) - MEAN) / STD
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[np.newaxis])


def mask_of(raw: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """The network's map [1, 1, 320, 320] → a grey picture of `size`: white is what stands out."""
    plane = raw[0, 0]
    spread = (plane - plane.min()) / max(float(np.ptp(plane)), 1e-6)
    grey = Image.fromarray((spread * 255).round().astype(np.uint8))
    return grey.resize(size, Image.Resampling.LANCZOS)


def share_of(mask: Image.Image) -> float:
    """How much of a mask is white, 0 to 1."""
    return round(float((np.asarray(mask.convert("L")) > HALF).mean()), 6)
