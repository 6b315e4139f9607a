"""What an attempt cost is written down with its end, and what a machine costs while it is seen."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from scaler.snapshot import Machine
from shared.adapters.store.attempts import AttemptStore
from shared.adapters.store.cancels import CancelStore
from shared.adapters.store.claims import ClaimStore
from shared.adapters.store.fleet import FleetStore
from shared.adapters.store.pool import Database, open_database
from shared.adapters.store.reads import ReadStore
from shared.adapters.store.relay import RelayStore
from shared.adapters.store.submits import SubmitStore
from shared.adapters.store.workers import WorkerIdentity, WorkerStore
from shared.jobs import Claim, Ending, Evidence, Job, State
from shared.settings import Postgres
from shared.tariff import Tariff
from tests.integration.jobs import new_job

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

DONE = Ending(state=State.SUCCEEDED, evidence=Evidence())
ME = WorkerIdentity(id="w1", queue="images", host="here", device="cuda", slots=2, gpus=1)
HOURLY = Decimal("3.6")
"""A tenth of a cent a second, and half of it for one of two slots."""


@dataclass
class House:
    database: Database
    tariff: Tariff

    @property
    def attempts(self) -> AttemptStore:
        return AttemptStore(self.database, worker="w1", tariff=self.tariff)

    @property
    def relay(self) -> RelayStore:
        return RelayStore(self.database, server_grace_s=0)

    async def claimed(self, ago_s: float) -> Claim:
        """A job that has run for so long."""
        job = new_job()
        await SubmitStore(self.database).submit(job)
        return await self.claim(job.id, ago_s)

    async def claim(self, id_: Any, ago_s: float) -> Claim:
        await self.database.write("update jobs set state = 'queued' where id = $1 and state = 'waiting'", id_)
        claim = await ClaimStore(self.database, worker="w1", models=["cutout@1"], slots=2).claim(id_)
        assert isinstance(claim, Claim)
        await self.database.write(
            "update jobs set started_at = started_at - make_interval(secs => $2) where id = $1", id_, ago_s
        )
        return claim

    async def job(self, claim: Claim) -> Job:
        job = await ReadStore(self.database).job(claim.tenant, claim.id)
        assert job is not None
        return job

    async def slices(self, worker: str) -> list[tuple[Decimal | None, float, float]]:
        """Price, seconds from the first beginning to the slice's, seconds to its end."""
        rows = await self.database.read(
            "select per_hour, extract(epoch from since - min(since) over ())::float8 as since,"
            " extract(epoch from until - min(since) over ())::float8 as until"
            " from machine_time where worker = $1 order by slice",
            worker,
        )
        return [(row["per_hour"], round(row["since"]), round(row["until"])) for row in rows]


@pytest.fixture
async def house(postgres_dsn: str) -> AsyncIterator[House]:
    async with open_database(Postgres(dsn=SecretStr(postgres_dsn)), name="test") as database:
        yield House(database, Tariff(device="cuda", slots=2, gpus=1, per_hour=HOURLY))
        await database.write("truncate jobs, specs, events, attempts, workers, machine_time, decisions")


async def test_an_attempt_costs_its_share_of_the_machine(house: House) -> None:
    claim = await house.claimed(ago_s=10)

    left = await house.attempts.finish(claim, DONE)

    assert left is not None
    receipt = left.event.data["receipt"]
    assert receipt["machine_s"] == pytest.approx(5, abs=0.5)
    assert receipt["gpu_s"] == receipt["machine_s"]
    assert Decimal(receipt["cost"]) == pytest.approx(Decimal("0.005"), abs=Decimal("0.0005"))
    assert {name: receipt[name] for name in ("attempts", "currency", "worker", "device")} == {
        "attempts": 1,
        "currency": "USD",
        "worker": "w1",
        "device": "cuda",
    }
    assert (receipt["wasted_attempts"], receipt["wasted_s"], receipt["wasted_cost"]) == (0, 0, "0")
    assert (await house.job(claim)).receipt == receipt
    assert left.cost == Decimal(receipt["cost"])
    assert left.machine_s == pytest.approx(receipt["machine_s"], abs=1e-6)


