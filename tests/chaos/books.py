"""The checker's second and third source: an audit trigger in PostgreSQL, and what lies in S3.

The trigger is the run's own. It writes down every change of a job's state, fence or attempt and every event,
so that nothing the product says about itself has to be believed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aioboto3
import asyncpg
from aiobotocore.config import AioConfig

INSTALL = """
create table chaos_audit (
    id        bigint generated always as identity primary key,
    at        timestamptz not null default clock_timestamp(),
    job_id    uuid not null,
    what      text not null,
    old_state text, state text, old_fence integer, fence integer, attempt integer,
    seq       integer, type text
);
create function chaos_job() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        insert into chaos_audit (job_id, what, old_state, old_fence)
        values (old.id, 'job deleted', old.state, old.fence);
    elsif tg_op = 'INSERT' then
        insert into chaos_audit (job_id, what, state, fence, attempt)
        values (new.id, 'job inserted', new.state, new.fence, new.attempt);
    else
        insert into chaos_audit (job_id, what, old_state, state, old_fence, fence, attempt)
        values (new.id, 'job changed', old.state, new.state, old.fence, new.fence, new.attempt);
    end if;
    return null;
end $$;
create function chaos_event() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into chaos_audit (job_id, what, seq, type) values (new.job_id, 'event', new.seq, new.type);
    else
        insert into chaos_audit (job_id, what, seq, type)
        values (old.job_id, 'event changed', old.seq, old.type);
    end if;
    return null;
end $$;
create trigger chaos_jobs after insert or delete on jobs for each row execute function chaos_job();
create trigger chaos_jobs_changed after update on jobs for each row
    when (old.state is distinct from new.state or old.fence is distinct from new.fence
          or old.attempt is distinct from new.attempt)
    execute function chaos_job();
create trigger chaos_events after insert or update or delete on events
    for each row execute function chaos_event();
"""
JOBS = """
select j.id::text, j.state, j.fence, j.attempt, j.max_attempts, s.idempotency_key as key,
       (select e.data from events e where e.job_id = j.id and e.seq = j.seq)::text as data
from jobs j join specs s using (id)
"""
AUDIT = """
select job_id::text, extract(epoch from at)::float8 as at, what, old_state, state, old_fence, fence, attempt,
       seq, type
from chaos_audit order by id
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A job as PostgreSQL has it when the run is judged; `last` is the data of its newest event."""

    id: str
    state: str
    fence: int
    attempt: int
    max_attempts: int
    key: str | None
    last: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """A line of the audit; `at` in seconds since the epoch."""

    at: float
    what: str
    old_state: str | None = None
    state: str | None = None
    old_fence: int | None = None
    fence: int | None = None
    attempt: int | None = None
    seq: int | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Books:
    """What PostgreSQL, S3 and the algorithm itself say.

    Attributes:
        rows: By job.
        changes: Of each job, in order.
        stored: Size of each object in Leveret's bucket, by key.
        executions: How often the algorithm began each job.
    """

    rows: Mapping[str, Row]
    changes: Mapping[str, list[Change]]
    stored: Mapping[str, int]
    executions: Mapping[str, int] = field(default_factory=dict)


async def install(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Begin the audit."""
    await connection.execute(INSTALL)


async def read_rows(connection: asyncpg.Connection[asyncpg.Record]) -> dict[str, Row]:
    """Every job as it is now."""
    return {each["id"]: _row(each) for each in await connection.fetch(JOBS)}


async def read(
    connection: asyncpg.Connection[asyncpg.Record],
    s3: Mapping[str, str],
    executions: Path,
    rows: Mapping[str, Row],
) -> Books:
    """Read all but the rows; `s3` are the `LEVERET_S3_` variables of the store itself."""
    changes: defaultdict[str, list[Change]] = defaultdict(list)
    for line in await connection.fetch(AUDIT):
        fields = dict(line)
        changes[fields.pop("job_id")].append(Change(**fields))
    return Books(rows, changes, await _objects(s3), _executions(executions))


def _row(found: asyncpg.Record) -> Row:
    fields = dict(found)
    data = fields.pop("data")
    return Row(**fields, last=json.loads(data) if data else {})


def _executions(log: Path) -> dict[str, int]:
    counted: defaultdict[str, int] = defaultdict(int)
    for line in log.read_text().splitlines() if log.exists() else ():
        counted[line.split()[0]] += 1
    return counted


async def _objects(settings: Mapping[str, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    async with aioboto3.Session().client(
        "s3",
        endpoint_url=settings["LEVERET_S3_ENDPOINT"],
        region_name=settings["LEVERET_S3_REGION"],
        aws_access_key_id=settings["LEVERET_S3_ACCESS_KEY"],
        aws_secret_access_key=settings["LEVERET_S3_SECRET_KEY"],
        config=AioConfig(s3={"addressing_style": "path"}, retries={"total_max_attempts": 3}),
    ) as client:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=settings["LEVERET_S3_BUCKET"])
        async for page in pages:
            found.update({each["Key"]: each["Size"] for each in page.get("Contents", ())})
    return found
