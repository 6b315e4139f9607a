"""From a picture to the tensor that a graph takes. Runs in the engine process.

Options of model.toml that every handler of images reads (docs/models.md has the table):

    input     the graph's input; default: its first
    size      [width, height]; default: what the graph says
    resample  lanczos, bicubic, bilinear, nearest
    colors    rgb, bgr
    scale     max: divide by the picture's largest value; 255: by 255; none: values stay 0-255
    mean, std subtracted, divided by, after `scale`; one number for each channel
    layout    nchw, nhwc; default: what the graph says
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from gpu_worker.engine.spec import SpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_worker.engine.onnx import Port
    from gpu_worker.engine.options import Options

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_RESAMPLERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}
_DTYPES = ("float32", "float16", "float64", "uint8")
_RANK = 4
_MODES = {1: "L", 3: "RGB"}
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class ImageTensor:
    """A picture on its way through a graph.

    Attributes:
        array: What the graph takes, without the batch dimension.
        size: Width and height of the part of `array` that is the picture; the rest is padding.
    """

    image: Image.Image
    array: NDArray[Any]
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Defaults:
    """A handler's own defaults for the options above; `size` None: the picture's own."""

    size: tuple[int, int] | None = None
    scale: str = "255"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    fits: tuple[str, ...] = ("stretch",)


IMAGENET = Defaults(mean=IMAGENET_MEAN, std=IMAGENET_STD)


class Normalizer:
    """Resizes and normalizes pictures as a model's options say, to what its graph takes.

    Attributes:
        size: Width and height of every tensor, or None where each has its picture's own.
    """

    def __init__(self, options: Options, port: Port, defaults: Defaults) -> None:
        _check(port)
        self.nhwc = options.text("layout", _layout_of(port), ("nchw", "nhwc")) == "nhwc"
        channels, height, width = self._named(port.shape)
        self.channels = channels or 3
        self.size = _size(options, port, (width, height), defaults)
        self._fit = options.text("fit", defaults.fits[0], defaults.fits)
        self._resample = _RESAMPLERS[options.text("resample", "lanczos", tuple(_RESAMPLERS))]
        self.bgr = options.text("colors", "rgb", ("rgb", "bgr")) == "bgr"
        self._scale = options.text("scale", defaults.scale, ("max", "255", "none"))
        self._mean = _of_channels(options, "mean", defaults.mean, self.channels)
        self._std = _of_channels(options, "std", defaults.std, self.channels)
        if not self._std.all():
            raise options.wrong("std", "must not be 0")
        self._dtype = np.dtype(port.dtype)

    def __call__(self, image: Image.Image) -> ImageTensor:
        """Any PIL image → its tensor, at `size` or its own; transparency is ignored."""
        flat = image.convert(_MODES[self.channels])
        if self.size is not None:
            flat = self._resized(flat, self.size)
        return ImageTensor(image, self._array(np.asarray(flat, np.float32)), flat.size)

    def padded(self, image: Image.Image, multiple: int) -> ImageTensor:
        """The same at the picture's own size, its edges repeated to multiples of `multiple`."""
        item = self(image)
        width, height = item.size
        right, below = -width % multiple, -height % multiple
        space = ((0, below), (0, right))
        spaces = (*space, (0, 0)) if self.nhwc else ((0, 0), *space)
        return replace(item, array=np.pad(item.array, spaces, mode="edge"))

    def _resized(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        if self._fit == "stretch":
            return image.resize(size, self._resample)
        ratio = max(size[0] / image.width, size[1] / image.height)
        width, height = size[0] / ratio, size[1] / ratio
        left, top = (image.width - width) / 2, (image.height - height) / 2
        return image.resize(size, self._resample, box=(left, top, left + width, top + height))

    def _array(self, pixels: NDArray[np.float32]) -> NDArray[Any]:
        pixels = pixels.reshape(*pixels.shape[:2], self.channels)  # grey has two dimensions
        if self.bgr:
            pixels = pixels[:, :, ::-1]
        if self._scale != "none":
            pixels = pixels / (max(float(pixels.max()), _TINY) if self._scale == "max" else 255.0)
        pixels = (pixels - self._mean) / self._std
        if self._dtype == np.uint8:
            pixels = pixels.round().clip(0, 255)
        laid = pixels if self.nhwc else pixels.transpose(2, 0, 1)
        return np.ascontiguousarray(laid, self._dtype)

    def _named(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Channels, height, width."""
        return (shape[3], *shape[1:3]) if self.nhwc else shape[1:4]


def _check(port: Port) -> None:
    channels = {port.shape[1], port.shape[3]} if len(port.shape) == _RANK else set()
    if port.dtype not in _DTYPES or not channels & {None, 1, 3}:
        raise SpecError(
            f"the graph's input {port} takes no picture: expected {', '.join(_DTYPES)} of four dimensions, "
            "[batch, channels, height, width] or [batch, height, width, channels], with 1 or 3 channels"
        )


def _layout_of(port: Port) -> str:
    return "nhwc" if port.shape[1] not in {1, 3} and port.shape[3] in {1, 3} else "nchw"


def _size(
    options: Options, port: Port, own: tuple[int | None, int | None], defaults: Defaults
) -> tuple[int, int] | None:
    if not options.has("size"):
        if None not in own:
            return (own[0] or 1, own[1] or 1)
        if own != (None, None):
            raise options.wrong("size", f"say [width, height]: the graph's input {port} fixes only one")
        return defaults.size
    given = options.numbers("size", (), counts=(2,))
    width, height = (math.floor(side) for side in given)
    if min(width, height) < 1:
        raise options.wrong("size", "must be [width, height] in pixels")
    if (own[0] or width, own[1] or height) != (width, height):
        raise options.wrong("size", f"{width}x{height} does not fit the graph's input {port}")
    return (width, height)


def _of_channels(
    options: Options, name: str, default: tuple[float, ...], channels: int
) -> NDArray[np.float32]:
    fitting = default if len(default) in {1, channels} else (sum(default) / len(default),)
    return np.asarray(options.numbers(name, fitting, counts=(1, channels)), np.float32)
