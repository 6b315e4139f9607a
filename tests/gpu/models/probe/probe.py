"""Runs the graph beside it on arrays drawn from a seed: a job is a line of JSON, its answer an array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_worker.engine.handler import LoadContext


def feed_of(given: dict[str, Any]) -> NDArray[Any]:
    """The array that `{"seed": 1, "batch": 2, "dtype": "float16"}` stands for."""
    random = np.random.default_rng(given["seed"])
    return random.standard_normal((given["batch"], 3, 224, 224), np.float32).astype(given["dtype"])


class Probe:
    """`given` in, the graph's output as .npy out."""

    def load(self, model: LoadContext) -> None:
        """Keep the session."""
        assert model.session is not None
        self._session = model.session

    def prepare(self, given: dict[str, Any]) -> NDArray[Any]:
        """The input."""
        return feed_of(given)

    def infer(self, items: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """The output of each."""
        return [self._session.run({"input": item}, ["logits"])[0] for item in items]
