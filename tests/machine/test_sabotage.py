"""The machine bites: with one part of the protocol taken out it finds a run that breaks a promise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from gateway import relay as relay_module
from gpu_worker.leases import Leases
from gpu_worker.serving import Server
from tests.machine.memory import MemoryStores
from tests.machine.profile import SABOTAGE
from tests.machine.rules import Machine
from tests.machine.world import World

Patch = pytest.MonkeyPatch


def without_fence(_: Patch) -> World:
    world = World()
    truth = world.truth
    assert isinstance(truth, MemoryStores)
    truth.table.fenced = False
    return world


def without_relay(_: Patch) -> World:
    return World(relays=False)


def with_early_ack(patch: Patch) -> World:
    async def serve(self: Server, delivery: object) -> None:  # type: ignore[type-arg]
        await self._queue.settle(delivery)
        await self._worker.act_on(delivery)  # type: ignore[arg-type]

    patch.setattr(Server, "_serve", serve)
    return World()


def without_lease_grace(patch: Patch) -> World:
    patch.setattr(relay_module, "LEASE_GRACE_S", 0.0)
    world = World()
    truth = world.truth
    assert isinstance(truth, MemoryStores)
    truth.server_grace_s = 0.0
    return world


def without_renewals(patch: Patch) -> World:
    async def renew(self: Leases) -> None: ...

    patch.setattr(Leases, "renew", renew)
    return World()


@pytest.mark.parametrize(
    ("sabotage", "promise"),
    [
        (without_fence, "stale|of the fences|runs one claim twice"),
        (without_relay, "lost"),
        (with_early_ack, "acknowledged, and nobody owns"),
        (without_lease_grace, "which lives and renews"),
        (without_renewals, "which lives and renews"),
    ],
)
def test_a_protocol_less_one_part_is_found_out(
    sabotage: Callable[[Patch], World], promise: str, monkeypatch: Patch
) -> None:
    class Sabotaged(Machine):
        make_world = staticmethod(lambda: sabotage(monkeypatch))

    with pytest.raises(AssertionError, match=promise):
        run_state_machine_as_test(Sabotaged, settings=settings(SABOTAGE))
