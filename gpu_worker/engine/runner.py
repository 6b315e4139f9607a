"""A loaded model, and a job's three steps through it: decode and prepare, infer, finish and encode."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_worker.engine import device as devices
from gpu_worker.engine import values
from gpu_worker.engine.handler import ClassSteps, LoadContext, ModelImports, make_steps
from gpu_worker.engine.job import CanceledError
from gpu_worker.engine.onnx import OnnxSession
from gpu_worker.engine.own import OwnProcess
from gpu_worker.engine.spec import SpecError
from gpu_worker.engine.turns import TURNS

if TYPE_CHECKING:
    from collections.abc import Hashable
    from contextlib import AbstractContextManager

    from gpu_worker.engine.job import Job
    from gpu_worker.engine.spec import ModelSpec

_HEAVY = frozenset({"image", "audio", "bytes"})


@dataclass(frozen=True, slots=True)
class Request:
    """One job: inputs as `{"path": …}` or `{"json": …}`, params, and the folder for its outputs."""

    inputs: dict[str, dict[str, Any]]
    params: dict[str, Any]
    scratch: Path


class Runner:
    """One model, loaded and warm on one device.

    Attributes:
        batching: How many jobs may share an `infer`; None for one.
        apart: Its steps run beside each other's, each for another job: worth a change of threads where bytes
            are decoded or the author wrote the steps apart.
    """

    def __init__(self, spec: ModelSpec, device: str) -> None:
        devices.require(device)
        values.check_options(spec)
        self.spec = spec
        self._imports = ModelImports(spec.folder)
        self._own_code = any(spec.folder.rglob("*.py"))
        self.session = OnnxSession(spec, device) if spec.backend == "onnx" else None
        outputs = {name: kind for name, (kind, _) in spec.outputs.items()}
        context = LoadContext(spec.folder, spec.options, device, self.session, spec.inputs, outputs)
        self._own = OwnProcess()
        with self.turn():
            self._steps = self._own.of(make_steps, spec, context)
        if spec.batching and not isinstance(self._steps, ClassSteps):
            raise SpecError(f"{spec.ref}: [batching] wants a class with infer(items), not a plain function")
        kinds = {*spec.inputs.values(), *(kind for kind, _ in spec.outputs.values())}
        self.apart = isinstance(self._steps, ClassSteps) or bool(kinds & _HEAVY)
        self.defaults = spec.defaults()
        self.batching = spec.batching
        self.weights_mb = spec.path.stat().st_size / 1e6 if spec.file else 0.0

    def prepare(self, request: Request, job: Job) -> Any:
        """The item that `infer` takes. This and the other steps are to be run within `turn`."""
        inputs = values.decode_inputs(self.spec, request.inputs)
        return self._own.of(self._steps.prepare, self.defaults | request.params | inputs, job)

    def infer(self, items: list[Any]) -> list[Any]:
        """One raw result for each item."""
        raws: list[Any] = self._own.of(self._steps.infer, items)
        return raws

    def finish(self, item: Any, raw: Any, scratch: Path, *, inline: bool = False) -> dict[str, values.Output]:
        """The outputs by name; small texts stand in them (`inline`), all else lies in `scratch`."""
        returned = self._own.of(self._steps.finish, item, raw)
        return values.encode_outputs(self.spec, returned, scratch, inline=inline)

    def shape_of(self, item: Any) -> Hashable:
        """Items of one shape fit into one `infer`: arrays by type and shape, whatever they are nested in."""
        return _shape_of(item)

    def rearm(self) -> None:
        """Forget an earlier cancel, before the next `infer`."""
        if self.session is not None:
            self.session.rearm()

    def cancel(self) -> None:
        """End the graph that is running, if one is; from any thread."""
        if self.session is not None:
            self.session.terminate()

    def run(self, request: Request, job: Job) -> dict[str, Any]:
        """All steps of one job, here and now; returns `outputs` by name and `timings` in seconds."""
        self.rearm()
        if job.cancelled:  # asked before the line above forgot it
            raise CanceledError
        timings: dict[str, float] = {}
        with self.turn():
            with timed(timings, "prepare_s"):
                item = self.prepare(request, job)
            with timed(timings, "infer_s"):
                (raw,) = self.infer([item])
            with timed(timings, "finish_s"):
                outputs = self.finish(item, raw, request.scratch)
        return {"outputs": outputs, "timings": timings}

    def turn(self) -> AbstractContextManager[None]:
        """Its own modules are the ones to import within this."""
        return TURNS.of(self._imports) if self._own_code else contextlib.nullcontext()


class timed:  # noqa: N801  used as a word of the language; a generator would cost more than what it measures
    """Write down how many seconds a block took, and when it began."""

    __slots__ = ("_at", "_began", "_name", "_timings")

    def __init__(self, timings: dict[str, float], name: str, at: dict[str, float] | None = None) -> None:
        self._timings, self._name, self._at = timings, name, at

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._timings[self._name] = round(time.perf_counter() - self._began, 6)
        if self._at is not None:
            self._at[self._name.removesuffix("_s")] = self._began


def _shape_of(item: Any) -> Hashable:
    if hasattr(item, "shape") and hasattr(item, "dtype"):
        return str(item.dtype), tuple(item.shape)
    if isinstance(item, dict):
        return tuple((name, _shape_of(value)) for name, value in item.items())
    if isinstance(item, tuple | list):
        return tuple(map(_shape_of, item))
    return type(item).__qualname__
