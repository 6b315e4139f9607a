"""The `kubernetes` fleet: a Deployment's pods, scaled here, or by KEDA with the number that is told here.

A pod's name is the id of its worker. How many pods there are to be is the only thing that is changed, so
which of them go is the ReplicaSet's choice: first those without a node, then those pending, those not ready,
and only then those with the lowest ``controller.kubernetes.io/pod-deletion-cost`` ("ReplicaSet: Scaling a
ReplicaSet"). Therefore a pod is taken away only while no other one would be taken before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import structlog

from scaler.fleet.budget import Budget
from scaler.fleet.cluster import Cluster, PodView, Workload
from scaler.ports import Clock
from scaler.snapshot import Machine
from shared.errors import OutcomeUnknown, Unavailable

log = structlog.get_logger()

COST = "controller.kubernetes.io/pod-deletion-cost"
LAUNCH = "leveret.dev/launch"
"""``TOKEN:NUMBER`` while a launch is on its way to so many pods, ``TOKEN:done`` afterwards."""
DESIRED = "leveret.dev/desired"
"""What KEDA is told."""
LEAVES, STAYS = "-1000", "1000"
REMEMBERED_S = 600.0
REFUSED_S = 60.0
"""Kubernetes makes a pod within seconds. One that it has not made by then, it may not make (a quota, say)."""
TOLD_REFUSED_S = 300.0
"""Whoever else scales has first to come round to it."""
NOT_MADE = "Kubernetes does not make all pods that were asked for: a quota?"
TRIES = 4
"""Somebody else may change the Deployment at the same moment, but not for ever."""
HOPELESS = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How one Deployment is scaled.

    Attributes:
        deployment: Its name.
        told: Somebody else (KEDA) scales it by the number that is told; here it is only written down.
        launches: What may be started.
        ends: What may be taken away.
        per_hour: What a pod costs; None: nobody has told.
    """

    deployment: str
    told: bool = False
    per_hour: Decimal | None = None
    launches: Budget
    ends: Budget


