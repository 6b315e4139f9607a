"""`leveret job`, `logs`, `cancel`, `retry`: one call each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gateway.client.cli.exits import OK, printable
from gateway.client.cli.session import NO_OPTIONS, Common, print_json
from gateway.client.cli.submit import finish, print_id, waiting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.client.jobs import AsyncJob


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
        await finish(found, out, common)
    # Showing a failed job is no failure of this command.
    return OK


async def logs(job_id: str, /, common: Common = NO_OPTIONS) -> int:
    """Show what the algorithm printed, per attempt.

    Args:
        job_id: The job.
        common: Options of every command.
    """
    async with common.client() as client:
        answer = await client.logs(job_id)
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


async def retry(
    job_id: str,
    /,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    wait: bool = True,  # noqa: FBT001, FBT002  an option of the command line
    common: Common = NO_OPTIONS,
) -> int:
    """Submit a job's inputs again, as a new job.

    Args:
        job_id: The job that ended.
        out: Save the outputs in this folder, or the only one under this file name.
        wait: With --no-wait, print the new job's id and return.
        common: Options of every command.
    """
    async with common.client() as client:
        again: AsyncJob = await client.retry(job_id)
        if not wait:
            print_id(again, common)
            return OK
        with waiting(again):
            await again.wait(progress=not common.json, check=False)
        return await finish(again, out, common)


def _log_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    for attempt in answer.get("attempts", ()):
        yield f"── attempt {attempt.get('attempt')} ──\n"
        text = str(attempt.get("log") or attempt.get("text") or "")
        # On a terminal what an algorithm printed must not steer it; in a file it stays as it was.
        shown = printable(text) if sys.stdout.isatty() else text
        yield shown if shown.endswith("\n") or not shown else f"{shown}\n"
