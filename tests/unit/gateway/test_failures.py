"""In which window failures are drawn: the shortest that holds them all."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.lists.failures import Failures, shortest_window
from shared.listing import FailureFilter, FailureGroup, FailureLook

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 23, 4, tzinfo=UTC)


def look(*ages_s: float, since_s: float = 2_592_000, more: bool = False) -> FailureLook:
    """Groups that were first seen so long ago."""
    groups = tuple(
        cast("FailureGroup", SimpleNamespace(first_at=NOW - timedelta(seconds=age))) for age in ages_s
    )
    since = NOW - timedelta(seconds=since_s)
    return FailureLook(now=NOW, since=since, bucket_s=since_s / 24, groups=groups, more=more)


@dataclass
class Records:
    told: FailureLook
    asked: list[float] = field(default_factory=list)

    async def look(self, wanted: FailureFilter) -> FailureLook:
        self.asked.append(wanted.since_s)
        return self.told


@pytest.mark.parametrize(
    ("ages_s", "window_s"),
    [((10,), 60), ((54,), 60), ((56,), 120), ((1200,), 1440), ((10, 80_000), 86_400), ((2_000_000,), None)],
)
def test_the_window_is_the_shortest_of_round_buckets_that_holds_the_oldest(
    ages_s: tuple[float, ...], window_s: float | None
) -> None:
    assert shortest_window(look(*ages_s)) == window_s


def test_what_is_not_known_whole_keeps_its_window() -> None:
    assert shortest_window(look(10, more=True)) is None
    assert shortest_window(look()) is None


@pytest.mark.parametrize(
    ("since_s", "age_s", "asked"),
    [(86_400, 600, [86_400, 720]), (1440, 600, [1440, 720]), (1200, 600, [1200]), (86_400, 90_000, [86_400])],
)
async def test_it_is_looked_again_only_where_that_shows_twice_as_much(
    since_s: float, age_s: float, asked: list[float]
) -> None:
    records = Records(look(age_s, since_s=since_s))
    await Failures(cast("Any", records), cast("Any", None))._look(
        FailureFilter(tenant="acme", since_s=since_s)
    )
    assert records.asked == asked
