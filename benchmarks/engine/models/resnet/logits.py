"""float32 [1, 3, 224, 224] as bytes in, float32 [1000] as bytes out."""

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

    def prepare(self, *, tensor: bytes) -> NDArray[np.float32]:
        """The bytes as an array."""
        return np.frombuffer(tensor, np.float32).reshape(SHAPE)

    def infer(self, items: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """One run of the graph for all of them."""
        (logits,) = self._session.run({"input": np.concatenate(items)})
        return list(logits)

    def finish(self, item: NDArray[np.float32], raw: NDArray[np.float32]) -> bytes:  # noqa: ARG002  its form
        """The array as bytes."""
        return raw.tobytes()
