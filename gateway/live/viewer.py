"""One open page: what it asked for, what it was shown, and what has changed since. No store, no socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec

MAX_ROWS = 200
"""Changed rows of one topic in a frame; above that the page is told to read the whole again."""

JOBS, QUEUES, WORKERS, SCALER, OVERVIEW = "jobs", "queues", "workers", "scaler", "overview"
TOPICS = (JOBS, QUEUES, WORKERS, SCALER, OVERVIEW)
FOR_OPERATORS = frozenset({QUEUES, WORKERS, SCALER})

R = TypeVar("R")


class Shown(NamedTuple):
    """A row as it is sent, encoded once for all viewers.

    Attributes:
        mark: What it is told anew for when it changes: ages grow by themselves.
        row: JSON.
    """

    mark: object
    row: msgspec.Raw


Rows = Mapping[str, Shown]
"""A topic's rows by their id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a page shows.

    Attributes:
        topics: Of what it wants to hear.
        ids: The jobs on it.
        newest: Jobs with a higher id are new to it; None: those made from now on.
        all: Jobs of every tenant.
    """

    topics: frozenset[str] = frozenset()
    ids: frozenset[UUID] = frozenset()
    newest: UUID | None = None
    all: bool = False


class Viewer:
    """Collects the latest rows, and tells what differs from what was told.

    Args:
        tenant: Whose jobs it may see.
        operator: It may see queues, workers, the scaler, and all tenants' jobs.

    Attributes:
        wish: What it asked for, less what it may not see.
        changed: Set when there is something to take.
        newest: The job above which all are new to it.
        ended: This process is about to stop.
    """

    def __init__(self, tenant: str, *, operator: bool) -> None:
        self.tenant = tenant
        self.operator = operator
        self.wish = Wish()
        self.changed = asyncio.Event()
        self.newest: UUID | None = None
        self.ended = False
        self._new_jobs: int | None = None
        self._latest: dict[str, Rows] = {}
        self._told: dict[str, dict[str, object]] = {}
        self._stale: set[str] = set()
        self._pending: dict[str, Any] = {}

    def scope(self, topic: str) -> str | None:
        """Whose rows of a topic it sees; None: everybody's."""
        if topic == JOBS:
            return None if self.wish.all else self.tenant
        return None if self.operator else self.tenant

    def ask(self, wish: Wish) -> None:
        """Take another wish; what it may not see is refused, and the rest is given."""
        refused = sorted(wish.topics & FOR_OPERATORS) if not self.operator else []
        everybody = wish.all and self.operator
        if everybody != self.wish.all:
            self._told.pop(JOBS, None)
        self.wish = Wish(
            topics=wish.topics.difference(refused), ids=wish.ids, newest=wish.newest, all=everybody
        )
        self.newest, self._new_jobs = wish.newest, None
        for topic in self._told.keys() - self.wish.topics:
            del self._told[topic]
        for kept in (self._latest, self._pending):
            kept.clear()
        self._stale &= self.wish.topics
        self._pending = {"refused": refused} if refused else {}
        self.changed.set()

    def offer(self, topic: str, rows: Rows) -> None:
        """All rows of a topic as they are now; replaces what was not taken yet."""
        if topic not in self.wish.topics:
            return
        self._latest[topic] = self._shown(topic, rows)
        self._stale.discard(topic)
        self.changed.set()

    def count_new(self, count: int) -> None:
        """So many jobs are new to it."""
        if count != self._new_jobs:
            self._new_jobs = self._pending["new_jobs"] = count
            self.changed.set()

    @property
    def new_jobs(self) -> int:
        """As it was last counted."""
        return self._new_jobs or 0

    def fail(self, topic: str) -> None:
        """The rows of a topic could not be read: what is shown gets old."""
        if topic in self.wish.topics and topic not in self._stale:
            self._stale.add(topic)
            self._pending.setdefault("stale", []).append(topic)
            self.changed.set()

    def end(self) -> None:
        """The socket is to be closed."""
        self.ended = True
        self.changed.set()

    def take(self) -> dict[str, Any]:
        """What has changed since the last call; empty where nothing has."""
        self.changed.clear()
        frame, self._pending = self._pending, {}
        for topic, rows in self._latest.items():
            self._add_changes(frame, topic, rows)
        self._latest.clear()
        return frame

    def _shown(self, topic: str, rows: Rows) -> Rows:
        if topic != JOBS:
            return rows
        return {name: rows[name] for name in map(str, self.wish.ids) if name in rows}

    def _add_changes(self, frame: dict[str, Any], topic: str, rows: Rows) -> None:
        told = self._told.get(topic, {})
        changed = [shown.row for name, shown in rows.items() if told.get(name) != shown.mark]
        gone = [name for name in told if name not in rows] if topic != JOBS else []
        self._told[topic] = {name: shown.mark for name, shown in rows.items()}
        if len(changed) > MAX_ROWS or len(gone) > MAX_ROWS:
            frame.setdefault("resync", []).append(topic)
            return
        if changed:
            frame[topic] = changed[0] if topic == OVERVIEW else changed
        if gone:
            frame.setdefault("gone", {})[topic] = gone


def encoded(rows: Iterable[tuple[str, R]], mark: Callable[[R], object] | None = None) -> Rows:
    """Rows by their id, ready to be sent.

    Args:
        rows: Each with its id.
        mark: What of a row has to change for it to be told anew; anything, where it is left out.
    """
    return {name: _shown(row, mark) for name, row in rows}


def _shown(row: R, mark: Callable[[R], object] | None) -> Shown:
    body = msgspec.json.encode(row)
    return Shown(mark(row) if mark else body, msgspec.Raw(body))
