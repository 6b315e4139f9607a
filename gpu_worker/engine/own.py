"""A child that an algorithm forked ends where it comes back out of the algorithm. Standard library only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class OwnProcess:
    """Calls of an algorithm's code, from which only the process that made this returns.

    A child that came back beside its parent, as if it were the engine, would write over its parent's outputs
    and take its parent's locks and frames for its own.
    """

    __slots__ = ("_owner",)

    def __init__(self) -> None:
        self._owner = os.getpid()

    def of(self, step: Callable[..., Any], *values: Any) -> Any:
        """What the step returns; a child of this process ends here, whatever it returns or raises."""
        try:
            return step(*values)
        finally:
            self.check()

    def check(self) -> None:
        """End, where this is not the process that it was."""
        if os.getpid() != self._owner:
            os._exit(1)  # at once: whatever a child cleaned up would be its parent's too
