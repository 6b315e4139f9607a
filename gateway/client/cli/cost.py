"""`leveret cost`: what was used, what was paid, and what idled."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from gateway.client.cli.exits import OK, UsageError, printable
from gateway.client.cli.session import NO_OPTIONS, Common, print_json
from gateway.client.cli.units import MISSING, clock, span

if TYPE_CHECKING:
    from collections.abc import Mapping

By = Literal["tenant", "model", "queue", "day", "job"]
_AGO = re.compile(r"([1-9][0-9]{0,3})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}
NOBODY = "(nobody)"


async def cost(
    *,
    by: By = "queue",
    since: str = "7d",
    until: str | None = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"])] = 100,
    common: Common = NO_OPTIONS,
) -> int:
    """Show what machines cost: used by jobs, paid, and idle. A tenant's key shows what that tenant used.

    Args:
        by: What a row stands for.
        since: From when on: `12h`, `7d` or `4w` ago, or a moment (2026-11-22 or RFC 3339).
        until: Until when, likewise; now by default.
        limit: So many rows, at most 1,000.
        common: Options of every command.
    """
    begin, end = moment("since", since), None if until is None else moment("until", until)
    async with common.client() as client:
        found = await client.cost(by, since=begin, until=end, limit=limit)
    if common.json:
        print_json(found)
    else:
        _print(found)
    return OK


def moment(name: str, text: str) -> str:
    """What a person calls a moment, in RFC 3339.

    Raises:
        UsageError: It is none.
    """
    if ago := _AGO.fullmatch(text):
        hours = int(ago[1]) * _HOURS[ago[2]]
        return (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise UsageError(
            f"--{name} {text}: say 12h, 7d, 4w, a day or an RFC 3339 moment", ("cost",)
        ) from None


def _print(found: Mapping[str, Any]) -> None:
    from gateway.client.cli.show import console, table  # noqa: PLC0415  only for a terminal

    shown = table(
        found["by"], "jobs", "attempts", "machine", "GPU", "used", "wasted", "idle", "paid", "used/paid",
        "per 1,000 jobs",
    )  # fmt: skip
    for row in found["rows"]:
        shown.add_row(*_cells(row, row["key"] or NOBODY))
    shown.add_row(*_cells(found["total"], "total"), style="bold")
    screen = console()
    screen.print(shown, markup=False)
    screen.print(
        f"{found['currency']}, from {clock(found['since'])} to {clock(found['until'])}", markup=False
    )
    if unpriced_s := found["total"]["unpriced_s"]:
        screen.print(f"left out, for no price is known: {span(unpriced_s)} of machine time", markup=False)
    if found["partial"]:
        screen.print("not all rows are shown", markup=False)


def _cells(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return (
        printable(name),
        str(row["jobs"]),
        str(row["attempts"]),
        span(row["machine_s"]),
        span(row["gpu_s"]),
        amount(row["used"]),
        amount(row["wasted"]),
        amount(row["idle"]),
        amount(row["paid"]),
        _share(row["used"], row["paid"]),
        amount(row["per_1000_jobs"]),
    )


def amount(text: str | None) -> str:
    """Money for a person: two decimals, or as many as four digits need; --json has all of them."""
    if text is None:
        return MISSING
    value = Decimal(text)
    places = 2 if abs(value) >= 1 or not value else min(8, 1 - value.adjusted())
    return f"{value:,.{places}f}"


def _share(used: str | None, paid: str | None) -> str:
    if used is None or paid is None or not Decimal(paid):
        return MISSING
    return f"{Decimal(used) / Decimal(paid):.0%}"
