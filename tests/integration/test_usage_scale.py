"""What a look at the costs takes beside a million attempts: hours are added up, not attempts. Slow."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from shared.adapters.store import usage
from shared.adapters.store.pool import Database, open_database
from shared.adapters.store.usage import UsageStore
from shared.settings import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1800)]

FEW, MANY = 20_000, 1_000_000
DAYS = 30
FILL = """
with made as (
    select gen_random_uuid() as id, n, clock_timestamp() - make_interval(secs => $2) * ($1 - n) / $1 as ended
    from generate_series(1, $1::int) as n
), spec as (
    insert into specs (id, tenant, model, model_version, inputs, params, metadata, destinations, timeout_s,
                       body_digest)
    select id, 'tenant-' || n % 20, 'model-' || n % 5, '1', '{}', '{}', '{}', '{}', 60, '' from made
), job as (
    insert into jobs (id, queue, state, priority, seq, max_attempts)
    select id, 'queue-' || n % 3, 'succeeded', 5, 3, 3 from made
)
insert into attempts (job_id, fence, attempt, worker, outcome, started_at, finished_at, log, timings, device,
                      machine_s, gpu_s, cost)
select id, 1, 1, 'w' || n % 50, case when n % 20 = 0 then 'waiting' else 'succeeded' end,
       ended - interval '3 s', ended, '', '{}', 'cuda', 3, 3, 0.003
from made
"""


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    settings = Postgres(dsn=SecretStr(postgres_dsn), timeout_s=600)
    async with open_database(settings, name="test") as opened:
        yield opened


async def fill(database: Database, attempts: int) -> None:
    """So many attempts over a month, booked up to two minutes ago."""
    await database.write("truncate jobs, specs, attempts, usage_hours")
    await database.write("update usage_mark set until = clock_timestamp() - interval '60 days'")
    await database.write(FILL, attempts, DAYS * 86400.0)
    await database.write("analyze attempts, jobs, specs")
    store = UsageStore(database, settled_s=120)
    while await store.book():
        pass
    await database.write("analyze usage_hours")


async def median_s(look: Callable[[], Awaitable[Any]]) -> float:
    took = []
    for _ in range(7):
        began = time.perf_counter()
        await look()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


async def looks(database: Database) -> dict[str, float]:
    store, now = UsageStore(database), datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    month, week, lately = (hour - timedelta(hours=hours) for hours in (24 * DAYS, 168, 2))
    return {
        "a month by tenant": await median_s(lambda: store.used(month, hour, "tenant", None)),
        "a week by model": await median_s(lambda: store.used(week, hour, "model", None)),
        "a month of one tenant by day": await median_s(lambda: store.used(month, hour, "day", "tenant-3")),
        "two hours by queue": await median_s(lambda: store.used(lately, hour, "queue", None)),
        "the dearest jobs of a month": await median_s(lambda: store.dearest(month, hour, 100, None)),
        "the dearest jobs of one tenant": await median_s(lambda: store.dearest(month, hour, 100, "tenant-3")),
    }


async def scanned(database: Database) -> set[tuple[str, str]]:
    """How a look at a month reads its tables, by the plan that the server makes for any values."""
    mark = (await database.read(usage.MARK))[0]["until"]
    now = datetime.now(UTC)
    values = (now - timedelta(days=DAYS), now, None, "tenant", mark)
    [[plan]] = await database.read("explain (analyze, format json) " + usage.USED, *values)
    found: set[tuple[str, str]] = set()
    todo = [json.loads(plan)[0]["Plan"]]
    while todo:
        node = todo.pop()
        todo += node.get("Plans", [])
        if "Relation Name" in node:
            found.add((node["Relation Name"], node["Node Type"]))
    return found


async def test_a_look_at_a_million_attempts_takes_what_it_takes_at_a_few(
    database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "BATCH", 2 * MANY)  # all at once: it is the looking that is measured
    await fill(database, FEW)
    few = await looks(database)
    await fill(database, MANY)
    many = await looks(database)
    plan = await scanned(database)
    told = []
    for what, seconds in many.items():
        times = seconds / few[what]
        told.append(
            f"{what}: {few[what] * 1000:.1f} ms, at {MANY:,} {seconds * 1000:.1f} ms: {times:.1f} times"
        )
    with capsys.disabled():
        print("", *told, sorted(plan), sep="\n")  # noqa: T201  what it is run for
    # The tables that grow with the jobs are looked into by index only
    assert not {(table, "Seq Scan") for table in ("attempts", "jobs", "specs")} & plan