async def test_what_was_done_in_vain_is_on_the_receipt(house: House) -> None:
    # Given a job that was retried and given back before it succeeded
    claim = await house.claimed(ago_s=10)
    assert await house.attempts.retry(claim, Evidence(error={"code": "x"}), delay_s=0)
    before = (await house.job(claim)).receipt
    claim = await house.claim(claim.id, ago_s=4)
    assert await house.attempts.release(claim, Evidence())
    claim = await house.claim(claim.id, ago_s=20)
    # When it ends
    left = await house.attempts.finish(claim, DONE)
    assert left is not None
    # Then its receipt has all three, and says how much was in vain
    receipt = left.event.data["receipt"]
    assert before is not None
    assert (before["attempts"], before["wasted_attempts"]) == (1, 1)
    assert before["cost"] == before["wasted_cost"]
    assert (receipt["attempts"], receipt["wasted_attempts"]) == (3, 2)
    assert receipt["wasted_s"] == pytest.approx(7, abs=0.5)
    assert receipt["machine_s"] == pytest.approx(17, abs=0.5)
    assert Decimal(receipt["wasted_cost"]) == pytest.approx(Decimal("0.007"), abs=Decimal("0.0005"))
    assert (await house.job(claim)).receipt == receipt


async def test_jobs_that_end_together_each_get_their_own_receipt(house: House) -> None:
    # Given jobs that ran before and jobs that did not
    again = [await house.claimed(ago_s=3) for _ in range(2)]
    for claim in again:
        assert await house.attempts.retry(claim, Evidence(), delay_s=0)
    claims = [await house.claim(claim.id, ago_s=5) for claim in again]
    claims += [await house.claimed(ago_s=9) for _ in range(3)]
    # When they end in one batch
    store = house.attempts
    ended = await asyncio.gather(*(store.finish(claim, DONE) for claim in claims))
    # Then each receipt is its job's
    receipts = [left.event.data["receipt"] for left in ended if left]
    assert [(each["attempts"], each["wasted_attempts"]) for each in receipts] == [(2, 1)] * 2 + [(1, 0)] * 3
    assert [(await house.job(claim)).receipt for claim in claims] == receipts


async def test_a_price_that_nobody_told_is_unknown_and_not_nothing(house: House) -> None:
    house.tariff.per_hour = None
    claim = await house.claimed(ago_s=10)
    assert await house.attempts.retry(claim, Evidence(), delay_s=0)
    house.tariff.per_hour = HOURLY
    claim = await house.claim(claim.id, ago_s=10)

    left = await house.attempts.finish(claim, DONE)

    assert left is not None
    receipt = left.event.data["receipt"]
    assert (receipt["cost"], receipt["wasted_cost"]) == (None, None)
    assert receipt["machine_s"] == pytest.approx(10, abs=0.5)
    assert (await house.job(claim)).receipt == receipt


async def test_a_machine_that_costs_nothing_costs_nothing(house: House) -> None:
    house.tariff.per_hour = Decimal(0)
    left = await house.attempts.finish(await house.claimed(ago_s=10), DONE)

    assert left is not None
    assert left.event.data["receipt"]["cost"] == "0"


async def test_a_job_has_no_receipt_before_an_attempt_has_ended(house: House) -> None:
    claim = await house.claimed(ago_s=1)
    assert (await house.job(claim)).receipt is None

    assert await house.attempts.retry(claim, Evidence(), delay_s=60)
    await CancelStore(house.database).cancel(claim.tenant, claim.id)

    receipt = (await house.job(claim)).receipt
    assert receipt is not None
    assert receipt["wasted_cost"] == receipt["cost"] != "0"


