"""The `ec2_fleet`: machines of EC2, spot first, on-demand where spot has been short for a minute.

Which offering is asked for is decided in `scaler.offerings`; what is known of the machines comes from one
list a turn (`scaler.fleet.inventory`). A machine's id is the id of its worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import structlog

from scaler.fleet.budget import Budget
from scaler.fleet.inventory import ENDED, LAUNCH_TAG, QUEUE_TAG, Instance, Inventory
from scaler.offerings import Attempt, Market, Memory, Menu, Offering, Outcome, Rules, after, attempts, park
from scaler.ports import Clock
from scaler.snapshot import Machine
from scaler.words import listed
from shared.errors import OutcomeUnknown, Unavailable

log = structlog.get_logger()

SHORTAGE = frozenset(
    {
        "InsufficientCapacity",
        "InsufficientHostCapacity",
        "InsufficientInstanceCapacity",
        "InstanceLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "SpotMaxPriceTooLow",
        "UnfulfillableCapacity",
        "Unsupported",
        "VcpuLimitExceeded",
    }
)
"""No capacity, no quota, or not offered in that zone: ask for something else for a while."""
TAKEN_BACK = frozenset(
    {
        "Server.InsufficientInstanceCapacity",
        "Server.SpotInstanceShutdown",
        "Server.SpotInstanceTermination",
    }
)
"""Why an instance ended that its cloud has no more room for."""
INVISIBLE_S = 300.0
"""How long a machine that was launched may be missing from the list ("up to five minutes")."""
ASKED_S = 60.0
"""A machine that was to be ended is not named again for so long: the list lags behind."""


class Refusal(Protocol):
    """Why one offering gave nothing."""

    @property
    def type(self) -> str:
        """Of machine."""

    @property
    def zone(self) -> str:
        """Where."""

    @property
    def code(self) -> str:
        """The cloud's."""

    @property
    def message(self) -> str:
        """In words."""


class Launched(Protocol):
    """What a request came to."""

    @property
    def ids(self) -> Sequence[str]:
        """Of the machines."""

    @property
    def refusals(self) -> Sequence[Refusal]:
        """By offering."""

    @property
    def repeated(self) -> bool:
        """The token was used before by a request that differs; that one counts."""


class Cloud(Protocol):
    """What the fleet asks of the cloud, beside its list."""

    async def launch(
        self,
        *,
        token: str,
        count: int,
        market: str,
        places: Sequence[tuple[str, str]],
        template: str,
        tags: Mapping[str, str],
    ) -> Launched:
        """Ask for machines of any of these (type, zone); the same token launches once."""
        ...

    async def terminate(self, ids: Sequence[str]) -> None:
        """End machines."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What one fleet launches, and how much of it.

    Attributes:
        template: The launch template's name.
        launches: What it may start.
        ends: What it may end.
    """

    menu: Menu
    rules: Rules
    template: str
    launches: Budget
    ends: Budget


