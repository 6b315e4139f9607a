"""`leveret scaler`: what was set of each fleet, why the scaler did what it did, and overriding it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from gateway.client.cli.crew import limit_words
from gateway.client.cli.exits import OK, UsageError, printable
from gateway.client.cli.explain import outcome, range_words, tell, there_words, wants_words
from gateway.client.cli.session import NO_OPTIONS, Common, print_json
from gateway.client.cli.units import MISSING, clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

scaler = App(
    name="scaler",
    help="Show what was set of each fleet, explain the scaler's decisions, override them. For operators.",
    help_format="plaintext",
    result_action="return_value",
)

GIVE_BACK = "none"


@scaler.default
async def list_fleets(common: Common = NO_OPTIONS) -> int:
    """Show of each queue's fleet who is there, what is wanted and set, by whom, and the last decision.

    Args:
        common: Options of every command.
    """
    async with common.client() as client:
        found = await client.fleets()
    if common.json:
        print_json({"fleets": found})
    else:
        _print_fleets(found)
    return OK


@scaler.command
async def explain(
    queue: str,
    /,
    *,
    count: Annotated[int, Parameter(name=["--count", "-n"])] = 5,
    common: Common = NO_OPTIONS,
) -> int:
    """Tell the latest decisions on a queue's fleet in words, newest first, with the numbers they rest on.

    Args:
        queue: Whose fleet.
        count: So many decisions, at most 100.
        common: Options of every command.
    """
    async with common.client() as client:
        page = await client.decisions(queue, limit=count)
    if common.json:
        print_json(page)
    else:
        _print_decisions(page["decisions"])
    return OK


@scaler.command(name="set")
async def set_limits(
    queue: str,
    /,
    *,
    low: Annotated[str | None, Parameter(name="--min")] = None,
    high: Annotated[str | None, Parameter(name="--max")] = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Set a fleet's limits over the scaler's settings; what is not said stays as it is.

    Args:
        queue: Whose fleet.
        low: Workers at least; `none` gives back to the scaler's settings.
        high: Workers at most; `none` gives back to the scaler's settings.
        common: Options of every command.
    """
    said = {name: _limit(name, text) for name, text in (("min", low), ("max", high)) if text is not None}
    if not said:
        raise UsageError("say --min, --max or both", ("scaler", "set"))
    async with common.client() as client:
        _show(await client.set_fleet(queue, **said), common)
    return OK


@scaler.command
async def pause(queue: str, /, common: Common = NO_OPTIONS) -> int:
    """Let the scaler start nothing and send nobody away; who is at work goes on.

    Args:
        queue: Whose fleet.
        common: Options of every command.
    """
    async with common.client() as client:
        _show(await client.pause_fleet(queue), common)
    return OK


@scaler.command
async def resume(queue: str, /, common: Common = NO_OPTIONS) -> int:
    """Let the scaler act again.

    Args:
        queue: Whose fleet.
        common: Options of every command.
    """
    async with common.client() as client:
        _show(await client.resume_fleet(queue), common)
    return OK


def _limit(name: str, text: str) -> int | None:
    if text == GIVE_BACK:
        return None
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"--{name} {text}: give a number from 0 on, or `{GIVE_BACK}`", ("scaler", "set"))
    return int(text)


def _show(fleet: Mapping[str, Any], common: Common) -> None:
    if common.json:
        print_json(fleet)
        return
    from gateway.client.cli.show import console  # noqa: PLC0415  only for a terminal

    limits = limit_words(fleet)
    told = "as the scaler's settings say" if limits == MISSING else limits
    console().print(printable(f"{fleet['queue']}: {told}, from the scaler's next look on"), markup=False)


def _print_fleets(found: Sequence[Mapping[str, Any]]) -> None:
    from gateway.client.cli.show import console, table  # noqa: PLC0415  only for a terminal

    shown = table("queue", "there", "wants", "limits", "set", "by", "at", "last decision", "")
    for fleet in found:
        latest = fleet["latest"]
        shown.add_row(
            printable(fleet["queue"]),
            there_words(fleet.get("there")),
            wants_words(fleet.get("look")),
            range_words(fleet.get("limits")),
            limit_words(fleet),
            printable(fleet["changed_by"] or MISSING),
            clock(fleet["changed_at"]),
            clock(latest["at"]) if latest else MISSING,
            printable(outcome(latest)) if latest else "",
        )
    console().print(shown, markup=False)


def _print_decisions(decisions: Sequence[Mapping[str, Any]]) -> None:
    from gateway.client.cli.show import console  # noqa: PLC0415  only for a terminal

    screen = console()
    for decision in decisions:
        for line in tell(decision):
            screen.print(printable(line), markup=False)
    if not decisions:
        screen.print("nothing was decided yet: no worker was wanted here so far", markup=False)
