"""The Kubernetes fleet and its adapter on a small API server of our own, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from scaler.fleet.budget import MINUTE_S, Budget
from scaler.fleet.kubernetes import COST, NOT_MADE, KubernetesFleet, Terms
from scaler.snapshot import Machine
from shared.adapters import kubernetes as adapter
from shared.adapters.kubernetes import Kubernetes, open_kubernetes
from shared.errors import Misconfigured, OutcomeUnknown, Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.kubernetes import DEPLOYMENT, FakeKubernetes, FakePod, fake_kubernetes

pytestmark = pytest.mark.anyio


@dataclass
class Given:
    server: FakeKubernetes
    cluster: Kubernetes
    clock: FakeClock

    def __post_init__(self) -> None:
        self.fleet = self.another()

    def another(self, *, told: bool = False, most: int = 100) -> KubernetesFleet:
        launches, ends = (
            Budget("launches", {MINUTE_S: most}, self.clock),
            Budget("ends", {MINUTE_S: most}, self.clock),
        )
        terms = Terms(deployment=DEPLOYMENT, told=told, launches=launches, ends=ends)
        return KubernetesFleet("images", self.cluster, terms, self.clock)

    async def pods(self, count: int) -> list[FakePod]:
        """So many that run."""
        self.server.replicas = count
        self.server.reconcile()
        await self.fleet.machines()
        return list(self.server.pods.values())


@pytest.fixture
async def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Given]:
    async with opened(tmp_path, monkeypatch) as found:
        yield found


@asynccontextmanager
async def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Given]:
    with fake_kubernetes() as server:
        (tmp_path / "config").write_text(server.kubeconfig)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        async with open_kubernetes("default") as cluster:
            yield Given(server, cluster, FakeClock())


async def test_pods_are_asked_for_and_count_before_they_are_there(given: Given) -> None:
    await given.fleet.launch(2, token="t")

    assert given.server.replicas == 2
    assert [m.alive for m in await given.fleet.machines()] == [True, True]
    given.server.reconcile()
    assert {m.id for m in await given.fleet.machines()} == set(given.server.pods)


async def test_the_same_token_counts_once_whoever_uses_it(given: Given) -> None:
    second = given.another()

    await asyncio.gather(given.fleet.launch(2, token="t"), second.launch(2, token="t"))
    await second.launch(2, token="t")

    assert given.server.replicas == 2


async def test_a_token_that_was_answered_brings_nobody_back(given: Given) -> None:
    await given.fleet.launch(2, token="t")
    given.server.reconcile()
    await given.fleet.machines()
    await given.fleet.terminate(list(given.server.pods))

    await given.another().launch(2, token="t")

    assert given.server.replicas == 0


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_a_lost_answer_is_asked_for_again_and_counts_once(given: Given, lost: int) -> None:
    given.server.lose_answers = lost
    for _ in range(lost):
        with pytest.raises(OutcomeUnknown):
            await given.another().launch(2, token="t")

    await given.fleet.launch(2, token="t")

    assert given.server.replicas == 2


async def test_a_conflict_is_tried_again_with_what_is_there_now(given: Given) -> None:
    await given.pods(1)
    given.server.conflicts = 1
    await given.fleet.launch(1, token="t")
    assert given.server.replicas == 2

    given.server.meddle = 7  # somebody scales by hand in between
    await given.fleet.launch(1, token="u")
    assert given.server.replicas == 8


async def test_conflicts_without_end_are_given_up(given: Given) -> None:
    given.server.conflicts = 1000
    with pytest.raises(OutcomeUnknown, match="changed at every try"):
        await given.fleet.launch(1, token="t")

    assert given.server.replicas == 0
    assert sum(given.server.asked.values()) < 30


async def test_just_the_named_pods_are_taken_away(given: Given) -> None:
    pods = await given.pods(5)
    drained = [pods[1].name, pods[3].name]

    await given.fleet.terminate(drained)
    given.server.reconcile()

    assert sorted(given.server.taken) == drained
    assert given.server.replicas == 3
    assert {pod.annotations[COST] for pod in pods if pod.name not in drained} == {"1000"}


async def test_the_same_end_twice_takes_nobody_else(given: Given) -> None:
    pods = await given.pods(4)

    await given.fleet.terminate([pods[0].name])
    await given.fleet.terminate([pods[0].name])  # the ReplicaSet has not got round to it yet
    given.server.reconcile()
    await given.fleet.terminate([pods[0].name])  # it is on its way
    given.server.reconcile()

    assert given.server.taken == [pods[0].name]


async def test_a_busy_pod_that_is_not_ready_is_not_taken_for_a_drained_one(given: Given) -> None:
    drained, busy, _ = await given.pods(3)
    busy.ready = False  # its probe fails: a ReplicaSet would take it first, whatever it costs

    await given.fleet.terminate([drained.name])
    given.server.reconcile()
    assert given.server.taken == []
    assert given.fleet.alarms() == [
        "no pod is taken away while others are not ready, for those would go first"
    ]

    busy.ready = True
    await given.fleet.terminate([drained.name])
    given.server.reconcile()
    assert given.server.taken == [drained.name]
    assert given.fleet.alarms() == []


async def test_a_pod_that_never_got_a_node_can_be_taken_away(given: Given) -> None:
    await given.pods(2)
    given.server.pending = True
    await given.fleet.launch(1, token="t")
    given.server.reconcile()
    [stuck] = [pod.name for pod in given.server.pods.values() if not pod.node]
    await given.fleet.machines()

    await given.fleet.terminate([stuck])
    given.server.reconcile()

    assert given.server.taken == [stuck]


async def test_pods_that_a_quota_forbids_can_be_given_up(given: Given) -> None:
    await given.pods(1)
    given.server.stuck = True
    unborn = await given.fleet.launch(2, token="t")
    given.clock.advance(59)
    assert [(m.age_s, m.refused) for m in await unmade(given)] == [(59, False), (59, False)]
    given.clock.advance(2)
    assert [(m.id, m.refused) for m in await unmade(given)] == [(name, True) for name in unborn]
    assert given.fleet.alarms() == [NOT_MADE]

    # Then nothing more is asked for, and what was refused is told as launches that came to nothing
    with pytest.raises(Unavailable, match="a quota"):
        await given.fleet.launch(1, token="u")
    await given.fleet.terminate(unborn)

    assert given.server.replicas == 1
    assert [(m.alive, m.paid) for m in await unmade(given)] == [(False, False), (False, False)]
    assert given.fleet.alarms() == []


async def unmade(given: Given) -> list[Machine]:
    return [machine for machine in await given.fleet.machines() if "unborn" in machine.id]


async def test_a_drained_pod_goes_though_a_quota_refuses_others(given: Given) -> None:
    drained, _ = await given.pods(2)
    given.server.stuck = True
    await given.fleet.launch(3, token="t")

    # While pods may be on their way nothing is undone: a number above what is there would take nobody away
    await given.fleet.terminate([drained.name])
    given.server.reconcile()
    assert (given.server.replicas, given.server.taken) == (5, [])

    given.clock.advance(61)
    await given.fleet.machines()
    await given.fleet.terminate([drained.name])
    given.server.reconcile()
    assert (given.server.replicas, given.server.taken) == (1, [drained.name])


async def test_pods_that_come_late_are_no_refusal(given: Given) -> None:
    given.server.stuck = True
    await given.fleet.launch(2, token="t")
    given.clock.advance(40)
    given.server.stuck = False
    given.server.reconcile()
    given.clock.advance(40)

    assert {m.id for m in await given.fleet.machines()} == set(given.server.pods)
    assert given.fleet.alarms() == []


async def test_pods_that_were_asked_for_later_are_as_young_as_their_request(given: Given) -> None:
    given.server.stuck = True
    await given.fleet.launch(2, token="t")
    given.clock.advance(40)
    await given.fleet.launch(2, token="u")

    # The first two come at last, and the others have a minute of their own
    given.server.add()
    given.server.add()
    given.clock.advance(25)

    assert [(m.age_s, m.refused) for m in await unmade(given)] == [(25, False), (25, False)]
    assert given.fleet.alarms() == []


async def test_with_keda_it_is_waited_for_longer(given: Given) -> None:
    fleet = given.another(told=True)
    await fleet.launch(1, token="t")
    given.clock.advance(200)
    assert [m.refused for m in await fleet.machines()] == [False]
    given.clock.advance(200)
    assert [m.refused for m in await fleet.machines()] == [True]


async def test_pods_that_are_on_their_way_out_are_no_capacity_and_then_told_of(given: Given) -> None:
    [pod, _] = await given.pods(2)
    await given.fleet.terminate([pod.name])
    given.server.reconcile()

    assert {m.id for m in await given.fleet.machines() if m.doomed} == {pod.name}
    given.server.remove_deleted()
    assert {(m.id, m.exit) for m in await given.fleet.machines() if not m.alive} == {
        (pod.name, "its pod is gone")
    }
    given.clock.advance(601)
    assert all(m.alive for m in await given.fleet.machines())


async def test_ages_follow_our_own_clock_after_the_first_look(given: Given) -> None:
    await given.fleet.machines()
    given.clock.advance(20)
    await given.pods(1)
    given.clock.advance(100)

    [machine] = await given.fleet.machines()
    assert 100 <= machine.age_s <= 120


async def test_an_image_that_is_not_there_is_told(given: Given) -> None:
    [pod] = await given.pods(1)
    pod.waiting, pod.ready, pod.phase = "ImagePullBackOff", False, "Pending"

    await given.fleet.machines()

    assert given.fleet.alarms() == ["pods do not start: ImagePullBackOff"]


async def test_a_long_list_comes_in_pages_and_starts_anew_when_one_has_expired(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "PAGE", 3)
    await given.pods(8)
    asked = given.server.asked["GET pods"]
    given.server.expired = 1

    assert len(await given.fleet.machines()) == 8
    assert given.server.asked["GET pods"] - asked == 2 + 3


async def test_a_list_that_expires_twice_is_unknown(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "PAGE", 3)
    await given.pods(8)
    given.server.expired = 2

    with pytest.raises(Unavailable, match="410"):
        await given.fleet.machines()


@pytest.mark.parametrize("verb", ["GET", "PATCH", "PUT"])
async def test_what_the_role_does_not_allow_is_unavailable(given: Given, verb: str) -> None:
    await given.pods(2)
    given.server.forbidden = {verb}

    with pytest.raises(Unavailable, match="403 Forbidden"):
        await given.fleet.launch(1, token="t")

    assert given.server.replicas == 2


async def test_a_server_that_fails_may_have_done_it(given: Given) -> None:
    given.server.broken = 1
    with pytest.raises(Unavailable, match="500"):
        await given.fleet.machines()

    await given.pods(1)
    given.server.forbidden = set()
    given.server.broken = 0
    given.server.lose_answers = 1
    with pytest.raises(OutcomeUnknown, match="away"):
        await given.fleet.launch(1, token="t")


@pytest.mark.parametrize("answer", ["<html>sign in</html>", "[]", '{"kind": "Scale"}', '{"spec": 3}'])
async def test_what_a_proxy_answers_is_no_answer(given: Given, answer: str) -> None:
    given.server.garbled = answer

    with pytest.raises(Unavailable):
        await given.fleet.machines()
    with pytest.raises((Unavailable, OutcomeUnknown)):
        await given.fleet.launch(1, token="t")


async def test_slow_answers_end_in_time(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "ANSWER_S", 0.2)
    given.server.answers.clear()

    with pytest.raises(Unavailable, match="too long"):
        await given.fleet.machines()
    with pytest.raises(Unavailable, match="too long"):
        await given.fleet.launch(1, token="t")


async def test_a_deployment_that_is_not_there_is_unavailable(given: Given) -> None:
    given.fleet._terms = Terms(
        deployment="elsewhere", launches=given.fleet._terms.launches, ends=given.fleet._terms.ends
    )
    with pytest.raises(Unavailable, match="404 NotFound"):
        await given.fleet.machines()


async def test_more_changes_than_allowed_are_refused(given: Given) -> None:
    fleet = given.another(most=2)

    await fleet.launch(5, token="t")
    assert given.server.replicas == 2
    with pytest.raises(Unavailable, match="more launches"):
        await fleet.launch(1, token="u")


async def test_for_keda_the_number_is_told_and_nothing_is_scaled(given: Given) -> None:
    pods = await given.pods(2)
    fleet = given.another(told=True)
    await fleet.machines()

    await fleet.launch(1, token="t")
    assert (await fleet.desired(), given.server.replicas) == (3, 2)
    assert len(await fleet.machines()) == 3

    given.server.replicas = 3  # KEDA has asked
    given.server.reconcile()
    await fleet.machines()
    await fleet.terminate([pods[0].name])
    assert (await given.another(told=True).desired(), given.server.replicas) == (2, 3)
    given.server.replicas = 2
    given.server.reconcile()
    assert given.server.taken == [pods[0].name]


async def test_without_a_configuration_it_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(Misconfigured, match="Kubernetes configuration"):
        async with open_kubernetes(None):
            pass


async def test_more_to_end_than_the_budget_allows_go_in_parts(given: Given) -> None:
    pods = [pod.name for pod in await given.pods(5)]
    fleet = given.another(most=2)
    await fleet.machines()

    await fleet.terminate(pods)
    assert given.server.replicas == 3
    given.server.reconcile()
    await fleet.machines()
    with pytest.raises(Unavailable, match="more ends"):
        await fleet.terminate(list(given.server.pods))

    given.clock.advance(MINUTE_S)
    await fleet.terminate(list(given.server.pods))
    assert given.server.replicas == 1
