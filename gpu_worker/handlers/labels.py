"""A handler for ONNX models that say what is in an image. Runs in the engine process."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gpu_worker.engine.job import BadOutputError
from gpu_worker.engine.spec import SpecError
from gpu_worker.handlers.images import ImageHandler, sigmoid
from gpu_worker.handlers.normalize import IMAGENET_MEAN, IMAGENET_STD, Defaults

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

    from gpu_worker.engine.handler import LoadContext
    from gpu_worker.engine.onnx import Port
    from gpu_worker.engine.options import Options
    from gpu_worker.handlers.normalize import ImageTensor


class LabeledTensor:
    """An image's tensor, and how many labels its job asked for."""

    __slots__ = ("array", "tensor", "top")

    def __init__(self, tensor: ImageTensor, top: int | None) -> None:
        self.tensor, self.array, self.top = tensor, tensor.array, top


class Labels(ImageHandler):
    """`image` in; `labels` out: `[{"label": "tabby", "index": 281, "score": 0.93}, …]`, the surest first.

    A job may ask for another number of them, where model.toml declares the integer param `top`.
    Options of its own, besides those of `normalize`:

        output      the graph's output that holds a score for each label; default: its first
        labels      a file in the model's folder: one label a line, or a JSON list; default: no names
        activation  softmax, sigmoid (labels that do not exclude each other), none: scores are 0-1 already
        top         how many at most; default 5
        threshold   only labels with at least this score; default 0
        fit         crop: the middle of the image; stretch: all of it. Default crop
    """

    makes: ClassVar[dict[str, str]] = {"labels": "json"}
    defaults = Defaults(
        size=(224, 224), scale="255", mean=IMAGENET_MEAN, std=IMAGENET_STD, fits=("crop", "stretch")
    )

    def load(self, model: LoadContext) -> None:
        """Keep the session, read the options and the labels."""
        self._folder = model.folder
        super().load(model)

    def configure(self, options: Options) -> None:
        """Read the options."""
        super().configure(options)
        file = options.text("labels")
        self._labels = _read(options, self._folder, file) if file else []
        self._activation = options.text("activation", "softmax", ("softmax", "sigmoid", "none"))
        self._top = options.integer("top", 5, minimum=1)
        self._threshold = options.number("threshold", 0, minimum=0, maximum=1)
        count = _count(self.output)
        if self._labels and count not in {None, len(self._labels)}:
            wrong = f"{file} names {len(self._labels)} labels, the graph's output {self.output} has {count}"
            raise options.wrong("labels", wrong)

    def prepare(self, image: Image.Image, top: int | None = None) -> Any:
        """The image → its tensor."""
        return LabeledTensor(super().prepare(image), top)

    def finish(self, item: Any, raw: NDArray[Any]) -> Any:
        """The scores → the surest labels."""
        scores = self._scores(raw.astype(np.float32).reshape(-1))
        if self._labels and len(scores) != len(self._labels):
            wrong = (
                f"the graph's output {self.output} has {len(scores)} scores for {len(self._labels)} labels"
            )
            raise BadOutputError(wrong)
        surest = np.argsort(-scores, kind="stable")[: item.top or self._top].tolist()
        labels = [self._told(index, float(scores[index])) for index in surest]
        return self.made({"labels": [each for each in labels if each["score"] >= self._threshold]})

    def _scores(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._activation == "softmax":
            power = np.exp(raw - raw.max())
            shares: NDArray[np.float32] = power / power.sum()
            return shares
        return sigmoid(raw) if self._activation == "sigmoid" else raw

    def _told(self, index: int, score: float) -> dict[str, Any]:
        label = {"label": self._labels[index]} if self._labels else {}
        return {**label, "index": index, "score": round(score, 6)}


def _count(output: Port) -> int | None:
    sizes = [size for size in output.shape[1:] if size is not None]
    known = len(output.shape) > 1 and len(sizes) == len(output.shape) - 1
    return math.prod(sizes) if known else None


def _read(options: Options, folder: Path, file: str) -> list[str]:
    path = (folder / file).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise options.wrong("labels", f"there is no file {file!r} in the model's folder")
    try:
        text = path.read_text(encoding="utf-8")
        labels = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except ValueError as error:
        raise SpecError(f"{path}: not readable as labels: {error}") from error
    if not labels or not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise options.wrong("labels", f"{file} must hold one label a line, or be a JSON list of them")
    return labels
