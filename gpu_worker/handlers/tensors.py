"""A handler for any ONNX graph: raw tensors in, raw tensors out. Runs in the engine process."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_worker.engine.job import BadInputError, BadOutputError
from gpu_worker.engine.options import OF_THE_ENGINE, Options, suggest
from gpu_worker.engine.spec import SpecError
from gpu_worker.handlers.arrays import read_npy, read_npz

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gpu_worker.engine.handler import LoadContext
    from gpu_worker.engine.onnx import OnnxSession, Port

_MAX_BYTES = 1 << 30
_KINDS = {"bytes", "json"}


@dataclass(frozen=True, slots=True)
class Source:
    """How one input of model.toml becomes an input of the graph.

    Attributes:
        ports: The graph's one input; none for an .npz, which holds several by their names.
        dtype, shape: Of raw bytes.
    """

    form: str
    ports: tuple[Port, ...]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Tensors:
    """Tensors in: files of kind bytes (.npy, .npz or raw); tensors out: .npy, or JSON where so declared.

    An input or output of model.toml goes to the one of the same name in the graph, those without one by the
    order they are declared in. Options:

        max_bytes           of what one .npz unpacks to; default 1 GiB
        batch               true: jobs of equal shape are joined at the first dimension; default false
        [options.inputs.X]  graph: the graph's input; format: npy, npz or raw; dtype and shape, for raw
        [options.outputs]   X = the graph's output
    """

    def load(self, model: LoadContext) -> None:
        """Keep the session and read the options.

        Raises:
            SpecError: They do not fit each other or the graph.
        """
        if model.session is None:
            raise SpecError(f'{model.folder / "model.toml"}: Tensors needs backend = "onnx"')
        self._session: OnnxSession = model.session
        options = Options(model.options, model.folder)
        options.leave(*OF_THE_ENGINE)
        self._max_bytes = options.integer("max_bytes", _MAX_BYTES, minimum=1)
        self._batch = options.flag("batch", default=False)
        self._sources = _sources(options.table("inputs"), model, self._session)
        self._outputs = _outputs(options.table("outputs"), model, self._session)
        options.close()
        self._check_batch(options)

    def prepare(self, **inputs: Any) -> dict[str, NDArray[Any]]:
        """Files → the graph's arrays.

        Raises:
            BadInputError: One can't be read, or does not fit the graph.
        """
        arrays: dict[str, NDArray[Any]] = {}
        for name, source in self._sources.items():
            if inputs.get(name) is not None:
                arrays |= self._read(name, inputs[name], source)
        if missing := self._session.takes.keys() - arrays.keys():
            raise BadInputError(f"the graph's input {min(missing)} was not given")
        return arrays

    def infer(self, items: list[dict[str, NDArray[Any]]]) -> list[list[NDArray[Any]]]:
        """The graph's outputs for each."""
        wanted = list(self._outputs.values())
        results: list[list[NDArray[Any]]] = [[] for _ in items]
        for places in self._groups(items):
            together = [items[place] for place in places]
            made = self._session.run(_joined(together), wanted)
            for place, parts in zip(places, _split(made, together), strict=True):
                results[place] = parts
        return results

    def finish(self, item: dict[str, NDArray[Any]], raw: list[NDArray[Any]]) -> Any:  # noqa: ARG002  the form of a handler
        """Each output under its name in model.toml; one alone without it."""
        return raw[0] if len(raw) == 1 else dict(zip(self._outputs, raw, strict=True))

    def _read(self, name: str, data: bytes, source: Source) -> dict[str, NDArray[Any]]:
        if source.form == "npz":
            arrays = read_npz(name, data, self._max_bytes)
            if unknown := sorted(arrays.keys() - self._session.takes.keys()):
                near = suggest(unknown[0], set(self._session.takes))
                raise BadInputError(f"inputs.{name}: the graph has no input {unknown[0]!r}{near}")
            return {each: _fitted(name, array, self._session.takes[each]) for each, array in arrays.items()}
        array = read_raw(name, data, source) if source.form == "raw" else read_npy(name, data)
        return {port.name: _fitted(name, array, port) for port in source.ports}

    def _groups(self, items: list[dict[str, NDArray[Any]]]) -> list[list[int]]:
        if not self._batch:
            return [[place] for place in range(len(items))]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, item in enumerate(items):
            groups.setdefault(tuple((name, item[name].shape[1:]) for name in sorted(item)), []).append(place)
        return list(groups.values())

    def _check_batch(self, options: Options) -> None:
        ports = [
            *self._session.takes.values(),
            *(self._session.gives[name] for name in self._outputs.values()),
        ]
        if self._batch and (fixed := [port for port in ports if port.shape[:1] != (None,)]):
            raise options.wrong("batch", f"the first dimension of {fixed[0]} is not dynamic")


