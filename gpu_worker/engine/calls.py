"""What the worker hands to an engine and gets back; the parent's side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_worker.engine.output import OutputTail
from shared.cleaning import clean, clean_text
from shared.errors import (
    AlgorithmError,
    AlgorithmRetry,
    BadInput,
    DeviceError,
    DeviceMissing,
    EngineDied,
    InvalidOutput,
    JobCanceled,
    LeveretError,
)

if TYPE_CHECKING:
    from gpu_worker.engine.protocol import Frame
    from shared.catalog import Model


MAX_RETRY_S = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Inline:
    """An input that is a value instead of a file."""

    value: Any


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One attempt at one job.

    Attributes:
        inputs: A file, or a value for kinds json and text, by input name.
        scratch: A folder that is this attempt's alone, made when an output is written into it.
        timeout_s: Hard limit of the run (loading the model aside); the process is killed at its end.
        priority: 0 … 10: of those that stand in line the higher one goes first.
        attempt: Tells attempts at one job apart, where that can matter.
        log: Filled while the attempt runs with the last 64 KiB that it prints; readable at any time.
        label: The caller's own, for `EngineResult.together`.
        spent: Where the run fails: the seconds of the steps it came to, and `batch_size` if it inferred.
    """

    job_id: str
    model: Model
    inputs: dict[str, Path | Inline]
    params: dict[str, Any]
    scratch: Path
    timeout_s: float
    log: OutputTail = field(default_factory=OutputTail)
    attempt: str = ""
    priority: int = 5
    label: object = None
    spent: dict[str, float] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """What `cancel` is told: two attempts at one job may be here for a moment."""
        return f"{self.job_id}/{self.attempt}" if self.attempt else self.job_id


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One output: a file in the call's scratch folder, or its bytes, and what is known about it.

    Attributes:
        path: None where there is a body.
        metadata: An image's width, say.
    """

    path: Path | None
    content_type: str
    metadata: dict[str, Any]
    body: bytes = b""

    def read(self) -> bytes:
        """All of it."""
        return self.body if self.path is None else self.path.read_bytes()


@dataclass(frozen=True, slots=True)
class LoadReport:
    """How a model was loaded: the seconds it took, and for a graph where it runs.

    Attributes:
        providers: ONNX Runtime's, the first one first.
        nodes: How many of the graph's nodes each provider runs.
        memory_mb: What the process grew by, or its weights take on the disk where that is more (on a GPU).
    """

    load_s: float
    memory_mb: float = 0.0
    providers: tuple[str, ...] = ()
    nodes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineResult:
    """A finished run.

    Attributes:
        timings: Seconds: prepare_s, infer_s, finish_s, and load_s where this call had to load the model.
        batch_size: How many jobs shared its `infer`.
        began: When prepare, infer and finish began, on the machine's monotonic clock.
        together: The labels of all that went to the device with it, its own among them.
    """

    outputs: dict[str, OutputFile]
    timings: dict[str, float]
    log_tail: str
    batch_size: int = 1
    began: dict[str, float] = field(default_factory=dict)
    together: tuple[object, ...] = ()


def load_frame(model: Model) -> Frame:
    """The request that loads a model; its table is model.toml's own."""
    return {"op": "load", "model": model.model_dump(mode="json", exclude={"digests"})}


def load_report_of(reply: Frame) -> LoadReport:
    """The report that a `done` frame tells."""
    try:
        nodes = {clean_text(name): int(count) for name, count in reply.get("nodes", {}).items()}
        providers = tuple(map(clean_text, reply.get("providers", [])))
        return LoadReport(float(reply["load_s"]), float(reply["memory_mb"]), providers, nodes)
    except _NO_ANSWER as error:
        raise EngineDied(_FORGED) from error


def run_frame(call: EngineCall) -> Frame:
    """The request that runs a call."""
    return {
        "op": "run",
        "job_id": call.job_id,
        "model": call.model.ref,
        "inputs": {name: _source_of(given) for name, given in call.inputs.items()},
        "params": call.params,
        "priority": call.priority,
        "scratch": str(call.scratch),
    }


def _source_of(given: Path | Inline) -> dict[str, Any]:
    return {"json": given.value} if isinstance(given, Inline) else {"path": str(given)}


def result_of(
    reply: Frame, call: EngineCall, load: LoadReport | None, together: tuple[object, ...] = ()
) -> EngineResult:
    """The result that a `done` frame tells, each file checked: an algorithm may have forged the frame.

    Raises:
        EngineDied: It is no result for this call.
    """
    try:
        outputs = {name: _output_of(call, **reply["outputs"][name]) for name in call.model.outputs}
        timings = {name: float(value) for name, value in reply["timings"].items()}
        began = {name: float(value) for name, value in reply.get("began", {}).items()}
        batch_size = int(reply["batch_size"])
    except _NO_ANSWER as error:
        raise EngineDied(_FORGED) from error
    timings |= {"load_s": load.load_s} if load else {}
    return EngineResult(outputs, timings, call.log.text(), batch_size, began, together)


def _output_of(
    call: EngineCall, *, content_type: str, metadata: dict[str, Any], path: str = "", text: str | None = None
) -> OutputFile:
    type_, known = clean_text(content_type), clean(dict(metadata)) if metadata else {}
    if text is not None:
        return OutputFile(None, type_, known, text.encode())
    file = Path(path)
    if file.parent != call.scratch or file.is_symlink() or not file.is_file():
        raise EngineDied(_FORGED)
    return OutputFile(file, type_, known)


_FORGED = "the engine process answered with something that is no answer, and was ended"
_NO_ANSWER = (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError)
"""What fields of another form raise where they are read."""
_STEPS = ("prepare_s", "infer_s", "finish_s")

_SIMPLE: Mapping[str, Callable[[str], LeveretError]] = {
    "bad_input": BadInput,
    "device": DeviceError,
    "device_missing": DeviceMissing,
    "canceled": JobCanceled,
}


def spent_of(reply: Frame) -> dict[str, float]:
    """What a `failed` frame tells of the steps before its end, as `EngineCall.spent`.

    Raises:
        EngineDied: It tells no such thing.
    """
    try:
        told = {name: float(reply["timings"][name]) for name in _STEPS if name in reply.get("timings", {})}
        told |= {"batch_size": int(reply["batch_size"])} if "infer_s" in told else {}
    except _NO_ANSWER as error:
        raise EngineDied(_FORGED) from error
    if not all(math.isfinite(value) and value >= 0 for value in told.values()):
        raise EngineDied(_FORGED)
    return told


def failure_of(reply: Frame) -> LeveretError:
    """The error that a `failed` frame tells; `EngineDied` where it tells none."""
    try:
        return _failure_of(reply)
    except _NO_ANSWER:
        return EngineDied(_FORGED)


def _failure_of(reply: Frame) -> LeveretError:
    message = clean_text(reply["message"])
    if (simple := _SIMPLE.get(reply["kind"])) is not None:
        return simple(message)
    if reply["kind"] == "retry":
        return AlgorithmRetry(message, after_s=_seconds(reply.get("after_s")))
    type_ = InvalidOutput if reply["kind"] == "bad_output" else AlgorithmError
    return type_(message, exception=clean_text(reply["exception"]), traceback=clean_text(reply["traceback"]))


def _seconds(given: object) -> float | None:
    """What an algorithm asked to wait, as far as that is a number of seconds within reason."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= MAX_RETRY_S:
        return None
    return float(given)
