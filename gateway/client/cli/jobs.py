"""`leveret jobs`: a page of jobs, newest first, by what is asked of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gateway.client.cli.exits import OK, printable
from gateway.client.cli.session import NO_OPTIONS, Common, print_json
from gateway.client.cli.units import span

if TYPE_CHECKING:
    from collections.abc import Mapping


async def jobs(
    *,
    state: Annotated[list[str] | None, Parameter(name=["--state", "-s"], negative="")] = None,
    model: Annotated[str | None, Parameter(name=["--model", "-m"])] = None,
    queue: Annotated[str | None, Parameter(name=["--queue", "-q"])] = None,
    worker: str | None = None,
    error: str | None = None,
    fingerprint: str | None = None,
    priority: int | None = None,
    retried: str | None = None,
    age: str | None = None,
    ended: str | None = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"])] = 20,
    cursor: str | None = None,
    everybody: Annotated[bool, Parameter(negative="")] = False,
    common: Common = NO_OPTIONS,
) -> int:
    """List jobs, newest first.

    Args:
        state: Only these: waiting, queued, running, succeeded, failed, canceled, expired (repeatable).
        model: Only this model's.
        queue: Only this queue's.
        worker: Only what this worker ran last.
        error: Only what failed with this code.
        fingerprint: Only failures of this group; `leveret failures` lists them.
        priority: Only these, 0 to 10.
        retried: `yes` for what has a retry, `no` for what has none.
        age: `>5m` for submitted longer ago, `<2h` for more recently.
        ended: `<1h` for ended more recently, `>1d` for longer ago.
        limit: So many at most, up to 200.
        cursor: Go on where a page ended.
        everybody: Of every tenant, with a key of an operator.
        common: Options of every command.
    """
    asked: dict[str, Any] = {
        "state": state or (),
        "model": model,
        "queue": queue,
        "worker": worker,
        "error": error,
        "fingerprint": fingerprint,
        "priority": priority,
        "retried": retried,
        "age": age,
        "ended": ended,
        "limit": limit,
        "cursor": cursor,
        "everybody": everybody,
    }
    async with common.client() as client:
        page = await client.jobs(**asked)
    if common.json:
        print_json(page)
    else:
        _print_page(page)
    return OK


def _print_page(page: Mapping[str, Any]) -> None:
    print_rows(page)
    if page["next_cursor"]:
        looked = f"looked back to {page['searched_to']}; " if page["searched_to"] else ""
        sys.stderr.write(f"  hint: {looked}--cursor {page['next_cursor']} goes on\n")


def print_rows(page: Mapping[str, Any]) -> None:
    """The jobs of a page as a table."""
    from gateway.client.cli.show import console, table  # noqa: PLC0415  only for a terminal

    shown = table("job", "state", "model", "queue", "prio", "age", "wait", "run", "attempt", "worker", "")
    for job in page["jobs"]:
        shown.add_row(
            job["id"],
            job["state"],
            printable(f"{job['model']}@{job['model_version']}"),
            printable(job["queue"]),
            str(job["priority"]),
            *(span(job[name]) for name in ("age_s", "wait_s", "run_s")),
            f"{job['attempt']}/{job['max_attempts']}",
            printable(job["worker"] or ""),
            printable(_why(job)),
        )
    console().print(shown, markup=False)


def _why(job: Mapping[str, Any]) -> str:
    """How it failed, or why it waits."""
    if error := job["error"]:
        return " ".join(f"{error['code']}: {error['message']}".split())
    return str(job["queue_reason"] or "")
