"""What has to be known of an .onnx file before it is opened, read without the `onnx` package.

An ONNX graph is a protobuf message, and may name other files for its weights. ONNX Runtime would read them
wherever they are, so they are looked at first. Nothing is built in memory but what `with_shapes` changes.
Standard library only.
"""

from __future__ import annotations

import contextlib
import mmap
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_worker.engine.spec import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpu_worker.engine.options import Options

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 100
_MAX_VARINT_BITS = 63

# Field numbers of onnx.proto: message → field → the message inside it that can hold a reference to a file.
_PLACES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
_GRAPH_OF_MODEL, _INPUT, _OUTPUT, _VALUE_INFO = 7, 11, 12, 13
_NAME, _TYPE, _TENSOR_TYPE, _ELEMENT, _SHAPE, _DIM, _DIM_VALUE, _DIM_PARAM = 1, 2, 1, 1, 2, 1, 1, 2


def check_external_data(path: Path, folder: Path) -> None:
    """Make sure that every file the graph names for its weights lies in the model's folder.

    Raises:
        SpecError: One does not, or is missing, or this is no ONNX graph.
    """
    with path.open("rb") as stream:
        if not stream.seek(0, 2):
            raise SpecError(f"{path}: empty; an ONNX graph was expected")
        with contextlib.closing(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)) as data:
            if data.find(b"location") < 0:  # the key of every such reference; spares the walk
                return
            names = set(_external(path, data))
    for name in sorted(names):
        _check_one(path, folder, name)


def _external(path: Path, data: mmap.mmap) -> Iterator[str]:
    try:
        yield from _locations(data, 0, len(data), "model", 0)
    except (ValueError, IndexError) as error:
        raise SpecError(f"{path}: not an ONNX graph: {error}") from error


def _check_one(path: Path, folder: Path, name: str) -> None:
    if not _is_inside(path.parent / name, folder):
        raise SpecError(
            f"{path}: keeps weights in {name!r}, outside the model's folder, which is refused: put a copy of "
            "that file into the folder and save the graph again with its name alone"
        )
    if not (path.parent / name).is_file():
        raise SpecError(f"{path}: keeps weights in {name!r}, which is missing: put that file beside it")


def _is_inside(target: Path, folder: Path) -> bool:
    try:
        target.stat()
    except FileNotFoundError:
        pass  # told apart from the others below
    except (OSError, ValueError):
        return False  # a name that no file can have, or links in a circle
    return target.resolve().is_relative_to(folder.resolve())


