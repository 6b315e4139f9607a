"""A handler for CenterFace, which finds faces. Runs in the engine process.

The graph divides a picture into cells of 4 x 4 pixels and gives for each: how sure it is that a face has its
centre there, the logarithms of the face's height and width in cells, where in the cell the centre is, and
five landmarks relative to the face (eyes, nose, corners of the mouth), each as (y, x).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image, ImageDraw

from gpu_worker.engine.spec import SpecError
from gpu_worker.handlers.graph import Batches, GraphHandler, NotNumbersError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_worker.engine.onnx import Port
    from gpu_worker.engine.options import Options

_CELL, _MULTIPLE, _RANK = 4, 32, 4
_PARTS = ("heat", "scale", "offset", "landmarks")
_MAPS = (1, 2, 2, 10)
_DETAIL = 6
"""Pixels that are left of a face across when it is made unknowable."""


@dataclass(frozen=True, slots=True)
class Photo:
    """An image on its way: the original, its tensor [3, height, width], and how sure its faces have to be."""

    image: Image.Image
    array: NDArray[np.float32]
    threshold: float


@dataclass(frozen=True, slots=True)
class Faces:
    """What was found: boxes [n, 4] as left, top, right, bottom; scores [n]; landmarks [n, 5, 2] as x, y."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]

    def __getitem__(self, chosen: Any) -> Faces:
        """Some of them."""
        return Faces(self.boxes[chosen], self.scores[chosen], self.landmarks[chosen])

    def scaled(self, across: float, down: float) -> Faces:
        """In another image's pixels."""
        ratio = np.asarray([across, down], np.float32)
        return Faces(self.boxes * np.tile(ratio, 2), self.scores, self.landmarks * ratio)


