"""`leveret job`, `logs`, `cancel`: one call each."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gateway.client.cli.exits import OK, printable
from gateway.client.cli.session import NO_OPTIONS, Common, print_json
from gateway.client.cli.submit import check_place, finish

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


async def job(
    job_id: str,
    /,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Show one job, and save its outputs if asked to.

    Args:
        job_id: The job.
        out: Save the outputs in this folder, or the only one under this file name.
        common: Options of every command.
    """
    async with common.client() as client:
        found = await client.job(job_id)
        await asyncio.to_thread(check_place, out, len(found.outputs))
        await finish(found, out, common)
    # Showing a failed job is no failure of this command.
    return OK


async def logs(job_id: str, /, *, attempt: int | None = None, common: Common = NO_OPTIONS) -> int:
    """Show what the algorithm printed, per attempt.

    Args:
        job_id: The job.
        attempt: Only this one.
        common: Options of every command.
    """
    async with common.client() as client:
        answer = await client.logs(job_id, attempt=attempt)
    if common.json:
        print_json(answer)
    else:
        sys.stdout.writelines(_log_lines(answer))
    return OK


async def cancel(job_id: str, /, common: Common = NO_OPTIONS) -> int:
    """Ask for the end of a job; a running one ends a moment later.

    Args:
        job_id: The job.
        common: Options of every command.
    """
    async with common.client() as client:
        found = await client.job(job_id)
        await finish(await found.cancel(), None, common)
    return OK


def _log_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    for attempt in answer.get("attempts", ()):
        yield f"── attempt {attempt.get('attempt')} ──\n"
        error = attempt.get("error") or {}
        for text in (attempt.get("log"), error.get("traceback") or error.get("message")):
            yield from _block(str(text or ""))


def _block(text: str) -> Iterator[str]:
    # On a terminal what an algorithm printed must not steer it; in a file it stays as it was.
    shown = printable(text) if sys.stdout.isatty() else text
    if shown:
        yield shown if shown.endswith("\n") else f"{shown}\n"
