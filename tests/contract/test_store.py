"""What rows promise a worker and a feed: the store on PostgreSQL, and those in memory that stand for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from uuid_utils.compat import uuid7

from gateway.ports import Reads
from gpu_worker.ports import Attempts, Claims, LeaseStore
from shared.adapters.store.attempts import AttemptStore
from shared.adapters.store.claims import ClaimStore
from shared.adapters.store.leases import LeaseStore as RealLeaseStore
from shared.adapters.store.pool import open_database
from shared.adapters.store.reads import ReadStore
from shared.adapters.store.submits import SubmitStore
from shared.errors import ModelUnavailable
from shared.events import Event, EventType
from shared.jobs import Claim, Ending, Evidence, State
from shared.settings import Postgres
from tests.fakes.store import FakeReads
from tests.fakes.worker import FakeAttempts
from tests.integration.jobs import new_job
from tests.unit.gpu_worker.claims import claim as claim_of

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

TENANT = "acme"
ECHO: dict[str, Any] = {"model": "echo", "queue": "quick"}
SUCCESS = Ending(state=State.SUCCEEDED, evidence=Evidence(log="said"), outputs={})
MISSING = {"code": ModelUnavailable.code, "message": "not here", "retryable": True}


@dataclass(frozen=True, slots=True)
class Rows:
    """One of the two, and how a job gets into it."""

    claims: Claims
    leases: LeaseStore
    attempts: Attempts
    reads: Reads
    queue: Callable[..., Awaitable[UUID]]
    ended: Callable[[], Awaitable[UUID]]


@pytest.fixture(params=["real", "fake"])
def address(request: pytest.FixtureRequest) -> str | None:
    """Of the real one; asked for here, since servers cannot start inside a running loop."""
    return str(request.getfixturevalue("postgres_dsn")) if request.param == "real" else None


@pytest.fixture
async def rows(address: str | None) -> AsyncIterator[Rows]:
    if address is None:
        yield _in_memory()
        return
    async with open_database(Postgres(dsn=SecretStr(address)), name="test") as database:
        submits = SubmitStore(database)
        claims = ClaimStore(database, worker="w1", models=["echo@1"])
        attempts = AttemptStore(database, worker="w1")

        async def queue(**fields: Any) -> UUID:
            job = new_job(tenant=TENANT, **ECHO | fields)
            await submits.submit(job)
            return job.id

        async def ended() -> UUID:
            claim = await claims.claim(await queue())
            assert isinstance(claim, Claim)
            await attempts.finish(claim, SUCCESS)
            return claim.id

        yield Rows(claims, RealLeaseStore(database), attempts, ReadStore(database), queue, ended)


def _in_memory() -> Rows:
    rows, reads = FakeAttempts(), FakeReads()

    async def queue(**fields: Any) -> UUID:
        return rows.add(claim_of(tenant=TENANT, **ECHO | fields)).claim.id

    async def ended() -> UUID:
        job_id = uuid7()
        for kind in (EventType.QUEUED, EventType.RUNNING, EventType.SUCCEEDED):
            reads.add(TENANT, job_id, kind)
        return job_id

    return Rows(rows, rows, rows, reads, queue, ended)


async def claimed(rows: Rows) -> Claim:
    claim = await rows.claims.claim(await rows.queue())
    assert isinstance(claim, Claim)
    return claim


async def refused(rows: Rows, job_id: UUID) -> tuple[State | None, str]:
    answer = await rows.claims.claim(job_id)
    assert not isinstance(answer, Claim)
    return answer.state, answer.model


def outline(event: Event) -> tuple[int, EventType]:
    return event.seq, event.type


async def test_a_queued_job_is_claimed_once(rows: Rows) -> None:
    claim = await claimed(rows)
    assert (claim.attempt, claim.seq, claim.tenant) == (1, 2, TENANT)
    assert await refused(rows, claim.id) == (State.RUNNING, "echo@1")
    assert await rows.claims.recover(claim.id) == claim


async def test_an_unknown_job_and_an_unknown_model_are_refused(rows: Rows) -> None:
    assert (await refused(rows, uuid7()))[0] is None
    strange = await rows.queue(model="strange")
    assert await refused(rows, strange) == (State.QUEUED, "strange@1")
    deferred = await rows.claims.defer(strange, MISSING)
    assert deferred is not None
    assert (deferred[0], outline(deferred[1])) == (TENANT, (2, EventType.RETRYING))
    assert (await refused(rows, strange))[0] is State.WAITING


async def test_the_first_commit_wins_and_is_found_again(rows: Rows) -> None:
    claim = await claimed(rows)
    assert await rows.attempts.left(claim) is None

    left = await rows.attempts.finish(claim, SUCCESS)

    assert left is not None
    assert (left.state, outline(left.event)) == (State.SUCCEEDED, (3, EventType.SUCCEEDED))
    assert await rows.attempts.finish(claim, SUCCESS) is None
    assert await rows.attempts.release(claim, Evidence()) is None
    again = await rows.attempts.left(claim)
    assert again is not None
    assert (again.state, again.event) == (left.state, left.event)
    assert await rows.claims.recover(claim.id) is None
    answer = await rows.claims.claim(claim.id)
    assert not isinstance(answer, Claim)
    assert (answer.state, answer.recent) == (State.SUCCEEDED, True)


async def test_a_retry_waits_and_a_release_is_queued(rows: Rows) -> None:
    retried, released = await claimed(rows), await claimed(rows)

    waits = await rows.attempts.retry(retried, Evidence(), delay_s=60)
    queued = await rows.attempts.release(released, Evidence())

    assert waits is not None
    assert queued is not None
    assert (waits.state, outline(waits.event)) == (State.WAITING, (3, EventType.RETRYING))
    assert (queued.state, outline(queued.event)) == (State.QUEUED, (3, EventType.RELEASED))


async def test_only_the_owner_renews(rows: Rows) -> None:
    claim = await claimed(rows)
    await rows.claims.doubt(claim.id)
    assert await rows.leases.renew({claim.id: (claim.fence, 0.5)}) == {claim.id: False}
    assert await rows.leases.renew({claim.id: (claim.fence + 1, 0.5)}) == {}
    await rows.attempts.finish(claim, SUCCESS)
    assert await rows.leases.renew({claim.id: (claim.fence, 0.5)}) == {}


async def test_a_history_is_read_behind_a_cursor_by_its_tenant_alone(rows: Rows) -> None:
    job_id = await rows.ended()

    whole = await rows.reads.events(TENANT, job_id, 0)

    assert [outline(event) for event in whole] == [
        (1, EventType.QUEUED),
        (2, EventType.RUNNING),
        (3, EventType.SUCCEEDED),
    ]
    assert await rows.reads.events(TENANT, job_id, 1) == whole[1:]
    assert await rows.reads.events(TENANT, job_id, 99) == []
    assert await rows.reads.events("rival", job_id, 0) == []
    assert await rows.reads.seqs([job_id, uuid7()]) == {job_id: 3}
