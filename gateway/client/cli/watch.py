"""`leveret watch`: the pushed events of jobs, one line each, until all have ended."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from gateway.client.cli.exits import FAILED, OK, exit_code_of, report
from gateway.client.cli.session import NO_OPTIONS, Common, print_json
from gateway.client.errors import LeveretError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.client.aio import AsyncClient
    from gateway.client.records import Event


async def watch(job_id: str, /, *more: str, common: Common = NO_OPTIONS) -> int:
    """Follow jobs from their first event until all have ended; comes back by itself after a lost connection.

    Args:
        job_id: The job.
        more: Further jobs, followed at the same time.
        common: Options of every command.
    """
    show = _shower(common)
    async with common.client() as client, asyncio.TaskGroup() as group:
        tasks = [group.create_task(_watch_one(client, job_id, show, common)) for job_id in (job_id, *more)]
    return max((task.result() for task in tasks), default=OK)


async def _watch_one(client: AsyncClient, job_id: str, show: Callable[[Event], None], common: Common) -> int:
    """Follow one job; its own failure to be followed does not end the others."""
    state = None
    try:
        # A job of somebody else is told here, in words, before a socket is refused.
        job = await client.job(job_id)
        async with aclosing(job.events(after=0)) as events:
            async for event in events:
                show(event)
                state = event.state or state
    except LeveretError as error:
        report(error, as_json=common.json)
        return exit_code_of(error)
    return OK if state == "succeeded" else FAILED


def _shower(common: Common) -> Callable[[Event], None]:
    if common.json:
        return lambda event: print_json(event.as_dict())
    from gateway.client.cli.show import console, print_event  # noqa: PLC0415  not for --json

    screen = console()
    return lambda event: print_event(screen, event)
