"""Lists of jobs by the rows of a real PostgreSQL: what is in them, and what they cost."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from uuid_utils.compat import uuid7

from shared.adapters.store.attempts import AttemptStore
from shared.adapters.store.candidates import Candidates
from shared.adapters.store.claims import ClaimStore
from shared.adapters.store.listing import LOOK, MAX_LIMIT, SHOWN, ListingStore
from shared.adapters.store.pool import Database, open_database
from shared.adapters.store.reads import ReadStore
from shared.adapters.store.submits import SubmitStore
from shared.jobs import Claim, Ending, Evidence, State
from shared.listing import Filter, first_id, last_id, moment_of
from shared.settings import Postgres
from tests.integration.jobs import new_job

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

MANY = 200_000

FILL = """
with n as (
    select i, (array['queued', 'failed', 'succeeded', 'succeeded', 'succeeded'])[1 + i % 5] as state,
           (lpad(to_hex(1700000000000 + i), 12, '0') || '70008000' || lpad(to_hex(i), 12, '0'))::uuid as id
    from generate_series(1, $1::int) i
), spec as (
    insert into specs (id, tenant, model, model_version, inputs, params, metadata, destinations, timeout_s,
                       body_digest, retry_of)
    select id, case when i % 10 = 0 then 'small' else 'large' end, 'm' || i % 5, '1', '{}', '{}', '{}', '{}',
           60, '', case when i % 10 = 2 then lag(id) over (order by i) end from n
), event as (
    insert into events (job_id, seq, type, at, data)
    select id, 1, 'job.' || case state when 'failed' then 'retrying' else state end, clock_timestamp(), '{}'
    from n
)
insert into jobs (id, queue, state, priority, seq, max_attempts, worker, finished_at)
select id, 'q' || i % 4, state, 5 + i % 2, 1, 3, 'w' || i % 50,
       case when state <> 'queued' then to_timestamp(1700000000 + i / 1000.0) end from n
"""
FILL_FAILURES = """
insert into failures (job_id, tenant, state, model, queue, worker, code, type, message, fingerprint, at)
select j.id, s.tenant, j.state, s.model, j.queue, j.worker, 'c' || abs(hashtext(j.id::text)) % 5, '', 'm',
       'f' || abs(hashtext(j.id::text)) % 300, clock_timestamp()
