"""How it went over time: gaps stay gaps, an empty queue is none, and one look serves all who ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.overview.depths import KEPT_S, Depths
from gateway.overview.history import FRESH_S, STEPS, History
from gateway.refusals import Forbidden
from gateway.routes.history import EXAMPLE, HistoryView
from shared.adapters.store.history import StepRow
from shared.errors import Unavailable
from tests.fakes.operations import load

pytestmark = pytest.mark.anyio

WINDOW_S = 600.0
STEP_S = WINDOW_S / STEPS
NOW = 1_000_000.0
LAST = int(NOW // STEP_S)
NOTHING = {"succeeded": 0, "failed": 0, "retried": 0, "canceled": 0, "expired": 0}


@dataclass(frozen=True)
class Who:
    role: str = "operator"
    tenant: str = "acme"
    name: str = "laptop"


@dataclass
class Rows:
    """Steps in memory."""

    told: dict[int, StepRow] = field(default_factory=dict)
    asked: list[tuple[str | None, str | None]] = field(default_factory=list)
    away: bool = False

    async def steps(
        self, tenant: str | None, model: str | None, *, step_s: float, count: int
    ) -> Sequence[StepRow]:
        self.asked.append((tenant, model))
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("PostgreSQL is away")
        assert (step_s, count) == (STEP_S, STEPS)
        return [self.told.get(step) or empty(step) for step in range(LAST - STEPS + 1, LAST + 1)]


def empty(step: int) -> StepRow:
    return StepRow(step=step, n=0, wait=(0, ()), run=(0, ()), ended=NOTHING, more=False)


class House:
    """A history, and what it is made of."""

    def __init__(self) -> None:
        self.rows, self.now, self.monotonic = Rows(), NOW, 0.0
        self.depths = Depths(lambda: self.now)
        self.history = History(self.rows, self.depths, clock=lambda: self.monotonic)

    async def told(self, who: Any = Who(), scope: str = "all", model: str | None = None) -> dict[str, Any]:
        document = await self.history.history(who, scope, WINDOW_S, model)
        HistoryView.model_validate(document)
        return document

    def saw(self, ago_s: float, **waiting: int) -> None:
        self.now = NOW - ago_s
        self.depths.note([load(queue, 5, waiting=count) for queue, count in waiting.items()])
        self.now = NOW


def test_the_example_has_the_shape_that_is_promised() -> None:
    HistoryView.model_validate(EXAMPLE)


async def test_a_step_of_few_has_no_99th_percentile_and_one_of_none_no_line() -> None:
    house = House()
    few = StepRow(
        step=LAST,
        n=99,
        wait=(99, (1.0, 2.0, 3.0)),
        run=(100, (0.1, 0.2, 0.3)),
        ended={**NOTHING, "succeeded": 90, "failed": 9},
        more=True,
    )
    house.rows.told = {LAST: few}
    told = await house.told()
    assert [told["wait"][name][-1] for name in ("p50", "p95", "p99")] == [1.0, 2.0, None]
    assert [told["run"][name][-1] for name in ("p50", "p95", "p99")] == [0.1, 0.2, 0.3]
    assert (told["ended"]["failed"][-1], told["n"][-1], told["more"][-1]) == (9, 99, True)
    assert told["wait"]["p50"][:-1] == [None] * (STEPS - 1)
    assert told["from"] == "1970-01-12T13:36:50.000Z"


async def test_the_backlog_is_what_was_seen_at_its_deepest_moment() -> None:
    # Given looks at two queues, of which one is empty in between, and no look in the step before the last
    house = House()
    house.saw(15.0, images=3)
    house.saw(12.0, images=5, quick=1)
    house.saw(11.0, images=4)
    house.saw(0.0)
    # Then the step shows the moment at which most waited, the step without a look a gap, an empty queue 0
    told = (await house.told())["backlog"]
    assert {each["queue"]: each["points"][-4:] for each in told["queues"]} == {
        "images": [None, 5, None, 0],
        "quick": [None, 1, None, 0],
    }
    assert told["seen"][-4:] == [False, True, False, True]


async def test_nothing_waited_is_not_nobody_looked() -> None:
    house = House()
    house.saw(0.0, quick=0)
    told = (await house.told())["backlog"]
    assert (told["queues"], told["seen"][-2:]) == ([], [False, True])


def test_what_was_seen_is_forgotten_after_a_day() -> None:
    house = House()
    house.saw(KEPT_S + 1, images=3)
    house.saw(0.0, images=1)
    assert house.depths.steps(int((NOW - KEPT_S) // 3600) - 1, 26, 3600.0)["images"][-1] == 1
    assert house.depths.seen(int((NOW - KEPT_S) // 3600) - 1, 26, 3600.0).count(True) == 1


async def test_a_tenant_is_told_of_its_own_and_of_no_backlog() -> None:
    house = House()
    house.saw(0.0, images=3)
    assert (await house.told(Who(role="user"), "tenant"))["backlog"] is None
    assert (await house.told(model="cutout"))["backlog"] is None
    assert house.rows.asked == [("acme", None), (None, "cutout")]
    with pytest.raises(Forbidden):
        await house.told(Who(role="user"), "all")


async def test_who_asks_at_once_is_shown_the_same_and_a_failure_is_kept_for_nobody() -> None:
    house = House()
    first, second = await asyncio.gather(house.told(), house.told())
    assert (first is second, len(house.rows.asked)) == (True, 1)
    house.monotonic = FRESH_S
    house.rows.away = True
    with pytest.raises(Unavailable):
        await house.told()
    house.rows.away = False
    assert await house.told() is not first