def _locations(data: mmap.mmap, start: int, end: int, message: str, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise ValueError("its messages are nested too deep")
    if message == "entry":
        yield from _location_of(data, start, end)
        return
    inside = _PLACES[message]
    for number, wire, begin, stop in _fields(data, start, end):
        if wire == _BYTES and number in inside:
            yield from _locations(data, begin, stop, inside[number], depth + 1)


def _location_of(data: mmap.mmap, start: int, end: int) -> Iterator[str]:
    texts = [(number, data[begin:stop]) for number, wire, begin, stop in _fields(data, start, end)]
    if (1, b"location") in texts:
        yield from (text.decode("utf-8", "surrogateescape") for number, text in texts if number == 2)  # noqa: PLR2004  `value`


def _fields(data: bytes | mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type and the value's place of each field of one message."""
    at = start
    while at < end:
        key, at = _varint(data, at)
        wire = key & 7
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire == _VARINT:
            size = _varint(data, at)[1] - at
        elif wire in {_FIXED64, _FIXED32}:
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"a field of wire type {wire}")
        if at + size > end:
            raise ValueError("it ends in the middle of a field")
        yield key >> 3, wire, at, at + size
        at += size


def _varint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:  # noqa: PLR2004  the last one
            return value, at
        shift += 7
        if shift > _MAX_VARINT_BITS:
            raise ValueError("a number of more than 64 bits")


def with_shapes(path: Path, shapes: Mapping[str, Sequence[int | str]]) -> bytes:
    """The graph with other shapes for its inputs: a name instead of a number makes a dimension dynamic.

    What the file says of the shapes behind the inputs is dropped, and ONNX Runtime infers it anew.

    Raises:
        SpecError: The graph has no such input, or this is no ONNX graph.
    """
    data = path.read_bytes()
    left = set(shapes)
    try:
        model = b"".join(
            _bytes_field(_GRAPH_OF_MODEL, _graph_with(data[begin:stop], shapes, left))
            if number == _GRAPH_OF_MODEL
            else _copy(data, number, wire, begin, stop)
            for number, wire, begin, stop in _fields(data, 0, len(data))
        )
    except (ValueError, IndexError) as error:
        raise SpecError(f"{path}: not an ONNX graph: {error}") from error
    if left:
        raise SpecError(f"options.shapes: {path.name} has no input {min(left)!r}")
    return model


def _graph_with(graph: bytes, shapes: Mapping[str, Sequence[int | str]], left: set[str]) -> bytes:
    parts = []
    for number, wire, begin, stop in _fields(graph, 0, len(graph)):
        if number == _INPUT and (name := _name_of(graph[begin:stop])) in shapes:
            left.discard(name)
            parts.append(_bytes_field(_INPUT, _value_info(graph[begin:stop], shapes[name])))
        elif number == _OUTPUT:
            parts.append(_bytes_field(_OUTPUT, _value_info(graph[begin:stop], None)))
        elif number != _VALUE_INFO:
            parts.append(_copy(graph, number, wire, begin, stop))
    return b"".join(parts)


def _value_info(value: bytes, shape: Sequence[int | str] | None) -> bytes:
    type_ = _inside(value, _TYPE)
    tensor = _inside(type_, _TENSOR_TYPE)
    element = b"".join(
        _copy(tensor, *field) for field in _fields(tensor, 0, len(tensor)) if field[0] == _ELEMENT
    )
    if not tensor:
        return value  # a sequence or a map: left as it is
    dims = (
        b""
        if shape is None
        else _bytes_field(_SHAPE, b"".join(_bytes_field(_DIM, _dim(dim)) for dim in shape))
    )
    name = _bytes_field(_NAME, _name_of(value).encode())
    return name + _bytes_field(_TYPE, _bytes_field(_TENSOR_TYPE, element + dims))


def _dim(dim: int | str) -> bytes:
    if isinstance(dim, str):
        return _bytes_field(_DIM_PARAM, dim.encode())
    return _number(_DIM_VALUE << 3 | _VARINT) + _number(dim)


def _name_of(value: bytes) -> str:
    return _inside(value, _NAME).decode()


def _inside(message: bytes, wanted: int) -> bytes:
    fields = _fields(message, 0, len(message))
    return next((message[begin:stop] for number, _, begin, stop in fields if number == wanted), b"")


def _copy(data: bytes, number: int, wire: int, begin: int, stop: int) -> bytes:
    if wire == _BYTES:
        return _bytes_field(number, data[begin:stop])
    return _number(number << 3 | wire) + data[begin:stop]


def _bytes_field(number: int, value: bytes) -> bytes:
    return _number(number << 3 | _BYTES) + _number(len(value)) + value


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004  seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def shapes_of(options: Options) -> dict[str, list[int | str]]:
    """`[options.shapes]`: a list of sizes and names by input.

    Raises:
        SpecError: It is something else.
    """
    shapes: dict[str, list[int | str]] = {}
    for name, shape in options.items().items():
        if not (isinstance(shape, list) and all(_is_dim(dim) for dim in shape)):
            raise options.wrong(name, 'must be a list of sizes and names, such as ["batch", 3, 320, 320]')
        shapes[name] = list(shape)
    return shapes


def _is_dim(dim: object) -> bool:
    return (isinstance(dim, str) and bool(dim)) or (type(dim) is int and dim > 0)
