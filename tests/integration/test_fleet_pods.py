"""The real loop on pods: up to the maximum and back, while somebody else changes the Deployment as well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from scaler.fleet.budget import MINUTE_S, Budget
from scaler.fleet.kubernetes import KubernetesFleet, Terms
from scaler.keeper import Keeper
from scaler.leader import Leader
from scaler.loop import Loop
from scaler.observer import Observer, Problems
from scaler.snapshot import Config
from shared.adapters.kubernetes import Kubernetes, open_kubernetes
from tests.fakes.cloud import FakeCloud, FakeInstance
from tests.fakes.estate import QUEUE, Estate, FakeRecords
from tests.fakes.fleet import FakeLock
from tests.fakes.kubernetes import DEPLOYMENT, FakeKubernetes, fake_kubernetes

pytestmark = pytest.mark.anyio

BOOT_S = 40.0


class PodCloud:
    """The pods as the estate's machines; the ReplicaSet works while time passes."""

    def __init__(self, server: FakeKubernetes, estate: Estate) -> None:
        self.server = server
        self.clock = estate.clock
        self.machines: dict[str, FakeInstance] = {}
        self.unready: set[str] = set()
        """Whose readiness probe fails."""

    @property
    def alive(self) -> list[FakeInstance]:
        return [machine for machine in self.machines.values() if machine.alive]

    def live(self) -> None:
        now = self.clock.now()
        self.server.reconcile()
        for name in self.server.pods.keys() - self.machines.keys():
            self.machines[name] = FakeInstance(
                id=name, place=("pod", "a", "on-demand"), launched=now, ready=now + BOOT_S
            )
        for name, pod in self.server.pods.items():
            pod.ready = self.machines[name].ready <= now and name not in self.unready
            if pod.deleting:
                self.machines[name].end(now, "Client.UserInitiatedShutdown")
        self.server.remove_deleted()


class Rig:
    """The scaler, the cluster and the jobs."""

    def __init__(self, server: FakeKubernetes, cluster: Kubernetes) -> None:
        self.server = server
        self.cluster = cluster
        self.estate = Estate(service_s=60.0)
        self.pods = PodCloud(server, self.estate)
        self.estate.cloud = cast("FakeCloud", self.pods)
        self.loop, self.keeper = self.scaler()

    def scaler(self, *, told: bool = False, **limits: Any) -> tuple[Loop, Keeper]:
        clock, problems, records = self.estate.clock, Problems(), FakeRecords(self.estate)
        budget = Budget("changes", {MINUTE_S: 100}, clock)
        terms = Terms(deployment=DEPLOYMENT, told=told, launches=budget, ends=budget)
        leader = Leader(FakeLock([]))
        keeper = Keeper(
            QUEUE,
            KubernetesFleet(QUEUE, self.cluster, terms, clock),
            Config(**({"max": 4, "boot_s": 600.0, "stale_s": 90.0} | limits)),
            ledger=records,
            leader=leader,
            clock=clock,
            problems=problems,
        )
        observer = Observer(records, records, problems, clock)
        return Loop([keeper], observer, leader, clock, interval_s=30.0), keeper

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await self.loop.tick()
            self.estate.pass_time(30)


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    with fake_kubernetes() as server:
        (tmp_path / "config").write_text(server.kubeconfig)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        async with open_kubernetes("default") as cluster:
            yield Rig(server, cluster)


async def run_dry(rig: Rig, jobs: int, *, most: int = 4) -> None:
    """Until all is done and everybody has left."""
    for _ in range(120):
        await rig.turns(1)
        assert len(rig.pods.alive) <= most
        if rig.estate.done >= jobs and not rig.server.pods:
            break
    assert (rig.estate.done, rig.estate.killed_busy) == (jobs, [])
    assert (rig.server.replicas, rig.server.pods) == (0, {})


async def test_pods_come_work_drain_and_go(rig: Rig) -> None:
    rig.estate.submit(60)
    await run_dry(rig, 60)
    assert len(rig.pods.machines) >= 2


