"""Handlers for ONNX models on images. Runs in the engine process.

Options of model.toml, all with the values of ImageNet-style salient-object models as defaults:

    size   = [320, 320]                 # width, height the graph takes
    mean   = [0.485, 0.456, 0.406]      # of RGB scaled to 0-1
    std    = [0.229, 0.224, 0.225]
    scale  = "max"                      # "max": divide by the image's largest value; "255": by 255
    input  = ""                         # the graph's input; default: its first
    output = ""                         # the output that holds the mask; default: its first
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageChops

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_worker.engine.handler import LoadContext
    from gpu_worker.engine.onnx import OnnxSession

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class ImageTensor:
    """An image on its way through a graph: the original, and its float32 array [3, height, width]."""

    image: Image.Image
    array: NDArray[np.float32]


class Normalizer:
    """Resizes and normalizes images as a model's options say."""

    def __init__(self, options: dict[str, Any]) -> None:
        width, height = options.get("size", (320, 320))
        self.size = (int(width), int(height))
        self._by_max = str(options.get("scale", "max")) == "max"
        self._mean = np.asarray(options.get("mean", _MEAN), np.float32).reshape(3, 1, 1)
        self._std = np.asarray(options.get("std", _STD), np.float32).reshape(3, 1, 1)

    def __call__(self, image: Image.Image) -> ImageTensor:
        """Any PIL image → its tensor; transparency is ignored."""
        small = image.convert("RGB").resize(self.size, Image.Resampling.LANCZOS)
        array = np.asarray(small, np.float32).transpose(2, 0, 1)
        array = array / (max(float(array.max()), _TINY) if self._by_max else 255.0)
        return ImageTensor(image, (array - self._mean) / self._std)


class Cutout:
    """A salient-object model: `image` in; `mask` (grey PNG) and `cutout` (the image with it as alpha) out.

    The graph takes [1, 3, H, W] and gives a map that squeezes to [H, W].
    """

    def load(self, model: LoadContext) -> None:
        """Keep the session and read the options."""
        if model.session is None:
            raise TypeError('Cutout needs backend = "onnx"')
        self._session: OnnxSession = model.session
        self._normalize = Normalizer(model.options)
        self._input = str(model.options.get("input") or self._session.inputs[0])
        self._output = str(model.options.get("output") or self._session.outputs[0])

    def warm_up(self) -> None:
        """One black image: memory is allocated before the first job waits for it."""
        self.infer([self.prepare(Image.new("RGB", self._normalize.size))])

    def prepare(self, image: Image.Image) -> ImageTensor:
        """The image → its tensor."""
        return self._normalize(image)

    def infer(self, items: list[ImageTensor]) -> list[NDArray[np.float32]]:
        """Tensors → raw maps [H, W]."""
        return [self._map_of(item) for item in items]

    def finish(self, item: ImageTensor, raw: NDArray[np.float32]) -> dict[str, Image.Image]:
        """The raw map → mask and cut-out at the image's own size."""
        mask = self._mask_of(raw, item.image.size)
        cutout = item.image.convert("RGBA")
        cutout.putalpha(_within_alpha(mask, cutout))
        return {"mask": mask, "cutout": cutout}

    def _map_of(self, item: ImageTensor) -> NDArray[np.float32]:
        (raw,) = self._session.run({self._input: item.array[None]}, [self._output])
        squeezed: NDArray[np.float32] = raw.squeeze()
        return squeezed

    def _mask_of(self, raw: NDArray[np.float32], size: tuple[int, int]) -> Image.Image:
        low, high = float(raw.min()), float(raw.max())
        grey = (raw - low) / max(high - low, _TINY) * 255
        return Image.fromarray(grey.round().astype(np.uint8)).resize(size, Image.Resampling.LANCZOS)


def _within_alpha(mask: Image.Image, image: Image.Image) -> Image.Image:
    return ImageChops.multiply(mask, image.getchannel("A"))  # what was transparent stays so