@pytest.mark.parametrize("price", [HOURLY, None])
async def test_a_lost_attempt_costs_up_to_its_workers_last_sign_of_life(
    house: House, price: Decimal | None
) -> None:
    # Given a job of one attempt, whose worker was last heard of ten seconds ago
    if price:  # else it never was heard of at all
        await WorkerStore(house.database, dataclasses.replace(ME, per_hour=price)).beat("ready", busy=1)
    claim = await house.claimed(ago_s=60)
    await house.database.write("update workers set heartbeat_at = heartbeat_at - interval '10 s'")
    await house.database.write(
        "update jobs set entered = true, max_attempts = 1, lease_until = clock_timestamp() - interval '1 s'"
    )
    # When the relay gives it up
    [(_, event)] = await house.relay.expire_leases()
    # Then it has paid for the time in which somebody may have worked on it, as far as that is known
    receipt = event.data["receipt"]
    assert (receipt["attempts"], receipt["wasted_attempts"], receipt["worker"]) == (1, 1, "w1")
    if price:
        assert receipt["machine_s"] == receipt["wasted_s"] == pytest.approx(25, abs=0.5)
        assert Decimal(receipt["cost"]) == pytest.approx(Decimal("0.025"), abs=Decimal("0.0005"))
    else:
        assert (receipt["machine_s"], receipt["gpu_s"], receipt["cost"]) == (None, None, None)
    assert (await house.job(claim)).receipt == receipt


async def test_a_worker_of_nobodys_fleet_tells_its_own_time_and_price(house: House) -> None:
    worker = WorkerStore(house.database, dataclasses.replace(ME, per_hour=HOURLY), house.tariff)
    house.tariff.per_hour = None
    await worker.beat("starting", busy=0)
    await house.database.write("update machine_time set since = since - interval '60 s', until = since")
    await worker.beat("gone", busy=0)

    assert house.tariff.per_hour == HOURLY
    assert await house.slices("w1") == [(HOURLY, 0, 60)]


async def test_who_comes_back_after_a_while_was_not_paid_for_in_between(house: House) -> None:
    worker = WorkerStore(house.database, ME)
    await worker.beat("gone", busy=0)
    await house.database.write(
        "update machine_time set since = since - interval '1 h', until = until - interval '1 h'"
    )
    await worker.beat("starting", busy=0)

    assert await house.slices("w1") == [(None, 0, 0), (None, 3600, 3600)]


async def test_a_machine_is_paid_from_its_launch_to_its_end(house: House) -> None:
    # Given a machine that takes 100 s to boot, whose worker then learns its price
    fleet = FleetStore(house.database)
    machine = Machine(id="w1", age_s=100.0, per_hour=HOURLY, offering="g6.xlarge a spot")
    await fleet.meter("images", [machine])
    house.tariff.per_hour = None
    await WorkerStore(house.database, ME, house.tariff).beat("ready", busy=0)
    assert house.tariff.per_hour == HOURLY
    # When it is seen again, and then its end: it lived for 130 s
    await fleet.meter("images", [machine])
    assert await house.slices("w1") == [(HOURLY, 0, 100)]
    ended = dataclasses.replace(machine, alive=False, age_s=130.0)
    await fleet.meter("images", [ended])
    await fleet.meter("images", [dataclasses.replace(ended, age_s=0.0, inherited=True)])
    # Then so long it was paid, and one that was never seen alive was not
    assert await house.slices("w1") == [(HOURLY, 0, 130)]
    await fleet.meter("images", [dataclasses.replace(ended, id="w2")])
    assert await house.slices("w2") == []


async def test_another_price_counts_from_when_it_was_told(house: House) -> None:
    fleet, machine = FleetStore(house.database), Machine(id="w1", age_s=100.0)
    await fleet.meter("images", [machine])
    assert await house.slices("w1") == [(None, 0, 100)]

    await fleet.meter("images", [dataclasses.replace(machine, per_hour=HOURLY)])
    assert await house.slices("w1") == [(HOURLY, 0, 100)]

    await fleet.meter("images", [dataclasses.replace(machine, per_hour=Decimal(5))])
    await fleet.meter("images", [machine])
    assert await house.slices("w1") == [(HOURLY, 0, 100), (Decimal(5), 100, 100)]
    await fleet.meter("images", [dataclasses.replace(machine, alive=False, age_s=160.0)])
    assert await house.slices("w1") == [(HOURLY, 0, 100), (Decimal(5), 100, 160)]


async def test_a_launch_that_the_worker_told_first_reaches_back(house: House) -> None:
    await WorkerStore(house.database, ME).beat("starting", busy=0)
    await FleetStore(house.database).meter("images", [Machine(id="w1", age_s=30.0, per_hour=HOURLY)])

    assert await house.slices("w1") == [(HOURLY, 0, 30)]
