"""Handlers for ONNX models on images: a mask, a cut-out, a better image. Runs in the engine process.

The options that all of them read are those of `normalize`; each class names its own.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image, ImageChops

from gpu_worker.engine.job import BadInputError, BadOutputError
from gpu_worker.handlers.graph import Batches, GraphHandler, NotNumbersError
from gpu_worker.handlers.normalize import IMAGENET_MEAN, IMAGENET_STD, Defaults, ImageTensor, Normalizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_worker.engine.options import Options

_TINY = 1e-6
_MAP_RANK = 2
_PICTURE_RANK = 3
_WARM = (64, 64)


class ImageHandler(GraphHandler):
    """One image in, one output of the graph for it."""

    defaults: ClassVar[Defaults] = Defaults()

    def configure(self, options: Options) -> None:
        """Read `input`, `output` and the options of `normalize`."""
        port, made = self.port(options), self.port(options, "output")
        self.output = made
        self.normalize = Normalizer(options, port, self.defaults)
        self.batches = Batches(self.session, port, [made])

    def warm_up(self) -> None:
        """One black image: memory is allocated, and the graph's output looked at, before the first job."""
        item = self.prepare(Image.new("RGB", self.normalize.size or _WARM))
        with contextlib.suppress(NotNumbersError):  # some divide by the contrast, which black has none of
            (raw,) = self.infer([item])
            self.finish(item, raw)

    def prepare(self, image: Image.Image) -> ImageTensor:
        """The image → its tensor."""
        return self.normalize(image)

    def infer(self, items: list[ImageTensor]) -> list[NDArray[Any]]:
        """Tensors → the graph's output for each, without the batch dimension."""
        return [raw for (raw,) in self.batches([item.array for item in items])]

    def finish(self, item: ImageTensor, raw: NDArray[Any]) -> Any:
        """The output → what model.toml declares."""
        raise NotImplementedError


