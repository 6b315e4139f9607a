"""The audit in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.audit import Entry


class FakeEntries:
    """Keeps what was recorded; reading it out is the real store's."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str, str]] = []

    async def record(
        self, actor: str, action: str, target: str, *, count: int | None, detail: Mapping[str, Any]
    ) -> None:
        self.written.append((actor, action, target))

    async def entries(
        self, *, action: str | None, actor: str | None, before: int | None, limit: int
    ) -> Sequence[Entry]:
        raise NotImplementedError
