"""`leveret retry`: a job once more, as a new job."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gateway.client.cli.exits import OK
from gateway.client.cli.session import NO_OPTIONS, Common, print_json
from gateway.client.cli.submit import check_place, finish

if TYPE_CHECKING:
    from gateway.client.jobs import AsyncJob


async def retry(
    job_id: str,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    wait: Annotated[bool, Parameter(negative="--no-wait")] = True,
    common: Common = NO_OPTIONS,
) -> int:
    """Run a job again, with the same inputs, as a new job, and wait for it.

    Exit codes: 0 it succeeded, 1 it failed again, 3 it has not ended yet.

    Args:
        job_id: The job that has ended; it stays as it is.
        out: Save the outputs in this folder, or the only one under this file name.
        wait: Wait for its end; otherwise print the new job's id and leave.
        common: Options of every command.
    """
    async with common.client() as client:
        if out is not None:
            schema = await client.model((await client.job(job_id)).model)
            await asyncio.to_thread(check_place, out, len(schema.get("outputs") or ()))
        made = await client.retry(job_id)
        if not wait:
            return _tell(made, common)
        await made.wait(progress=not common.json, check=False)
        return await finish(made, out, common)


def _tell(made: AsyncJob, common: Common) -> int:
    if common.json:
        print_json(made.raw)
    else:
        print(made.id)  # noqa: T201  for `$(…)`
    return OK
