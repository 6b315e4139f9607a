"""One list of the cloud's instances for all queues: one question per turn, however many fleets there are."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from scaler.ports import Clock

FRESH_S = 10.0
"""All queues look at the same moment, or within the time that a question may take. What is older belongs to
an earlier turn, in which one of them may not have come to look."""
QUEUE_TAG = "leveret:queue"
LAUNCH_TAG = "leveret:launch"
"""The token of the decision that asked for it."""
ENDED = frozenset({"shutting-down", "terminated"})


class Instance(Protocol):
    """A machine of the cloud that carries our tag."""

    @property
    def id(self) -> str:
        """The cloud's."""

    @property
    def type(self) -> str:
        """Of machine."""

    @property
    def zone(self) -> str:
        """Where it is."""

    @property
    def market(self) -> str:
        """``spot`` or ``on-demand``."""

    @property
    def state(self) -> str:
        """pending, running, shutting-down, terminated, stopping or stopped."""

    @property
    def age_s(self) -> float:
        """Seconds since its launch, by the cloud's own clock."""

    @property
    def reason(self) -> str:
        """The cloud's code for its last change of state."""

    @property
    def doomed(self) -> bool:
        """The cloud is about to take it back."""

    @property
    def tags(self) -> Mapping[str, str]:
        """All of them."""


class Lister(Protocol):
    """Whoever lists the instances that carry our tag."""

    async def instances(self) -> Sequence[Instance]:
        """All of them, those that ended a while ago included."""
        ...


class Inventory:
    """What the cloud listed last, shared by the fleets of all queues.

    Every fleet looks once a turn, so the first one that looks again asks anew, and all others share its list.

    Args:
        queues: Those that have a fleet.
        clock: By which a list is an old one.
    """

    def __init__(self, lister: Lister, queues: Collection[str], clock: Clock) -> None:
        self._lister = lister
        self._queues = frozenset(queues)
        self._clock = clock
        self._asked_at = 0.0
        self._found: Sequence[Instance] | None = None
        self._shown: set[str] = set()
        self._turn = asyncio.Lock()

    async def of(self, queue: str) -> Sequence[Instance]:
        """The queue's own instances.

        Raises:
            Unavailable: The cloud did not list them. An older list is never shown in its place.
        """
        async with self._turn:
            found = await self._current(queue)
            self._shown.add(queue)
            return [each for each in found if each.tags.get(QUEUE_TAG) == queue and not _unknown(each)]

    async def _current(self, queue: str) -> Sequence[Instance]:
        old = self._clock.now() - self._asked_at > FRESH_S
        if self._found is None or old or queue in self._shown:
            self._found, self._asked_at = None, self._clock.now()
            self._found = await self._lister.instances()
            self._shown.clear()
        return self._found

    def strangers(self, queue: str) -> Sequence[str]:
        """Living instances with our tag that no fleet of ours asked for, by id; nobody here ends them.

        Args:
            queue: Those of a queue that nobody serves are told to every fleet, all others to their own.
        """
        return sorted(
            each.id
            for each in self._found or ()
            if each.state not in ENDED and self._is_strange(each, each.tags.get(QUEUE_TAG, ""), queue)
        )

    def _is_strange(self, instance: Instance, tagged: str, queue: str) -> bool:
        return tagged not in self._queues or (tagged == queue and _unknown(instance))


def _unknown(instance: Instance) -> bool:
    return LAUNCH_TAG not in instance.tags
