"""The overview: gaps stay gaps, one look serves all, and a tenant sees its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.overview.board import FRESH_S, Around, Board
from gateway.overview.ring import SIZE, STEP_S, Ring, step_at
from gateway.routes.overview import EXAMPLE, OverviewView
from shared.adapters.store.operations import DecisionRow, LoadRow
from shared.adapters.store.overview import EndingsRow, ErrorRow, FailingRow, LatelyRow
from shared.adapters.store.pauses import Pause
from shared.catalog import load_catalog
from shared.errors import Unavailable
from tests.fakes.operations import NOW, FakeOperations, decided, load, present
from tests.gateway_process import write_catalog

pytestmark = pytest.mark.anyio

EPOCH = 1_000_000.0
STEP = step_at(EPOCH)


def test_a_ring_shows_gaps_and_forgets_what_is_old() -> None:
    ring = Ring()
    ring.put("rate", STEP - 1, 2.0)
    ring.put("rate", STEP - 3, 4.0)
    ring.put("rate", STEP - 2, None)
    ring.put("rate", STEP - SIZE - 1, 9.0)
    points = ring.points("rate", STEP)
    assert len(points) == SIZE
    assert points[-3:] == [4.0, None, 2.0]
    assert points[:-3] == [None] * (SIZE - 3)
    assert ring.mean("rate", range(STEP - 3, STEP)) == 3.0
    assert ring.mean("rate", range(STEP, STEP + 3)) is None


def test_a_ring_reads_all_once_and_then_what_is_new() -> None:
    ring = Ring()
    assert ring.missing(STEP) == STEP - SIZE
    ring.filled_to = STEP - 1
    assert ring.missing(STEP + 1) == STEP - 2
    assert ring.missing(STEP + 10 * SIZE) == STEP + 9 * SIZE


def test_the_example_has_the_shape_that_is_promised() -> None:
    OverviewView.model_validate(EXAMPLE)


@dataclass
class Figures:
    """Counts in memory."""

    now: float = EPOCH
    steps: dict[int, tuple[int, EndingsRow]] = field(default_factory=dict)
    load_rows: list[LoadRow] = field(default_factory=list)
    error_rows: list[ErrorRow] = field(default_factory=list)
    decision_rows: list[DecisionRow] = field(default_factory=list)
    lately_row: LatelyRow | None = None
    longer_row: LatelyRow | None = None
    failing_row: FailingRow | None = None
    cost_rows: dict[int, float | None] = field(default_factory=dict)
    asked: list[tuple[str | None, int]] = field(default_factory=list)

    async def arrivals(self, tenant: str | None, *, step_s: float, first: int) -> Mapping[int, int]:
        self.asked.append((tenant, first))
        return {step: count for step, (count, _) in self.steps.items() if step >= first}

    async def endings(self, tenant: str | None, *, step_s: float, first: int) -> Sequence[EndingsRow]:
        return [row for step, (_, row) in self.steps.items() if step >= first]

    async def lately(self, tenant: str | None, *, window_s: float = 60.0) -> LatelyRow:
        await asyncio.sleep(0)
        empty = LatelyRow(now=self.now, ended=0, failed=0, waits=0, p95_wait_s=None)
        return (self.longer_row if window_s > 60 else self.lately_row) or empty

    async def loads(self, tenant: str | None) -> Sequence[LoadRow]:
        return self.load_rows

    async def errors(self, tenant: str | None) -> Sequence[ErrorRow]:
        return self.error_rows

    async def failing(self, tenant: str | None, *, window_s: float = 60.0) -> FailingRow | None:
        return self.failing_row

    async def costs(self, *, step_s: float, first: int, last: int) -> Mapping[int, float | None]:
        return {step: cost for step, cost in self.cost_rows.items() if first <= step <= last}

    async def decided(self) -> Sequence[DecisionRow]:
        return self.decision_rows

    async def scaled(self) -> frozenset[str]:
        return frozenset({"quick"})


@dataclass
class Server:
    away: bool = False

    async def ping(self) -> None:
        if self.away:
            raise Unavailable("away")


@dataclass
class Held:
    queues: dict[str, Pause] = field(default_factory=dict)

    async def pauses(self) -> Mapping[str, Pause]:
        return self.queues


class House:
    """A board, and all that it asks."""

    def __init__(self, folder: Path) -> None:
        self.figures, self.rows = Figures(), FakeOperations()
        self.redis, self.held, self.repaired, self.clock = Server(), Held(), 0, 0.0
        around = Around(
            catalog=load_catalog(write_catalog(folder)),
            crew=self.rows,
            fleets=self.rows,
            pauses=self.held,
            redis=self.redis,
            broker=Server(),
            repaired=lambda: self.repaired,
            currency="EUR",
        )
        self.board = Board(self.figures, around, clock=lambda: self.clock)

    async def look(self, tenant: str | None = None, *, after_s: float = FRESH_S + 1) -> dict[str, Any]:
        self.clock += after_s
        shown = await self.board.overview(tenant)
        OverviewView.model_validate(shown)
        return shown


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def endings(step: int, ended: int, failed: int = 0) -> EndingsRow:
    return EndingsRow(step=step, ended=ended, failed=failed, p95_wait_s=0.5)


async def test_an_empty_house_is_well_and_knows_no_numbers_it_cannot_know(house: House) -> None:
    shown = await house.look()
    assert shown["health"]["code"] == "well"
    stats = shown["stats"]
    assert (stats["arrivals_per_s"]["value"], stats["arrivals_per_s"]["points"][-1]) == (0.0, 0.0)
    for name in ("oldest_wait_s", "p95_wait_s", "failure_ratio", "cost_per_h"):
        assert stats[name]["value"] is None
    assert stats["failure_ratio"]["points"] == [None] * SIZE
    assert (stats["devices_busy"]["value"], stats["devices_busy"]["total"]) == (0, 0)


async def test_the_first_look_is_filled_from_the_rows_and_later_ones_add_to_it(house: House) -> None:
    house.figures.steps = {
        STEP - 100: (50, endings(STEP - 100, 40, 10)),
        STEP - 1: (600, endings(STEP - 1, 500)),
        STEP: (7, endings(STEP, 7)),
    }
    shown = await house.look()
    arrivals = shown["stats"]["arrivals_per_s"]
    assert (arrivals["points"][-100], arrivals["points"][-1], arrivals["value"]) == (10.0, 120.0, 10.0)
    assert shown["stats"]["failure_ratio"]["points"][-100] == 0.25
    # The step under way is no point yet
    assert len(arrivals["points"]) == SIZE
    house.figures.now += STEP_S
    later = (await house.look())["stats"]["arrivals_per_s"]["points"]
    assert (later[-101], later[-2], later[-1]) == (10.0, 120.0, 7 / STEP_S)
    assert [first for _, first in house.figures.asked] == [STEP - SIZE, STEP - 2]


async def test_what_only_a_look_can_know_is_a_gap_where_nobody_looked(house: House) -> None:
    house.figures.load_rows = [load("quick", 5, waiting=1, oldest_s=9.0)]
    await house.look()
    house.figures.now += 3 * STEP_S
    points = (await house.look())["stats"]["oldest_wait_s"]["points"]
    assert points[-4:] == [None, 9.0, None, None]


async def test_whoever_asks_within_seconds_is_shown_the_same(house: House) -> None:
    await house.look()
    await asyncio.gather(*(house.look(after_s=0.0) for _ in range(10)))
    assert len(house.figures.asked) == 1
    house.clock += FRESH_S
    await asyncio.gather(*(house.look(after_s=0.0) for _ in range(10)))
    assert len(house.figures.asked) == 2


async def test_a_tenant_sees_its_own_and_nobody_else(house: House) -> None:
    house.figures.load_rows = [load("quick", 5, waiting=3)]
    house.figures.decision_rows = [decided(1)]
    house.rows.present_rows.update(w1=present("w1", heartbeat_s=60.0))
    house.held.queues = {"quick": Pause(paused=True, changed_by="ops/ann", changed_at=NOW)}
    house.redis.away = True
    shown = await house.look("acme")
    assert (shown["scope"], shown["unwell"], shown["decisions"]) == ("tenant", [], [])
    assert shown["stats"]["devices_busy"]["value"] is None
    assert (shown["health"]["code"], shown["health"]["command"]) == ("queue_paused", None)
    assert "ops/ann" not in str(shown)
    assert "w1" not in str(shown)
    assert {tenant for tenant, _ in house.figures.asked} == {"acme"}


async def test_an_operator_sees_who_is_unwell_and_what_was_decided(house: House) -> None:
    house.figures.decision_rows = [decided(7, "quick", 3)]
    house.rows.present_rows.update(
        w1=present("w1", heartbeat_s=60.0), w2=present("w2", drain=True), w3=present("w3", busy=1)
    )
    shown = await house.look()
    assert [(each["id"], each["why"]) for each in shown["unwell"]] == [("w1", "silent"), ("w2", "draining")]
    assert [(each["id"], each["queue"]) for each in shown["decisions"]] == [(7, "quick")]
    assert (shown["stats"]["devices_busy"]["value"], shown["stats"]["devices_busy"]["total"]) == (1, 2)


async def test_a_backlog_is_told_with_the_order_that_allows_no_more_workers(house: House) -> None:
    house.figures.load_rows = [load("quick", 5, waiting=3, oldest_s=400.0)]
    house.rows.present_rows.update(w1=present("w1"))
    assert "order" not in (await house.look())["health"]["cause"]
    await house.rows.override("quick", by="ops/ann", limits={"max": 1})
    health = (await house.look())["health"]
    assert health["code"] == "backlog"
    assert health["cause"] == (
        "3 jobs wait; 1 worker there cannot keep up, and an operator's order allows 1 at most."
    )


@pytest.mark.parametrize(("tenant", "everybody"), [(None, " --everybody"), ("acme", "")])
async def test_growing_failures_lead_to_their_group_for_whoever_looks(
    house: House, tenant: str | None, everybody: str
) -> None:
    house.figures.lately_row = LatelyRow(now=EPOCH, ended=100, failed=40, waits=0, p95_wait_s=None)
    assert (await house.look(tenant))["health"]["subject"] is None
    house.figures.failing_row = FailingRow(
        fingerprint="f00d", code="algorithm_error", model="free", count=40, message="no"
    )
    health = (await house.look(tenant))["health"]
    assert (health["code"], health["page"], health["subject"]) == ("failures_growing", "failures", "f00d")
    assert health["command"] == f"leveret jobs --state failed --fingerprint f00d{everybody}"
    assert "40 by algorithm_error in free" in health["sentence"]


async def test_a_minute_that_holds_too_few_is_judged_by_ten_of_them(house: House) -> None:
    house.figures.lately_row = LatelyRow(now=EPOCH, ended=4, failed=4, waits=0, p95_wait_s=None)
    assert (await house.look())["health"]["code"] == "well"
    house.figures.longer_row = LatelyRow(now=EPOCH, ended=9, failed=9, waits=0, p95_wait_s=None)
    shown = await house.look()
    assert "last 10 minutes" in shown["health"]["sentence"]
    # And the figure beside it is still the minute's
    assert shown["n"]["failure_ratio"] == 4


async def test_attempts_that_are_repeated_are_a_finding_and_no_failed_jobs(house: House) -> None:
    house.figures.lately_row = LatelyRow(now=EPOCH, ended=9, failed=0, retried=9, waits=0, p95_wait_s=None)
    house.figures.error_rows = [
        ErrorRow(code="engine_died", model="free", count=1, retried=40, last_at=NOW, message="killed"),
        ErrorRow(code="timeout", model="free", count=60, retried=2, last_at=NOW, message="late"),
    ]
    shown = await house.look()
    assert (shown["health"]["code"], shown["stats"]["failure_ratio"]["value"]) == ("attempts_repeated", 0.0)
    assert "engine_died in free" in shown["health"]["cause"]
    assert [(each["count"], each["retried"]) for each in shown["errors"]] == [(1, 40), (60, 2)]


async def test_repairs_are_told_by_the_last_minute(house: House) -> None:
    house.repaired = 5
    assert (await house.look())["health"]["code"] == "well"
    house.repaired = 8
    assert (await house.look())["health"]["sentence"] == "The relay put 3 jobs right within the last minute."
    await house.look(after_s=59.0)
    assert (await house.look(after_s=30.0))["health"]["code"] == "well"


async def test_redis_away_is_told_and_nothing_else_fails(house: House) -> None:
    house.redis.away = True
    assert (await house.look())["health"]["code"] == "redis_away"


async def test_what_machines_cost_is_told_to_operators_where_all_have_a_price(house: House) -> None:
    house.figures.cost_rows = {STEP - 2: 0.5, STEP - 1: None, STEP: 0.8}
    cost = (await house.look())["stats"]["cost_per_h"]
    assert (cost["value"], cost["currency"], cost["points"][-3:]) == (0.8, "EUR", [None, 0.5, None])
    assert (await house.look("acme"))["stats"]["cost_per_h"]["value"] is None
    house.figures.cost_rows = {}
    cost = (await house.look())["stats"]["cost_per_h"]
    assert (cost["value"], cost["currency"]) == (None, None)
