"""`leveret demo kill`: ends a worker by `kill -9` in the midst of its job, tells what follows, and counts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from gateway.client.cli.exits import FAILED, OK, UsageError, printable
from gateway.client.cli.session import NO_OPTIONS, Common, print_json
from gateway.client.cli.units import count, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.client.cli.killing import Say
    from gateway.client.cli.ledger import Ledger
    from gateway.client.settings import Target

demo = App(
    name="demo",
    help="Break something on purpose and watch that nothing is lost.",
    help_format="plaintext",
    result_action="return_value",
)

MODEL = "cutout"
"""Of the local stack; takes a second, long enough to be killed in."""


@demo.command
def kill(
    model: str = MODEL,
    /,
    *values: str,
    times: Annotated[int, Parameter(name=["--times", "-n"])] = 1,
    common: Common = NO_OPTIONS,
) -> int:
    """Kill the worker of a running job with `kill -9`, tell who notices, and count what was lost or doubled.

    The worker must be a process of this machine and of this user. Where no gateway runs, a private stack is
    started for it, and removed afterwards. For operators.

    Exit codes: 0 nothing lost, nothing doubled; 1 something was; 2 usage, or not a worker that may be killed.

    Args:
        model: What to run; it should take a second or more.
        values: Its inputs and params: image=@face.jpg, size=128. Of `cutout` a picture is drawn by default.
        times: So many jobs, one after the other, each with a kill.
        common: Options of every command.
    """
    from gateway.client.cli.private import stage  # noqa: PLC0415  not for --help

    if times < 1:
        raise UsageError(f"--times {times}: give a number from 1 on", ("demo", "kill"))
    with stage(common.url, Path.cwd()) as target:
        ledger = asyncio.run(_act(target, model, values, times, _narrator(common)))
    if common.json:
        print_json(ledger.document())
    else:
        _conclude(ledger)
    return OK if ledger.well else FAILED


async def _act(target: Target, model: str, values: Sequence[str], times: int, say: Say) -> Ledger:
    from gateway.client.aio import AsyncClient  # noqa: PLC0415  not for --help
    from gateway.client.cli.killing import play  # noqa: PLC0415  idem
    from gateway.client.cli.session import PATIENCE  # noqa: PLC0415  idem

    async with AsyncClient(target.url, target.api_key, retry=PATIENCE) as client:
        return await play(client, model, values, times, say)


def _narrator(common: Common) -> Say:
    """One line per thing that happens; with --json none, so that stdout is one document."""
    if common.json:
        return lambda *_: None
    from rich.text import Text  # noqa: PLC0415  not for --json

    from gateway.client.cli.show import console  # noqa: PLC0415  idem

    screen = console()

    def say(at_s: float, who: str, what: str, style: str = "default") -> None:
        line = Text(f"{at_s:7.2f}s  ", style="dim").append(f"{who:<9} ", style=f"bold {style}")
        screen.print(line.append(printable(what), style="default"))

    return say


def _conclude(ledger: Ledger) -> None:
    from rich.text import Text  # noqa: PLC0415  only for a terminal

    from gateway.client.cli.show import console  # noqa: PLC0415  idem

    screen = console()
    for job in ledger.problems():
        screen.print(Text(printable(f"  {job}"), style="red"))
    screen.print(Text(_verdict(ledger), style="bold green" if ledger.well else "bold red"))


def _verdict(ledger: Ledger) -> str:
    told: dict[str, Any] = ledger.document()
    slowest = f"; started again within {span(told['again_s_max'])}" if told["again_s_max"] is not None else ""
    killed = count(told["killed"], "worker") + " killed"
    return f"accepted {told['accepted']} · lost {told['lost']} · twice {told['twice']}    ({killed}{slowest})"
