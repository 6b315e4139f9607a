"""The network that `denoise.py` runs and `make_weights.py` trains."""

from __future__ import annotations

import torch
from torch import nn

WIDTH = 24
REACH = 3
"""Pixels on each side that a pixel of the result depends on."""


class Noise(nn.Module):
    """Images [N, 3, H, W] in -0.5 … 0.5 → the noise in them, of the same shape; about 7,000 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, 3, 3, padding=1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The noise."""
        return self.layers(images)
