"""Trains the network of `denoise.py` on drawn pictures, always the same: `python make_weights.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from network import Noise

SIDE, BATCH, STEPS = 32, 8, 300
SEED = 7


def draw(random: torch.Generator) -> torch.Tensor:
    """A batch [8, 3, 32, 32] in -0.5 … 0.5: patches with edges in all directions, shaded."""
    axis = torch.linspace(-1, 1, SIDE)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    images = torch.rand(BATCH, 3, 1, 1, generator=random) - 0.5 + torch.zeros(BATCH, 3, SIDE, SIDE)
    for _ in range(6):
        a, b, c = (torch.rand(3, BATCH, 1, 1, 1, generator=random) - 0.5) * 2
        colour = torch.rand(BATCH, 3, 1, 1, generator=random) - 0.5
        images = torch.where(a * x + b * y > c, colour + 0.2 * (b * x - a * y), images)
    return images.clamp(-0.5, 0.5)


def main(folder: Path) -> None:
    """Train and save."""
    torch.manual_seed(SEED)
    random = torch.Generator().manual_seed(SEED)
    network = Noise()
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for step in range(STEPS):
        noise = torch.randn(BATCH, 3, SIDE, SIDE, generator=random) * 0.1
        loss = torch.nn.functional.mse_loss(network(draw(random) + noise), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.5f}")
    torch.save(network.state_dict(), folder / "denoise.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