async def youngest_works_on(rig: Rig) -> str:
    """All pods are up, and the one that a ReplicaSet would take first has the longest job by far."""
    rig.loop, rig.keeper = rig.scaler(idle_s=60.0, min=3)
    rig.estate.submit(3)
    for _ in range(20):
        await rig.turns(1)
        if len(rig.estate.workers) == 3 and rig.estate.done == 3:
            break
    youngest = max(rig.server.pods)
    rig.estate.workers[youngest].job = rig.estate.clock.now() + 3000.0
    rig.estate.workers[youngest].idle_since = None
    rig.loop, rig.keeper = rig.scaler(idle_s=60.0)
    return youngest


async def test_the_youngest_pod_stays_while_it_works_though_it_would_go_first(rig: Rig) -> None:
    youngest = await youngest_works_on(rig)

    await rig.turns(20)

    assert list(rig.server.pods) == [youngest]
    assert rig.estate.killed_busy == []


async def test_a_busy_pod_that_fails_its_probe_keeps_the_drained_ones_waiting(rig: Rig) -> None:
    youngest = await youngest_works_on(rig)
    rig.pods.unready = {youngest}

    await rig.turns(20)
    assert len(rig.server.pods) == 3
    assert any("not ready" in alarm for alarm in rig.keeper.alarms)

    rig.pods.unready = set()
    await rig.turns(10)
    assert list(rig.server.pods) == [youngest]
    assert rig.estate.killed_busy == []


async def test_conflicts_and_lost_answers_change_nothing_of_it(rig: Rig) -> None:
    rig.estate.submit(60)
    for _ in range(12):
        rig.server.conflicts, rig.server.lose_answers = 2, 1
        await rig.turns(1)
        assert len(rig.pods.alive) <= 4
    rig.server.conflicts = rig.server.lose_answers = 0
    await run_dry(rig, 60)


async def test_a_cluster_that_refuses_for_a_while_loses_nobody(rig: Rig) -> None:
    rig.estate.submit(60)
    await rig.turns(6)
    working = len(rig.pods.alive)
    rig.server.forbidden = {"GET", "PUT", "PATCH"}
    await rig.turns(10)
    assert len(rig.pods.alive) == working

    rig.server.forbidden = set()
    await run_dry(rig, 60)


async def test_a_scaler_that_is_replaced_goes_on_with_the_same_pods(rig: Rig) -> None:
    rig.estate.submit(60)
    await rig.turns(3)
    rig.loop, rig.keeper = rig.scaler()
    await rig.turns(3)
    assert len(rig.pods.machines) <= 4
    await run_dry(rig, 60)


async def test_what_a_quota_refuses_is_taken_back_within_two_minutes_and_asked_for_less_and_less(
    rig: Rig,
) -> None:
    """Before, the number stayed for ten minutes, and the next launch came at once."""
    rig.server.stuck = True
    rig.estate.submit(8)

    for _ in range(60):  # half an hour
        await rig.turns(1)
        waits = [m.age_s for m in await rig.keeper._fleet.machines() if m.alive]
        assert max(waits, default=0.0) <= 120

    launches = [decision for decision in rig.estate.decisions if decision["actions"]["launch"]]
    assert 2 <= len(launches) <= 12
    assert "3 launches in a row or more came to nothing" in rig.keeper.alarms

    rig.server.stuck = False
    await run_dry(rig, 8)


async def test_keda_follows_the_number_and_takes_nobody_busy(rig: Rig) -> None:
    rig.loop, rig.keeper = rig.scaler(told=True)
    rig.estate.submit(60)
    for _ in range(120):
        await rig.turns(1)
        rig.server.replicas = int(rig.server.annotations.get("leveret.dev/desired", "0"))  # what KEDA does
        if rig.estate.done == 60 and not rig.server.pods:
            break
    assert (rig.estate.done, rig.estate.killed_busy, rig.server.pods) == (60, [], {})
