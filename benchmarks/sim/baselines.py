"""What others do, as their documentation says they do.

Each gets a node for its pod at once, and pays for no node that is only waiting to be taken down, which
flatters those on Kubernetes.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from benchmarks.sim.boxes import Box
from benchmarks.sim.world import World

PROVISION_S = 900.0
"""The cluster autoscaler gives a node up that did not come by then (`--max-node-provision-time`)."""


def _launch(world: World, missing: int) -> None:
    world.launch(max(0, missing), world.cloud.on_demand())


def _give_up(world: World) -> None:
    for box in list(world.boxes.values()):
        if not box.ready and world.now - box.launched > PROVISION_S:
            world.terminate(box)


Blind = tuple[tuple[float, float], ...]
"""Moments, from and to, without a metric: an HPA and a cloud's alarms then leave everything as it is."""


def _sees(blind: Blind, now: float) -> bool:
    return not any(start <= now < end for start, end in blind)


def _staying(world: World) -> list[Box]:
    return [box for box in world.boxes.values() if not box.asked and not box.noticed]


@dataclass(slots=True)
class Always:
    """A fixed number of machines, lost ones replaced."""

    count: int
    interval_s: float = 30.0
    packs: bool = False

    def turn(self, world: World) -> None:
        """Fill up."""
        _give_up(world)
        _launch(world, self.count - len(_staying(world)))


@dataclass(slots=True)
class Keda:
    """KEDA's RabbitMQ scaler and the HorizontalPodAutoscaler that it feeds.

    KEDA itself only goes from 0 to 1 (a look every `pollingInterval`, 30 s) and from 1 to 0 (after a
    `cooldownPeriod` of 300 s without a message): keda.sh, "ScaledObject specification". Between, the HPA
    decides every 15 s: replicas = ceil(messages / value), within a tolerance of a tenth; up by 4 or to the
    double at most in 15 s; down to the highest of the last 300 s: kubernetes.io, "Horizontal Pod
    Autoscaling". The pod that was ready last goes first, busy or not, with SIGTERM and its grace period:
    kubernetes.io, "ReplicaSet".

    Attributes:
        value: Messages per replica.
        unacked: The management API counts messages in hand too; over AMQP only those that are ready are seen:
            keda.sh, "RabbitMQ Queue".
        grace_s: `terminationGracePeriodSeconds`.
    """

    value: float
    unacked: bool
    grace_s: float
    most: int
    interval_s: float = 15.0
    packs: bool = False
    blind: Blind = ()
    _seen: deque[tuple[float, int]] = field(default_factory=deque)
    _active_at: float = -math.inf
    _turns: int = 0

    def turn(self, world: World) -> None:
        """One sync of the HPA; at every other one KEDA polls."""
        _give_up(world)
        self._turns += 1
        if not _sees(self.blind, world.now):
            return
        messages = world.waiting + (world.running if self.unacked else 0)
        pods = _staying(world)
        if messages and self._turns % 2 == 0:
            self._active_at = world.now
        if not pods:
            self._seen.clear()
            _launch(world, 1 if self._active_at == world.now else 0)
        elif world.now - self._active_at > 300:
            self._shrink(world, pods, 0)
        else:
            self._sync(world, pods, self._recommended(messages, len(pods), world.now))

    def _recommended(self, messages: int, replicas: int, now: float) -> int:
        near = abs(messages / (self.value * replicas) - 1) <= 0.1
        wanted = replicas if near else max(1, min(self.most, math.ceil(messages / self.value)))
        while self._seen and now - self._seen[0][0] > 300:
            self._seen.popleft()
        self._seen.append((now, wanted))
        if wanted >= replicas:
            return wanted
        return min(replicas, max(count for _, count in self._seen))

    def _sync(self, world: World, pods: list[Box], wanted: int) -> None:
        if wanted < len(pods):
            self._shrink(world, pods, wanted)
        _launch(world, min(wanted, max(len(pods) + 4, 2 * len(pods))) - len(pods))

    def _shrink(self, world: World, pods: list[Box], wanted: int) -> None:
        """Those that are not ready go first, then those that became so last."""
        pods.sort(key=lambda box: (box.ready, -(box.ready_at or 0.0)))
        for box in pods[: len(pods) - wanted]:
            world.drain(box, grace_s=self.grace_s)


@dataclass(slots=True)
class Depth:
    """The script that most teams write: a machine for every message, and idle ones leave after a minute."""

    most: int
    idle_s: float = 60.0
    interval_s: float = 30.0
    packs: bool = False
    blind: Blind = ()

    def turn(self, world: World) -> None:
        """Count, fill up, let go."""
        _give_up(world)
        if not _sees(self.blind, world.now):
            return
        here = _staying(world)
        wanted = min(self.most, world.waiting + world.running)
        _launch(world, wanted - len(here))
        idle = [box for box in here if box.free and world.now - box.idle_since >= self.idle_s]
        for box in idle[: max(0, len(here) - wanted)]:
            world.drain(box)


@dataclass(slots=True)
class BacklogPerInstance:
    """EC2 Auto Scaling's way with queues: target tracking of the backlog per instance, W/S.

    A custom metric each minute; above the target for 3 of them it adds in proportion, below nine tenths of
    it for 15 it removes: docs.aws.amazon.com, "Scaling policy based on Amazon SQS" and "Target tracking".
    No metric divides by no instances, so the first one is started as soon as anything waits; instances with
    a job are protected.
    """

    target: float
    most: int
    interval_s: float = 60.0
    packs: bool = False
    blind: Blind = ()
    _above: int = 0
    _below: int = 0

    def turn(self, world: World) -> None:
        """One minute's figure."""
        _give_up(world)
        if not _sees(self.blind, world.now):
            return
        here = _staying(world)
        if not here:
            self._above = self._below = 0
            _launch(world, 1 if world.waiting else 0)
            return
        ratio = world.waiting / len(here) / self.target
        self._above = self._above + 1 if ratio > 1 else 0
        self._below = self._below + 1 if ratio < 0.9 else 0
        if self._above >= 3:
            _launch(world, min(self.most, math.ceil(len(here) * ratio)) - len(here))
        if self._below >= 15:
            self._remove(world, here, math.ceil(len(here) * ratio))

    def _remove(self, world: World, here: list[Box], wanted: int) -> None:
        free = [box for box in here if box.free]
        for box in free[: len(here) - max(wanted, 1 if world.running else 0)]:
            world.drain(box)
