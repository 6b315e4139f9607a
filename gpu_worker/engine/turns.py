"""One model's own modules at a time, though several stages run side by side.

A model's folder leads `sys.path` while its code runs (see `ModelImports`), and there is one `sys.path` for
all threads. So any number of one model's stages run beside each other, and another model's wait until those
have ended. Models without code of their own (a graph and a ready-made handler) wait for nobody.

Standard library only.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from gpu_worker.engine.handler import ModelImports


class Turns:
    """Whose imports are active."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._current: ModelImports | None = None
        self._active: AbstractContextManager[None] | None = None
        self._inside = 0
        self._others = 0

    @contextmanager
    def of(self, imports: ModelImports) -> Iterator[None]:
        """Be among this model's own within the block."""
        self._enter(imports)
        try:
            yield
        finally:
            self._leave()

    def _enter(self, imports: ModelImports) -> None:
        with self._changed:
            if self._current is not imports or self._others:  # who waits for a change goes before who joins
                self._others += 1
                self._changed.wait_for(lambda: not self._inside or self._joins(imports))
                self._others -= 1
            if not self._inside:
                self._current = imports
                self._active = imports.active()
                self._active.__enter__()
            self._inside += 1

    def _joins(self, imports: ModelImports) -> bool:
        return self._current is imports and self._others == 1

    def _leave(self) -> None:
        with self._changed:
            self._inside -= 1
            active = self._active
            try:
                if not self._inside and active is not None:
                    self._current = self._active = None
                    active.__exit__(None, None, None)
            finally:
                self._changed.notify_all()


TURNS = Turns()
"""Of this process."""
