"""The scaler's statements on a real PostgreSQL, and two candidates for one leadership."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from pydantic import SecretStr

from scaler.looks import Look
from shared.adapters.store.fleet import FleetStore, Leadership
from shared.adapters.store.operations import OperationsStore
from shared.adapters.store.pool import Database, open_database
from shared.errors import Unavailable
from shared.settings import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

JOB = """
insert into jobs (id, queue, state, priority, seq, max_attempts, queued_at, worker)
values ($1, $2, $3, $4::int, 1, 3, clock_timestamp() - make_interval(secs => $5), $6)
"""
WORKER = """
insert into workers (id, queue, state, host, device, slots, busy, since, idle_since, heartbeat_at)
select $1, 'images', $2, 'here', 'cpu', 1, $3::int, t - interval '50 s',
       case when $3::int = 0 then t - interval '40 s' end, t - make_interval(secs => $4)
from clock_timestamp() t
"""


@pytest.fixture
def settings(postgres_dsn: str) -> Postgres:
    return Postgres(dsn=SecretStr(postgres_dsn), timeout_s=5)


@pytest.fixture
async def database(settings: Postgres) -> AsyncIterator[Database]:
    async with open_database(settings, name="test", size=2) as opened:
        await opened.write("delete from jobs")
        await opened.write("delete from attempts")
        await opened.write("delete from workers")
        await opened.write("delete from fleet_looks")
        yield opened


@pytest.fixture
def store(database: Database) -> FleetStore:
    return FleetStore(database)


async def add_job(
    database: Database,
    queue: str,
    state: str,
    priority: int,
    *,
    age_s: float = 0.0,
    worker: str | None = None,
) -> None:
    await database.write(JOB, uuid.uuid4(), queue, state, priority, age_s, worker)


async def test_the_backlog_counts_live_rows_by_queue_and_priority(
    database: Database, store: FleetStore
) -> None:
    for age_s in (5.0, 90.0, 20.0):
        await add_job(database, "images", "queued", 5, age_s=age_s)
    await add_job(database, "images", "running", 5, age_s=1000.0)
    await add_job(database, "images", "queued", 9, age_s=2.0)
    await add_job(database, "quick", "running", 0)
    for state in ("waiting", "succeeded", "failed", "canceled", "expired"):
        await add_job(database, "images", state, 5, age_s=5000.0)

    found = {(row.queue, row.priority): row for row in await store.backlog()}

    assert found.keys() == {("images", 5), ("images", 9), ("quick", 0)}
    assert (found["images", 5].waiting, found["images", 5].running) == (3, 1)
    assert 90 <= found["images", 5].oldest_s < 120
    assert 5 <= found["images", 5].newest_s < 20
    assert (found["images", 9].waiting, found["images", 9].running) == (1, 0)
    assert (found["quick", 0].waiting, found["quick", 0].running, found["quick", 0].oldest_s) == (0, 1, 0)


async def test_workers_tell_their_ages_by_the_databases_clock(database: Database, store: FleetStore) -> None:
    await database.write(WORKER, "a", "ready", 0, 3.0)
    await database.write(WORKER, "b", "ready", 1, 3.0)
    await database.write(WORKER, "forgotten", "ready", 0, 7200.0)

    idle, busy = await store.workers()

    assert (idle.id, idle.queue, idle.state, idle.busy, idle.drain) == ("a", "images", "ready", 0, False)
    assert 50 <= idle.since_s < 80
    assert idle.idle_s is not None
    assert 40 <= idle.idle_s < 70
    assert 3 <= idle.heartbeat_s < 30
    assert (busy.id, busy.busy, busy.idle_s) == ("b", 1, None)


async def test_a_worker_that_got_a_job_meanwhile_is_not_asked_to_drain(
    database: Database, store: FleetStore
) -> None:
    for name, state, busy in (("idle", "ready", 0), ("busy", "ready", 1), ("claimed", "ready", 0)):
        await database.write(WORKER, name, state, busy, 1.0)
    await add_job(database, "images", "running", 5, worker="claimed")

    assert await store.drain(["idle", "busy", "claimed", "nobody"]) == ["idle"]
    assert {worker.id: worker.drain for worker in await store.workers()} == {
        "busy": False,
        "claimed": False,
        "idle": True,
    }


async def test_the_row_of_a_dead_worker_is_closed(database: Database, store: FleetStore) -> None:
    await database.write(WORKER, "dead", "ready", 1, 3.0)
    await database.write(WORKER, "left", "gone", 0, 3.0)
    await database.write(WORKER, "living", "ready", 1, 3.0)

    assert await store.bury(["dead", "left", "nobody"]) == ["dead"]
    assert {worker.id: (worker.state, worker.busy) for worker in await store.workers()} == {
        "dead": ("gone", 0),
        "left": ("gone", 0),
        "living": ("ready", 1),
    }


ATTEMPT = """
insert into attempts (job_id, fence, attempt, worker, outcome, started_at, finished_at, log, timings)
select $1, 1, 1, 'w', $2, t - make_interval(secs => $4), t, '', '{}'
from (select clock_timestamp() - make_interval(secs => $3) as t) ended
"""


async def add_attempt(database: Database, queue: str, outcome: str, *, ago_s: float, took_s: float) -> None:
    job = uuid.uuid4()
    await database.write(JOB, job, queue, "succeeded", 5, 0.0, "w")
    await database.write(ATTEMPT, job, outcome, ago_s, took_s)


async def test_service_times_are_those_of_attempts_that_ran_to_their_end_since_the_last_look(
    database: Database, store: FleetStore
) -> None:
    await add_attempt(database, "images", "succeeded", ago_s=7200, took_s=500)
    await add_attempt(database, "images", "succeeded", ago_s=60, took_s=10)
    await add_attempt(database, "images", "failed", ago_s=50, took_s=20)
    await add_attempt(database, "images", "worker_lost", ago_s=40, took_s=90)
    await add_attempt(database, "images", "released", ago_s=40, took_s=90)
    await add_attempt(database, "quick", "succeeded", ago_s=30, took_s=1)

    first = {row.queue: row for row in await store.served(None)}
    assert {name: row.jobs for name, row in first.items()} == {"images": 2, "quick": 1}
    assert first["images"].mean_s == pytest.approx(15, abs=0.1)

    until = max(row.until for row in first.values())
    assert await store.served(until) == []
    await add_attempt(database, "images", "succeeded", ago_s=0, took_s=3)
    [row] = await store.served(until)
    assert (row.queue, row.jobs) == ("images", 1)


async def test_decisions_are_kept_in_order(database: Database, store: FleetStore) -> None:
    assert await store.last_decision("images") == 0

    first = await store.record(
        "images", want=None, have=0, reason="hold", snapshot={"demand": "unknown"}, actions={}
    )
    second = await store.record(
        "images", want=1, have=0, reason="one waits", snapshot={"taken_at": 1.5}, actions={"launch": 1}
    )

    assert await store.last_decision("images") == second > first
    assert await store.last_decision("quick") == 0
    rows = await database.read("select want, snapshot, actions from decisions order by id")
    assert [tuple(row) for row in rows] == [
        (None, {"demand": "unknown"}, {}),
        (1, {"taken_at": 1.5}, {"launch": 1}),
    ]


async def test_leadership_passes_on_when_the_leader_ends(settings: Postgres) -> None:
    first, second = Leadership(settings), Leadership(settings)
    try:
        assert not await first.held()
        assert await first.acquire()
        assert not await second.acquire()
        assert (await first.held(), await second.held()) == (True, False)

        await first.close()
        assert await second.acquire()
        assert (await first.held(), await second.held()) == (False, True)
    finally:
        await first.close()
        await second.close()


async def test_a_session_that_was_ended_leads_no_more(settings: Postgres, postgres_dsn: str) -> None:
    first, second = Leadership(settings), Leadership(settings)
    admin = await asyncpg.connect(postgres_dsn)
    try:
        assert await first.acquire()
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'leveret-scaler-leader' and datname = current_database()"
        )

        assert not await first.held()
        assert await second.acquire()
        assert not await first.acquire()
    finally:
        await admin.close()
        await first.close()
        await second.close()


async def test_a_database_that_is_away_is_unavailable() -> None:
    leadership = Leadership(Postgres(dsn=SecretStr("postgresql://nobody@127.0.0.1:1/none"), timeout_s=1))

    assert not await leadership.held()
    with pytest.raises(Unavailable):
        await leadership.acquire()


async def test_sessions_ended_under_the_pool_are_only_unavailable(
    settings: Postgres, postgres_dsn: str
) -> None:
    """The driver has three names for it, one of which is an internal error."""
    admin = await asyncpg.connect(postgres_dsn)
    async with open_database(settings, name="ended", size=2) as database:
        for turns in range(30):
            with contextlib.suppress(Unavailable):
                await database.read("select 1")
            await admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'leveret-ended'"
            )
            for _ in range(turns % 4):
                await asyncio.sleep(0)
            with contextlib.suppress(Unavailable):
                await database.read("select 1")
        await admin.close()


LOOK = Look(
    want=2,
    asked=6,
    bound="max",
    serving=1,
    starting=1,
    leaving=0,
    min=0,
    max=2,
    min_ordered=False,
    max_ordered=True,
    gap_s=10.0,
)


async def test_looks_without_a_change_are_one_span_and_a_gap_begins_another(
    database: Database, store: FleetStore
) -> None:
    read = OperationsStore(database)
    for look in (LOOK, LOOK, replace(LOOK, serving=2, starting=0), replace(LOOK, want=None, bound=None)):
        await store.see("images", look)
    await store.see("quick", LOOK)

    first, second, third = await read.spans("images", since_s=60)
    assert first.at < first.until < second.at == second.until < third.at
    assert (first.want, first.asked, first.bound, first.serving, first.starting) == (2, 6, "max", 1, 1)
    assert (second.serving, third.want, third.bound, third.max_ordered) == (2, None, None, True)
    assert [row.queue for row in await read.looks(["quick", "images", "none"])] == ["quick", "images"]

    # When nobody looked for longer than the gap, the same is a span of its own
    await database.write("update fleet_looks set at = at - interval '1 min', until = until - interval '11 s'")
    await store.see("quick", LOOK)
    assert len(await read.spans("quick", since_s=60)) == 2
    [latest] = await read.looks(["quick"])
    assert latest.age_s < 10


async def test_spans_of_long_ago_are_forgotten(database: Database, store: FleetStore) -> None:
    await store.see("images", LOOK)
    await database.write(
        "update fleet_looks set at = at - interval '9 days', until = until - interval '9 days'"
    )

    await store.see("images", LOOK)

    assert [row["n"] for row in await database.read("select count(*)::int as n from fleet_looks")] == [1]