class Ec2Fleet:
    """The machines of one queue."""

    def __init__(self, queue: str, cloud: Cloud, inventory: Inventory, means: Means, clock: Clock) -> None:
        self._queue = queue
        self._cloud = cloud
        self._inventory = inventory
        self._means = means
        self._clock = clock
        self._memory = Memory()
        self._unseen: dict[str, float] = {}
        self._lived: dict[str, float] = {}
        self._ended: set[str] = set()
        self._asked: dict[str, float] = {}
        self._strange: set[str] = set()
        self._short_at: float | None = None
        self._counted: set[str] = set()
        self._sought = ("", 0.0)

    async def machines(self) -> Sequence[Machine]:
        """Those of the cloud's list, those that are not on it yet, and those that ended within the hour.

        Raises:
            Unavailable: The cloud did not list them.
        """
        found = {instance.id: instance for instance in await self._inventory.of(self._queue)}
        self._recall(found)
        machines = [self._machine(instance) for instance in found.values()] + self._invisible(found)
        self._lived = {machine.id: machine.age_s for machine in machines if not machine.inherited}
        self._asked = {name: at for name, at in self._asked.items() if name in found or name in self._unseen}
        self._ended &= found.keys()
        self._strange.clear()
        return machines

    async def launch(self, count: int, *, token: str) -> Sequence[str]:
        """Ask for machines; fewer come, or none, where the cloud is short of them.

        Raises:
            OutcomeUnknown: It may have happened; the same token finds out.
            Unavailable: Refused for a reason that no other offering mends, or the budget is spent.
        """
        granted = self._means.launches.reserve(count)
        if not granted.count:
            raise Unavailable(self._means.launches.alarm or "no launch is allowed now")
        started: list[str] = []
        try:
            await self._start(granted.count, token, started)
        finally:  # what starts without an answer is counted as soon as it is on the list
            self._means.launches.give_back(granted, granted.count - len(started))
        return started

    async def terminate(self, ids: Sequence[str]) -> None:
        """End machines of this fleet; others are told of and left alone.

        Raises:
            Unavailable: The cloud did not take it, or the budget is spent.
        """
        now = self._clock.now()
        own = [name for name in ids if name in self._lived or name in self._unseen]
        self._strange |= set(ids) - set(own)
        due = [name for name in own if now - self._asked.get(name, -ASKED_S) >= ASKED_S]
        granted = due[: self._means.ends.take(len(due))]
        if granted:
            await self._cloud.terminate(granted)
            self._asked |= dict.fromkeys(granted, now)

    def alarms(self) -> Sequence[str]:
        """What somebody should look at, in words."""
        told = [self._means.launches.alarm, self._means.ends.alarm]
        if strangers := self._inventory.strangers(self._queue):
            told.append(f"not launched from here, though tagged as ours: {listed(strangers)}")
        if self._strange:
            told.append(f"not ours to end: {listed(self._strange)}")
        if self._short_at is not None and self._clock.now() - self._short_at < self._means.rules.park_s:
            told.append("the cloud is short of every offering on the menu that was asked for")
        return [alarm for alarm in told if alarm]

    async def _start(self, count: int, token: str, started: list[str]) -> None:
        calls = 0
        plan = attempts(self._means.menu, self._memory, self._means.rules, self._clock.now())
        for attempt in plan:
            missing = count - len(started)
            if missing and attempt.offerings:
                # By the number of the call and not by what it asks for: whoever repeats the launch with
                # another memory of what is short meets the first request again, and not an empty place.
                started += await self._ask(attempt, missing, token, f"{token}:{calls}")
                calls += 1
            elif missing:
                self._learn(attempt, Outcome(missing=missing))
        short = len(started) < count and plan[-1].market is Market.ON_DEMAND
        self._short_at = self._clock.now() if short else None

    async def _ask(self, attempt: Attempt, missing: int, launch: str, call: str) -> Sequence[str]:
        answer = await self._cloud.launch(
            token=hashlib.sha256(call.encode()).hexdigest(),
            count=missing,
            market=attempt.market.value,
            places=[(offering.type, offering.zone) for offering in attempt.offerings],
            template=self._means.template,
            tags={QUEUE_TAG: self._queue, LAUNCH_TAG: launch, "Name": f"leveret-{self._queue}"},
        )
        if answer.repeated:
            return await self._find(launch)
        self._unseen |= dict.fromkeys(answer.ids, self._clock.now())
        self._counted.update(answer.ids)
        failed = tuple(_offering(refusal, attempt) for refusal in answer.refusals)
        self._learn(attempt, Outcome(missing=missing - len(answer.ids), failed=failed))
        self._check(answer)
        return answer.ids

    async def _find(self, launch: str) -> Sequence[str]:
        """What an earlier request with this token started, by the list; after a while even if nothing."""
        found = [e.id for e in await self._inventory.of(self._queue) if e.tags.get(LAUNCH_TAG) == launch]
        token, since = self._sought
        if token != launch:
            self._sought = (launch, since := self._clock.now())
        if not found and self._clock.now() - since < INVISIBLE_S:
            raise OutcomeUnknown("launched before, and not to be seen yet")
        return found

    def _check(self, answer: Launched) -> None:
        """A wrong template or a missing permission is the same in every zone: no shortage to wait out."""
        wrong = [refusal for refusal in answer.refusals if refusal.code not in SHORTAGE]
        for refusal in wrong:
            log.warning(
                "scaler.offering_refused", fleet=self._queue, code=refusal.code, message=refusal.message
            )
        if wrong and not answer.ids:
            raise Unavailable(f"{wrong[0].code}: {wrong[0].message}")

    def _learn(self, attempt: Attempt, outcome: Outcome) -> None:
        self._memory = after(self._memory, attempt, outcome, self._means.rules, self._clock.now())
        if outcome.missing > 0:
            log.warning(
                "scaler.shortage",
                fleet=self._queue,
                market=attempt.market.value,
                missing=outcome.missing,
                parked=sorted(f"{o.type} {o.zone} {o.market}" for o in self._memory.parked),
            )

    def _recall(self, found: Mapping[str, Instance]) -> None:
        """Whoever launched them, an earlier scaler or one without an answer, they are paid for."""
        self._means.launches.recall(e.age_s for name, e in found.items() if name not in self._counted)
        self._counted = self._counted.intersection(self._unseen) | found.keys()

    def _machine(self, instance: Instance) -> Machine:
        self._unseen.pop(instance.id, None)
        if instance.state not in ENDED:
            return self._living(instance)
        if instance.reason in TAKEN_BACK and instance.id not in self._ended and instance.id in self._lived:
            self._taken_back(instance)
        self._ended.add(instance.id)
        return Machine(
            id=instance.id,
            age_s=self._lived.get(instance.id, 0.0),
            alive=False,
            exit=f"{instance.state}: {instance.reason or 'no reason given'}",
            inherited=instance.id not in self._lived,
        )

    def _living(self, instance: Instance) -> Machine:
        place = _place_of(instance)
        rate = self._means.menu.per_hour(place)
        return Machine(
            id=instance.id,
            age_s=instance.age_s,
            doomed=instance.doomed,
            per_hour=None if rate is None else Decimal(str(rate)),
            offering=f"{place.type} {place.zone} {place.market}",
        )

    def _taken_back(self, instance: Instance) -> None:
        """A place that the cloud has just cleared is no place to launch in."""
        self._memory = park(self._memory, (_place_of(instance),), self._means.rules, self._clock.now())
        log.info("scaler.taken_back", fleet=self._queue, machine=instance.id, reason=instance.reason)

    def _invisible(self, found: Mapping[str, Instance]) -> list[Machine]:
        """Launched, and not on the list yet: they count, or the next turn would launch them again."""
        now = self._clock.now()
        ages = {name: now - at for name, at in self._unseen.items() if name not in found}
        self._unseen = {name: at for name, at in self._unseen.items() if now - at < 2 * INVISIBLE_S}
        return [
            Machine(
                id=name,
                age_s=age_s,
                alive=age_s < INVISIBLE_S,
                exit="it never was on the cloud's list",
                paid=False,
            )
            for name, age_s in ages.items()
            if name in self._unseen
        ]


def _place_of(instance: Instance) -> Offering:
    """What is neither (a capacity block) is paid for like on-demand, as far as anybody here can tell."""
    market = Market.SPOT if instance.market == Market.SPOT.value else Market.ON_DEMAND
    return Offering(instance.type, instance.zone, market)


def _offering(refusal: Refusal, attempt: Attempt) -> Offering:
    return Offering(refusal.type, refusal.zone, attempt.market)
