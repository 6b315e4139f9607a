"""A held queue: nothing of it starts, nothing of it is lost, and no message goes round in circles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
from pydantic import SecretStr

from shared.adapters.store import pauses
from shared.adapters.store.claims import ClaimStore, Refusal
from shared.adapters.store.fleet import FleetStore
from shared.adapters.store.pauses import PauseStore
from shared.adapters.store.pool import Database, open_database
from shared.adapters.store.redelivery import RedeliveryStore
from shared.adapters.store.relay import RelayStore
from shared.adapters.store.submits import SubmitStore
from shared.errors import ModelUnavailable
from shared.jobs import Claim, State
from shared.settings import Postgres
from tests.integration.jobs import new_job

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

LATER = "update jobs set published_at = published_at - interval '2 hours', publish_due = null"


class House:
    """The stores of gateway, worker and scaler on a database where nobody else is at work."""

    def __init__(self, database: Database, dsn: str) -> None:
        self.dsn = dsn
        self.database, self.submits, self.relay = database, SubmitStore(database), RelayStore(database)
        self.redelivery, self.pauses = RedeliveryStore(database), PauseStore(database)
        self.fleet = FleetStore(database)
        self.claims = ClaimStore(database, worker="w", models=["cutout@1"])

    async def due(self, queue: str) -> list[UUID]:
        return [row.id for row in await self.relay.take_due() if row.queue == queue]

    async def waits(self, queue: str) -> UUID:
        """A job whose submitter's own message got nowhere: it is due."""
        job = new_job(queue=queue)
        await self.submits.submit(job)
        await self.database.write("update jobs set publish_due = clock_timestamp() where id = $1", job.id)
        return job.id


@pytest.fixture
async def house(postgres_dsn: str) -> AsyncIterator[House]:
    async with open_database(Postgres(dsn=SecretStr(postgres_dsn)), name="test") as database:
        yield House(database, postgres_dsn)
        await database.write("delete from queue_pauses")
        await database.write("delete from jobs")


async def test_the_relay_lays_its_messages_aside_once_and_sends_them_when_it_goes_on(house: House) -> None:
    job = await house.waits("held-relay")
    await house.pauses.hold("held-relay", by="ops/laptop")
    assert await house.due("held-relay") == []
    # Laid aside, it is due no more: not now, nor when it looks as if its message were lost
    assert await house.due("held-relay") == []
    await house.database.write(LATER)
    assert await house.redelivery.overtaken(margin_s=60, forgotten_s=3600) == 0
    assert [silent.queue for silent in await house.redelivery.silent(after_s=30)] == []
    # Let go, it is due at once, however it was laid aside
    await house.pauses.let_go("held-relay", by="ops/laptop")
    rows = await house.database.read(
        "select publish_due <= clock_timestamp() as due from jobs where id = $1", job
    )
    state = await house.database.read("select publish_due is not null as sent from jobs where id = $1", job)
    assert rows[0]["due"] or state[0]["sent"]
    assert isinstance(await house.claims.claim(job), Claim)


async def test_a_claim_is_refused_and_its_message_may_go(house: House) -> None:
    # Given a job whose message a worker has in hand when its queue is held
    job = await house.waits("held-claim")
    await house.pauses.hold("held-claim", by="ops/laptop")
    # Then it is not claimed, by whoever, and not deferred either
    assert await house.claims.claim(job) == Refusal(state=State.QUEUED, model="cutout@1", recent=False)
    assert await house.claims.defer(job, {"code": ModelUnavailable.code}) is None
    # And other queues go on
    other = await house.waits("free-claim")
    assert isinstance(await house.claims.claim(other), Claim)


async def test_what_was_laid_aside_is_found_even_if_nobody_let_it_go_properly(house: House) -> None:
    job = await house.waits("held-crash")
    await house.pauses.hold("held-crash", by="ops/laptop")
    await house.database.write(
        "update jobs set publish_due = null, published_at = clock_timestamp() where id = $1", job
    )
    # When the gateway dies between the two steps of letting it go
    await house.database.write("update queue_pauses set paused = false")
    await house.database.write(LATER)
    # Then the relay finds an empty queue with a job that was sent long ago
    assert [silent.queue for silent in await house.redelivery.silent(after_s=30)] == ["held-crash"]


async def test_a_row_that_is_being_changed_as_its_queue_goes_on_is_not_passed_over(house: House) -> None:
    """Nobody would look at it again for up to an hour."""
    job = await house.waits("held-locked")
    await house.pauses.hold("held-locked", by="ops/laptop")
    assert await house.due("held-locked") == []
    other = await asyncpg.connect(house.dsn)
    async with other.transaction():
        await other.execute("select 1 from jobs where id = $1 for update", job)
        letting_go = asyncio.create_task(house.pauses.let_go("held-locked", by="ops/laptop"))
        while not await house.database.read("select 1 from pg_stat_activity where wait_event_type = 'Lock'"):
            await asyncio.sleep(0.01)
    await other.close()
    await letting_go
    assert await house.due("held-locked") == [job]


async def test_what_was_sent_while_its_queue_goes_on_is_not_sent_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more rows than a batch takes, a relay as fast as that would keep it at them for ever."""
    monkeypatch.setattr(pauses, "BATCH", 2)
    jobs = [await house.waits("held-many") for _ in range(4)]
    await house.pauses.hold("held-many", by="ops/laptop")
    assert await house.due("held-many") == []
    write = house.database.write
    released = 0

    async def sent_at_once(sql: str, *values: object) -> list[asyncpg.Record]:
        nonlocal released
        rows = await write(sql, *values)
        if sql == pauses.RELEASE:
            released += len(rows)
            assert released <= len(jobs), "again"
            await write("update jobs set publish_due = null, published_at = clock_timestamp()")
        return rows

    monkeypatch.setattr(house.database, "write", sent_at_once)
    async with asyncio.timeout(30):
        await house.pauses.let_go("held-many", by="ops/laptop")
    assert released == len(jobs)


async def test_a_held_queue_asks_for_no_worker(house: House) -> None:
    await house.waits("held-fleet")
    await house.pauses.hold("held-fleet", by="ops/laptop")
    rows = [row for row in await house.fleet.backlog() if row.queue == "held-fleet"]
    assert [(row.waiting, row.oldest_s) for row in rows] == [(0, 0.0)]
    await house.pauses.let_go("held-fleet", by="ops/laptop")
    rows = [row for row in await house.fleet.backlog() if row.queue == "held-fleet"]
    assert [row.waiting for row in rows] == [1]
