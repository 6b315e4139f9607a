"""The files of a new model. Standard library only; nothing that exists is ever overwritten."""

from __future__ import annotations

import keyword
import re
import sys
from typing import TYPE_CHECKING

from gateway.client.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_QUEUE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

_PYTHON_TOML = """\
# What this algorithm takes, gives and needs. `leveret run` and the service read the same file.
name = "{name}"
description = "An image made to fit a square"
queue = "{queue}"          # the pool of workers that runs it
backend = "python"
handler = "{module}:run"   # file:function
timeout_s = 60
# interpreter = "/path/to/venv/bin/python"   # to use packages that the worker does not have

[inputs.image]
kind = "image"             # image, audio, text, json or bytes

[outputs.result]
kind = "image"

[params.size]
type = "integer"
default = 256
minimum = 1
maximum = 4096
"""

_PYTHON_CODE = '''\
"""{name}: an image in, an image out. A plain function: inputs and params come by name."""

from PIL import Image


def run(image: Image.Image, size: int) -> Image.Image:
    """Make the image fit a square of `size` pixels."""
    image.thumbnail((size, size))
    print(f"now {{image.width}} x {{image.height}}")  # `leveret logs` shows what is printed
    return image
'''

_ONNX_TOML = """\
# What this algorithm takes, gives and needs. `leveret run` and the service read the same file.
name = "{name}"
description = "One image through one graph"
queue = "{queue}"          # the pool of workers that runs it
backend = "onnx"
file = "model.onnx"        # in this folder
handler = "{module}:Model" # file:class
timeout_s = 60

[inputs.image]
kind = "image"             # image, audio, text, json or bytes

[outputs.result]
kind = "image"

[params.size]
type = "integer"
default = 320
minimum = 1
maximum = 4096
"""

_ONNX_CODE = '''\
"""{name}: what happens before and after the graph. Make `prepare` and `finish` fit your graph."""

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass
class Item:
    """One job on its way: the picture as it came, and the tensor made of it."""

    image: Image.Image
    tensor: np.ndarray  # float32, 1 x 3 x size x size, 0 to 1


class Model:
    """An image in; the graph's first output, stretched to black and white, as an image out."""

    def load(self, model):
        """Called once; `model.session` is the graph, `model.options` the [options] of model.toml."""
        self.session = model.session

    def prepare(self, image, size):
        """The inputs and params of one job; runs on the CPU."""
        pixels = np.asarray(image.convert("RGB").resize((size, size)), np.float32) / 255
        return Item(image, pixels.transpose(2, 0, 1)[np.newaxis])

    def infer(self, items):
        """The tensors of one or more jobs, one result for each."""
        name = self.session.inputs[0]
        return [self.session.run({{name: item.tensor}})[0] for item in items]

    def finish(self, item, raw):
        """The outputs of one job; runs on the CPU."""
        plane = np.squeeze(raw).astype(np.float32)
        plane = plane if plane.ndim == 2 else plane[0]
        spread = (plane - plane.min()) / max(float(np.ptp(plane)), 1e-6)
        return Image.fromarray((spread * 255).astype(np.uint8)).resize(item.image.size)
'''

_README = """\
# {name}

From the folder above, `leveret run {name} image=@photo.jpg -o out/` runs it here; `--pdb` stops where it
fails. `leveret submit {name} image=@photo.jpg -o out/` runs it on the service, once this folder lies in its
catalog.
"""

_TEMPLATES = {"python": (_PYTHON_TOML, _PYTHON_CODE), "onnx": (_ONNX_TOML, _ONNX_CODE)}


def write_model(folder: Path, *, backend: str, queue: str) -> list[Path]:
    """Write model.toml, the code and a README into a new folder; returns their paths.

    Raises:
        InputError: The name or the queue cannot be one, or the folder exists and holds something.
    """
    name = folder.name
    _check(name, queue)
    toml, code = _TEMPLATES[backend]
    module = module_for(name)
    texts = {"model.toml": toml, f"{module}.py": code, "README.md": _README}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"{folder} is not empty; nothing was written")
        return [_write(folder / file, text, name, module, queue) for file, text in texts.items()]
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from error


def module_for(name: str) -> str:
    """A module name for a model's code that hides no other module."""
    module = name.replace("-", "_")
    taken = (
        module in sys.stdlib_module_names or keyword.iskeyword(module) or module in {"numpy", "gpu_worker"}
    )
    return f"{module}_model" if taken else module


def _check(name: str, queue: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} cannot name a model: a-z first, then a-z, 0-9, _ and -, at most 63")
    if not _QUEUE.fullmatch(queue):
        raise InputError(f"{queue!r} cannot name a queue: a-z, 0-9, _ and -, at most 63")


def _write(path: Path, text: str, name: str, module: str, queue: str) -> Path:
    with path.open("x", encoding="utf-8") as file:
        file.write(text.format(name=name, module=module, queue=queue))
    return path
