"""Trains the network of `shapes.py` on drawn shapes, always the same: `python make_weights.py FOLDER`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from PIL import Image, ImageDraw

SIDES = (0, 4, 3)
"""Of a circle, a square and a triangle, as in shapes.LABELS."""
SIDE = 32
CANVAS = 4 * SIDE
EXAMPLES = 3000
SEED = 7


def draw(sides: int, random: np.random.Generator) -> np.ndarray:
    """One shape of any size, place, angle and contrast; float32 [32, 32, 1], 0 to 1."""
    back, front = sorted(random.uniform(0, 1, 2) * (0.3, 0.3) + (0, 0.7))[:: random.choice([1, -1])]
    canvas = Image.new("L", (CANVAS, CANVAS), int(back * 255))
    x, y, radius = (*random.uniform(0.4, 0.6, 2) * CANVAS, random.uniform(0.22, 0.4) * CANVAS)
    pen, fill = ImageDraw.Draw(canvas), int(front * 255)
    if sides:
        pen.regular_polygon((x, y, radius), sides, rotation=float(random.uniform(0, 360)), fill=fill)
    else:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    return np.asarray(canvas.resize((SIDE, SIDE)), np.float32)[:, :, None] / 255


def make_network() -> keras.Model:
    """Grey [32, 32, 1] → three likelihoods; about 30,000 weights."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(48, activation="relu"),
            layers.Dense(len(SIDES), activation="softmax"),
        ]
    )


def main(folder: Path) -> None:
    """Train and save."""
    keras.utils.set_random_seed(SEED)
    random = np.random.default_rng(SEED)
    labels = random.integers(0, len(SIDES), EXAMPLES)
    images = np.stack([draw(SIDES[label], random) for label in labels])
    network = make_network()
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    network.fit(images, labels, epochs=8, batch_size=64, verbose=2)
    network.save(folder / "shapes.keras")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
