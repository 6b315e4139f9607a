"""Who used the machines and what was paid, by real rows: booked once, and the parts add up to the whole."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import SecretStr
from uuid_utils.compat import uuid7

from gateway.operations.costs import Line, lines, total
from gateway.operations.usage import By
from shared.adapters.store import usage
from shared.adapters.store.pool import Database, open_database
from shared.adapters.store.usage import UsageStore, UsedRow
from shared.settings import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

OUTCOMES = ("succeeded", "succeeded", "failed", "waiting", "released", "worker_lost")
ATTEMPT = """
with named as (select $1::uuid as id), spec as (
    insert into specs (id, tenant, model, model_version, inputs, params, metadata, destinations, timeout_s,
                       body_digest)
    select id, $2, $3, '1', '{}', '{}', '{}', '{}', 60, '' from named
), job as (
    insert into jobs (id, queue, state, priority, seq, max_attempts)
    select id, $4, 'succeeded', 5, 3, 3 from named
)
insert into attempts (job_id, fence, attempt, worker, outcome, started_at, finished_at, log, timings, device,
                      machine_s, gpu_s, cost)
select id, 1, 1, $5, $6, $7, $8, '', '{}', 'cuda', s / $9, s / $9, round((s / $9)::numeric * $10 / 3600, 10)
from named, (select extract(epoch from $8::timestamptz - $7::timestamptz)::float8 as s) took
"""
MACHINE = """
insert into machine_time (worker, slice, queue, since, until, per_hour) values ($1, 0, $2, $3, $4, $5)
"""


@dataclass
class House:
    database: Database
    store: UsageStore
    now: datetime

    def ago(self, **past: float) -> datetime:
        return self.now - timedelta(**past)

    @property
    def until(self) -> datetime:
        return self.now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)

    async def attempt(
        self,
        since: datetime,
        until: datetime,
        *,
        tenant: str = "acme",
        model: str = "cutout",
        queue: str = "images",
        worker: str = "w",
        outcome: str = "succeeded",
        slots: int = 1,
        per_hour: Decimal | None = Decimal("3.6"),
    ) -> UUID:
        id_ = uuid7()
        await self.database.write(
            ATTEMPT, id_, tenant, model, queue, worker, outcome, since, until, slots, per_hour
        )
        return id_

    async def machine(self, name: str, since: datetime, until: datetime, **more: Any) -> None:
        queue, per_hour = more.get("queue", "images"), more.get("per_hour", Decimal("3.6"))
        await self.database.write(MACHINE, name, queue, since, until, per_hour)

    async def lines(self, by: By, *, hours: int = 400, tenant: str | None = None) -> tuple[list[Line], Line]:
        since = self.until - timedelta(hours=hours)
        used = await self.store.used(since, self.until, by, tenant)
        paid = await self.store.paid(since, self.until, by) if tenant is None else None
        rows = lines(by, used, paid)
        return rows, total(rows, paid)

    async def book(self) -> None:
        while await self.store.book():
            pass


@pytest.fixture
async def house(postgres_dsn: str) -> AsyncIterator[House]:
    async with open_database(Postgres(dsn=SecretStr(postgres_dsn)), name="test") as database:
        await database.write("update usage_mark set until = clock_timestamp() - interval '30 days'")
        yield House(database, UsageStore(database, settled_s=0), datetime.now(UTC))
        await database.write("truncate jobs, specs, attempts, workers, machine_time, usage_hours")


async def seeded(house: House, seed: int) -> None:
    """Machines of some queues, whose slots run one attempt after the other for whole days."""
    dice = random.Random(seed)  # noqa: S311  guards nothing
    for number in range(6):
        queue, slots = dice.choice(["images", "quick"]), dice.choice([1, 2, 4])
        price = dice.choice([Decimal("0.39"), Decimal("1.2345"), Decimal(0)])
        since = house.ago(hours=dice.uniform(20, 80))
        until = since + timedelta(hours=dice.uniform(0.1, 18))
        await house.machine(f"m{number}", since, until, queue=queue, per_hour=price)
        for _ in range(slots):
            machine = {"worker": f"m{number}", "queue": queue, "slots": slots, "per_hour": price}
            await _filled(house, dice, since, until, **machine)


async def _filled(
    house: House, dice: random.Random, since: datetime, until: datetime, **machine: Any
) -> None:
    at = since + timedelta(seconds=dice.uniform(0, 300))
    while (ends := at + timedelta(seconds=dice.uniform(1, 9000))) < until:
        tenant, model = dice.choice(["acme", "rival", "third"]), dice.choice(["cutout", "nap"])
        await house.attempt(at, ends, tenant=tenant, model=model, outcome=dice.choice(OUTCOMES), **machine)
        at = ends + timedelta(seconds=dice.uniform(0, 600))


def same(one: Sequence[UsedRow], other: Sequence[UsedRow]) -> None:
    def kept(rows: Sequence[UsedRow]) -> dict[tuple[str, str], UsedRow]:
        return {(row.key, row.queue): row for row in rows}

    first, second = kept(one), kept(other)
    assert first.keys() == second.keys()
    for key, row in first.items():
        there = second[key]
        assert (row.jobs, row.attempts, row.wasted_attempts) == (
            there.jobs,
            there.attempts,
            there.wasted_attempts,
        )
        assert row.cost == pytest.approx(there.cost, abs=Decimal("1e-8"))
        assert row.machine_s == pytest.approx(there.machine_s, abs=1e-5)
        assert row.wasted_cost == pytest.approx(there.wasted_cost, abs=Decimal("1e-8"))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_parts_add_up_to_what_was_paid(house: House, seed: int) -> None:
    # Given machines and attempts of days
    await seeded(house, seed)
    rows = await house.database.read("select sum(cost) as used from attempts")
    paid = await house.database.read(
        "select sum(extract(epoch from until - since) * per_hour / 3600) as paid from machine_time"
    )
    near = Decimal("1e-6")
    # Whatever is asked for, before and after it was booked
    for _ in range(2):
        for by in ("queue", "tenant", "model", "day"):
            found, whole = await house.lines(by)
            # Then used and idle is what was paid, and nothing idled less than nothing
            assert whole.used == pytest.approx(rows[0]["used"], abs=near)
            assert whole.paid == pytest.approx(paid[0]["paid"], abs=near)
            assert sum(row.paid or 0 for row in found) == pytest.approx(paid[0]["paid"], abs=near)
            assert all((row.idle or 0) >= -near for row in found)
            assert whole.attempts == sum(row.attempts for row in found)
        await house.book()


async def test_booking_changes_no_answer(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "BATCH", 7)
    await seeded(house, seed=4)
    since = house.until - timedelta(hours=60)  # in the midst of it all
    before = await house.store.used(since, house.until, "day", None)
    assert await house.store.book()
    same(before, await house.store.used(since, house.until, "day", None))
    await house.book()
    same(before, await house.store.used(since, house.until, "day", None))
    [counted] = await house.database.read(
        "select sum(attempts) as booked, sum(jobs) as jobs from usage_hours"
    )
    [all_] = await house.database.read("select count(*) as ended from attempts")
    assert counted["booked"] == counted["jobs"] == all_["ended"]


async def test_many_who_book_at_once_book_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "BATCH", 5)
    await seeded(house, seed=5)
    await asyncio.gather(*(house.book() for _ in range(5)))
    await house.book()
    [counted] = await house.database.read("select sum(attempts) as booked from usage_hours")
    [all_] = await house.database.read("select count(*) as ended from attempts")
    assert counted["booked"] == all_["ended"]


async def test_whoever_has_not_committed_yet_is_not_passed_over(house: House, postgres_dsn: str) -> None:
    other = await asyncpg.connect(postgres_dsn)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("select 1")
        await house.attempt(house.ago(seconds=9), datetime.now(UTC))
        await house.book()
        [mark] = await house.database.read("select count(*) as booked from usage_hours")
        assert mark["booked"] == 0
        await transaction.rollback()
        await house.book()
        [mark] = await house.database.read("select sum(attempts) as booked from usage_hours")
        assert mark["booked"] == 1
    finally:
        await other.close()


async def test_what_was_wasted_is_told_apart_and_a_tenant_sees_its_own(house: House) -> None:
    start = house.ago(hours=5)
    for number, (tenant, outcome) in enumerate(
        [("acme", "succeeded"), ("acme", "waiting"), ("rival", "released"), ("rival", "worker_lost")]
    ):
        at = start + timedelta(seconds=1000 * number)
        await house.attempt(at, at + timedelta(seconds=1000), tenant=tenant, outcome=outcome)
    await house.machine("w", start, start + timedelta(seconds=8000))

    rows, whole = await house.lines("tenant")

    assert {row.key: (row.used, row.wasted, row.wasted_attempts) for row in rows} == {
        "acme": (Decimal(2), Decimal(1), 1),
        "rival": (Decimal(2), Decimal(2), 2),
    }
    assert (whole.paid, whole.idle) == (Decimal(8), Decimal(4))
    assert {row.key: row.paid for row in rows} == {"acme": Decimal(4), "rival": Decimal(4)}
    [own], _ = await house.lines("tenant", tenant="acme")
    assert (own.key, own.used, own.idle, own.paid) == ("acme", Decimal(2), None, None)
    found, more = await house.store.dearest(house.ago(hours=9), house.until, 9, "acme")
    assert ([row.cost for row in found], more) == ([Decimal(1), Decimal(1)], False)
    found, _ = await house.store.dearest(house.ago(hours=9), house.until, 3, None)
    assert len(found) == 3


async def test_what_still_runs_is_used_and_not_idle(house: House) -> None:
    await house.database.write(
        "insert into workers (id, queue, state, host, device, slots, busy, per_hour)"
        " values ('w', 'images', 'ready', 'h', 'cuda', 2, 1, 3.6)"
    )
    await house.machine("w", house.ago(seconds=1000), house.ago(seconds=5))
    job = await house.attempt(house.ago(days=20), house.ago(days=20))
    await house.database.write(
        "update jobs set state = 'running', worker = 'w', started_at = clock_timestamp() - interval '600 s'"
        " where id = $1",
        job,
    )

    [row], _ = await house.lines("queue", hours=48)

    assert row.used == pytest.approx(Decimal("0.3"), abs=Decimal("0.01"))
    assert row.paid == pytest.approx(Decimal(1), abs=Decimal("0.02"))
    assert (row.jobs, row.attempts) == (0, 0)


async def test_time_without_a_price_is_told_and_not_counted_as_nothing(house: House) -> None:
    start = house.ago(hours=3)
    await house.attempt(start, start + timedelta(seconds=100), per_hour=None)
    await house.machine("w", start, start + timedelta(seconds=300), per_hour=None)

    [row], whole = await house.lines("queue")
    assert (row.is_known, row.unpriced_s, row.paid_s) == (False, 300.0, 300.0)
    assert not whole.is_known
    [row], _ = await house.lines("model")
    assert (row.is_known, row.unpriced_s) == (False, 100.0)


async def test_only_what_lies_within_the_hours_asked_for_counts(house: House) -> None:
    # Given an attempt of six hours, the last of which is asked for
    ends = house.until - timedelta(hours=2)
    await house.attempt(ends - timedelta(hours=6), ends)
    await house.machine("w", ends - timedelta(hours=8), ends)
    for _ in range(2):
        [row], _ = await house.lines("queue", hours=3)
        assert [row.used, row.paid] == pytest.approx([Decimal("3.6"), Decimal("3.6")])
        assert (row.jobs, row.attempts) == (1, 1)
        [row], _ = await house.lines("queue", hours=9)
        assert [row.used, row.paid] == pytest.approx([Decimal("21.6"), Decimal("25.2")])
        assert (row.jobs, row.attempts) == (1, 1)
        await house.book()
