"""The law, deadline credit: how many jobs the workers that are there can start in time. Pure arithmetic.

For each class of priorities, the time left until a waiting job should have been started says how many jobs
each worker can still start by then: that is its credit. Where the waiting jobs exceed the credits, workers
are added by what a fresh one is worth, which is little when a boot takes most of the time left.

Two jobs of each class speak for it. The last one, by whose time all that wait are to be started, as the first
come is the first served. And the first one alone, by its own: jobs above it may keep every worker busy for
ever. All by the first one's time would be half as many machine hours again (docs/scaling.md).

A worker of several slots is worth as many credits: each slot is a place of its own, taken or free, and the
seconds that a job holds one were measured with the others in use.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from scaler.roles import Hand, Role, Roster
from scaler.snapshot import Backlog, Config, Demand, Pace, Tier

BOOT_MARGIN = 1.1
"""Put on the learned boot: half of all boots take longer than the mean."""
BOOTS_TO_DEADLINE = 3.0
NOTHING = 1e-9
"""A shortage below this is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds that a job holds a slot, and that a launch takes to a ready worker."""

    service_s: float
    boot_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one job of a class asks for.

    Attributes:
        place: Which one speaks: the first or the last that waits.
        waiting: Jobs that are to be started by its time: itself and those before it, of this class and above.
        left_s: Until it should have been started, by the planned share of the objective.
        credit: Jobs that those who are here can start by then.
        fresh: Jobs that one more worker could.
        add: Workers that are missing.
    """

    tier: Tier
    place: Literal["first", "last"]
    waiting: int
    left_s: float
    credit: float
    fresh: float
    add: int


def times(pace: Pace, config: Config) -> Times:
    """What was learned, with its margin, or else the priors."""
    learned = config.boot_prior_s if pace.boot_s is None else pace.boot_s * BOOT_MARGIN
    return Times(service_s=pace.service_s or config.service_prior_s, boot_s=learned)


def boot_deadline_s(expected: Times, config: Config) -> float:
    """A machine without a ready worker by then is given up."""
    return max(BOOTS_TO_DEADLINE * expected.boot_s, config.boot_s)


def left_s(tier: Tier, age_s: float, config: Config) -> float:
    """Seconds in which a waiting job of a class should be started."""
    return max(0.0, config.theta * config.wait_s[tier] - age_s)


def free_slot(within_s: float, service_s: float) -> float:
    """Jobs that a slot with nothing to do can start: one now, the next when it is done."""
    return 1 + within_s / service_s


def taken_slot(within_s: float, service_s: float) -> float:
    """Jobs that a slot can start whose job is half done, as it is on average; it owes none."""
    return max(0.0, (within_s - service_s / 2) / service_s)


def coming_slot(within_s: float, service_s: float, ready_in_s: float) -> float:
    """Jobs that a slot can start which is there only in a while: the first counts even when it is late."""
    return 1 + max(0.0, within_s - max(0.0, ready_in_s)) / service_s


def credit_of(roster: Roster, running: int, within_s: float, expected: Times) -> float:
    """Jobs that all who serve, or are about to, can start within so many seconds."""
    taken, free = _slots(roster, running)
    coming = sum(_coming(hand, within_s, expected) for hand in roster.of(Role.BOOTING))
    service_s = expected.service_s
    return taken * taken_slot(within_s, service_s) + free * free_slot(within_s, service_s) + coming


def _slots(roster: Roster, running: int) -> tuple[int, int]:
    """Slots taken and free. The rows of the jobs know more than heartbeats that are seconds old."""
    ready = list(roster.of(Role.IDLE, Role.BUSY))
    slots = sum(hand.slots for hand in ready)
    elsewhere = sum(hand.busy for hand in roster.of(Role.LEAVING))
    taken = max(sum(hand.busy for hand in ready), min(slots, running - elsewhere))
    return taken, slots - taken


def _coming(hand: Hand, within_s: float, expected: Times) -> float:
    return hand.slots * coming_slot(within_s, expected.service_s, expected.boot_s - hand.age_s)


def needs(demand: Demand, roster: Roster, expected: Times, config: Config) -> list[Need]:
    """What each class with waiting jobs asks for, highest first.

    One without would ask for those above it, and has no shorter objective than they.
    """
    known = _Known(roster, demand.running, expected, config)
    return [need for tier in Tier if _of(demand, tier).waiting for need in _of_class(demand, tier, known)]


@dataclass(frozen=True, slots=True)
class _Known:
    roster: Roster
    running: int
    expected: Times
    config: Config


def _of(demand: Demand, tier: Tier) -> Backlog:
    return demand.tiers.get(tier, Backlog())


def _of_class(demand: Demand, tier: Tier, known: _Known) -> Iterable[Need]:
    order = list(Tier)
    above = sum(_of(demand, higher).waiting for higher in order[: order.index(tier)])
    own = _of(demand, tier)
    yield _need(tier, "last", above + own.waiting, own.newest_s, known)
    yield _need(tier, "first", above + 1, own.oldest_s, known)


def _need(tier: Tier, place: Literal["first", "last"], waiting: int, age_s: float, known: _Known) -> Need:
    expected, config = known.expected, known.config
    within_s = left_s(tier, age_s, config)
    credit = credit_of(known.roster, known.running, within_s, expected)
    fresh = config.slots * coming_slot(within_s, expected.service_s, expected.boot_s)
    add = max(0, math.ceil((waiting - credit) / fresh - NOTHING))
    return Need(tier=tier, place=place, waiting=waiting, left_s=within_s, credit=credit, fresh=fresh, add=add)


def out_of_reach(expected: Times, config: Config) -> Iterable[Tier]:
    """Classes whose objective can't be met from no worker at all: the boot alone takes longer."""
    return [tier for tier in Tier if config.wait_s[tier] < expected.boot_s and config.min == 0 < config.max]
