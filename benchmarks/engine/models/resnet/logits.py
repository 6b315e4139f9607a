"""[1, 3, 224, 224] as bytes in, [1000] as bytes out, in the graph's own type: float32 or float16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE = (1, 3, 224, 224)


class Logits:
    """The graph, and nothing else."""

    def load(self, model: Any) -> None:
        """Keep the opened graph."""
        self._session = model.session
        self._dtype = np.dtype(model.session.takes["input"].dtype)

    def prepare(self, *, tensor: bytes) -> NDArray[Any]:
        """The bytes as an array."""
        return np.frombuffer(tensor, self._dtype).reshape(SHAPE)

    def infer(self, items: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """One run of the graph for all of them."""
        (logits,) = self._session.run({"input": np.concatenate(items)})
        return list(logits)

    def finish(self, item: NDArray[Any], raw: NDArray[Any]) -> bytes:  # noqa: ARG002  its form
        """The array as bytes."""
        return raw.tobytes()
