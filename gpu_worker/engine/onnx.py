"""ONNX Runtime sessions: strict about the device, and endable while they run."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from gpu_worker.engine import device as devices
from gpu_worker.engine.job import CanceledError, DeviceMissingError
from gpu_worker.engine.spec import SpecError

if TYPE_CHECKING:
    from gpu_worker.engine.spec import ModelSpec

_CUDA = "CUDAExecutionProvider"


class OnnxSession:
    """One session of one model, on one device.

    Attributes:
        providers: The execution providers really in use, the first one first.
    """

    def __init__(self, spec: ModelSpec, device: str) -> None:
        if not spec.path.is_file():
            raise SpecError(f"{spec.ref}: there is no file {spec.path}, which `file` in model.toml names")
        import onnxruntime  # noqa: PLC0415  only where a model needs it

        self._runtime = onnxruntime
        self._session = _open(onnxruntime, spec, device)
        self.providers: list[str] = list(self._session.get_providers())
        self.inputs: list[str] = [node.name for node in self._session.get_inputs()]
        self.outputs: list[str] = [node.name for node in self._session.get_outputs()]
        self._stop = threading.Event()
        self._options: Any = None

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


def _open(runtime: Any, spec: ModelSpec, device: str) -> Any:
    if device == "cuda":
        return _open_cuda(runtime, spec)
    settings = _settings(runtime, spec, devices.cpu_threads())
    # Spinning threads would take the cores that fetch and decode the next input.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return runtime.InferenceSession(str(spec.path), settings, providers=["CPUExecutionProvider"])


def _settings(runtime: Any, spec: ModelSpec, threads: int) -> Any:
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = int(spec.options.get("threads", threads))
    settings.log_severity_level = 3
    return settings


def _open_cuda(runtime: Any, spec: ModelSpec) -> Any:
    """CUDA alone, and no node on the CPU: ONNX Runtime would else fall back without a word."""
    if hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()
    if _CUDA not in runtime.get_available_providers():
        raise DeviceMissingError("device cuda: this environment has onnxruntime, not onnxruntime-gpu")
    settings = _settings(runtime, spec, 1)
    settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    provider = (_CUDA, {str(key): str(value) for key, value in dict(spec.options.get("cuda") or {}).items()})
    session = runtime.InferenceSession(str(spec.path), settings, providers=[provider])
    if session.get_providers()[0] != _CUDA:
        raise DeviceMissingError(
            f"device cuda: ONNX Runtime chose {session.get_providers()[0]} instead of the GPU"
        )
    return session