def _sources(options: Options, model: LoadContext, session: OnnxSession) -> dict[str, Source]:
    if wrong := [name for name, kind in model.inputs.items() if kind != "bytes"]:
        raise SpecError(
            f"{model.folder / 'model.toml'}: inputs.{wrong[0]}: Tensors takes inputs of kind bytes"
        )
    if unknown := sorted(options.items().keys() - model.inputs.keys()):
        raise options.wrong(unknown[0], "model.toml declares no such input")
    tables = {name: options.table(name) for name in model.inputs}
    said = {name: table.text("graph") for name, table in tables.items()}
    names = _matched(said, list(session.takes))
    return {name: _source(table, session, names[name]) for name, table in tables.items()}


def _matched(said: Mapping[str, str], names: list[str]) -> dict[str, str]:
    """What is said, else the same name, else the next one that nobody took; empty when none is left."""
    chosen = {name: graph_s or (name if name in names else "") for name, graph_s in said.items()}
    left = iter([name for name in names if name not in chosen.values()])
    return {name: graph_s or next(left, "") for name, graph_s in chosen.items()}


def _source(options: Options, session: OnnxSession, graph_s: str) -> Source:
    form = options.text("format", "npy", ("npy", "npz", "raw"))
    ports = () if form == "npz" else (_found(options, "graph", graph_s, session.takes),)
    shape = options.numbers("shape", (), counts=range(9))
    kind = options.text("dtype", ports[0].dtype if ports else "float32")
    options.close()
    if sum(size < 0 for size in shape) > 1 or any(size != round(size) or size < -1 for size in shape):
        raise options.wrong("shape", "must be whole numbers, at most one of them -1")
    if form == "raw" and not options.has("shape"):
        raise options.wrong("shape", "must be said for raw bytes; -1 stands for one size that follows")
    try:
        return Source(form, ports, np.dtype(kind), tuple(map(int, shape)))
    except TypeError as error:
        raise options.wrong("dtype", f"NumPy has no {kind!r}") from error


def _outputs(options: Options, model: LoadContext, session: OnnxSession) -> dict[str, str]:
    for name, kind in model.outputs.items():
        if kind not in _KINDS:
            raise SpecError(
                f"{model.folder / 'model.toml'}: outputs.{name}: Tensors makes bytes or json, not {kind}"
            )
    chosen = _matched({name: options.text(name) for name in model.outputs}, list(session.gives))
    options.close()
    return {name: _found(options, name, graph_s, session.gives).name for name, graph_s in chosen.items()}


def _found(options: Options, key: str, chosen: str, ports: Mapping[str, Port]) -> Port:
    if chosen not in ports:
        said = f"the graph has no {chosen!r}" if chosen else "the graph has none left for it"
        raise options.wrong(key, f"{said}; it has {', '.join(map(str, ports.values()))}")
    return ports[chosen]


def read_raw(name: str, data: bytes, source: Source) -> NDArray[Any]:
    """Bytes as an array of the declared type and shape, little-endian.

    Raises:
        BadInputError: Their number does not fit.
    """
    known = math.prod(size for size in source.shape if size >= 0) * source.dtype.itemsize
    free = -1 in source.shape
    if len(data) % known if free and known else len(data) != known:
        shape = list(source.shape)
        raise BadInputError(f"inputs.{name}: {len(data)} bytes are no {source.dtype} of shape {shape}")
    return np.frombuffer(data, source.dtype.newbyteorder("<")).reshape(source.shape)


def _fitted(name: str, array: NDArray[Any], port: Port) -> NDArray[Any]:
    """The array as the graph's type, if nothing is lost, and of its shape."""
    sizes = zip(port.shape, array.shape, strict=False)
    if port.shape and (len(port.shape) != array.ndim or any(want not in {None, got} for want, got in sizes)):
        raise BadInputError(f"inputs.{name}: is {list(array.shape)}, the graph's input is {port}")
    if not port.dtype or not np.can_cast(array.dtype, np.dtype(port.dtype), "safe"):
        raise BadInputError(f"inputs.{name}: is {array.dtype}, the graph's input is {port}")
    return np.ascontiguousarray(array, np.dtype(port.dtype)).reshape(array.shape)


def _joined(items: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    if len(items) == 1:
        return items[0]
    return {name: np.concatenate([item[name] for item in items]) for name in items[0]}


def _split(made: list[NDArray[Any]], items: list[dict[str, NDArray[Any]]]) -> list[list[NDArray[Any]]]:
    if len(items) == 1:
        return [made]
    rows = [len(next(iter(item.values()))) for item in items]
    for output in made:
        if not output.ndim or len(output) != sum(rows):
            raise BadOutputError(
                f"options.batch: an output of shape {list(output.shape)} for {sum(rows)} rows"
            )
    ends = np.cumsum(rows)[:-1]
    return [list(parts) for parts in zip(*(np.split(output, ends) for output in made), strict=True)]