class Mask(ImageHandler):
    """`image` in; `mask` out, an 8-bit grey image of its size: how sure the graph is, pixel by pixel.

    Options of its own:

        output      the graph's output that holds the map; default: its first
        activation  minmax: its least value becomes 0, its largest 1; none: it is 0-1 already; or sigmoid,
                    softmax
        channel     which of several maps; default 0, with softmax 1
        threshold   everything from here on (0-1) is white, the rest black; default: grey stays
    """

    makes: ClassVar[dict[str, str]] = {"mask": "image"}
    defaults = Defaults(size=(320, 320), scale="max", mean=IMAGENET_MEAN, std=IMAGENET_STD)

    def configure(self, options: Options) -> None:
        """Read the options."""
        super().configure(options)
        kinds = ("minmax", "none", "sigmoid", "softmax")
        self._activation = options.text("activation", "minmax", kinds)
        self._channel = options.integer("channel", int(self._activation == "softmax"))
        self._threshold = options.number("threshold", 0, minimum=0, maximum=1)

    def finish(self, item: ImageTensor, raw: NDArray[Any]) -> Any:
        """The raw map → the mask at the image's own size."""
        return self.made({"mask": self.mask_of(raw, item.image.size)})

    def mask_of(self, raw: NDArray[Any], size: tuple[int, int]) -> Image.Image:
        """The raw map as a grey image of this size."""
        sure = self._sure(raw.astype(np.float32))
        if self._threshold:
            return Image.fromarray(np.uint8(255) * (_stretched(sure, size) >= self._threshold))
        grey = (sure.clip(0, 1) * 255).round().astype(np.uint8)
        return Image.fromarray(grey).resize(size, Image.Resampling.LANCZOS)

    def _sure(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._activation == "softmax":
            if raw.ndim != _PICTURE_RANK:
                raise BadOutputError(
                    f"options.activation: the graph's output {self.output} is not several maps"
                )
            axis = 2 if self.normalize.nhwc else 0
            power = np.exp(raw - raw.max(axis=axis, keepdims=True))
            raw = power / power.sum(axis=axis, keepdims=True)
        chosen = self._map_of(raw)
        if self._activation == "minmax":
            low, high = float(chosen.min()), float(chosen.max())
            return (chosen - low) / max(high - low, _TINY)
        return sigmoid(chosen) if self._activation == "sigmoid" else chosen

    def _map_of(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        plane: NDArray[np.float32] = raw
        if raw.ndim == _PICTURE_RANK:
            maps = raw.transpose(2, 0, 1) if self.normalize.nhwc else raw
            if self._channel >= len(maps):
                raise BadOutputError(
                    f"options.channel: the graph's output {self.output} has {len(maps)} maps"
                )
            plane = maps[self._channel]
        if plane.ndim != _MAP_RANK:
            raise BadOutputError(f"the graph's output {self.output} is no map of the image")
        return plane


class Cutout(Mask):
    """A salient-object model: `mask` as above, and `cutout`, the image with the mask as its transparency."""

    makes: ClassVar[dict[str, str]] = {"mask": "image", "cutout": "image"}

    def finish(self, item: ImageTensor, raw: NDArray[Any]) -> Any:
        """The raw map → mask and cut-out at the image's own size."""
        mask = self.mask_of(raw, item.image.size)
        cutout = item.image.convert("RGBA")
        cutout.putalpha(_within_alpha(mask, cutout))
        return self.made({"mask": mask, "cutout": cutout})


class ImageToImage(ImageHandler):
    """`image` in; `result` out: the image as the graph makes it, enhanced, restyled, larger.

    Where the graph fixes no size and `size` is not said, each image goes through at its own. A graph that
    makes it larger or smaller does so with the image too. Transparency is kept, resized with it.

    Options of its own:

        output     the graph's output; default: its first
        out_range  [low, high] of its values, which become black and white; default [0, 1]
        multiple   sides are filled up to multiples of this, and cut back; default 1
        max_side   a longer image is refused; default: none is
    """

    makes: ClassVar[dict[str, str]] = {"result": "image"}

    def configure(self, options: Options) -> None:
        """Read the options."""
        super().configure(options)
        self._low, self._high = options.numbers("out_range", (0, 1), counts=(2,))
        if self._low == self._high:
            raise options.wrong("out_range", "must be two different numbers")
        self._multiple = options.integer("multiple", 1, minimum=1)
        self._max_side = options.integer("max_side", 0)

    def prepare(self, image: Image.Image) -> ImageTensor:
        """The image → its tensor.

        Raises:
            BadInputError: It is larger than `max_side`.
        """
        if self._max_side and max(image.size) > self._max_side:
            raise BadInputError(
                f"inputs.image: {image.width}x{image.height}; the longest side is {self._max_side}"
            )
        return self.normalize.padded(image, 1 if self.normalize.size else self._multiple)

    def finish(self, item: ImageTensor, raw: NDArray[Any]) -> Any:
        """The raw array → the image, without the padding."""
        if raw.ndim != _PICTURE_RANK or raw.shape[2 if self.normalize.nhwc else 0] not in {1, 3}:
            raise BadOutputError(f"the graph's output {self.output} is no picture of 1 or 3 channels")
        pixels = raw if self.normalize.nhwc else raw.transpose(1, 2, 0)
        made = self._picture_of(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return self.made({"result": self._fitted(item, made)})

    def _picture_of(self, pixels: NDArray[Any]) -> Image.Image:
        scaled = (pixels.astype(np.float32) - self._low) / (self._high - self._low) * 255
        colors = scaled[:, :, ::-1] if self.normalize.bgr and scaled.ndim == _PICTURE_RANK else scaled
        return Image.fromarray(np.ascontiguousarray(colors.round().clip(0, 255).astype(np.uint8)))

    def _fitted(self, item: ImageTensor, made: Image.Image) -> Image.Image:
        height, width = item.array.shape[:2] if self.normalize.nhwc else item.array.shape[1:]
        across, down = made.width / width, made.height / height
        made = made.crop((0, 0, round(item.size[0] * across), round(item.size[1] * down)))
        size = (round(item.image.width * across), round(item.image.height * down))
        if made.size != size:
            made = made.resize(size, Image.Resampling.LANCZOS)
        if item.image.mode == "RGBA":
            made = made.convert("RGB")
            made.putalpha(item.image.getchannel("A").resize(size, Image.Resampling.LANCZOS))
        return made


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + e^-x), without overflow."""
    result: NDArray[np.float32] = np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * values))
    return result


def _stretched(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))


def _within_alpha(mask: Image.Image, image: Image.Image) -> Image.Image:
    return ImageChops.multiply(mask, image.getchannel("A"))  # what was transparent stays so
