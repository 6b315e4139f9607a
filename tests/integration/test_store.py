"""The store against a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import SecretStr
from uuid_utils.compat import uuid7

from shared.adapters.store.attempts import AttemptStore
from shared.adapters.store.bulk import BulkStore
from shared.adapters.store.cancels import CancelStore
from shared.adapters.store.claims import ClaimStore, Refusal
from shared.adapters.store.keys import KeyStore
from shared.adapters.store.leases import LeaseStore
from shared.adapters.store.pool import Database, open_database
from shared.adapters.store.reads import ReadStore
from shared.adapters.store.redelivery import RedeliveryStore
from shared.adapters.store.relay import RelayStore
from shared.adapters.store.submits import SubmitStore
from shared.adapters.store.workers import WorkerIdentity, WorkerStore
from shared.errors import IdempotencyConflict, JobEnded, NotFound, Unavailable, Unstorable
from shared.events import EventType
from shared.jobs import MAX_MISSES, MAX_RELEASES, Claim, Ending, Evidence, NewJob, State
from shared.settings import Postgres
from tests.integration.jobs import new_job

pytestmark = pytest.mark.anyio

DONE = Ending(
    state=State.SUCCEEDED,
    outputs={"mask": {"uri": "s3://leveret/acme/j/1/mask.png", "size": 3}},
    evidence=Evidence(log="hello", timings={"infer_s": 0.5}),
)
FAILED = Evidence(error={"code": "store_error", "message": "S3 is away", "retryable": True})


@dataclass
class Store:
    database: Database
    submits: SubmitStore
    claims: ClaimStore
    leases: LeaseStore
    attempts: AttemptStore
    reads: ReadStore
    cancels: CancelStore
    relay: RelayStore
    redelivery: RedeliveryStore
    judge: RelayStore
    """A relay that judges leases however young the server is."""

    async def claimed(self, **fields: object) -> Claim:
        job = new_job(**fields)
        await self.submits.submit(job)
        claim = await self.claims.claim(job.id)
        assert isinstance(claim, Claim)
        return claim

    async def end_lease(self, claim: Claim) -> None:
        await self.database.write(
            "update jobs set lease_until = clock_timestamp() - interval '1 s' where id = $1", claim.id
        )


@pytest.fixture
async def store(postgres_dsn: str) -> AsyncIterator[Store]:
    async with open_database(Postgres(dsn=SecretStr(postgres_dsn)), name="test") as database:
        yield Store(
            database=database,
            submits=SubmitStore(database),
            claims=ClaimStore(database, worker="w1", models=["cutout@1"]),
            leases=LeaseStore(database),
            attempts=AttemptStore(database, worker="w1"),
            reads=ReadStore(database),
            cancels=CancelStore(database),
            relay=RelayStore(database),
            redelivery=RedeliveryStore(database),
            judge=RelayStore(database, server_grace_s=0),
        )
        await database.write("truncate jobs, specs, events, attempts, workers, promotions")


async def test_a_submitted_job_is_queued_with_its_first_event(store: Store) -> None:
    job = new_job(metadata={"who": "ünï"})

    submitted = await store.submits.submit(job)

    assert submitted.fresh
    assert submitted.state is State.QUEUED
    assert submitted.publish_due is not None
    read = await store.reads.job("acme", job.id)
    assert read is not None
    assert (read.state, read.seq, read.metadata) == (State.QUEUED, 1, {"who": "ünï"})
    assert (read.queue_position, read.queue_reason) == (1, "no_worker")
    assert [event.type for event in await store.reads.events("acme", job.id)] == [EventType.QUEUED]


async def test_another_tenant_sees_nothing(store: Store) -> None:
    job = new_job()
    await store.submits.submit(job)

    assert await store.reads.job("rival", job.id) is None
    assert await store.reads.events("rival", job.id) == []
    assert await store.reads.attempts("rival", job.id) == []
    with pytest.raises(NotFound):
        await store.cancels.cancel("rival", job.id)


async def test_concurrent_submits_share_statements_and_each_gets_its_own_answer(store: Store) -> None:
    jobs = [new_job(idempotency_key=f"k{number % 40}", body_digest=b"\2" * 32) for number in range(80)]

    answers = await asyncio.gather(*(store.submits.submit(job) for job in jobs))

    assert sum(answer.fresh for answer in answers) == 40
    assert len({answer.id for answer in answers}) == 40


async def test_one_key_with_another_body_conflicts_and_neighbours_do_not_notice(store: Store) -> None:
    await store.submits.submit(new_job(idempotency_key="once", body_digest=b"\1" * 32))

    conflict, neighbour = await asyncio.gather(
        store.submits.submit(new_job(idempotency_key="once", body_digest=b"\2" * 32)),
        store.submits.submit(new_job()),
        return_exceptions=True,
    )

    assert isinstance(conflict, IdempotencyConflict)
    assert not isinstance(neighbour, BaseException)
    assert neighbour.fresh


async def test_one_row_of_bad_data_fails_alone(store: Store) -> None:
    good, bad = new_job(), new_job(priority=11)

    answers = await asyncio.gather(
        store.submits.submit(good), store.submits.submit(bad), return_exceptions=True
    )

    assert not isinstance(answers[0], BaseException)
    assert isinstance(answers[1], Exception)
    assert await store.reads.job("acme", good.id) is not None


async def test_ten_claims_of_one_job_have_one_winner(store: Store) -> None:
    job = new_job()
    await store.submits.submit(job)
    workers = [ClaimStore(store.database, worker=f"w{number}", models=["cutout@1"]) for number in range(10)]

    answers = await asyncio.gather(*(worker.claim(job.id) for worker in workers))

    assert sum(isinstance(answer, Claim) for answer in answers) == 1
    assert [answer for answer in answers if isinstance(answer, Refusal)] == [
        Refusal(state=State.RUNNING, model="cutout@1")
    ] * 9


async def test_a_finished_job_has_its_result_and_refuses_every_later_change(store: Store) -> None:
    claim = await store.claimed()

    left = await store.attempts.finish(claim, DONE)
    again = await store.attempts.finish(claim, DONE)

    assert left is not None
    assert left.event.type is EventType.SUCCEEDED
    assert again is None
    job = await store.reads.job("acme", claim.id)
    assert job is not None
    assert (job.state, job.outputs, job.progress) == (State.SUCCEEDED, DONE.outputs, 1.0)
    assert await store.claims.claim(claim.id) == Refusal(state=State.SUCCEEDED, model="cutout@1", recent=True)
    with pytest.raises(JobEnded):
        await store.cancels.cancel("acme", claim.id)
    attempts = await store.reads.attempts("acme", claim.id)
    assert [(attempt.outcome, attempt.log) for attempt in attempts] == [("succeeded", "hello")]


async def test_a_stale_fence_changes_nothing(store: Store) -> None:
    stale = await store.claimed()
    await store.end_lease(stale)
    await store.judge.expire_leases()
    fresh = await store.claims.claim(stale.id)
    assert isinstance(fresh, Claim)

    assert await store.attempts.finish(stale, DONE) is None
    assert await store.leases.renew({stale.id: (stale.fence, 0.5)}) == {}
    assert await store.leases.renew({fresh.id: (fresh.fence, 0.5)}) == {fresh.id: False}
    assert fresh.fence > stale.fence
    assert fresh.attempt == 2


async def test_leases_are_not_judged_while_postgresql_is_young(store: Store) -> None:
    claim = await store.claimed()
    await store.end_lease(claim)

    age = (await store.database.read("select clock_timestamp() - pg_postmaster_start_time() as age"))[0][
        "age"
    ]
    judged = await store.relay.expire_leases()

    assert bool(judged) == (age.total_seconds() > 20)


async def test_the_last_attempt_that_is_lost_ends_as_worker_lost(store: Store) -> None:
    claim = await store.claimed(max_attempts=1)
    await store.end_lease(claim)

    events = await store.judge.expire_leases()

    assert [(tenant, event.type) for tenant, event in events] == [("acme", EventType.FAILED)]
    job = await store.reads.job("acme", claim.id)
    assert job is not None
    assert job.error is not None
    assert job.error["code"] == "worker_lost"


async def test_only_who_was_inside_an_engine_is_blamed_for_a_lost_worker(store: Store) -> None:
    many = ClaimStore(store.database, worker="w2", models=["cutout@1"], slots=2)
    jobs = [new_job(max_attempts=1), new_job(max_attempts=1), new_job(max_attempts=2)]
    for job in jobs:
        await store.submits.submit(job)
    claims = [await many.claim(job.id) for job in jobs]
    assert all(isinstance(claim, Claim) and not claim.alone for claim in claims)
    for claim in claims[1:]:
        assert isinstance(claim, Claim)
        await many.enter(claim)
    for claim in claims:
        assert isinstance(claim, Claim)
        await store.end_lease(claim)

    ended = {event.job_id: event.type for _, event in await store.judge.expire_leases()}

    assert ended == {
        jobs[0].id: EventType.RETRYING,
        jobs[1].id: EventType.FAILED,
        jobs[2].id: EventType.RETRYING,
    }
    innocent, suspect = await many.claim(jobs[0].id), await many.claim(jobs[2].id)
    assert isinstance(innocent, Claim)
    assert isinstance(suspect, Claim)
    assert (innocent.attempt, innocent.alone) == (1, False)
    assert (suspect.attempt, suspect.alone) == (2, True)


async def test_a_release_gives_the_attempt_back_until_there_were_too_many(store: Store) -> None:
    job = new_job(max_attempts=30)
    await store.submits.submit(job)
    for release in range(MAX_RELEASES + 2):
        claim = await store.claims.claim(job.id)
        assert isinstance(claim, Claim)
        assert claim.attempt == max(1, release - MAX_RELEASES + 1)
        left = await store.attempts.release(claim, Evidence())
        assert left is not None
        assert (left.state, left.event.type) == (State.QUEUED, EventType.RELEASED)
        assert left.publish_due is not None


async def test_a_job_released_too_often_with_its_attempts_spent_fails(store: Store) -> None:
    job = new_job(max_attempts=2)
    await store.submits.submit(job)
    states = []
    for _ in range(MAX_RELEASES + 2):
        claim = await store.claims.claim(job.id)
        assert isinstance(claim, Claim)
        assert claim.attempt <= 2
        left = await store.attempts.release(claim, Evidence())
        assert left is not None
        states.append(left.state)

    assert states == [State.QUEUED] * (MAX_RELEASES + 1) + [State.FAILED]
    read = await store.reads.job("acme", job.id)
    assert read is not None
    assert read.error is not None
    assert read.error["code"] == "worker_lost"


async def test_whatever_an_algorithm_says_can_be_stored(store: Store) -> None:
    claim = await store.claimed()
    odd = {"text": "a\0b caf\udce9", "nested": [{"k\0": "\0"}]}

    left = await store.attempts.retry(
        claim, Evidence(error={"code": "x", **odd}, log="caf\udce9\0"), delay_s=0
    )

    assert left is not None
    assert left.event.data["error"]["text"] == "a\N{REPLACEMENT CHARACTER}b caf?"


async def test_what_postgresql_refuses_as_data_is_told_apart_from_an_outage(store: Store) -> None:
    claim = await store.claimed()
    with pytest.raises(Unstorable):
        await store.attempts.retry(claim, Evidence(), delay_s=1e15)


async def test_who_was_at_work_in_an_engine_that_died_runs_alone_next(store: Store) -> None:
    """Several may have been: the next attempt finds out which of them it was."""
    died, raised = [await store.claimed() for _ in range(2)]
    await store.attempts.retry(died, Evidence(error={"code": "worker_lost", "message": "gone"}), delay_s=0)
    await store.attempts.retry(raised, Evidence(error={"code": "store_error", "message": "S3"}), delay_s=0)
    await store.relay.wake_waiting()

    again = [await store.claims.claim(claim.id) for claim in (died, raised)]

    assert [claim.alone for claim in again if isinstance(claim, Claim)] == [True, False]


async def test_who_stood_in_line_of_engines_that_died_runs_beside_others_next(store: Store) -> None:
    claim = await store.claimed()
    await store.attempts.release(claim, Evidence(error={"code": "worker_lost", "message": "under others"}))

    again = await store.claims.claim(claim.id)

    assert isinstance(again, Claim)
    assert (again.attempt, again.alone) == (1, False)


async def test_a_blamed_job_stays_alone_until_it_has_ended(store: Store) -> None:
    many = ClaimStore(store.database, worker="w2", models=["cutout@1"], slots=2)
    job = new_job()
    await store.submits.submit(job)
    for entered in (True, False):
        claim = await many.claim(job.id)
        assert isinstance(claim, Claim)
        if entered:
            await many.enter(claim)
        await store.end_lease(claim)
        await store.judge.expire_leases()

    claim = await many.claim(job.id)
    assert isinstance(claim, Claim)
    assert claim.alone


async def test_statements_that_take_many_rows_do_not_deadlock(store: Store) -> None:
    jobs = [new_job() for _ in range(60)]
    await asyncio.gather(*(store.submits.submit(job) for job in jobs))
    marks = {row["id"]: row["publish_due"] for row in await store.database.read("select * from jobs")}

    async def confirm(order: int) -> None:
        for job in jobs[::order]:
            await store.submits.published(job.id, marks[job.id])

    async with asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(store.redelivery.publish_all("images"))
            tasks.create_task(asyncio.wait_for(asyncio.gather(*map(confirm, (1, -1))), 60))
            tasks.create_task(store.redelivery.overtaken(margin_s=0, forgotten_s=0))


async def test_a_retry_waits_and_wakes(store: Store) -> None:
    claim = await store.claimed()

    left = await store.attempts.retry(claim, FAILED, delay_s=0)
    assert left is not None
    assert left.state is State.WAITING
    woken = await store.relay.wake_waiting()

    assert [(event.job_id, event.type) for _, event in woken] == [(claim.id, EventType.QUEUED)]
    assert [due.id for due in await store.relay.take_due()] == [claim.id]
    history = await store.reads.events("acme", claim.id)
    assert [event.type.value for event in history] == [
        "job.queued",
        "job.running",
        "job.retrying",
        "job.queued",
    ]
    assert [event.seq for event in history] == [1, 2, 3, 4]


async def test_every_exit_from_running_but_success_honours_the_wish_to_cancel(store: Store) -> None:
    retried, released, succeeded = [await store.claimed() for _ in range(3)]
    for claim in (retried, released, succeeded):
        assert await store.cancels.cancel("acme", claim.id) is None
    assert await store.leases.renew({retried.id: (retried.fence, 0.0)}) == {retried.id: True}

    answers = [
        await store.attempts.retry(retried, FAILED, delay_s=5),
        await store.attempts.release(released, Evidence()),
        await store.attempts.finish(succeeded, DONE),
    ]

    states = [answer.state for answer in answers if answer]
    assert states == [State.CANCELED, State.CANCELED, State.SUCCEEDED]
    assert not await store.relay.take_due()


async def test_cancel_ends_a_queued_job_at_once(store: Store) -> None:
    job = new_job()
    await store.submits.submit(job)

    event = await store.cancels.cancel("acme", job.id)

    assert event is not None
    assert event.type is EventType.CANCELED
    assert await store.claims.claim(job.id) == Refusal(state=State.CANCELED, model="cutout@1", recent=True)


async def test_a_job_whose_model_is_not_known_here_stays_queued(store: Store) -> None:
    job = new_job(model_version="2")
    await store.submits.submit(job)

    assert await store.claims.claim(job.id) == Refusal(state=State.QUEUED, model="cutout@2")


async def test_a_lost_answer_is_recovered_from_the_row(store: Store) -> None:
    claim = await store.claimed()
    assert await store.claims.recover(claim.id) == claim
    assert await store.attempts.left(claim) is None

    left = await store.attempts.finish(claim, DONE)

    assert await store.attempts.left(claim) == left
    assert await store.claims.recover(claim.id) is None


async def test_a_job_no_worker_knows_waits_ten_times_and_then_fails(store: Store) -> None:
    job = new_job()
    await store.submits.submit(job)
    error = {"code": "model_unavailable", "message": "no such model here", "retryable": True}
    types = []
    for _ in range(MAX_MISSES):
        deferred = await store.claims.defer(job.id, error)
        assert deferred is not None
        types.append(deferred[1].type)
        await store.database.write("update jobs set run_at = clock_timestamp() where run_at is not null")
        await store.relay.wake_waiting()

    assert types == [EventType.RETRYING] * (MAX_MISSES - 1) + [EventType.FAILED]
    read = await store.reads.job("acme", job.id)
    assert read is not None
    assert read.error == error


async def test_the_relay_takes_each_due_row_once_and_the_confirm_clears_only_its_own_mark(
    store: Store,
) -> None:
    low, high = new_job(priority=1), new_job(priority=9)
    for job in (low, high):
        await store.submits.submit(job)
    await store.database.write("update jobs set publish_due = clock_timestamp()")

    taken = await store.relay.take_due()

    assert [due.id for due in taken] == [high.id, low.id]
    assert await store.relay.take_due() == []
    await store.submits.published(high.id, taken[0].publish_due)
    await store.submits.published(low.id, taken[0].publish_due)
    marks = {row["id"]: row["publish_due"] for row in await store.database.read("select * from jobs")}
    assert marks == {high.id: None, low.id: taken[1].publish_due}


async def test_what_is_due_for_a_refused_queue_stays_so(store: Store) -> None:
    job = new_job()
    await store.submits.submit(job)
    await store.database.write("update jobs set publish_due = clock_timestamp()")
    assert await store.relay.take_due(refused=["elsewhere", job.queue]) == []
    assert [due.id for due in await store.relay.take_due(refused=["elsewhere"])] == [job.id]


async def test_what_the_broker_was_away_for_is_soon_due_again_and_the_try_not_counted(store: Store) -> None:
    job = new_job()
    await store.submits.submit(job)
    await store.database.write("update jobs set publish_due = clock_timestamp(), publish_tries = 6")
    (taken,) = await store.relay.take_due()

    await store.relay.put_back([(job.id, taken.publish_due)])
    await store.relay.put_back([(job.id, taken.publish_due)])

    rows = await store.database.read(
        "select publish_tries, publish_due < clock_timestamp() + interval '10 s' as soon from jobs"
    )
    assert [tuple(row) for row in rows] == [(6, True)]


async def test_a_job_that_does_not_start_in_time_expires(store: Store) -> None:
    job = new_job(start_timeout_s=0.0)
    await store.submits.submit(job)

    events = await store.relay.expire_starts()

    assert [(event.job_id, event.type) for _, event in events] == [(job.id, EventType.EXPIRED)]


async def test_an_unknown_job_is_refused_as_such(store: Store) -> None:
    assert await store.claims.claim(uuid7()) == Refusal(state=None)


async def test_a_key_is_found_by_its_digest_only(store: Store) -> None:
    keys = KeyStore(store.database)

    key = await keys.create("acme", "ci", "user")

    principal = await keys.find(key)
    assert principal is not None
    assert (principal.tenant, principal.role) == ("acme", "user")
    assert await keys.find(key + "x") is None
    rows = await store.database.read("select * from api_keys")
    assert key not in repr(rows)


async def test_a_statement_that_does_not_fit_is_a_defect_and_no_outage(store: Store) -> None:
    with pytest.raises(asyncpg.InterfaceError):
        await store.database.write("select $1::int", 1, 2)
    with pytest.raises(asyncpg.DataError):
        await store.database.write("select $1::int", "one")


async def test_a_session_plans_generically_and_outlives_its_peer_by_half_a_minute(
    migrated_template: str,
) -> None:
    """The migrations set it on the database; the copies that other tests use do not inherit it."""
    names = "jit", "plan_cache_mode", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count"
    async with open_database(Postgres(dsn=SecretStr(migrated_template)), name="test", size=1) as database:
        rows = await database.read("select name, setting from pg_settings where name = any($1)", [*names])
    found = {row["name"]: row["setting"] for row in rows}
    assert [found[name] for name in names] == ["off", "force_generic_plan", "10", "5", "3"]


async def test_a_statement_that_somebody_ended_is_refused_by_a_server_that_is_there(store: Store) -> None:
    async def end_it() -> None:
        ended = False
        while not ended:
            rows = await store.database.read(
                "select pg_cancel_backend(pid) as ended from pg_stat_activity "
                "where query = 'select pg_sleep(60)' and state = 'active' and datname = current_database()"
            )
            ended = bool(rows)

    ending = asyncio.create_task(end_it())
    with pytest.raises(Unavailable) as refused:
        await store.database.write("select pg_sleep(60)")
    await ending

    assert refused.value.refused


async def test_a_server_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable) as away:
        async with open_database(
            Postgres(dsn=SecretStr("postgresql://127.0.0.1:1/x"), timeout_s=2), name="test"
        ):
            pass
    assert not away.value.refused


async def _published(store: Store, *, age_s: float, **fields: Any) -> NewJob:
    """A queued job whose message was confirmed `age_s` seconds ago."""
    job = new_job(**fields)
    await store.submits.submit(job)
    await store.database.write(
        "update jobs set publish_due = null, queued_at = clock_timestamp() - make_interval(secs => $2), "
        "published_at = clock_timestamp() - make_interval(secs => $2) where id = $1",
        job.id,
        age_s,
    )
    return job


async def _due(store: Store) -> set[UUID]:
    return {due.id for due in await store.relay.take_due()}


async def test_a_message_that_a_younger_one_of_its_priority_overtook_is_sent_again(store: Store) -> None:
    lost = await _published(store, age_s=100, priority=5)
    other = await _published(store, age_s=100, priority=4)
    late = await _published(store, age_s=30, priority=5)
    assert isinstance(await store.claims.claim(late.id), Claim)

    assert await store.redelivery.overtaken(margin_s=60, forgotten_s=3600) == 1

    assert await _due(store) == {lost.id}
    assert other.id not in await _due(store)


async def test_jobs_whose_queue_is_empty_or_gone_are_sent_again(store: Store) -> None:
    old = await _published(store, age_s=100)
    fresh = await _published(store, age_s=1)

    silent = await store.redelivery.silent(after_s=30)
    assert [found.queue for found in silent] == ["images"]
    assert await store.redelivery.publish_again(silent[0]) == 1
    assert await _due(store) == {old.id}

    assert await store.redelivery.publish_all("images") == 2
    assert await _due(store) == {old.id, fresh.id}


async def test_aging_promotes_the_oldest_and_keeps_pace_with_claims(store: Store) -> None:
    me = WorkerIdentity(id="w1", queue="images", host="h", device="cpu", slots=1)
    worker = WorkerStore(store.database, me)
    await worker.beat("ready", busy=0, claims=100)
    low = [await _published(store, age_s=4000 - number, priority=0) for number in range(3)]
    patient = await _published(store, age_s=100, priority=5)

    async def promote() -> dict[str, int]:
        return await store.redelivery.promote(high_s=120, normal_s=600, low_s=3600)

    assert await promote() == {}
    await worker.beat("ready", busy=0, claims=104)
    assert await promote() == {}
    await worker.beat("ready", busy=0, claims=111)
    assert await promote() == {"images": 2}
    assert await promote() == {}

    rows = await store.database.read("select id, priority from jobs")
    priorities = {row["id"]: row["priority"] for row in rows}
    assert [priorities[job.id] for job in low] == [10, 10, 0]
    assert priorities[patient.id] == 5
    assert await _due(store) == {low[0].id, low[1].id}


async def test_who_is_put_back_by_hand_ages_anew_from_that_moment(store: Store) -> None:
    # Given a job that was promoted, and then put back by an operator
    worker = WorkerStore(
        store.database, WorkerIdentity(id="w1", queue="images", host="h", device="cpu", slots=1)
    )
    await worker.beat("ready", busy=0, claims=100)
    job = await _published(store, age_s=4000, priority=0)

    async def promote() -> dict[str, int]:
        return await store.redelivery.promote(high_s=120, normal_s=600, low_s=3600)

    assert await promote() == {}
    await worker.beat("ready", busy=0, claims=200)
    assert await promote() == {"images": 1}
    assert await BulkStore(store.database).prioritise([job.id], 0) == 1
    # Then it is not raised at once, against the operator's will
    assert await promote() == {}
    # But once it has waited for as long again
    await store.database.write("update jobs set prioritised_at = prioritised_at - interval '2 hours'")
    assert await promote() == {"images": 1}
