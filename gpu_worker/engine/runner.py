"""A loaded model, and one job through it: decode, prepare, infer, finish, encode, with the time of each."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_worker.engine import device as devices
from gpu_worker.engine import values
from gpu_worker.engine.handler import LoadContext, ModelImports, make_steps
from gpu_worker.engine.job import CanceledError
from gpu_worker.engine.onnx import OnnxSession

if TYPE_CHECKING:
    from gpu_worker.engine.job import Job
    from gpu_worker.engine.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Request:
    """One job: inputs as `{"path": …}` or `{"json": …}`, params, and the folder for its outputs."""

    inputs: dict[str, dict[str, Any]]
    params: dict[str, Any]
    scratch: Path


class Runner:
    """One model, loaded and warm on one device."""

    def __init__(self, spec: ModelSpec, device: str) -> None:
        devices.require(device)
        self.spec = spec
        self._imports = ModelImports(spec.folder)
        self.session = OnnxSession(spec, device) if spec.backend == "onnx" else None
        context = LoadContext(spec.folder, spec.options, device, self.session)
        with self._imports.active():
            self._steps = make_steps(spec, context)

    def run(self, request: Request, job: Job) -> dict[str, Any]:
        """Run one job; returns `outputs` by name (path, content_type, metadata) and `timings` in seconds."""
        if self.session is not None:
            self.session.rearm()
        if job.cancelled:  # asked before the line above forgot it
            raise CanceledError
        with self._imports.active():
            return self._run(request, job)

    def cancel(self) -> None:
        """End the graph that is running, if one is; from any thread."""
        if self.session is not None:
            self.session.terminate()

    def _run(self, request: Request, job: Job) -> dict[str, Any]:
        times = [time.perf_counter()]
        inputs = values.decode_inputs(self.spec, request.inputs)
        item = self._steps.prepare(self.spec.defaults() | request.params | inputs, job)
        times.append(time.perf_counter())
        (raw,) = self._steps.infer([item])
        times.append(time.perf_counter())
        outputs = values.encode_outputs(self.spec, self._steps.finish(item, raw), request.scratch)
        times.append(time.perf_counter())
        spans = (round(later - earlier, 6) for earlier, later in itertools.pairwise(times))
        return {
            "outputs": outputs,
            "timings": dict(zip(("prepare_s", "infer_s", "finish_s"), spans, strict=True)),
        }
