"""Small ONNX graphs, written as the protobuf messages they are: the tests need no package `onnx`.

Field numbers are those of onnx.proto.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

ELEMENTS = {
    "float32": 1,
    "uint8": 2,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
}
OPSET = 17


def number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def message(field: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def text(field: int, value: str) -> bytes:
    return message(field, value.encode())


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers take ten bytes
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def value(name: str, dtype: str, shape: Sequence[int | str]) -> bytes:
    """A ValueInfoProto."""
    dims = [message(1, text(2, dim) if isinstance(dim, str) else number(1, dim)) for dim in shape]
    tensor = message(1, number(1, ELEMENTS[dtype]), message(2, *dims))
    return text(1, name) + message(2, tensor)


def tensor(name: str, array: NDArray[Any]) -> bytes:
    """A TensorProto that holds its values."""
    dims = b"".join(number(1, side) for side in array.shape)
    return dims + number(2, ELEMENTS[str(array.dtype)]) + text(8, name) + message(9, array.tobytes())


def outside(name: str, array: NDArray[Any], location: str) -> bytes:
    """A TensorProto whose values lie in another file."""
    dims = b"".join(number(1, side) for side in array.shape)
    entry = message(13, text(1, "location"), text(2, location))
    return dims + number(2, ELEMENTS[str(array.dtype)]) + text(8, name) + entry + number(14, 1)


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> bytes:
    """A NodeProto; attributes are ints, floats, strings, lists of ints, or arrays."""
    names = [*(text(1, name) for name in inputs), *(text(2, name) for name in outputs)]
    return b"".join([*names, text(4, kind), *(message(5, _attribute(*each)) for each in attributes.items())])


def _attribute(name: str, held: Any) -> bytes:
    if isinstance(held, bytes):  # a tensor
        return text(1, name) + message(5, held) + number(20, 4)
    if isinstance(held, str):
        return text(1, name) + text(4, held) + number(20, 3)
    if isinstance(held, float):
        return text(1, name) + _varint(2 << 3 | 5) + struct.pack("<f", held) + number(20, 1)
    if isinstance(held, int):
        return text(1, name) + number(3, held) + number(20, 2)
    return text(1, name) + b"".join(number(8, each) for each in held) + number(20, 7)


def model(
    nodes: Sequence[bytes],
    inputs: Mapping[str, tuple[str, Sequence[int | str]]],
    outputs: Mapping[str, tuple[str, Sequence[int | str]]],
    weights: Sequence[bytes] = (),
) -> bytes:
    """A ModelProto."""
    parts = [
        *(message(1, each) for each in nodes),
        text(2, "graph"),
        *(message(5, each) for each in weights),
        *(message(11, value(name, *kind)) for name, kind in inputs.items()),
        *(message(12, value(name, *kind)) for name, kind in outputs.items()),
    ]
    return number(1, 8) + message(7, *parts) + message(8, text(1, ""), number(2, OPSET))


def identity(shape: Sequence[int | str], *, dtype: str = "float32") -> bytes:
    """What goes in comes out."""
    return model([node("Identity", ["x"], ["y"])], {"x": (dtype, shape)}, {"y": (dtype, shape)})


def mean_of_channels(shape: Sequence[int | str]) -> bytes:
    """[batch, 3, H, W] → [batch, 1, H, W], the mean of its channels."""
    mean = node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1)
    return model([mean], {"x": ("float32", shape)}, {"y": ("float32", [shape[0], 1, *shape[2:]])})


def mean_of_pixels(shape: Sequence[int | str]) -> bytes:
    """[batch, C, H, W] → [batch, C], the mean of each channel."""
    mean = node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)
    return model([mean], {"x": ("float32", shape)}, {"y": ("float32", [shape[0], shape[1]])})


def doubled(shape: Sequence[int | str]) -> bytes:
    """[batch, C, H, W] → [batch, C, 2H, 2W], each pixel four times."""
    scales = tensor("scales", np.asarray([1, 1, 2, 2], np.float32))
    resize = node("Resize", ["x", "", "scales"], ["y"], mode="nearest")
    return model(
        [resize], {"x": ("float32", shape)}, {"y": ("float32", [shape[0], shape[1], "h", "w"])}, [scales]
    )


def plus(weight: bytes, shape: Sequence[int | str]) -> bytes:
    """Adds a weight named `w`."""
    add = node("Add", ["x", "w"], ["y"])
    return model([add], {"x": ("float32", shape)}, {"y": ("float32", shape)}, [weight])
