"""How fast models are and how often they fail: percentiles with their number, and none that says nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from gateway.lists.asked import tenant_of
from gateway.ports import Caller, Models
from shared.errors import NotFound
from shared.events import timestamp

ENDINGS = ("succeeded", "failed", "retried", "canceled", "expired")
P99_FROM = 100
"""Below so many the 99th percentile is but the slowest one."""

Share = tuple[int, Sequence[float]]


class Sample(Protocol):
    """Attempts that ended."""

    @property
    def n(self) -> int:
        """How many."""

    @property
    def wait(self) -> Share:
        """How many of them say for how long, and their percentiles."""

    @property
    def run(self) -> Share:
        """Idem."""

    @property
    def ended(self) -> Mapping[str, int]:
        """By how they ended."""

    @property
    def more(self) -> bool:
        """There were more than were looked at."""


class Measured(Sample, Protocol):
    """How one model did."""

    @property
    def name(self) -> str:
        """The model's."""

    @property
    def batch(self) -> float | None:
        """The median of the batches' sizes."""

    @property
    def errors(self) -> Sequence[Mapping[str, Any]]:
        """By code, most first."""


class Loaded(Protocol):
    """How one model was loaded, of which a load is on record."""

    @property
    def n(self) -> int:
        """How often in the window."""

    @property
    def load(self) -> Share:
        """How many of these say for how long, and their percentiles."""

    @property
    def memory_mb(self) -> float | None:
        """What it took, 10^6 bytes."""


class Records(Protocol):
    """Reads measurements."""

    async def models(self, tenant: str | None, model: str | None, window_s: float) -> Sequence[Measured]:
        """Of every model, or one."""

    async def loads(self, model: str | None, window_s: float) -> Mapping[str, Loaded]:
        """By name, of every model or one, those of which a load is on record."""


class Statistics:
    """Answers about models. Workers load them for whoever comes, so loads are the same for every tenant.

    Raises from every method:
        Forbidden: Every tenant's were asked for, with a key of a tenant.
        Unavailable: PostgreSQL is away.
    """

    def __init__(self, catalog: Models, records: Records) -> None:
        self._catalog = catalog
        self._records = records

    async def models(self, caller: Caller, scope: str, window_s: float) -> dict[str, Any]:
        """Every model on offer, and any other of which something ended in the window."""
        found = await self._records.models(tenant_of(caller, scope), None, window_s)
        by_name = {measured.name: measured for measured in found}
        loads = await self._records.loads(None, window_s)
        names = sorted({model.name for model in self._catalog.models} | by_name.keys())
        told = [_document(name, by_name.get(name), loads.get(name), window_s) for name in names]
        return {"models": told, "server_time": timestamp(datetime.now(UTC))}

    async def model(self, caller: Caller, scope: str, window_s: float, name: str) -> dict[str, Any]:
        """One of them.

        Raises:
            NotFound: It is not on offer, and nothing of it ended in the window.
        """
        found = await self._records.models(tenant_of(caller, scope), name, window_s)
        if not found and self._catalog.find(name) is None:
            raise NotFound(f"there is no model {name!r} here")
        loads = await self._records.loads(name, window_s)
        return _document(name, found[0] if found else None, loads.get(name), window_s)


def _document(name: str, measured: Measured | None, loaded: Loaded | None, window_s: float) -> dict[str, Any]:
    none: Share = (0, ())
    ended = dict(measured.ended) if measured else dict.fromkeys(ENDINGS, 0)
    bad = ended["failed"] + ended["retried"]
    judged = ended["succeeded"] + bad
    return {
        "name": name,
        "window_s": window_s,
        "n": measured.n if measured else 0,
        "more": bool(measured and measured.more),
        "wait": _percentiles(measured.wait if measured else none),
        "load": _percentiles(loaded.load if loaded else none),
        "run": _percentiles(measured.run if measured else none),
        "ended": ended,
        "errors": [dict(each) for each in measured.errors] if measured else [],
        "error_rate": bad / judged if judged else None,
        "cold_starts": loaded.n if loaded else None,
        "batch_size_p50": measured.batch if measured else None,
        "memory": round(loaded.memory_mb * 1e6) if loaded and loaded.memory_mb is not None else None,
    }


def _percentiles(share: Share) -> dict[str, Any]:
    n, values = share
    shown = [round(value, 6) for value in values] if n else [None, None, None]
    return {"n": n, "p50": shown[0], "p95": shown[1], "p99": shown[2] if n >= P99_FROM else None}