class CenterFace(GraphHandler):
    """`image` in; `faces` (JSON) and `blurred` (the image with every face made unknowable) out, as declared.

    `{"width": 512, "height": 512, "faces": [{"x", "y", "width", "height", "score", "landmarks"}, …]}`, all in
    pixels of the upright image, the surest face first. Options:

        input, heat, scale, offset, landmarks   the graph's input and outputs; default: in this order
        max_side    a longer image is looked at this large; default 1024
        threshold   how sure a face has to be, 0-1; default 0.5. The param `threshold` does it for one job
        overlap     of two boxes that share more than this, the surer stays; default 0.3
        margin      how much larger than its box a face is blurred; default 0.3
    """

    makes: ClassVar[dict[str, str]] = {"faces": "json", "blurred": "image"}

    def configure(self, options: Options) -> None:
        """Read the options and fit the graph."""
        port = self.port(options)
        outputs = list(self.session.gives.values())
        _check(port, outputs)
        parts = [_part(self.session.gives, options, *named) for named in zip(_PARTS, outputs, strict=False)]
        self._batches = Batches(self.session, port, parts)
        self._max_side = options.integer("max_side", 1024, minimum=_MULTIPLE)
        self._threshold = options.number("threshold", 0.5, minimum=0, maximum=1)
        self._overlap = options.number("overlap", 0.3, minimum=0, maximum=1)
        self._margin = options.number("margin", 0.3, minimum=0, maximum=4)

    def warm_up(self) -> None:
        """One black image."""
        item = self.prepare(Image.new("RGB", (64, 64)))
        with contextlib.suppress(NotNumbersError):  # some divide by the contrast, which black has none of
            (raw,) = self.infer([item])
            _check_maps(raw)
            self.finish(item, raw)

    def prepare(self, image: Image.Image, threshold: float | None = None) -> Photo:
        """The image → its tensor: RGB as it is, its sides multiples of 32."""
        ratio = min(1.0, self._max_side / max(image.size))
        size = [-(-max(round(side * ratio), 1) // _MULTIPLE) * _MULTIPLE for side in image.size]
        small = image.convert("RGB").resize((size[0], size[1]), Image.Resampling.BILINEAR)
        array = np.ascontiguousarray(np.asarray(small, np.float32).transpose(2, 0, 1))
        return Photo(image, array, self._threshold if threshold is None else threshold)

    def infer(self, items: list[Photo]) -> list[list[NDArray[np.float32]]]:
        """Tensors → heat, scale, offset and landmarks of each, [maps, height / 4, width / 4]."""
        return self._batches([item.array for item in items])

    def finish(self, item: Photo, raw: list[NDArray[np.float32]]) -> Any:
        """The maps → faces."""
        _, height, width = item.array.shape
        found = separate(decode(raw, item.threshold, (width, height)), self._overlap)
        faces = found.scaled(item.image.width / width, item.image.height / height)
        made: dict[str, Any] = {}
        if "faces" in self.outputs:
            made["faces"] = _told(faces, item.image.size)
        if "blurred" in self.outputs:
            made["blurred"] = blurred(item.image, faces.boxes, self._margin)
        return self.made(made)


def decode(maps: list[NDArray[np.float32]], threshold: float, size: tuple[int, int]) -> Faces:
    """CenterFace's maps → every face at least so sure, in pixels of the tensor, within its `size`."""
    heat, scale, offset, marks = (np.asarray(each, np.float32) for each in maps)
    rows, columns = np.nonzero(heat[0] >= threshold)
    high, wide = np.exp(scale[:, rows, columns]) * _CELL
    middle_y = (rows + offset[0, rows, columns] + 0.5) * _CELL
    middle_x = (columns + offset[1, rows, columns] + 0.5) * _CELL
    width, height = size
    left, top = (middle_x - wide / 2).clip(0, width), (middle_y - high / 2).clip(0, height)
    boxes = np.stack([left, top, (left + wide).clip(0, width), (top + high).clip(0, height)], axis=1)
    boxes = boxes.astype(np.float32)
    points = marks[:, rows, columns]
    landmarks = np.stack([points[1::2] * wide + left, points[0::2] * high + top], axis=-1).astype(np.float32)
    return Faces(boxes, heat[0, rows, columns], landmarks.transpose(1, 0, 2))


def separate(faces: Faces, overlap: float) -> Faces:
    """Without those that share more than `overlap` (intersection over union) with a surer one; sorted."""
    order = np.argsort(-faces.scores, kind="stable")
    kept: list[int] = []
    while order.size:
        first, rest = int(order[0]), order[1:]
        kept.append(first)
        order = rest[_shared(faces.boxes[first], faces.boxes[rest]) <= overlap]
    return faces[kept]


def _shared(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    corner, opposite = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common = (opposite - corner).clip(0).prod(axis=1)
    whole = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - common
    result: NDArray[np.float32] = common / np.maximum(whole, np.float32(1e-6))
    return result


def blurred(image: Image.Image, boxes: NDArray[np.float32], margin: float) -> Image.Image:
    """The image with an ellipse over each box, and `margin` of it beyond, reduced to a few pixels."""
    hidden = image.copy()
    for left, top, right, bottom in boxes.tolist():
        across, down = (right - left) * margin / 2, (bottom - top) * margin / 2
        area = (int(left - across), int(top - down), int(right + across) + 1, int(bottom + down) + 1)
        place = (max(area[0], 0), max(area[1], 0), min(area[2], image.width), min(area[3], image.height))
        if place[0] < place[2] and place[1] < place[3]:
            _hide(hidden, place)
    return hidden


def _hide(image: Image.Image, place: tuple[int, int, int, int]) -> None:
    size = (place[2] - place[0], place[3] - place[1])
    few = (min(_DETAIL, size[0]), min(_DETAIL, size[1]))
    vague = image.crop(place).resize(few, Image.Resampling.BOX).resize(size, Image.Resampling.BICUBIC)
    ellipse = Image.new("L", size)
    ImageDraw.Draw(ellipse).ellipse((0, 0, size[0] - 1, size[1] - 1), fill=255)
    image.paste(vague, place, ellipse)


def _told(faces: Faces, size: tuple[int, int]) -> dict[str, Any]:
    found = zip(faces.boxes.tolist(), faces.scores.tolist(), faces.landmarks.tolist(), strict=True)
    return {"width": size[0], "height": size[1], "faces": [_face(*each) for each in found]}


def _face(box: list[float], score: float, landmarks: list[list[float]]) -> dict[str, Any]:
    left, top, right, bottom = box
    sizes = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    return {
        **{name: round(value, 1) for name, value in sizes.items()},
        "score": round(score, 4),
        "landmarks": [[round(x, 1), round(y, 1)] for x, y in landmarks],
    }


def _check(port: Port, outputs: list[Port]) -> None:
    free = port.shape[2:] if len(port.shape) == _RANK else ()
    if port.dtype != "float32" or port.shape[1:2] not in {(3,), (None,)} or len(outputs) < len(_PARTS):
        raise SpecError(
            f"the graph (input {port}, {len(outputs)} outputs) is no CenterFace: it takes float32 "
            "[batch, 3, height, width] and gives heat, scale, offset and landmarks"
        )
    if any(side is not None for side in free):
        raise SpecError(
            f"the graph's input {port} is of a fixed size; make it dynamic in [options.shapes]: "
            f'"{port.name}" = ["batch", 3, "height", "width"]'
        )


def _part(ports: dict[str, Port], options: Options, name: str, default: Port) -> Port:
    chosen = options.text(name, default.name)
    if chosen not in ports:
        raise options.wrong(name, f"the graph has no output {chosen!r}; it has {', '.join(ports)}")
    return ports[chosen]


def _check_maps(raw: list[NDArray[np.float32]]) -> None:
    for name, output, maps in zip(_PARTS, raw, _MAPS, strict=True):
        if output.shape[0] != maps or output.shape[1:] != raw[0].shape[1:]:
            raise SpecError(
                f"options.{name}: {maps} maps were expected, the graph's output is {list(output.shape)}"
            )
