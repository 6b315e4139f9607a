"""What is left of a job's attempts, and what a retry by hand needs of the job it repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from shared.adapters.store.pool import Database
from shared.jobs import State

# The machines are those of the workers as they are remembered; one that is forgotten leaves null.
ATTEMPTS = """
select a.attempt, a.fence, nullif(a.worker, '') as worker, coalesce(a.device, w.device) as device, w.host,
       a.outcome, a.started_at, a.finished_at, a.error, a.timings, octet_length(a.log) as log_bytes,
       a.machine_s, a.gpu_s, a.cost
from attempts a left join workers w on w.id = a.worker
where a.job_id = $1
union all
select j.attempt, j.fence, j.worker, w.device, w.host, 'running', j.started_at, null, null, '{}'::jsonb, 0,
       null, null, null
from jobs j left join workers w on w.id = j.worker
where j.id = $1 and j.state = 'running'
order by fence
"""

REPEATABLE = """
select j.id, j.state, j.queue, j.priority, j.max_attempts, s.tenant, s.model, s.model_version, s.inputs,
       s.params, s.metadata, s.destinations, s.timeout_s
from jobs j join specs s on s.id = j.id
where j.id = any($1::uuid[]) and ($2::text is null or s.tenant = $2)
"""

INPUT = """
select s.inputs -> $3 as input from specs s where s.id = $1 and s.tenant = $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One attempt, ended or not.

    Attributes:
        outcome: ``running``, or how it ended; ``waiting``: it failed and there is to be another.
        error: With its traceback.
        log_bytes: How much it printed, as far as that is kept.
        machine_s: Its share of the machine's time; None: it runs, or nobody counted.
        gpu_s: The same of its GPUs.
        cost: Of both, in the deployment's currency; None: no price is known.
    """

    attempt: int
    fence: int
    worker: str | None
    device: str | None
    host: str | None
    outcome: str
    started_at: datetime
    finished_at: datetime | None
    error: Mapping[str, Any] | None
    timings: Mapping[str, float]
    log_bytes: int
    machine_s: float | None
    gpu_s: float | None
    cost: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeatable:
    """A job as another one is made from it."""

    id: UUID
    state: State
    queue: str
    priority: int
    max_attempts: int
    tenant: str
    model: str
    model_version: str
    inputs: Mapping[str, Any]
    params: Mapping[str, Any]
    metadata: Mapping[str, Any]
    destinations: Mapping[str, str]
    timeout_s: float


class EvidenceStore:
    """Reads. Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def runs(self, job_id: UUID) -> list[Run]:
        """A job's attempts, oldest first; whose it is was asked before."""
        return [Run(**dict(row)) for row in await self._database.read(ATTEMPTS, job_id)]

    async def repeatable(self, tenant: str | None, ids: Sequence[UUID]) -> list[Repeatable]:
        """Those of these jobs that there are and that are the tenant's; None: anybody's."""
        rows = await self._database.read(REPEATABLE, list(ids), tenant)
        return [Repeatable(**dict(row) | {"state": State(row["state"])}) for row in rows]

    async def input(self, tenant: str, job_id: UUID, name: str) -> Mapping[str, Any] | None:
        """One input as the row keeps it; None where this tenant's job has none of that name."""
        rows = await self._database.read(INPUT, job_id, tenant, name)
        return rows[0]["input"] if rows else None
