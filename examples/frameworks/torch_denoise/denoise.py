"""Takes the noise out of an image, by a small PyTorch network: a class with the three steps.

An image is computed band by band, so that a large one needs little memory, tells how far it is, and can be
canceled between two bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from network import REACH, Noise
from PIL import Image

if TYPE_CHECKING:
    from gpu_worker.engine.handler import LoadContext


@dataclass(frozen=True)
class Item:
    """One job on its way: its pixels [3, H, W] in -0.5 … 0.5."""

    pixels: torch.Tensor
    strength: float
    job: Any


class Denoise:
    """`image` in, `image_clean` out."""

    def load(self, model: LoadContext) -> None:
        """Load the weights onto the worker's device; this raises where it is not there."""
        self._device = torch.device(model.device)
        self._band = int(model.options["band"])
        weights = torch.load(model.folder / "denoise.pt", map_location=self._device, weights_only=True)
        self._network = Noise().to(self._device).eval()
        self._network.load_state_dict(weights)

    def warm_up(self) -> None:
        """One band, so that the first job does not wait for what is set up lazily."""
        self._clean(torch.zeros(3, self._band, self._band))

    def prepare(self, image: Image.Image, strength: float, job: Any) -> Item:
        """The image → its pixels."""
        pixels = np.array(image.convert("RGB"), np.float32).transpose(2, 0, 1) / 255 - 0.5
        return Item(torch.from_numpy(pixels), strength, job)

    def infer(self, items: list[Item]) -> list[torch.Tensor]:
        """The noise of each image."""
        return [self._noise_of(item) for item in items]

    def finish(self, item: Item, raw: torch.Tensor) -> Image.Image:
        """What is left without the noise."""
        clean = (item.pixels - item.strength * raw + 0.5).clamp(0, 1) * 255
        return Image.fromarray(clean.round().byte().numpy().transpose(1, 2, 0))

    def _noise_of(self, item: Item) -> torch.Tensor:
        height, bands = item.pixels.shape[1], []
        for top in range(0, height, self._band):
            if item.job.cancelled:
                raise InterruptedError("canceled: whatever is returned now is dropped")
            try:
                bands.append(self._band_of(item.pixels, top))
            except torch.OutOfMemoryError as error:
                raise item.job.Retry("the device is out of memory", after_s=10) from error
            item.job.progress(min(1.0, (top + self._band) / height))
        return torch.cat(bands, 1)

    def _band_of(self, pixels: torch.Tensor, top: int) -> torch.Tensor:
        """The noise of one band, computed with the rows beside it that it depends on."""
        above = min(top, REACH)
        noise = self._clean(pixels[:, top - above : top + self._band + REACH])
        return noise[:, above : above + self._band]

    @torch.inference_mode()
    def _clean(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._network(pixels[None].to(self._device))[0].cpu()
