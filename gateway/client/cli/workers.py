"""What `leveret doctor` learns about workers: from the scaler where it can be reached, else from the API."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.client.cli.findings import Finding, unseen, well, wrong
from gateway.client.errors import LeveretError

if TYPE_CHECKING:
    from gateway.client.aio import AsyncClient

_SAMPLE = re.compile(r'leveret_scaler_(\w+)\{(?:[^}]*,)?queue="([^"]+)"[^}]*\} (\S+)')
_LOGS = "the worker's log says why: .leveret/logs/worker-{0}-*.log in a local stack"

Figures = Mapping[str, float]


def read_queues(metrics: str) -> dict[str, Figures]:
    """The scaler's figures by queue, tiers added up: have_workers, backlog_jobs and others."""
    queues: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for line in metrics.splitlines():
        if found := _SAMPLE.match(line):
            name, queue, value = found.groups()
            queues[queue][name] += float(value)
    return {queue: dict(figures) for queue, figures in sorted(queues.items())}


def judge_queue(queue: str, figures: Figures) -> Finding:
    """Whether somebody works on a queue, or will."""
    have, waiting = figures.get("have_workers", math.nan), figures.get("backlog_jobs", math.nan)
    failed = figures.get("failed_launches", 0)
    name = f"queue {queue}"
    if math.isnan(have) or math.isnan(waiting):
        return unseen(name, "the scaler does not know at the moment")
    jobs = f"{waiting:.0f} job{'' if waiting == 1 else 's'} waiting"
    if have:
        return well(name, f"{have:.0f} worker{'' if have == 1 else 's'}, {jobs}")
    if failed:
        return wrong(name, f"no worker, {jobs}: {failed:.0f} launches in a row failed", _LOGS.format(queue))
    return unseen(
        name, f"no worker, {jobs}: " + ("one is being started" if waiting else "the first job starts one")
    )


async def ask_gateway(client: AsyncClient, listed: list[Mapping[str, Any]]) -> list[Finding]:
    """Which queue of the catalog has no worker, by the API; only an operator's key may look."""
    try:
        answer = await client.get("/v1/workers")
    except LeveretError:
        return [unseen("workers", "not told to this key; LEVERET_SCALER_ADMIN_PORT would lead to the scaler")]
    # Of one that missed three heartbeats nobody knows if it lives.
    heard = [worker for worker in answer.get("workers", ()) if not worker.get("silent")]
    alive = [str(worker.get("queue")) for worker in heard]
    idle = sorted({str(model.get("queue")) for model in listed} - set(alive))
    if not idle:
        return [well("workers", f"{len(alive)} alive")]
    # No fault while a scaler runs: the first job of a queue starts its worker.
    return [unseen("workers", f"{len(alive)} alive; none for {', '.join(idle)} until the scaler starts one")]
