"""After: the task's body, less all that was not the algorithm: no S3, no session, no retries, no states."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matting

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from gpu_worker.engine.handler import LoadContext

_seen: set[str] = set()


@dataclass(frozen=True)
class Item:
    """One job on its way."""

    size: tuple[int, int]
    tensor: np.ndarray


class Matte:
    """A picture in, its mask out."""

    def load(self, model: LoadContext) -> None:
        """Once per engine process."""
        self._session = model.session

    def prepare(self, image: Image.Image, hold_s: float, flaky: bool, job: Any) -> Item:  # noqa: FBT001  by name
        """On the CPU, while another job has the device."""
        job.progress(0.25)
        if flaky and job.id not in _seen:
            _seen.add(job.id)
            raise matting.DeviceBusyError("out of memory, this once")
        time.sleep(hold_s)
        return Item(image.size, matting.tensor_of(image))

    def infer(self, items: list[Item]) -> list[np.ndarray]:
        """On the device."""
        return [self._session.run({matting.INPUT: item.tensor}, [matting.OUTPUT])[0] for item in items]

    def finish(self, item: Item, raw: np.ndarray) -> Image.Image:
        """On the CPU again."""
        return matting.mask_of(raw, item.size)
