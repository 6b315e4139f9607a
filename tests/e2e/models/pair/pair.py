"""An algorithm that works in batches."""

from __future__ import annotations

from typing import Any


class Pair:
    """Gives back what it got."""

    def prepare(self, note: Any) -> Any:
        """Nothing to prepare."""
        return note

    def infer(self, items: list[Any]) -> list[Any]:
        """All of them at once."""
        return items
