"""Sums into what `GET /v1/cost` answers. Pure: no store, no clock. Money is Decimal until it is written.

    used   the attempts' shares of the machines' time, at the machines' prices
    paid   the machines' time from launch to end, boots and idling included
    idle   what was paid and nobody used; of a queue, since a machine serves one

Tenants and models share the idle cost of each queue by what they used of it. Where nobody used anything it is
nobody's: a row without a key. So the rows' `paid` add up to all that was paid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from gateway.operations.usage import Paid, Used
from shared.tariff import money

DIGITS = Decimal("1e-8")
NOTHING = Decimal(0)
WHOLE = frozenset({"queue", "day"})
"""What has machines of its own; all other keys share them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of the answer.

    Attributes:
        used: Of what has a price.
        idle: None where it is not told.
        paid_s: Machine seconds that were paid, where a row stands for whole machines.
        unpriced_s: Machine seconds, used or paid, that have no price.
    """

    key: str | None
    jobs: int = 0
    attempts: int = 0
    machine_s: float = 0.0
    gpu_s: float = 0.0
    used: Decimal = NOTHING
    wasted_attempts: int = 0
    wasted_s: float = 0.0
    wasted: Decimal = NOTHING
    idle: Decimal | None = None
    paid_s: float | None = None
    unpriced_s: float = 0.0

    @property
    def is_known(self) -> bool:
        """Whether any of its time has a price; no time costs nothing."""
        seconds = self.machine_s if self.paid_s is None else self.paid_s
        return not seconds or self.unpriced_s < seconds

    @property
    def paid(self) -> Decimal | None:
        """Used and idle together."""
        return None if self.idle is None else self.used + self.idle


Rows = dict[str | None, Line]


def lines(by: str, used: Iterable[Used], paid: Iterable[Paid] | None) -> list[Line]:
    """One line per key, the dearest first.

    Args:
        by: What the keys are.
        used: By key and queue.
        paid: By queue, or by queue and day where days are the keys; None: idling is not told.
    """
    found = list(used)
    keys = sorted({row.key for row in found})
    rows: Rows = {key: _line(key, [row for row in found if row.key == key]) for key in keys}
    if paid is not None and by in WHOLE:
        rows = _with_paid(rows, paid)
    elif paid is not None:
        rows = _with_shares(rows, found, paid)
    return sorted(
        rows.values(), key=lambda row: (-(row.used + (row.idle or 0)), -row.machine_s, row.key or "")
    )


def total(rows: Sequence[Line], paid: Iterable[Paid] | None) -> Line:
    """All lines together; what was paid is that of the machines themselves."""
    sums = _sum(rows)
    if paid is None:
        return sums
    bought = list(paid)
    return replace(
        sums,
        idle=sum((row.idle or NOTHING for row in rows), NOTHING),
        paid_s=sum(row.machine_s for row in bought),
        unpriced_s=sum(row.unpriced_s for row in bought),
    )


def document(row: Line) -> dict[str, Any]:
    """A line as it is answered. What has no price at all is null, never 0."""
    known = row.is_known
    each = row.used if row.paid is None else row.paid
    return {
        "key": row.key,
        "jobs": row.jobs,
        "attempts": row.attempts,
        "machine_s": round(row.machine_s, 3),
        "gpu_s": round(row.gpu_s, 3),
        "used": _money(row.used) if known else None,
        "wasted_attempts": row.wasted_attempts,
        "wasted_s": round(row.wasted_s, 3),
        "wasted": _money(row.wasted) if known else None,
        "idle": _money(row.idle) if known else None,
        "paid": _money(row.paid) if known else None,
        "paid_s": None if row.paid_s is None else round(row.paid_s, 3),
        "per_1000_jobs": _money(1000 * each / row.jobs) if known and row.jobs else None,
        "unpriced_s": round(row.unpriced_s, 3),
    }


def _line(key: str | None, rows: Sequence[Used]) -> Line:
    return _sum([_line_of(key, row) for row in rows], key)


def _line_of(key: str | None, row: Used) -> Line:
    return Line(
        key=key,
        jobs=row.jobs,
        attempts=row.attempts,
        machine_s=row.machine_s,
        gpu_s=row.gpu_s,
        used=row.cost,
        wasted_attempts=row.wasted_attempts,
        wasted_s=row.wasted_s,
        wasted=row.wasted_cost,
        unpriced_s=row.unpriced_s,
    )


def _sum(rows: Sequence[Line], key: str | None = None) -> Line:
    return Line(
        key=key,
        jobs=sum(row.jobs for row in rows),
        attempts=sum(row.attempts for row in rows),
        machine_s=sum(row.machine_s for row in rows),
        gpu_s=sum(row.gpu_s for row in rows),
        used=sum((row.used for row in rows), NOTHING),
        wasted_attempts=sum(row.wasted_attempts for row in rows),
        wasted_s=sum(row.wasted_s for row in rows),
        wasted=sum((row.wasted for row in rows), NOTHING),
        unpriced_s=sum(row.unpriced_s for row in rows),
    )


def _with_paid(rows: Rows, paid: Iterable[Paid]) -> Rows:
    """A queue, or a day, has machines of its own."""
    found = {key: replace(row, idle=-row.used, paid_s=0.0, unpriced_s=0.0) for key, row in rows.items()}
    for each in paid:
        row = found.get(each.key, Line(key=each.key, idle=NOTHING, paid_s=0.0))
        found[each.key] = replace(
            row,
            idle=(row.idle or NOTHING) + each.cost,
            paid_s=(row.paid_s or 0.0) + each.machine_s,
            unpriced_s=row.unpriced_s + each.unpriced_s,
        )
    return found


def _with_shares(rows: Rows, used: Sequence[Used], paid: Iterable[Paid]) -> Rows:
    """Of each queue's idle cost everybody who used it has a part, so that nothing is left over."""
    found = {key: replace(row, idle=NOTHING) for key, row in rows.items()}
    for each in paid:
        users = {row.key: row.cost for row in used if row.queue == each.queue}
        for key, part in _parts(each.cost - sum(users.values(), NOTHING), users).items():
            row = found.get(key, Line(key=key, idle=NOTHING))
            found[key] = replace(row, idle=(row.idle or NOTHING) + part)
    return found


def _parts(idle: Decimal, users: Mapping[str, Decimal]) -> dict[str | None, Decimal]:
    """By use; the last one gets what rounding leaves."""
    whole = sum(users.values(), NOTHING)
    if not whole:
        return {None: idle} if idle else {}
    parts: dict[str | None, Decimal] = {
        key: (idle * cost / whole).quantize(DIGITS) for key, cost in sorted(users.items())
    }
    last = max(users)
    parts[last] += idle - sum(parts.values(), NOTHING)
    return parts


def _money(amount: Decimal | None) -> str | None:
    return None if amount is None else money(amount.quantize(DIGITS, ROUND_HALF_EVEN))
