"""A device that computes one batch at a time for as long as it is told: held by a lock, busy by a sleep.

As with a GPU, the process waits without using a core and without Python's lock. The lock is a file's, so that
it is exclusive however many threads or processes would use the device.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Item = tuple[bytes, float]
"""What goes in and out, and the milliseconds that the device takes."""


class Device:
    """The handler, for Leveret's engine and for the peer's worker alike."""

    def load(self, model: Any) -> None:
        """The lock lies in the model's folder."""
        self._lock = Path(model.folder) / "device.lock"

    def prepare(self, *, data: bytes, hold_ms: float) -> Item:
        """The bytes as they are."""
        return data, hold_ms

    def infer(self, items: list[Item]) -> list[None]:
        """Hold the device once, however many items there are: that is what a batch is for."""
        with self._held():
            time.sleep(max(hold_ms for _, hold_ms in items) / 1000)
        return [None] * len(items)

    def finish(self, item: Item, raw: None) -> bytes:  # noqa: ARG002  a handler's form
        """As many bytes out as came in."""
        return item[0]

    @contextmanager
    def _held(self) -> Iterator[None]:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)  # which gives the lock back
