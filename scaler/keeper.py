"""Keeping one fleet at what was decided: look, decide, write down, act."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import structlog

from scaler import gauges
from scaler.departures import Departures
from scaler.launches import Launches
from scaler.leader import Leader
from scaler.looks import Look, seen
from scaler.observer import Problems, Sight
from scaler.orders import Order
from scaler.policy import decide
from scaler.ports import Clock, Fleet, LastLaunch, Ledger
from scaler.second_look import SecondLook
from scaler.snapshot import Config, Decision, Snapshot, Unknown, WorkerState
from scaler.spending import Spending, spending
from shared.errors import LeveretError, OutcomeUnknown
from shared.tariff import money

log = structlog.get_logger()

ACT = Order()
"""Nobody said anything."""
REPEATED_S = 300.0
"""So long after a launch without an answer it comes before any other, and is written down anew each time.
Later than that, what it started is on the fleet's list."""


class Keeper:
    """One queue's fleet.

    Attributes:
        alarms: What somebody should look at, as of the last turn.
    """

    def __init__(
        self,
        queue: str,
        fleet: Fleet,
        config: Config,
        *,
        ledger: Ledger,
        leader: Leader,
        clock: Clock,
        problems: Problems,
    ) -> None:
        self.queue = queue
        self._fleet = fleet
        self._config = config
        self._ledger = ledger
        self._leader = leader
        self._clock = clock
        self._problems = problems
        self._launches = Launches(queue)
        self._departures = Departures()
        self._second = SecondLook(config.stale_s)
        gauges.expect(queue)
        self._written: Decision | None = None
        self._answered = ""
        self._unended = ""
        self._failed = ""
        self._look: Look | None = None
        self.alarms: tuple[str, ...] = ()

    def fail(self, why: str) -> None:
        """The last turn came to no end of its own; what it had begun is decided anew at the next one."""
        log.warning("scaler.failed", fleet=self.queue, to="keep", why=why)
        self._failed = why

    async def keep(self, sight: Sight, taken_at: float, order: Order = ACT) -> Decision:
        """One turn; returns what was decided. What fails is logged and tried again at the next one."""
        snapshot = await self._snapshot(sight, taken_at)
        config = order.limit(self._config)
        now = self._clock.now()
        decision = self._second.confirm(decide(snapshot, config, now), snapshot.workers, now)
        if not decision.terminate:
            self._unended = ""
        decision = self._warned(order.judge(decision))
        gauges.show(self.queue, snapshot, decision, spending(snapshot, decision, self._config))
        gauges.show_limits(self.queue, config)
        self._raise_alarms(decision.alarms)
        await self._tried("meter", self._meter(snapshot))
        self._look = seen(decision, config, ordered=order.ordered(self._config))
        await self._tried("tell", self._ledger.see(self.queue, self._look))
        if dead := _dead_with_open_row(snapshot):
            await self._tried("bury", self._bury(dead))
        await self._carry_out(snapshot, decision)
        self._failed = ""
        return decision

    async def _carry_out(self, snapshot: Snapshot, decision: Decision) -> None:
        if decision.acts:
            await self._tried("act", self._act(snapshot, decision))
        elif _leaves_undone(decision):
            await self._tried("record", self._note(snapshot, decision))
        else:
            self._written = None
            log.debug("scaler.looked", fleet=self.queue, want=decision.want, reason=decision.reason)

    async def _bury(self, dead: Sequence[str]) -> None:
        """Everybody else who counts workers goes by the rows."""
        await self._leader.confirm()
        log.info("scaler.buried", fleet=self.queue, workers=list(await self._ledger.bury(dead)))

    async def _meter(self, snapshot: Snapshot) -> None:
        """What the machines cost counts from their launch on, whether or not a worker was ever heard of."""
        if not isinstance(snapshot.machines, Unknown):
            paid = [machine for machine in snapshot.machines if machine.paid]
            await self._ledger.meter(self.queue, paid)

    async def _note(self, snapshot: Snapshot, decision: Decision) -> None:
        """Only the first of a series is worth a line."""
        before = self._written
        if before is None or before.acts or _series(before) != _series(decision):
            await self._write(snapshot, decision, "")

    async def _snapshot(self, sight: Sight, taken_at: float) -> Snapshot:
        found = await self._problems.known(f"fleet {self.queue}", self._fleet.machines)
        machines = found if isinstance(found, Unknown) else tuple(found)
        workers = self._departures.watch(sight.workers_of(self.queue), self._clock.now())
        self._launches.watch(machines, workers, self._clock.now())
        return Snapshot(
            taken_at=taken_at,
            demand=sight.demand_of(self.queue),
            workers=workers,
            machines=machines,
            broker=sight.broker_of(self.queue),
            failures=self._launches.failures,
            pace=sight.pace_of(self.queue, machines, workers),
        )

    def _warned(self, decision: Decision) -> Decision:
        """With the fleet's own alarms, and a launch cut down to what failures before it advise."""
        unended = [f"machines that are over can't be ended: {self._unended}"] if self._unended else []
        failed = [f"its last turn came to no end: {self._failed}"] if self._failed else []
        alarms = (*decision.alarms, *self._launches.alarms, *self._fleet.alarms(), *unended, *failed)
        most = self._launches.most
        if most is None or decision.launch <= most:
            return replace(decision, alarms=alarms)
        why = f"{decision.reason}; only {most} now, for launches failed"
        return replace(decision, alarms=alarms, launch=most, reason=why)

    async def _act(self, snapshot: Snapshot, decision: Decision) -> None:
        token = await self._token()  # before the next question: whoever launches in between is seen there
        earlier = await self._unanswered() if decision.launch else None
        if earlier:
            why = f"{decision.reason}; the last launch was not answered and is asked for again"
            # Fewer where fewer are wanted by now: the token finds the first request whatever it asked for.
            count = min(earlier.count, decision.launch)
            decision, token = replace(decision, launch=count, reason=why), earlier.token
        if not self._repeats(decision):
            await self._write(snapshot, decision, token)
        if decision.drain:
            await self._leader.confirm()
            await self._ledger.drain(decision.drain)
        if decision.terminate:
            await self._leader.confirm()
            await self._terminate(decision.terminate)
        if decision.launch:
            await self._leader.confirm()
            await self._launch(decision.launch, token)

    async def _terminate(self, over: Sequence[str]) -> None:
        """Whoever may not end machines (a permission that is missing, say) may start some all the same."""
        self._unended = ""
        try:
            await self._fleet.terminate(over)
        except LeveretError as error:
            log.warning("scaler.failed", fleet=self.queue, to="terminate", why=str(error))
            self._unended = str(error)

    async def _unanswered(self) -> LastLaunch | None:
        """The last launch, if its answer was lost, or went to a scaler that is no more (or leads as well)."""
        last = await self._ledger.last_launch(self.queue)
        if last is None or last.token == self._answered or last.age_s > REPEATED_S:
            return None
        return last

    async def _token(self) -> str:
        """Two leaders for a moment see the same last decision, make the same token, and launch once."""
        number = await self._ledger.last_decision(self.queue)
        return hashlib.sha256(f"{self.queue}:{number}".encode()).hexdigest()

    async def _launch(self, count: int, token: str) -> None:
        try:
            started = await self._fleet.launch(count, token=token)
        except OutcomeUnknown as error:
            self._launches.failed(str(error), self._clock.now())
            return
        except LeveretError as error:
            self._launches.failed(str(error), self._clock.now())
        else:
            self._tell_launched(started, count)
        self._answered = token

    def _tell_launched(self, started: Sequence[str], count: int) -> None:
        if started:
            missing = count - len(started)
            gauges.LAUNCHED.labels(self.queue).inc(len(started))
            log.info("scaler.launched", fleet=self.queue, machines=list(started), missing=missing)

    def _repeats(self, decision: Decision) -> bool:
        """A machine may take several turns to end, and a worker that got a job just now is asked in vain."""
        before = self._written
        return (
            before is not None
            and not (decision.launch or before.launch)
            and (decision.drain, decision.terminate) == (before.drain, before.terminate)
        )

    async def _write(self, snapshot: Snapshot, decision: Decision, token: str) -> None:
        """Before anything is done: what is not written down does not happen."""
        actions = _actions(decision)
        self._written = None if decision.acts else decision
        log.info(
            "scaler.decided",
            fleet=self.queue,
            want=decision.want,
            have=decision.have,
            **actions,
            reason=decision.reason,
        )
        gauges.count(self.queue, decision)
        await self._ledger.record(
            self.queue,
            want=decision.want,
            have=decision.have,
            reason=decision.reason,
            snapshot={
                **asdict(snapshot),
                "spending": _shown(spending(snapshot, decision, self._config)),
                "look": self._look and asdict(self._look),
            },
            actions={**actions, "token": token} if decision.launch else actions,
        )
        self._written = decision

    async def _tried(self, what: str, work: Awaitable[None]) -> None:
        try:
            await work
        except LeveretError as error:
            log.warning("scaler.failed", fleet=self.queue, to=what, why=str(error))

    def _raise_alarms(self, alarms: tuple[str, ...]) -> None:
        for alarm in set(alarms) - set(self.alarms):
            log.warning("scaler.alarm", fleet=self.queue, alarm=alarm)
        self.alarms = alarms


def _dead_with_open_row(snapshot: Snapshot) -> Sequence[str]:
    """Workers whose machine is known to have ended, though their row says that they are there."""
    if isinstance(snapshot.machines, Unknown) or isinstance(snapshot.workers, Unknown):
        return ()
    ended = {machine.id for machine in snapshot.machines if not machine.alive}
    return [w.id for w in snapshot.workers if w.id in ended and w.state is not WorkerState.GONE]


def _leaves_undone(decision: Decision) -> bool:
    """Whether somebody will ask why: it holds, a worker is missing that can't be started, or one stays."""
    return decision.want is None or decision.want > decision.have or bool(decision.late)


def _series(decision: Decision) -> tuple[bool, tuple[str, ...]]:
    return decision.want is None, decision.late


def _actions(decision: Decision) -> Mapping[str, Any]:
    return {"launch": decision.launch, "drain": decision.drain, "terminate": decision.terminate}


def _shown(spent: Spending | None) -> Mapping[str, Any] | None:
    """Money as decimal digits, as everywhere in the API."""
    if spent is None:
        return None
    return {**asdict(spent), "now": money(spent.now), "then": money(spent.then)}
