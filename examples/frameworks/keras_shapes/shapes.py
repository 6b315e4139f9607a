"""Which shape an image shows, by a small Keras network: a plain function.

The network is loaded with this module, once, before the first job. `make_weights.py` trains it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from PIL import Image

LABELS = ("circle", "square", "triangle")
SIDE = 32
NETWORK = keras.saving.load_model(Path(__file__).with_name("shapes.keras"), compile=False)


def classify(image: Image.Image, *, views: int, job: Any) -> dict[str, Any]:
    """The label and the likelihood of each, averaged over turned views."""
    total = np.zeros(len(LABELS))
    for number in range(views):
        if job.cancelled:
            raise InterruptedError("canceled: whatever is returned now is dropped")
        total += _likelihoods(image.rotate(360 * number / views, fillcolor=image.getpixel((0, 0))), job)
        job.progress((number + 1) / views)
    mean = total / views
    return {"label": LABELS[int(mean.argmax())], "likelihoods": dict(zip(LABELS, mean.tolist(), strict=True))}


def _likelihoods(view: Image.Image, job: Any) -> np.ndarray:
    pixels = np.asarray(view.convert("L").resize((SIDE, SIDE)), np.float32)[None, :, :, None] / 255
    try:
        return np.asarray(NETWORK(pixels, training=False))[0]
    except tf.errors.ResourceExhaustedError as error:
        raise job.Retry("the device is out of memory", after_s=10) from error