from jobs j join specs s using (id) where j.state = 'failed'
"""


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    async with open_database(Postgres(dsn=SecretStr(postgres_dsn), pool_size=4), name="test") as opened:
        yield opened


@pytest.fixture
async def empty(database: Database) -> Database:
    await database.write("truncate jobs, specs, events, attempts, failures, tenants cascade")
    return database


async def submitted(database: Database, **fields: Any) -> UUID:
    return (await SubmitStore(database).submit(new_job(**fields))).id


async def claimed(database: Database, job_id: UUID, worker: str = "w1") -> Claim:
    claim = await ClaimStore(database, worker=worker, models=["cutout@1", "echo@1"]).claim(job_id)
    assert isinstance(claim, Claim)
    return claim


async def failed(database: Database, message: str, *, traceback: str = "", **fields: Any) -> UUID:
    claim = await claimed(database, await submitted(database, **fields))
    error = {"code": "algorithm_error", "message": message, "type": "ValueError", "traceback": traceback}
    store = AttemptStore(database, worker="w1")
    assert await store.finish(claim, Ending(state=State.FAILED, evidence=Evidence(error=error)))
    return claim.id


async def ids(database: Database, limit: int = 50, **fields: Any) -> list[UUID]:
    page = await ListingStore(database).page(Filter(**{"tenant": "acme"} | fields), before=None, limit=limit)
    return [row.id for row in page.rows]


async def test_every_filter_leaves_what_it_names(empty: Database) -> None:
    # Given jobs that differ in everything
    queued = await submitted(empty)
    other_model = await submitted(empty, model="echo", queue="quick")
    running = (await claimed(empty, await submitted(empty), worker="w2")).id
    lost = await failed(empty, "no face in picture 12")
    scheduled = await submitted(empty, delay_s=600)
    foreign = await submitted(empty, tenant="rival")
    # Then each filter shows its own, newest first
    assert await ids(empty) == [scheduled, lost, running, other_model, queued]
    assert await ids(empty, states=frozenset({State.QUEUED})) == [other_model, queued]
    assert await ids(empty, states=frozenset({State.QUEUED, State.FAILED})) == [lost, other_model, queued]
    assert await ids(empty, model="echo") == [other_model]
    assert await ids(empty, queue="images") == [scheduled, lost, running, queued]
    assert await ids(empty, queue="quick", states=frozenset({State.RUNNING})) == []
    assert await ids(empty, worker="w2") == [running]
    assert await ids(empty, error="algorithm_error") == [lost]
    assert await ids(empty, error="other") == []
    assert await ids(empty, states=frozenset({State.FAILED})) == [lost]
    assert await ids(empty, ids=(queued, lost, foreign, uuid7())) == [lost, queued]
    assert await ids(empty, model="cutout", states=frozenset({State.WAITING})) == [scheduled]
    assert await ids(empty, newest=running) == [running, other_model, queued]
    assert await ids(empty, oldest=running) == [scheduled, lost, running]
    # And every tenant's only where that is asked for
    assert await ids(empty, tenant="rival") == [foreign]
    assert await ids(empty, tenant=None) == [foreign, scheduled, lost, running, other_model, queued]
    for states in (frozenset({state}) for state in State):
        assert foreign not in await ids(empty, states=states)


async def test_priority_retries_and_the_end_are_filters_too(empty: Database) -> None:
    # Given jobs of two priorities, a failed one with a retry that failed too, and one that is open
    low, high = await submitted(empty, priority=2), await submitted(empty, priority=9)
    first = await failed(empty, "no")
    again = await failed(empty, "no", retry_of=first)
    other = await failed(empty, "out of paper")
    await empty.write("update jobs set finished_at = finished_at - interval '2 hours' where id = $1", other)
    # Then a list takes each by itself and beside others
    assert await ids(empty, priority=9) == [high]
    assert await ids(empty, priority=2, states=frozenset({State.QUEUED})) == [low]
    assert await ids(empty, priority=2, queue="images") == [low]
    assert await ids(empty, priority=2, states=frozenset({State.FAILED, State.QUEUED})) == [low]
    assert await ids(empty, priority=5, queue="images", states=frozenset({State.FAILED})) == [
        other,
        again,
        first,
    ]
    assert await ids(empty, retried=True) == [first]
    assert await ids(empty, retried=False) == [other, again, high, low]
    assert await ids(empty, retried=False, states=frozenset({State.FAILED})) == [other, again]
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert await ids(empty, ended_after=hour_ago) == [again, first]
    assert await ids(empty, ended_before=hour_ago) == [other]
    counts = await ListingStore(empty).counts(Filter(tenant="acme", priority=9, queue="images"))
    assert {state: count.n for state, count in counts.items() if count.n} == {State.QUEUED: 1}
    counts = await ListingStore(empty).counts(Filter(tenant="acme", retried=False))
    assert (counts[State.FAILED].n, counts[State.QUEUED].n) == (2, 2)


async def test_a_submit_that_is_no_retry_writes_no_retry(empty: Database) -> None:
    # A thousand plain submits leave the index of retries as empty as it was: one page, its own
    await asyncio.gather(*(submitted(empty) for _ in range(1000)))
    await empty.write("vacuum analyze specs")
    index = "select relpages, reltuples::int from pg_class where relname = 'specs_retries'"
    assert dict((await empty.read(index))[0]) == {"relpages": 1, "reltuples": 0}
    first = await submitted(empty)
    await submitted(empty, retry_of=first)
    await empty.write("vacuum analyze specs")
    assert (await empty.read(index))[0]["reltuples"] == 1


async def test_a_row_tells_why_it_waits_and_how_it_failed(empty: Database) -> None:
    lost = await failed(empty, "x" * 300)
    queued = await submitted(empty)
    store = ListingStore(empty)

    page = await store.page(Filter(tenant="acme"), before=None, limit=10)

    rows = {row.id: row for row in page.rows}
    assert (rows[queued].queue_reason, rows[queued].error_code) == ("no_worker", None)
    assert (rows[lost].error_code, rows[lost].message) == ("algorithm_error", "x" * 200)
    assert (rows[lost].worker, rows[lost].attempt, rows[lost].queue_reason) == ("w1", 1, None)
    fingerprint = rows[lost].fingerprint
    assert fingerprint
    assert await ids(empty, fingerprint=fingerprint) == [lost]
    assert (await store.row("rival", lost)).rows == ()
    assert [row.id for row in (await store.row(None, lost)).rows] == [lost]


async def test_a_running_job_that_no_engine_has_begun_with_says_so(empty: Database) -> None:
    store, reads = ListingStore(empty), ReadStore(empty)
    worker = ClaimStore(empty, worker="w1", models=["cutout@1"], slots=2)
    claim = await worker.claim(await submitted(empty))
    assert isinstance(claim, Claim)

    async def told() -> list[str | None]:
        job = await reads.job("acme", claim.id)
        assert job is not None
        return [job.queue_reason, (await store.row("acme", claim.id)).rows[0].queue_reason]

    # Given a claim of this moment: what is fetched and begun with at once never shows as waiting
    assert await told() == [None, None]
    # When it has stood for a while
    await empty.write("update jobs set started_at = started_at - interval '2 s' where id = $1", claim.id)
    assert await told() == ["in_worker", "in_worker"]
    # Then it does no longer as soon as an engine begins with it
    await worker.enter(claim)
    assert await told() == [None, None]


async def test_pages_join_without_gap_or_repeat_while_jobs_arrive(empty: Database) -> None:
    before = [await submitted(empty) for _ in range(7)]
    store, seen, cursor = ListingStore(empty), [], None
    while True:
        page = await store.page(Filter(tenant="acme"), before=cursor, limit=3)
        seen += [row.id for row in page.rows]
        await submitted(empty)
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == before[::-1]


async def test_counts_are_of_the_tenant_alone(empty: Database) -> None:
    await submitted(empty)
    await failed(empty, "no")
    await empty.write("insert into tenants (name) values ('acme')")
    store = ListingStore(empty)
    alone = await store.counts(Filter(tenant="acme"))
    await empty.write("insert into tenants (name) values ('rival')")
    await submitted(empty, tenant="rival")

    counted = await store.counts(Filter(tenant="acme"))

    assert counted == alone
    assert {state: count.n for state, count in counted.items() if count.n} == {
        State.QUEUED: 1,
        State.FAILED: 1,
    }
    assert (await store.counts(Filter(tenant=None)))[State.QUEUED].n == 2
    assert (await store.counts(Filter(tenant="acme", model="echo")))[State.QUEUED].n == 0


def test_a_moment_becomes_the_bounds_of_its_ids() -> None:
    job = uuid7()
    assert first_id(moment_of(job)) <= job <= last_id(moment_of(job))


async def test_what_lives_is_listed_over_all_priorities_and_queues(empty: Database) -> None:
    # Given jobs of every priority in queues of which one has only such as live, one only such as ended
    mixed = [await submitted(empty, queue=f"q{n % 3}", priority=n % 11) for n in range(33)]
    alive = await submitted(empty, queue="alive", priority=10)
    ended = (await claimed(empty, await submitted(empty, queue="ended", priority=0))).id
    await empty.write("update jobs set state = 'succeeded' where id = $1", ended)
    newest = [ended, alive, *mixed[::-1]]
    # Then a list of states merges them all, newest first
    every = frozenset(State)
    assert await ids(empty, tenant=None, states=every) == newest
    assert await ids(empty, tenant=None, states=frozenset({State.QUEUED})) == newest[1:]
    assert await ids(empty, 7, tenant=None, states=every) == newest[:7]
    for queue, wanted in (("alive", [alive]), ("ended", [ended]), ("q1", mixed[1::3][::-1])):
        assert await ids(empty, tenant=None, queue=queue) == wanted


async def test_a_job_writes_the_list_s_index_once(empty: Database) -> None:
    # What lives is in no index of its own: every change of state would be another entry
    known = await empty.read("select indexdef from pg_indexes where indexname = 'jobs_listed'")
    assert "WHERE (state = ANY" in known[0]["indexdef"]
    assert "running" not in known[0]["indexdef"]


FILTERS: list[dict[str, Any]] = [
    {},
    {"tenant": "small"},
    {"states": frozenset({State.QUEUED})},
    {"states": frozenset({State.FAILED}), "tenant": "small"},
    {"states": frozenset({State.SUCCEEDED}), "tenant": "small"},
    {"queue": "q1"},
    {"queue": "q1", "states": frozenset({State.FAILED})},
    {"model": "m3"},
    {"model": "m3", "tenant": "small"},
    {"model": "m3", "states": frozenset({State.QUEUED})},
    {"worker": "w7"},
    {"error": "c1"},
    {"error": "c1", "tenant": "small"},
    {"fingerprint": "f7"},
    {"fingerprint": "nobody's"},
    {"worker": "nobody"},
    {"ids": (uuid7(),)},
    {"priority": 6},
    {"priority": 6, "states": frozenset({State.QUEUED})},
    {"priority": 9, "states": frozenset({State.QUEUED, State.RUNNING}), "queue": "q1"},
    {"priority": 6, "queue": "q1"},
    {"priority": 6, "queue": "q1", "states": frozenset({State.SUCCEEDED})},
    {"retried": True},
    {"retried": False, "fingerprint": "f7"},
    {"retried": False, "states": frozenset({State.FAILED}), "tenant": "small"},
    {"ended_after": datetime(2023, 11, 14, 22, 14, tzinfo=UTC), "error": "c1"},
    {"ended_before": datetime(2023, 11, 14, 22, 13, tzinfo=UTC)},
]


@pytest.fixture(scope="module")
async def large(postgres_dsn: str) -> AsyncIterator[Database]:
    settings = Postgres(dsn=SecretStr(postgres_dsn), pool_size=2, timeout_s=100)
    async with open_database(settings, name="test") as opened:
        await opened.write("truncate jobs, specs, events, attempts, failures, tenants cascade")
        await opened.write("insert into tenants (name) values ('small'), ('large')")
        await opened.write(FILL, MANY)
        await opened.write(FILL_FAILURES)
        for table in ("jobs", "specs", "events", "failures"):
            await opened.write(f"vacuum analyze {table}")
        yield opened


def plan_nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(inner for child in node.get("Plans", ()) for inner in plan_nodes(child))]


@pytest.mark.parametrize("fields", FILTERS, ids=str)
@pytest.mark.parametrize("deep", [False, True])
async def test_a_page_costs_the_same_however_many_jobs_there_are(
    large: Database, fields: dict[str, Any], *, deep: bool
) -> None:
    # Given so many jobs that reading them all would show
    middle = UUID(int=first_id(moment_of(UUID(int=(1700000000000 + MANY // 2) << 80))).int)
    wanted = Filter(**{"tenant": None} | fields, newest=middle if deep else None)
    candidates = Candidates(wanted)
    for look in (MAX_LIMIT + 1, LOOK):
        # When PostgreSQL tells how it makes a page
        sql = "explain (analyze, format json) " + SHOWN.format(listed=candidates.rows(look, 51))
        plan = (await large.read(sql, *candidates.values))[0][0]
        nodes = plan_nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])
        # Then it reads no table from end to end
        scanned = {node.get("Relation Name") for node in nodes if node["Node Type"] == "Seq Scan"}
        assert scanned <= {"queue_pauses", "tenants", "workers"}, plan
        # And looks at no more rows than the look allows, whatever there is
        read = max(node["Actual Rows"] * node["Actual Loops"] for node in nodes)
        assert read <= look * 4 * 7, plan
        sorted_ = [node["Actual Rows"] for node in nodes if re.search("Sort", node["Node Type"])]
        assert max(sorted_, default=0) <= look
        if candidates.exact:
            break


async def test_a_rare_filter_says_how_far_it_looked_and_goes_on(large: Database) -> None:
    store = ListingStore(large)
    wanted, cursor, looks = Filter(tenant="small", worker="nobody"), None, 0
    while True:
        page = await store.page(wanted, before=cursor, limit=50)
        assert page.rows == ()
        assert page.searched_to == page.cursor
        cursor, looks = page.cursor, looks + 1
        if cursor is None:
            break
    assert looks == MANY // 10 // LOOK + 1


async def test_a_filter_of_two_kinds_finds_all(large: Database) -> None:
    store, seen, cursor = ListingStore(large), [], None
    wanted = Filter(tenant="small", worker="w10", states=frozenset({State.QUEUED}))
    while True:
        page = await store.page(wanted, before=cursor, limit=200)
        seen += [row.id for row in page.rows]
        cursor = page.cursor
        if cursor is None:
            break
    expected = await large.read(
        "select j.id from jobs j join specs s using (id) where s.tenant = 'small' and j.worker = 'w10'"
        " and j.state = 'queued' order by j.id desc"
    )
    assert seen == [row["id"] for row in expected] != []


async def test_counts_end_at_their_limit(large: Database) -> None:
    counts = await ListingStore(large).counts(Filter(tenant=None))
    assert (counts[State.SUCCEEDED].n, counts[State.SUCCEEDED].more) == (10_000, True)
    assert (counts[State.RUNNING].n, counts[State.RUNNING].more) == (0, False)
