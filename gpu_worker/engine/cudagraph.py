"""Graphs captured on the GPU (`enable_cuda_graph`): one for each shape of the inputs, replayed at one launch.

A captured graph reads and writes fixed addresses, so its inputs and outputs lie in buffers that stay; a plain
`session.run` would replay it on the inputs of its first run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_SHAPES = 16
_GRAPH_ID = "gpu_graph_id"
_NO_CAPTURE = "-1"


@dataclass(frozen=True, slots=True)
class _Bucket:
    number: int
    binding: Any
    inputs: dict[str, Any]
    outputs: list[Any]


class CapturedGraphs:
    """Runs a session by its captures; a shape beyond the sixteenth runs without one.

    `place` is where the buffers lie. On the CPU nothing is captured: all else can be tested there.
    """

    def __init__(self, runtime: Any, session: Any, place: str = "cuda") -> None:
        self._runtime, self._session, self._place = runtime, session, place
        self._buckets: dict[tuple[Any, ...], _Bucket] = {}

    def run(self, feeds: dict[str, Any], outputs: list[str], options: Any) -> list[Any]:
        """As `session.run`: arrays in, arrays out."""
        key = (tuple(outputs), *((name, array.shape) for name, array in sorted(feeds.items())))
        if key not in self._buckets:
            plain = self._plain(feeds, outputs, options)
            if len(self._buckets) < _SHAPES:
                self._buckets[key] = self._make(feeds, dict(zip(outputs, plain, strict=True)))
            return plain
        return self._replay(self._buckets[key], feeds, options)

    def _plain(self, feeds: dict[str, Any], outputs: list[str], options: Any) -> list[Any]:
        options.add_run_config_entry(_GRAPH_ID, _NO_CAPTURE)
        return list(self._session.run(outputs, feeds, options))

    def _make(self, feeds: dict[str, Any], made: dict[str, Any]) -> _Bucket:
        value = self._runtime.OrtValue
        inputs = {name: value.ortvalue_from_numpy(array, self._place, 0) for name, array in feeds.items()}
        outputs = {
            name: value.ortvalue_from_shape_and_type(array.shape, array.dtype, self._place, 0)
            for name, array in made.items()
        }
        binding = self._session.io_binding()
        for name, held in inputs.items():
            binding.bind_ortvalue_input(name, held)
        for name, held in outputs.items():
            binding.bind_ortvalue_output(name, held)
        return _Bucket(len(self._buckets) + 1, binding, inputs, list(outputs.values()))

    def _replay(self, bucket: _Bucket, feeds: dict[str, Any], options: Any) -> list[Any]:
        options.add_run_config_entry(_GRAPH_ID, str(bucket.number))
        for name, array in feeds.items():
            bucket.inputs[name].update_inplace(array)
        self._session.run_with_iobinding(bucket.binding, options)
        return [self._out_of(held) for held in bucket.outputs]

    def _out_of(self, held: Any) -> Any:
        array = held.numpy()
        return array.copy() if self._place == "cpu" else array  # off the GPU it is a copy already
