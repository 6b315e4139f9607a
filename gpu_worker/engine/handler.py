"""From `module:name` in a model.toml to the three steps the engine runs: prepare, infer, finish.

A plain function is the infer step. A class may have

    load(model)                    once; `model` is a LoadContext
    warm_up()                      once, after load
    prepare(*, inputs and params)  → item          (decode, resize; on the CPU)
    infer(items)                   → raw results   (a list in, a list of the same length out)
    finish(item, raw)              → outputs       (compose, colour; on the CPU)

where only `infer` is required (without `prepare` an item is the dict of inputs and params). The steps are
apart so that one job's can run beside another's, and `infer` takes a list so that several can share one call.

Each of them, and a plain function, may be `async def` (see `coroutines`).
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gpu_worker.engine.coroutines import all_settled, settled
from gpu_worker.engine.job import BadOutputError
from gpu_worker.engine.spec import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from gpu_worker.engine.job import Job
    from gpu_worker.engine.onnx import OnnxSession
    from gpu_worker.engine.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class LoadContext:
    """What `load(model)` gets.

    Attributes:
        folder: The model's folder.
        options: The `[options]` of model.toml.
        device: "cpu" or "cuda".
        session: The opened graph, for backend "onnx".
        inputs, outputs: Kind by name, as model.toml declares them.
    """

    folder: Path
    options: dict[str, Any]
    device: str
    session: OnnxSession | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class ModelImports:
    """Gives one model's folder its own imports: two models may both have a `model.py`.

    While active, the folder leads `sys.path`; afterwards its modules leave `sys.modules` and wait here.
    """

    folder: Path
    _modules: dict[str, ModuleType] = field(default_factory=dict)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Import from the model's folder within this block."""
        before = set(sys.modules)
        sys.modules.update(self._modules)
        sys.path.insert(0, str(self.folder))
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):  # the model's code may have done so
                sys.path.remove(str(self.folder))
            self._take_back(before)

    def _take_back(self, before: set[str]) -> None:
        for name in set(sys.modules) - before:
            if self._owns(sys.modules[name]):
                self._modules[name] = sys.modules.pop(name)

    def _owns(self, module: ModuleType) -> bool:
        file = getattr(module, "__file__", None)
        return file is not None and Path(file).is_relative_to(self.folder)


class Steps(Protocol):
    """One handler, whatever its form."""

    def prepare(self, values: dict[str, Any], job: Job) -> Any:
        """Inputs and params by name → the item that infer takes."""

    def infer(self, items: list[Any]) -> list[Any]:
        """Items → one raw result for each, in their order."""

    def finish(self, item: Any, raw: Any) -> Any:
        """One item and its raw result → the outputs."""


class FunctionSteps:
    """A plain function: inputs and params in by keyword, outputs back."""

    def __init__(self, function: Callable[..., Any], signature: Signature) -> None:
        self._function = function
        self._signature = signature

    def prepare(self, values: dict[str, Any], job: Job) -> Any:
        """The function's arguments."""
        return self._signature.bind(values, job)

    def infer(self, items: list[Any]) -> list[Any]:
        """The function's own work; the calls of an `async def` run side by side."""
        return all_settled([self._function(**item) for item in items])

    def finish(self, item: Any, raw: Any) -> Any:  # noqa: ARG002  the form of Steps
        """What it returned."""
        return raw


class ClassSteps:
    """A handler class; the steps it leaves out pass their values on."""

    def __init__(self, handler: Any, signature: Signature) -> None:
        self._handler = handler
        self._signature = signature
        self._prepare: Callable[..., Any] = getattr(handler, "prepare", dict)
        self._finish: Callable[[Any, Any], Any] = getattr(handler, "finish", _raw)

    def prepare(self, values: dict[str, Any], job: Job) -> Any:
        """The handler's item."""
        return settled(self._prepare(**self._signature.bind(values, job)))

    def infer(self, items: list[Any]) -> list[Any]:
        """The handler's results, one for each item.

        Raises:
            BadOutputError: Their number is another.
        """
        raws = list(settled(self._handler.infer(items)))
        if len(raws) != len(items):
            raise BadOutputError(f"infer() returned {len(raws)} results for {len(items)} items")
        return raws

    def finish(self, item: Any, raw: Any) -> Any:
        """The handler's outputs."""
        return settled(self._finish(item, raw))


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function or `prepare` takes, checked when the model loads and not at its first job.

    Attributes:
        needed: Optional inputs without a default of their own: None is passed when the job gave none.
        job: Whether it wants the job.
    """

    needed: frozenset[str] = frozenset()
    job: bool = False

    def bind(self, values: dict[str, Any], job: Job) -> dict[str, Any]:
        """The keyword arguments of one job."""
        return dict.fromkeys(self.needed) | values | ({"job": job} if self.job else {})


def make_steps(spec: ModelSpec, context: LoadContext) -> Steps:
    """Import the handler, load it and warm it up (inside ModelImports.active).

    Raises:
        SpecError: It does not exist, or does not fit what model.toml declares.
    """
    target = _resolve(spec)
    if inspect.isclass(target):
        return _make_class_steps(spec, target(), context)
    if not callable(target):
        raise SpecError(f"{spec.ref}: handler {spec.handler} is neither a function nor a class")
    if context.session is not None:
        raise SpecError(f'{spec.ref}: backend "onnx" needs a class, whose load(model) gets model.session')
    return FunctionSteps(target, _signature(spec, target))


def _make_class_steps(spec: ModelSpec, handler: Any, context: LoadContext) -> Steps:
    if not callable(getattr(handler, "infer", None)):
        raise SpecError(f"{spec.ref}: class {spec.handler} has no method infer(items)")
    signature = _signature(spec, handler.prepare) if hasattr(handler, "prepare") else Signature()
    if hasattr(handler, "load"):
        settled(handler.load(context))
    if hasattr(handler, "warm_up"):
        settled(handler.warm_up())
    return ClassSteps(handler, signature)


def _resolve(spec: ModelSpec) -> Any:
    module_name, _, name = spec.handler.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0] and error.name != module_name:
            raise
        where = f"neither in {spec.folder} nor installed for {sys.executable}"
        raise SpecError(f"{spec.ref}: handler module {module_name!r} is {where}") from error
    try:
        return getattr(module, name)
    except AttributeError as error:
        raise SpecError(f"{spec.ref}: {module_name} has no {name!r}, which `handler` names") from error


def _signature(spec: ModelSpec, function: Callable[..., Any]) -> Signature:
    parameters = inspect.signature(function).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    declared = spec.inputs.keys() | spec.params.keys()
    if not takes_all and (missing := sorted(declared - parameters.keys())):
        raise SpecError(
            f"{spec.ref}: {spec.handler} has no parameter {missing[0]!r}, which model.toml declares"
        )
    needed = {name for name, parameter in parameters.items() if _is_needed(parameter)} - {"job"}
    if undeclared := sorted(needed - declared):
        raise SpecError(
            f"{spec.ref}: {spec.handler} needs {undeclared[0]!r}, which model.toml does not declare"
        )
    return Signature(needed=frozenset(needed), job="job" in parameters)


def _is_needed(parameter: inspect.Parameter) -> bool:
    by_name = parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}
    return by_name and parameter.default is parameter.empty


def _raw(item: Any, raw: Any) -> Any:  # noqa: ARG001  the form of finish()
    return raw
