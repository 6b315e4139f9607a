"""Renewals and heartbeats: patient with PostgreSQL, quick to pass on what they learn."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import REGISTRY
from uuid_utils.compat import uuid7

from gpu_worker import leases as leases_module
from gpu_worker.heartbeat import Heartbeat
from gpu_worker.hold import Hold, Stop
from gpu_worker.leases import Leases
from gpu_worker.ports import WorkerState
from shared.errors import OutcomeUnknown, Unavailable
from shared.jobs import State
from tests.fakes.worker import FakeAttempts
from tests.unit.gpu_worker.claims import claim

pytestmark = pytest.mark.anyio


async def test_an_outage_gives_up_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_module, "AGAIN_S", 0)
    store = FakeAttempts(failures=[Unavailable("away"), OutcomeUnknown("lost"), Unavailable("away")])
    row = store.add(claim(), State.RUNNING)
    leases, hold = Leases(store), Hold(row.claim)
    leases.add(hold)

    renewing = asyncio.create_task(leases.run())
    while len(store.calls) < 4:
        await asyncio.sleep(0)
    renewing.cancel()

    assert hold.stop is None


async def test_a_nudge_reads_the_row_at_once_and_only_for_a_job_in_hand() -> None:
    store = FakeAttempts()
    row = store.add(claim(), State.RUNNING)
    leases = Leases(store)
    leases.add(Hold(row.claim))
    renewing = asyncio.create_task(leases.run())
    while len(store.calls) < 1:
        await asyncio.sleep(0)

    leases.nudge(uuid7())
    leases.nudge(row.claim.id)
    async with asyncio.timeout(leases_module.RENEW_S / 2):
        while len(store.calls) < 2:
            await asyncio.sleep(0)
    renewing.cancel()

    assert store.calls == ["renew", "renew"]


async def test_a_job_that_came_back_before_its_loss_was_noticed_keeps_its_new_lease() -> None:
    store = FakeAttempts()
    row = store.add(claim(), State.RUNNING)
    leases, old = Leases(store), Hold(row.claim)
    leases.add(old)
    new = Hold(claim(id=row.claim.id, fence=row.claim.fence + 1))
    lost = REGISTRY.get_sample_value("leveret_worker_leases_lost_total") or 0

    leases.add(new)
    leases.remove(old)

    assert old.stop is Stop.LOST
    assert leases.hold(new.claim) is new
    assert leases.hold(old.claim) is None
    assert leases.busy == 1
    assert REGISTRY.get_sample_value("leveret_worker_leases_lost_total") == lost + 1


async def test_a_lost_fence_outweighs_every_other_reason() -> None:
    hold = Hold(claim())
    seen = []
    for reason in (Stop.CANCELED, Stop.RELEASED, Stop.LOST, Stop.CANCELED):
        hold.ask(reason)
        seen.append(hold.stop)

    assert seen == [Stop.CANCELED, Stop.CANCELED, Stop.LOST, Stop.LOST]


@dataclass
class FakeBeats:
    drain: bool = False
    away: bool = False
    told: list[tuple[WorkerState, int]] = field(default_factory=list)

    async def beat(
        self, state: WorkerState, *, busy: int, claims: int, report: Mapping[str, Any] | None
    ) -> bool:
        if self.away:
            raise Unavailable("away")
        self.told.append((state, busy))
        return self.drain

    async def loaded(self, loads: Sequence[Mapping[str, Any]]) -> None:
        raise AssertionError(loads)


async def test_a_heartbeat_tells_state_and_work_and_learns_of_the_drain() -> None:
    beats, drained = FakeBeats(), asyncio.Event()
    heartbeat = Heartbeat(beats, _leases_with_one_job(), retire=drained.set)

    await heartbeat.beat()
    heartbeat.enter("ready")
    beats.drain = True
    await heartbeat.beat()

    assert beats.told == [("starting", 1), ("ready", 1)]
    assert drained.is_set()


async def test_a_heartbeat_survives_an_outage() -> None:
    beats = FakeBeats(away=True)
    await Heartbeat(beats, Leases(FakeAttempts()), retire=lambda: None).beat()
    assert beats.told == []


def _leases_with_one_job() -> Leases:
    leases = Leases(FakeAttempts())
    leases.add(Hold(claim()))
    return leases
