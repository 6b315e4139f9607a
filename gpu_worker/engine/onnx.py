"""ONNX Runtime sessions: strict about the device and about files, and endable while they run."""

from __future__ import annotations

import collections
import sys
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gpu_worker.engine.graphfile import check_external_data, with_shapes
from gpu_worker.engine.job import CanceledError, ProviderMissingError
from gpu_worker.engine.onnx_options import CPU, CUDA, SessionPlan, plan_of
from gpu_worker.engine.spec import SpecError

if TYPE_CHECKING:
    from gpu_worker.engine.spec import ModelSpec

_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"
_REFUSED_NODES = "fallback to CPU EP has been explicitly disabled"
_DTYPES = {"float": "float32", "double": "float64", "bool": "bool", "string": "str"}
_MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a graph.

    Attributes:
        dtype: NumPy's name of its type; empty where it is no tensor.
        shape: Its sizes, None where one is dynamic.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        """Such as `input.1 float32[?, 3, 320, 320]`."""
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.dtype or 'of another kind'}[{sizes}]"


class OnnxSession:
    """One session of one model, on one device.

    Attributes:
        providers: The execution providers really in use, the first one first.
        nodes: How many of the graph's nodes each provider runs; empty where ONNX Runtime can't tell.
        takes, gives: The graph's inputs and outputs by name; `inputs` and `outputs` are the names alone.
    """

    def __init__(self, spec: ModelSpec, device: str) -> None:
        if not spec.path.is_file():
            raise SpecError(f"{spec.ref}: there is no file {spec.path}, which `file` in model.toml names")
        plan = plan_of(spec, device)
        check_external_data(spec.path, spec.folder)
        import onnxruntime  # noqa: PLC0415  only where a model needs it

        self._runtime = onnxruntime
        self._session = open_session(onnxruntime, spec, plan)
        self.providers: list[str] = list(self._session.get_providers())
        self.nodes: dict[str, int] = {name: len(kinds) for name, kinds in _places(self._session).items()}
        self.takes = {node.name: _port(node) for node in self._session.get_inputs()}
        self.gives = {node.name: _port(node) for node in self._session.get_outputs()}
        self.inputs: list[str] = list(self.takes)
        self.outputs: list[str] = list(self.gives)
        self._stop = threading.Event()
        self._options: Any = None
        self._captured = _captured(onnxruntime, self._session) if plan.cuda_graph else None
        _tell_cpu_nodes(spec, plan, self._session)

    def run(self, feeds: dict[str, Any], outputs: list[str] | None = None) -> list[Any]:
        """Run the graph on arrays by input name; returns the arrays of `outputs`, or of all.

        Raises:
            CanceledError: The job was canceled. (A run that a cancel ends raises ONNX Runtime's own error.)
        """
        options = self._runtime.RunOptions()
        self._options = options  # published before the look at `_stop`, so that no cancel falls between
        if self._stop.is_set():
            raise CanceledError
        try:
            if self._captured is not None:
                return list(self._captured.run(feeds, outputs or self.outputs, options))
            return list(self._session.run(outputs, feeds, options))
        finally:
            self._options = None

    def rearm(self) -> None:
        """Forget an earlier cancel, before the next job."""
        self._stop.clear()

    def terminate(self) -> None:
        """End the run in progress, and refuse the next until `rearm`; from any thread."""
        self._stop.set()
        options = self._options
        if options is not None:
            options.terminate = True


def open_session(runtime: Any, spec: ModelSpec, plan: SessionPlan) -> Any:
    """Open a graph as planned.

    Raises:
        ProviderMissingError: The provider is not there, or ONNX Runtime quietly chose another.
        SpecError: `strict`, and there are nodes that only the CPU can run.
    """
    if plan.provider == CUDA and hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()
    if plan.provider not in runtime.get_available_providers():
        raise ProviderMissingError(
            f"device cuda: this environment has onnxruntime, not onnxruntime-gpu ({plan.provider})"
        )
    try:
        session = _open(runtime, spec, plan)
    except _errors(runtime) as error:
        if plan.strict and _REFUSED_NODES in str(error):
            raise SpecError(_refusal(runtime, spec, plan)) from error
        raise
    _ensure_provider(session, plan)
    return session


def _ensure_provider(session: Any, plan: SessionPlan) -> None:
    if (chosen := session.get_providers()[0]) != plan.provider:
        raise ProviderMissingError(
            f"device cuda: ONNX Runtime chose {chosen} instead of the GPU: its CUDA or cuDNN libraries are "
            "missing or of another version than it needs (the extra worker-gpu pins those that fit)"
        )


def _open(runtime: Any, spec: ModelSpec, plan: SessionPlan) -> Any:
    settings = plan.settings(runtime)
    source: str | bytes = str(spec.path)
    if plan.shapes:
        source = with_shapes(spec.path, plan.shapes)
        settings.add_session_config_entry(_EXTERNAL_FOLDER, str(spec.path.parent))
    session = runtime.InferenceSession(source, settings, providers=[(plan.provider, plan.provider_options)])
    session.disable_fallback()  # a failing GPU would else be replaced by the CPU, with a printed line
    return session


def _errors(runtime: Any) -> tuple[type[Exception], ...]:
    state = runtime.capi.onnxruntime_pybind11_state
    return (state.Fail, state.NotImplemented, state.RuntimeException)


def _refusal(runtime: Any, spec: ModelSpec, plan: SessionPlan) -> str:
    session = _open(runtime, spec, replace(plan, strict=False))
    _ensure_provider(session, plan)  # without its libraries all nodes are the CPU's: no fault of the graph
    return (
        f"{spec.ref}: {_left_on_the_cpu(_places(session))}, and the model is strict: "
        "change the graph, or allow it with strict = false in [options.cuda]"
    )


def _tell_cpu_nodes(spec: ModelSpec, plan: SessionPlan, session: Any) -> None:
    kinds = _places(session)
    if plan.provider != CPU and kinds.get(CPU):
        sys.stderr.write(f"{spec.ref}: {_left_on_the_cpu(kinds)}\n")


def _left_on_the_cpu(kinds: dict[str, list[str]]) -> str:
    on_cpu, total = collections.Counter(kinds.get(CPU, [])), sum(map(len, kinds.values()))
    named = ", ".join(f"{count} {kind}" for kind, count in on_cpu.most_common(_MOST_NAMED))
    more = ", …" if len(on_cpu) > _MOST_NAMED else ""
    return f"{on_cpu.total()} of the graph's {total} nodes can run on the CPU only ({named}{more})"


def _places(session: Any) -> dict[str, list[str]]:
    """The operators that each provider runs."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}  # before 1.24
    kinds: dict[str, list[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        kinds.setdefault(part.ep_name, []).extend(node.op_type for node in part.get_nodes())
    return kinds


def _captured(runtime: Any, session: Any) -> Any:
    from gpu_worker.engine.cudagraph import CapturedGraphs  # noqa: PLC0415  needs numpy, and a GPU

    return CapturedGraphs(runtime, session)


def _port(node: Any) -> Port:
    kind = node.type.removeprefix("tensor(").removesuffix(")") if node.type.startswith("tensor(") else ""
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape or ())
    return Port(node.name, _DTYPES.get(kind, kind), shape)