class KubernetesFleet:
    """The pods of one queue."""

    def __init__(self, queue: str, cluster: Cluster, terms: Terms, clock: Clock) -> None:
        self._queue = queue
        self._cluster = cluster
        self._terms = terms
        self._clock = clock
        self._looked_at: float | None = None
        self._born: dict[str, float] = {}
        self._unborn: dict[str, float] = {}
        self._numbers = itertools.count()
        self._ended: dict[str, tuple[float, Machine]] = {}
        self._trouble: set[str] = set()
        self._waiting = False

    async def machines(self) -> Sequence[Machine]:
        """The pods, those that Kubernetes has still to make, and those that ended within ten minutes.

        Raises:
            Unavailable: The Deployment or its pods can't be read.
        """
        workload = await self._cluster.workload(self._terms.deployment)
        pods = [pod for pod in await self._cluster.pods(workload.labels) if not pod.ended]
        now = self._clock.now()
        self._remember(pods, now)
        self._trouble = {pod.trouble for pod in pods if pod.trouble in HOPELESS}
        self._expect(self._desired(workload) - sum(not pod.deleting for pod in pods))
        return [
            *(self._machine(pod, now) for pod in pods),
            *(self._unmade(name, now) for name in self._unborn),
            *(machine for _, machine in self._ended.values()),
        ]

    async def launch(self, count: int, *, token: str) -> Sequence[str]:
        """Ask for so many pods more. The Deployment remembers the token, so that it counts once.

        Raises:
            OutcomeUnknown: It may have happened; the same token finds out.
            Unavailable: Refused, the budget is spent, or pods that were asked for before are not made.
        """
        if self._refused:
            raise Unavailable(NOT_MADE)
        granted = self._terms.launches.take(count)
        if not granted:
            raise Unavailable(self._terms.launches.alarm or "no launch is allowed now")
        for _ in range(TRIES):
            target = await self._claimed(granted, token)
            if target is None or (target and await self._reach(target, token)):
                return self._conceive(granted)
        raise OutcomeUnknown(f"deployment {self._terms.deployment} changed at every try")

    async def terminate(self, ids: Sequence[str]) -> None:
        """Take pods away: these and no others.

        Raises:
            OutcomeUnknown: It may have happened; it is decided anew at the next turn.
            Unavailable: Refused, or changed by somebody else all the time.
        """
        for _ in range(TRIES):
            if await self._take_away(frozenset(ids)):
                return
        raise Unavailable(f"deployment {self._terms.deployment} changed at every try")

    def alarms(self) -> Sequence[str]:
        """What somebody should look at, in words."""
        told = [self._terms.launches.alarm, self._terms.ends.alarm]
        told += [f"pods do not start: {trouble}" for trouble in sorted(self._trouble)]
        if self._refused:
            told.append(NOT_MADE)
        if self._waiting:
            told.append("no pod is taken away while others are not ready, for those would go first")
        return [alarm for alarm in told if alarm]

    async def desired(self) -> int:
        """How many pods there are to be, for whoever scales by it.

        Raises:
            Unavailable: The Deployment can't be read.
        """
        return self._desired(await self._cluster.workload(self._terms.deployment))

    def _desired(self, workload: Workload) -> int:
        told = workload.annotations.get(DESIRED, "")
        return int(told) if self._terms.told and told.isdecimal() else workload.replicas

    async def _claimed(self, count: int, token: str) -> int | None:
        """The number that this launch is to reach, None where it has been reached, 0 to try again.

        Written down before anything is scaled: whoever repeats the launch finds the same number.
        """
        workload = await self._cluster.workload(self._terms.deployment)
        known, _, state = workload.annotations.get(LAUNCH, "").partition(":")
        if known == token:
            return int(state) if state.isdecimal() else None
        target = self._desired(workload) + count
        claim = {LAUNCH: f"{token}:{target}"}
        claimed = await self._cluster.claim(self._terms.deployment, claim, version=workload.version)
        return target if claimed else 0

    async def _reach(self, target: int, token: str) -> bool:
        workload = await self._cluster.workload(self._terms.deployment)
        if self._desired(workload) < target and not await self._set(workload, target):
            return False
        workload = await self._cluster.workload(self._terms.deployment)
        done = {LAUNCH: f"{token}:done"}
        return await self._cluster.claim(self._terms.deployment, done, version=workload.version)

    async def _set(self, workload: Workload, number: int) -> bool:
        name = self._terms.deployment
        log.info("scaler.scaled", fleet=self._queue, deployment=name, pods=number, told=self._terms.told)
        if self._terms.told:
            return await self._cluster.claim(name, {DESIRED: str(number)}, version=workload.version)
        return await self._cluster.scale(name, number, expected=workload.replicas)

    async def _take_away(self, ids: frozenset[str]) -> bool:
        """One try; False when somebody else changed the Deployment meanwhile."""
        workload = await self._cluster.workload(self._terms.deployment)
        listed = await self._cluster.pods(workload.labels)
        pods = [pod for pod in listed if not pod.ended and not pod.deleting]
        leaving = self._leaving(pods, ids)
        missing = max(0, self._desired(workload) - len(pods))
        dropped = self._dropped(ids, missing, waited_for=bool(leaving))
        if len(dropped) < missing:
            leaving = frozenset()  # while more pods are asked for than there are, none is taken away
        # By what is there, not by what is asked for: the same turn twice takes nobody away twice.
        target = len(pods) - len(leaving) + missing - len(dropped)
        fewer = self._desired(workload) - target
        if fewer <= 0:
            return True
        granted = self._terms.ends.take(fewer)
        if not granted:
            raise Unavailable(self._terms.ends.alarm or "no end is allowed now")
        await self._price(pods, leaving)
        done = await self._set(workload, target + fewer - granted)
        if done:
            self._give_up(dropped[:granted])
        return done

    def _dropped(self, ids: frozenset[str], missing: int, *, waited_for: bool) -> Sequence[str]:
        """Pods that were asked for and are not to be waited for any longer.

        While they are asked for, no pod that has drained can go: so those that were refused make way.
        """
        now = self._clock.now()
        given_up = [n for n in self._unborn if n in ids or (waited_for and self._is_refused(n, now))]
        return given_up[:missing]

    def _give_up(self, names: Sequence[str]) -> None:
        """Told as machines that ended, so that the next launches are spaced out."""
        now = self._clock.now()
        for name in names:
            lived_s = now - self._unborn.pop(name)
            why = "Kubernetes made no pod of it"
            ended = Machine(id=name, age_s=lived_s, alive=False, paid=False, exit=why)
            self._ended[name] = (now, ended)

    def _leaving(self, pods: Sequence[PodView], ids: frozenset[str]) -> frozenset[str]:
        """Those of the ids that can be taken away without taking another: not before an unready one."""
        others = [pod for pod in pods if pod.name not in ids]
        first = min((_rank(pod) for pod in others), default=_LAST)
        named = [pod for pod in pods if pod.name in ids]
        leaving = frozenset(pod.name for pod in named if _rank(pod) <= first)
        self._waiting = len(leaving) < len(named)
        return leaving

    async def _price(self, pods: Sequence[PodView], leaving: frozenset[str]) -> None:
        for pod in pods:
            cost = LEAVES if pod.name in leaving else STAYS
            if pod.annotations.get(COST) != cost:
                await self._cluster.annotate_pod(pod.name, {COST: cost})

    def _machine(self, pod: PodView, now: float) -> Machine:
        """One that has no node yet takes nothing from anybody."""
        return Machine(
            id=pod.name,
            age_s=now - self._born[pod.name],
            doomed=pod.deleting,
            paid=pod.assigned,
            per_hour=self._terms.per_hour,
        )

    def _remember(self, pods: Sequence[PodView], now: float) -> None:
        for pod in pods:
            if pod.name not in self._born:
                self._born[pod.name] = now - self._age_s(pod, now)
        gone = self._born.keys() - {pod.name for pod in pods}
        for name in gone:
            lived_s = now - self._born.pop(name)
            ended = Machine(
                id=name,
                age_s=lived_s,
                alive=False,
                exit="its pod is gone",
                per_hour=self._terms.per_hour,
            )
            self._ended[name] = (now, ended)
        self._ended = {name: end for name, end in self._ended.items() if now - end[0] < REMEMBERED_S}
        self._looked_at = now

    def _age_s(self, pod: PodView, now: float) -> float:
        """One that was not there at the last look is not older than that, whatever two clocks say."""
        return pod.age_s if self._looked_at is None else min(pod.age_s, now - self._looked_at)

    def _conceive(self, count: int) -> Sequence[str]:
        """Names for pods that Kubernetes has still to make and to name."""
        names = [f"{self._terms.deployment}-unborn-{next(self._numbers)}" for _ in range(count)]
        self._unborn |= dict.fromkeys(names, self._clock.now())
        return names

    def _expect(self, missing: int) -> None:
        """So many are still to be made; those that were asked for last are made last."""
        made = max(0, len(self._unborn) - max(0, missing))
        self._unborn = dict(itertools.islice(self._unborn.items(), made, None))
        self._conceive(max(0, missing) - len(self._unborn))

    def _unmade(self, name: str, now: float) -> Machine:
        age_s = now - self._unborn[name]
        return Machine(id=name, age_s=age_s, paid=False, refused=self._is_refused(name, now))

    @property
    def _refused(self) -> bool:
        now = self._clock.now()
        return any(self._is_refused(name, now) for name in self._unborn)

    def _is_refused(self, name: str, now: float) -> bool:
        return now - self._unborn[name] > (TOLD_REFUSED_S if self._terms.told else REFUSED_S)


_Rank = tuple[bool, bool, bool]
_LAST: _Rank = (True, True, True)


def _rank(pod: PodView) -> _Rank:
    """In the order in which a ReplicaSet takes pods away, as far as no cost can change it."""
    return (pod.assigned, pod.running, pod.ready)
