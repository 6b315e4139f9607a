"""`leveret failures`: what failed lately in groups, or one group with a traceback."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gateway.client.cli.exits import OK, printable
from gateway.client.cli.jobs import print_rows
from gateway.client.cli.session import NO_OPTIONS, Common, print_json
from gateway.client.cli.units import clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HOUR_S = 3600.0
_NAMES = 3
_BARS = " ▁▂▃▄▅▆▇█"


async def failures(
    fingerprint: str | None = None,
    /,
    *,
    hours: float = 24.0,
    model: Annotated[str | None, Parameter(name=["--model", "-m"])] = None,
    queue: Annotated[str | None, Parameter(name=["--queue", "-q"])] = None,
    everybody: Annotated[bool, Parameter(negative="")] = False,
    common: Common = NO_OPTIONS,
) -> int:
    """Show what failed lately, in groups of what is alike, or one group more closely.

    Args:
        fingerprint: The group, as the list names it.
        hours: So far back.
        model: Only this model's.
        queue: Only this queue's.
        everybody: Of every tenant, with a key of an operator.
        common: Options of every command.
    """
    since_s = hours * _HOUR_S
    async with common.client() as client:
        if fingerprint is None:
            found = await client.failures(since_s=since_s, model=model, queue=queue, everybody=everybody)
        else:
            found = await client.failure(fingerprint, since_s=since_s, everybody=everybody)
    if common.json:
        print_json(found)
    elif fingerprint is None:
        _print_groups(found)
    else:
        _print_group(found)
    return OK


def _print_groups(found: Mapping[str, Any]) -> None:
    from gateway.client.cli.show import console, table  # noqa: PLC0415  only for a terminal

    shown = table("fingerprint", "count", "open", "when", "first", "last", "models", "failure")
    for group in found["groups"]:
        shown.add_row(
            group["fingerprint"],
            f"{group['count']}{'+' if found['more'] else ''}",
            str(group["open"]),
            bars(group["points"]),
            clock(group["first_at"]),
            clock(group["last_at"]),
            printable(_names(group["models"])),
            printable(_what(group)),
        )
    console().print(shown, markup=False)


def _print_group(group: Mapping[str, Any]) -> None:
    out = [
        _what(group),
        (
            f"{group['count']} times, {group['retried']} of them retried, {group['open']} open; "
            f"first {clock(group['first_at'])}, last {clock(group['last_at'])}"
        ),
    ]
    out += [f"{kind}: {_names(group[kind])}" for kind in ("models", "queues", "workers") if group[kind]]
    if group["traceback"]:
        out += [
            "",
            f"── {group['sample_job']}, attempt {group['attempt']} ──",
            group["traceback"].rstrip(),
            "",
        ]
    sys.stdout.write(printable("\n".join(out)) + "\n")
    print_rows(group)


def bars(points: Sequence[int]) -> str:
    """Numbers as a line of bars, the largest one full."""
    most = max([*points, 1])
    return "".join(_BARS[-(-point * (len(_BARS) - 1) // most)] for point in points)


def _names(named: Sequence[Mapping[str, Any]]) -> str:
    more = ", …" if len(named) > _NAMES else ""
    return ", ".join(f"{each['name']} {each['count']}" for each in named[:_NAMES]) + more


def _what(group: Mapping[str, Any]) -> str:
    return " ".join(f"{group['code']}: {group['message']}".split())
