"""What machines cost, as it is answered: the parts add up, unknown is null, a tenant sees its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.app import create_app
from gateway.auth import Authenticator
from gateway.operations import views
from gateway.operations.accounts import Accounts
from gateway.operations.costs import document, lines, total
from gateway.operations.usage import By
from gateway.origins import Origins
from gateway.services import Services
from gateway.settings import Gateway
from shared.adapters.store.usage import PaidRow, UsedRow
from shared.errors import Unavailable
from tests.unit.gateway.test_operations import OPERATOR, USER, Keys

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
AMOUNT = st.decimals(0, 1000, places=8)


def used(key: str, queue: str = "images", cost: str | Decimal = "1", **more: Any) -> UsedRow:
    usual: dict[str, Any] = {
        "jobs": 10,
        "attempts": 12,
        "machine_s": 100.0,
        "gpu_s": 0.0,
        "unpriced_s": 0.0,
        "wasted_attempts": 2,
        "wasted_s": 5.0,
        "wasted_cost": Decimal("0.05"),
    }
    return UsedRow(key=key, queue=queue, cost=Decimal(cost), **usual | more)


def paid(queue: str, cost: str | Decimal, key: str | None = None, **more: Any) -> PaidRow:
    usual: dict[str, Any] = {"machine_s": 400.0, "unpriced_s": 0.0}
    return PaidRow(queue=queue, key=key or queue, cost=Decimal(cost), **usual | more)


@dataclass
class FakeUsage:
    used_rows: list[UsedRow] = field(default_factory=list)
    paid_rows: list[PaidRow] = field(default_factory=list)
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    batches: int = 0
    away: bool = False

    async def book(self) -> bool:
        if self.away:
            raise Unavailable("away")
        self.batches -= 1
        return self.batches > 0

    async def used(self, since: datetime, until: datetime, by: By, tenant: str | None) -> Sequence[UsedRow]:
        self.asked.append((since, until, by, tenant))
        return self.used_rows

    async def paid(self, since: datetime, until: datetime, by: By) -> Sequence[PaidRow]:
        self.asked.append((since, until, by))
        return self.paid_rows

    async def dearest(
        self, since: datetime, until: datetime, limit: int, tenant: str | None
    ) -> tuple[Sequence[UsedRow], bool]:
        self.asked.append((since, until, limit, tenant))
        return self.used_rows[:limit], False


class House:
    """The application, and the sums behind it."""

    def __init__(self) -> None:
        self.usage = FakeUsage()
        absent = cast("Any", None)  # no other route is asked
        origin = "http://127.0.0.1:8000"
        services = Services(
            settings=Gateway(),
            catalog=absent,
            auth=Authenticator(Keys(), absent, Origins(origin, ())),
            submitter=absent,
            lookup=absent,
            canceler=absent,
            feed=absent,
            links=absent,
            objects=absent,
            desk=absent,
            audit=absent,
            lists=absent,
            retrier=absent,
            keyring=absent,
            tickets=absent,
            effective=absent,
            board=absent,
            hub=absent,
            failures=absent,
            bulk=absent,
            statistics=absent,
            history=absent,
            accounts=Accounts(self.usage, "EUR", now=lambda: NOW),
        )
        self.app = create_app(services)

    def ask(self, key: str = OPERATOR, **params: Any) -> httpx2.Response:
        return asyncio.run(self._ask(key, params))

    async def _ask(self, key: str, params: dict[str, Any]) -> httpx2.Response:
        transport = httpx2.ASGITransport(app=self.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.get("/v1/cost", headers={"X-API-Key": key}, params=params)


@pytest.fixture
def house() -> House:
    return House()


def test_an_operator_sees_what_was_used_paid_and_idle(house: House) -> None:
    house.usage.used_rows = [used("images"), used("quick", "quick", "0.5")]
    house.usage.paid_rows = [paid("images", "4"), paid("quick", "0.5"), paid("empty", "3")]

    answer = house.ask(by="queue")

    views.CostsView.model_validate(answer.json())
    assert answer.status_code == 200
    told = answer.json()
    assert [(row["key"], row["used"], row["idle"], row["paid"]) for row in told["rows"]] == [
        ("images", "1", "3", "4"),
        ("empty", "0", "3", "3"),
        ("quick", "0.5", "0", "0.5"),
    ]
    whole = told["total"]
    assert (whole["used"], whole["idle"], whole["paid"], whole["paid_s"]) == ("1.5", "6", "7.5", 1200.0)
    assert told["rows"][0]["per_1000_jobs"] == "400"
    assert (told["currency"], told["partial"]) == ("EUR", False)
    # And the times are whole hours: from seven days ago until now
    assert (told["since"], told["until"]) == ("2026-11-15T09:00:00.000Z", "2026-11-22T09:30:00.000Z")
    assert house.usage.asked[0][:2] == (
        NOW.replace(minute=0) - timedelta(days=7),
        NOW.replace(hour=10, minute=0),
    )


def test_tenants_share_what_idled_by_what_they_used_and_nobody_has_the_rest(house: House) -> None:
    house.usage.used_rows = [used("acme", cost="3"), used("rival", cost="1"), used("acme", "quick", "1")]
    house.usage.paid_rows = [paid("images", "8"), paid("quick", "2"), paid("empty", "5")]

    told = house.ask(by="tenant").json()

    views.CostsView.model_validate(told)
    assert [(row["key"], row["used"], row["idle"], row["paid"]) for row in told["rows"]] == [
        ("acme", "4", "4", "8"),
        (None, "0", "5", "5"),
        ("rival", "1", "1", "2"),
    ]
    assert told["total"]["paid"] == "15"


def test_a_user_sees_its_own_tenant_and_nothing_of_what_idled(house: House) -> None:
    house.usage.used_rows = [used("acme")]
    house.usage.paid_rows = [paid("images", "8")]
    for by in ("tenant", "job"):
        told = house.ask(USER, by=by).json()
        views.CostsView.model_validate(told)
        [row] = told["rows"]
        assert (row["used"], row["idle"], row["paid"], row["per_1000_jobs"]) == ("1", None, None, "100")
        assert told["total"]["paid"] is None
    assert [asked[-1] for asked in house.usage.asked] == ["acme", "acme"]


def test_rows_above_the_limit_are_in_the_total(house: House) -> None:
    house.usage.used_rows = [used(f"t{number}") for number in range(5)]

    told = house.ask(by="tenant", limit=2).json()

    assert (len(told["rows"]), told["total"]["jobs"], told["partial"]) == (2, 50, True)
    assert house.ask(by="job", limit=5).json()["partial"] is False
    assert house.ask(by="job", limit=4).json()["partial"] is True


def test_days_come_newest_first(house: House) -> None:
    house.usage.used_rows = [used("2026-11-20", cost="9"), used("2026-11-21")]
    house.usage.paid_rows = [paid("images", "9", "2026-11-20"), paid("images", "2", "2026-11-21")]

    told = house.ask(by="day").json()

    assert [(row["key"], row["paid"], row["idle"]) for row in told["rows"]] == [
        ("2026-11-21", "2", "1"),
        ("2026-11-20", "9", "0"),
    ]


@pytest.mark.parametrize(
    "params",
    [
        {"since": "2026-11-22T12:00:00Z"},
        {"since": "2026-11-22T09:00:00Z", "until": "2026-11-22T08:00:00Z"},
        {"since": "2024-11-22T09:00:00Z"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"until": "0001-01-01T00:00:00Z"},
        {"since": "yesterday"},
        {"since": "2026-11-22T09:00:00"},
        {"by": "planet"},
        {"limit": 0},
        {"limit": 1001},
    ],
)
def test_a_question_without_a_sense_is_refused(house: House, params: dict[str, Any]) -> None:
    answer = house.ask(**params)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["path"].startswith("query.")


def test_without_a_key_nobody_is_told(house: House) -> None:
    assert house.ask("lev_wrong").status_code == 401


def test_what_has_no_price_is_null_and_what_costs_nothing_is_0() -> None:
    [row] = map(document, lines("model", [used("cutout", cost="0", unpriced_s=100.0)], [paid("images", "0")]))
    assert (row["used"], row["paid"], row["per_1000_jobs"], row["unpriced_s"]) == (None, None, None, 100.0)
    [row] = map(document, lines("model", [used("cutout", cost="0")], [paid("images", "0")]))
    assert (row["used"], row["paid"], row["per_1000_jobs"]) == ("0", "0", "0")
    assert document(total([], []))["paid"] == "0"


@given(
    spent=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), AMOUNT), max_size=9),
    idle=st.dictionaries(st.sampled_from("xyzq"), AMOUNT),
)
def test_nothing_is_lost_or_counted_twice(
    spent: list[tuple[str, str, Decimal]], idle: dict[str, Decimal]
) -> None:
    rows = {(key, queue): used(key, queue, cost) for key, queue, cost in spent}
    queues = {queue for _, queue in rows} | idle.keys()
    bought = [
        paid(queue, idle.get(queue, Decimal(0)) + sum(r.cost for r in rows.values() if r.queue == queue))
        for queue in sorted(queues)
    ]
    found = lines("tenant", rows.values(), bought)

    whole = total(found, bought)
    assert whole.paid == sum(row.cost for row in bought)
    assert whole.paid == sum(row.paid or 0 for row in found)
    assert whole.idle == sum(idle.values())
    assert all((row.idle or 0) >= -Decimal("1e-6") for row in found)


@pytest.mark.anyio
async def test_booking_goes_on_after_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    usage, slept = FakeUsage(batches=3, away=True), asyncio.Event()
    accounts = Accounts(usage, "USD")

    async def sleep(_: float) -> None:
        if usage.away:
            usage.away = False
        else:
            slept.set()
            await asyncio.Event().wait()

    monkeypatch.setattr("gateway.operations.accounts.asyncio.sleep", sleep)
    running = asyncio.ensure_future(accounts.run())
    await slept.wait()
    running.cancel()
    assert usage.batches == 0
