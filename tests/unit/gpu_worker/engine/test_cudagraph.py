"""The buffers of captured graphs, on the CPU: what is replayed there is no capture, the rest is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from gpu_worker.engine.cudagraph import CapturedGraphs
from tests import onnx_graphs as graphs

SUM = graphs.model(
    [graphs.node("Add", ["a", "b"], ["sum"]), graphs.node("Sub", ["a", "b"], ["difference"])],
    {"a": ("float32", ["n", 3]), "b": ("float32", ["n", 3])},
    {"sum": ("float32", ["n", 3]), "difference": ("float32", ["n", 3])},
)


def captured() -> CapturedGraphs:
    session = onnxruntime.InferenceSession(SUM, providers=["CPUExecutionProvider"])
    return CapturedGraphs(onnxruntime, session, "cpu")


def run(session: CapturedGraphs, feeds: dict[str, Any], outputs: list[str]) -> list[Any]:
    return session.run(feeds, outputs, onnxruntime.RunOptions())


def test_every_run_computes_on_its_own_inputs() -> None:
    session = captured()
    dice = np.random.default_rng(1)
    # When shapes come back again and again, more of them than are kept
    for rows in [1, 2, 1, *range(1, 30), 2, 29, 1]:
        feeds = {name: dice.random((rows, 3), np.float32) for name in ("b", "a")}
        made = run(session, feeds, ["difference", "sum"])
        # Then each result is that of its own arrays
        np.testing.assert_array_equal(made[0], feeds["a"] - feeds["b"])
        np.testing.assert_array_equal(made[1], feeds["a"] + feeds["b"])
    assert len(session._buckets) == 16


def test_a_result_stays_when_the_next_run_reuses_its_buffer() -> None:
    session = captured()
    feeds = [
        {"a": np.full((1, 3), value, np.float32), "b": np.zeros((1, 3), np.float32)} for value in range(4)
    ]
    results = [run(session, each, ["sum"])[0] for each in feeds]
    assert [result.tolist() for result in results] == [[[value] * 3] for value in range(4)]
