"""Writes an ONNX graph of ResNet-50's shape with random, seeded weights: 4 billion products, 102 MB.

Batch normalisation is folded into the convolutions, as an optimiser would leave it. The weights mean nothing,
and are scaled so that no value grows beyond what the type can hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

SEED = 50
OPSET, IR_VERSION = 17, 10
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Width, blocks and first stride of each stage."""
EXPANSION = 4
CLASSES = 1000
BRANCH = 0.2
"""What a residual branch adds at first, so that sixteen of them do not add up without bound."""
ELEMENT_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16}


def write_resnet50(path: Path, element_type: type[np.floating[Any]] = np.float32) -> None:
    """Write the graph: `input` [n, 3, 224, 224] → `logits` [n, 1000], in float32 or float16."""
    graph = _Graph(np.dtype(element_type))
    value = graph.pool(graph.convolve("input", "stem", (3, 64, 7), stride=2))
    channels = 64
    for stage, (width, blocks, stride) in enumerate(STAGES):
        for block in range(blocks):
            name = f"stage{stage}.{block}"
            value = graph.block(value, name, (channels, width), stride if block == 0 else 1)
            channels = width * EXPANSION
    graph.classify(value, channels)
    onnx.save_model(graph.model(), str(path))


class _Graph:
    """Nodes and weights as they come."""

    def __init__(self, element_type: np.dtype[Any]) -> None:
        self._type = element_type
        self._random = np.random.default_rng(SEED)
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def convolve(
        self, value: str, name: str, shape: tuple[int, int, int], *, stride: int = 1, gain: float = 1.0
    ) -> str:
        """A convolution (channels in, channels out, kernel) with its bias, and the ReLU after it."""
        return self._add("Relu", [self._convolve(value, name, shape, stride, gain)], f"{name}.relu")

    def _convolve(
        self, value: str, name: str, shape: tuple[int, int, int], stride: int, gain: float = 1.0
    ) -> str:
        given, made, kernel = shape
        deviation = gain * np.sqrt(2 / (given * kernel * kernel))
        weight = self._weight(f"{name}.weight", (made, given, kernel, kernel), deviation)
        bias = self._weight(f"{name}.bias", (made,), 0.01)
        pads = [kernel // 2] * 4
        strides = [stride, stride]
        return self._add(
            "Conv", [value, weight, bias], name, kernel_shape=[kernel] * 2, pads=pads, strides=strides
        )

    def block(self, value: str, name: str, channels: tuple[int, int], stride: int) -> str:
        """A bottleneck: 1x1, 3x3, 1x1, and what came in added to it."""
        given, width = channels
        made = width * EXPANSION
        inner = self.convolve(value, f"{name}.1", (given, width, 1))
        inner = self.convolve(inner, f"{name}.2", (width, width, 3), stride=stride)
        inner = self._convolve(inner, f"{name}.3", (width, made, 1), 1, BRANCH)
        same = given == made and stride == 1
        aside = value if same else self._convolve(value, f"{name}.down", (given, made, 1), stride)
        return self._add("Relu", [self._add("Add", [inner, aside], f"{name}.sum")], f"{name}.out")

    def pool(self, value: str) -> str:
        """The stem's 3x3 maximum."""
        return self._add("MaxPool", [value], "pool", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])

    def classify(self, value: str, channels: int) -> None:
        """The mean over the picture, and a linear layer."""
        flat = self._add("Flatten", [self._add("GlobalAveragePool", [value], "mean")], "flat")
        weight = self._weight("classes.weight", (channels, CLASSES), np.sqrt(1 / channels))
        bias = self._weight("classes.bias", (CLASSES,), 0.01)
        self._add("Gemm", [flat, weight, bias], "logits")

    def model(self) -> Any:
        """The whole, checked."""
        element = ELEMENT_TYPES[self._type]
        given = helper.make_tensor_value_info("input", element, ["n", 3, 224, 224])
        made = helper.make_tensor_value_info("logits", element, ["n", CLASSES])
        graph = helper.make_graph(self._nodes, "resnet50", [given], [made], self._weights)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model

    def _weight(self, name: str, shape: tuple[int, ...], deviation: float) -> str:
        values = self._random.standard_normal(shape, np.float32) * np.float32(deviation)
        self._weights.append(numpy_helper.from_array(values.astype(self._type), name))
        return name

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output
