"""What the ready-made handlers share: checks at load, a graph's batches. Runs in the engine process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gpu_worker.engine.job import BadOutputError
from gpu_worker.engine.options import OF_THE_ENGINE, Options, suggest
from gpu_worker.engine.spec import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gpu_worker.engine.handler import LoadContext
    from gpu_worker.engine.onnx import OnnxSession, Port


class NotNumbersError(BadOutputError):
    """The graph's output holds NaN."""


class GraphHandler:
    """A handler for backend "onnx": reads its options, refuses what it does not know, fits the graph.

    Attributes:
        takes: Kind by name of what it is given.
        makes: Kind by name of what it can return. With one entry, model.toml may give it any name.
        own_options: Keys of `[options]` that a subclass reads by itself, from `model.options`.
        outputs: Those of `makes` that model.toml declares, with their names there; only they are made.
    """

    takes: ClassVar[dict[str, str]] = {"image": "image"}
    makes: ClassVar[dict[str, str]] = {}
    own_options: ClassVar[tuple[str, ...]] = ()

    def load(self, model: LoadContext) -> None:
        """Keep the session and read the options.

        Raises:
            SpecError: An option, an output or the graph does not fit this handler.
        """
        if model.session is None:
            raise SpecError(f'{model.folder / "model.toml"}: {type(self).__name__} needs backend = "onnx"')
        self.session: OnnxSession = model.session
        for name, kind in self.takes.items():
            _check_kind(model, "inputs", (name, model.inputs.get(name, kind)), kind)
        self.outputs = self._declared(model)
        options = Options(model.options, model.folder)
        options.leave(*OF_THE_ENGINE, *self.own_options)
        self.configure(options)
        options.close()

    def configure(self, options: Options) -> None:
        """Read this handler's options, and look at the graph."""

    def made(self, values: Mapping[str, Any]) -> Any:
        """What `finish` returns of these, named as in `makes`: those that are declared, by their names there.

        One alone goes without its name: a JSON output may be a dict itself.
        """
        named = {self.outputs[name]: value for name, value in values.items() if name in self.outputs}
        return next(iter(named.values())) if len(named) == 1 else named

    def port(self, options: Options, name: str = "input") -> Port:
        """The graph's input or output that the option `name` names; without it, the first one.

        Raises:
            SpecError: There is none of this name.
        """
        ports = self.session.gives if name == "output" else self.session.takes
        return _port(options, name, ports)

    def _declared(self, model: LoadContext) -> dict[str, str]:
        if not model.outputs:
            return {name: name for name in self.makes}
        if len(self.makes) == len(model.outputs) == 1:
            (declared,), (kind,) = model.outputs.items(), self.makes.values()
            _check_kind(model, "outputs", declared, kind)
            return dict(zip(self.makes, model.outputs, strict=True))
        for name, kind in model.outputs.items():
            if name not in self.makes:
                raise SpecError(
                    f"{_toml(model)}: outputs.{name}: {type(self).__name__} makes {_listed(self.makes)}"
                )
            _check_kind(model, "outputs", (name, kind), self.makes[name])
        return {name: name for name in model.outputs}


def _check_kind(model: LoadContext, table: str, declared: tuple[str, str], kind: str) -> None:
    name, said = declared
    if said != kind:
        does = "takes" if table == "inputs" else "makes"
        raise SpecError(f"{_toml(model)}: {table}.{name}: is of kind {said}, its handler {does} {kind}")


def _toml(model: LoadContext) -> str:
    return str(model.folder / "model.toml")


def _listed(makes: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in makes.items())


def _port(options: Options, name: str, ports: Mapping[str, Port]) -> Port:
    chosen = options.text(name) or next(iter(ports))
    if chosen not in ports:
        near = suggest(chosen, set(ports)) or f"; it has {', '.join(map(str, ports.values()))}"
        raise options.wrong(name, f"the graph has no {name} {chosen!r}{near}")
    return ports[chosen]


class Batches:
    """Runs a graph of one input on many arrays: those of equal shape together where the graph allows it.

    It does where the first dimension of the input and of every output wanted is dynamic.
    """

    def __init__(self, session: OnnxSession, port: Port, outputs: Sequence[Port]) -> None:
        if port.shape and port.shape[0] not in {None, 1}:
            raise SpecError(
                f"the graph's input {port} takes exactly {port.shape[0]} at once; make its first dimension "
                f'dynamic in [options.shapes]: "{port.name}" = ["batch", …]'
            )
        self._session, self._port = session, port
        self._names = [output.name for output in outputs]
        self.together = all(not each.shape or each.shape[0] is None for each in (port, *outputs))

    def __call__(self, arrays: Sequence[NDArray[Any]]) -> list[list[NDArray[Any]]]:
        """Arrays without their batch dimension → for each of them the outputs, without theirs."""
        results: list[list[NDArray[Any]]] = [[] for _ in arrays]
        for places in self._groups(arrays):
            made = self._run(np.stack([arrays[place] for place in places]))
            for row, place in enumerate(places):
                results[place] = [output[row] for output in made]
        return results

    def _groups(self, arrays: Sequence[NDArray[Any]]) -> list[list[int]]:
        if not self.together:
            return [[place] for place in range(len(arrays))]
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, array in enumerate(arrays):
            groups.setdefault(array.shape, []).append(place)
        return list(groups.values())

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        made = self._session.run({self._port.name: batch}, self._names)
        for name, output in zip(self._names, made, strict=True):
            if not output.ndim or len(output) != len(batch):
                raise BadOutputError(
                    f"the graph's output {name} is {list(output.shape)} for a batch of {len(batch)}"
                )
            _check_numbers(name, output)
        return made


def _check_numbers(name: str, output: NDArray[Any]) -> None:
    """NaN would become black pixels, or no face at all, and nobody would know."""
    with np.errstate(invalid="ignore"):
        hidden = output.dtype.kind == "f" and output.size > 0 and bool(np.isnan(output.min()))
    if hidden:
        count = int(np.isnan(output).sum())
        raise NotNumbersError(
            f"the model's output {name} has {count} NaN values of {output.size}: did FP16 overflow?"
        )
