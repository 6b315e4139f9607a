"""What the figures of failures look at: attempts by when they ended, and jobs by their key alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from shared.adapters.store.endings import ENDING
from shared.adapters.store.history import HISTORY, LOOK
from shared.adapters.store.overview import ENDINGS, ERRORS, LATELY, SAMPLE, SOME
from shared.adapters.store.pool import Database, open_database
from shared.adapters.store.statistics import CODES, STATISTICS
from shared.settings import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

ATTEMPTS = 20_000
MANY = """
with made as (
    select gen_random_uuid() as id, n from generate_series(1, $1::int) as n
), spec as (
    insert into specs (id, tenant, model, model_version, inputs, params, metadata, destinations, timeout_s,
                       body_digest)
    select id, 'many', 'free', '1', '{}', '{}', '{}', '{}', 60, '' from made
), job as (
    insert into jobs (id, queue, state, priority, seq, max_attempts, fence)
    select id, 'default', 'succeeded', 5, 3, 3, 2 from made
)
insert into attempts (job_id, fence, attempt, worker, outcome, started_at, finished_at, log, timings, error)
select id, 1, 1, 'w', (array['succeeded', 'waiting', 'worker_lost', 'failed'])[1 + n % 4],
       at - interval '1 s', at, '', '{}', '{"code": "worker_lost"}'
from (select *, now() - make_interval(secs => n * 3000.0 / $1) as at from made) made
"""


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    settings = Postgres(dsn=SecretStr(postgres_dsn), timeout_s=120)
    async with open_database(settings, name="test") as opened:
        yield opened


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


async def test_an_attempt_whose_lease_ran_out_is_looked_up_by_its_jobs_key(database: Database) -> None:
    # Given many attempts of the last fifty minutes, a quarter of them lost with their worker
    await database.write("truncate jobs, specs, attempts")
    await database.write(MANY, ATTEMPTS)
    await database.write("analyze attempts, jobs, specs")
    [[since]] = await database.read("select extract(epoch from now())::float8 - 600")
    looks: list[tuple[str, tuple[Any, ...]]] = [
        (STATISTICS.format(sample=10_000, codes=CODES, ending=ENDING), (3600.0, None, None)),
        (HISTORY.format(look=LOOK, mine="", ending=ENDING), (60.0, 60)),
        (LATELY.format(mine="", ending=ENDING), (60.0, SAMPLE)),
        (ENDINGS.format(mine="", ending=ENDING), (5.0, since, SOME)),
        (ERRORS.format(mine="", ending=ENDING), (3600.0, SAMPLE, 5)),
    ]
    for sql, values in looks:
        # When each figure is read
        [[told]] = await database.read(f"explain (analyze, format json) {sql}", *values)
        [whole] = json.loads(told) if isinstance(told, str) else told
        # Then a job is reached by its key alone, at most once an attempt that is looked at
        reached = [node for node in nodes(whole["Plan"]) if node.get("Relation Name") == "jobs"]
        assert reached
        for node in reached:
            assert (node["Node Type"], node["Index Name"]) == ("Index Scan", "jobs_pkey")
            assert node["Actual Loops"] <= ATTEMPTS
