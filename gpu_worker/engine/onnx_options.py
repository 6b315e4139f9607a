"""What model.toml says of ONNX Runtime: `[options.cpu]`, `[options.cuda]`, `[options.shapes]`.

All three are read whatever the device is, so that a mistake for the GPU is seen on a laptop already.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpu_worker.engine import device as devices
from gpu_worker.engine.graphfile import shapes_of
from gpu_worker.engine.options import Options

if TYPE_CHECKING:
    from gpu_worker.engine.spec import ModelSpec

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
RECORD_PLACES = "session.record_ep_graph_assignment_info"
NO_CPU_NODES = "session.disable_cpu_ep_fallback"
_LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "layout": "ORT_ENABLE_LAYOUT",
    "all": "ORT_ENABLE_ALL",
}
_SEARCHES = ("HEURISTIC", "EXHAUSTIVE", "DEFAULT")
_STRATEGIES = ("kSameAsRequested", "kNextPowerOfTwo")
# ONNX Runtime's own defaults, but for what is said of each in docs/models.md.
_CUDA_FLAGS = {
    "cudnn_conv_use_max_workspace": True,
    "cudnn_conv1d_pad_to_nc1d": False,
    "do_copy_in_default_stream": True,
    "enable_cuda_graph": False,
    "prefer_nhwc": False,
    "tunable_op_enable": False,
    "tunable_op_tuning_enable": False,
    "use_tf32": True,
}


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """How a session is to be opened.

    Attributes:
        provider: CPU or CUDA, as ONNX Runtime calls them.
        provider_options: Its own options, as strings.
        level: The name of ONNX Runtime's graph optimization level.
        strict: Not a single node may run on the CPU.
        shapes: Input shapes to put into the graph.
    """

    provider: str
    threads: int
    spinning: bool
    level: str
    provider_options: dict[str, str] = field(default_factory=dict)
    strict: bool = False
    arena: bool = True
    cuda_graph: bool = False
    shapes: dict[str, list[int | str]] = field(default_factory=dict)

    def settings(self, runtime: Any) -> Any:
        """The same as ONNX Runtime's SessionOptions."""
        settings = runtime.SessionOptions()
        settings.intra_op_num_threads = self.threads
        settings.log_severity_level = 3
        settings.enable_cpu_mem_arena = self.arena
        settings.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, self.level)
        settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(self.spinning)))
        settings.add_session_config_entry(RECORD_PLACES, "1")
        settings.add_session_config_entry(NO_CPU_NODES, str(int(self.strict)))
        return settings


def plan_of(spec: ModelSpec, device: str) -> SessionPlan:
    """Read a model's options for ONNX Runtime.

    Raises:
        SpecError: One of them, for whichever device, is unknown or of the wrong form.
    """
    options = Options(spec.options, spec.folder)
    shapes = shapes_of(options.table("shapes"))
    plans = {
        "cpu": _cpu(options.table("cpu"), shapes),
        "cuda": _cuda(options.table("cuda"), shapes),
    }
    return plans[device]


def _cpu(options: Options, shapes: dict[str, list[int | str]]) -> SessionPlan:
    plan = SessionPlan(
        provider=CPU,
        threads=options.integer("intra_op_num_threads", devices.cpu_threads(), minimum=1),
        # Spinning threads would take the cores that fetch and decode the next input.
        spinning=options.flag("allow_spinning", default=False),
        level=_level(options),
        arena=options.flag("enable_cpu_mem_arena", default=True),
        shapes=shapes,
    )
    options.close()
    return plan


def _cuda(options: Options, shapes: dict[str, list[int | str]]) -> SessionPlan:
    own = _cuda_options(options)
    plan = SessionPlan(
        provider=CUDA,
        threads=options.integer("intra_op_num_threads", 1, minimum=1),
        spinning=options.flag("allow_spinning", default=False),
        level=_level(options),
        provider_options=own,
        strict=options.flag("strict", default=True),
        cuda_graph=own["enable_cuda_graph"] == "1",
        shapes=shapes,
    )
    if options.has("device_id"):
        raise options.wrong("device_id", "the worker chooses the GPU, by CUDA_VISIBLE_DEVICES")
    options.close()
    if plan.cuda_graph and not plan.strict:
        raise options.wrong("enable_cuda_graph", "needs strict: no node of a captured graph runs on the CPU")
    return plan


def _cuda_options(options: Options) -> dict[str, str]:
    chosen = {name: str(int(options.flag(name, default=default))) for name, default in _CUDA_FLAGS.items()}
    chosen["cudnn_conv_algo_search"] = options.text("cudnn_conv_algo_search", "HEURISTIC", _SEARCHES)
    chosen["arena_extend_strategy"] = options.text("arena_extend_strategy", "kSameAsRequested", _STRATEGIES)
    if options.has("gpu_mem_limit"):
        chosen["gpu_mem_limit"] = str(options.integer("gpu_mem_limit", 0, minimum=1))
    return chosen


def _level(options: Options) -> str:
    return _LEVELS[options.text("graph_optimization_level", "all", tuple(_LEVELS))]
