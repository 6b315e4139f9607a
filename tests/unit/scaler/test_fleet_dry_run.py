"""A dry run decides and tells, and changes nothing; the number for KEDA; what the fleets are made from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
import structlog
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.testclient import TestClient

from scaler.desired import desired_route
from scaler.fleet.dry_run import AlwaysLeads, DryRunFleet, DryRunLedger
from scaler.fleet.ec2 import Ec2Fleet
from scaler.fleet.kubernetes import KubernetesFleet
from scaler.fleet.wiring import desired_of, menu_of, open_fleets
from scaler.keeper import Keeper
from scaler.leader import Leader
from scaler.loop import Loop
from scaler.observer import Observer, Problems
from scaler.offerings import Market, Offering
from scaler.settings import ScalerSection, ScalerSettings
from scaler.snapshot import Config
from shared.errors import Misconfigured, Unavailable
from shared.lifecycle import Lifecycle
from shared.settings import read_settings
from tests.fakes.clock import FakeClock
from tests.fakes.estate import QUEUE, Estate, FakeRecords, Scaler, calm

pytestmark = pytest.mark.anyio

OFFERINGS = '{"g6.xlarge": {"on_demand": 0.8, "spot": 0.3, "spot_in": {"b": 0.2}}}'
ZONES = '{"a": "subnet-1", "b": ""}'


async def dry_turns(estate: Estate, fleet: DryRunFleet, count: int) -> None:
    records, clock, problems, leader = FakeRecords(estate), estate.clock, Problems(), Leader(AlwaysLeads())
    keeper = Keeper(
        QUEUE,
        fleet,
        Config(max=5),
        ledger=DryRunLedger(records),
        leader=leader,
        clock=clock,
        problems=problems,
    )
    loop = Loop([keeper], Observer(records, records, problems, clock), leader, clock, interval_s=30.0)
    for _ in range(count):
        await loop.tick()
        estate.pass_time(30)


async def test_a_dry_run_launches_nothing_and_writes_nothing() -> None:
    estate = Estate()
    estate.submit(5)

    with structlog.testing.capture_logs() as lines:
        await dry_turns(estate, DryRunFleet(QUEUE), 3)

    assert (estate.cloud.calls, estate.decisions) == ({}, [])
    told = {line["event"] for line in lines}
    assert {"scaler.decided", "scaler.would_launch"} <= told
    assert "scaler.launched" not in told


async def test_a_dry_run_beside_the_real_one_sends_nobody_away() -> None:
    real = Scaler(Estate(habits=calm()))
    real.estate.submit(3)
    await real.until_done(3)
    alive, decided = len(real.estate.cloud.alive), len(real.estate.decisions)

    with structlog.testing.capture_logs() as lines:
        await dry_turns(real.estate, DryRunFleet(QUEUE, real.fleet), 30)

    assert "scaler.would_drain" in {line["event"] for line in lines}
    assert (len(real.estate.cloud.alive), len(real.estate.decisions)) == (alive, decided)
    assert not any(worker.drain for worker in real.estate.workers.values())


def client(source: Callable[[], Awaitable[int]]) -> TestClient:
    return TestClient(Starlette(routes=[desired_route({QUEUE: source})]))


def test_the_desired_number_is_told_as_json() -> None:
    async def three() -> int:
        return 3

    answer = client(three).get(f"/v1/desired/{QUEUE}")
    assert (answer.status_code, answer.json()) == (200, {"queue": QUEUE, "desired": 3})
    assert client(three).get("/v1/desired/other").status_code == 404


def test_an_unknown_number_is_no_zero() -> None:
    async def unknown() -> int:
        raise Unavailable("Kubernetes is away")

    answer = client(unknown).get(f"/v1/desired/{QUEUE}")
    assert (answer.status_code, answer.json()) == (503, {"detail": "Kubernetes is away"})


async def fleet_of(settings: ScalerSettings) -> tuple[object, set[str]]:
    async with (
        asyncio.TaskGroup() as tasks,
        open_fleets(settings, [QUEUE], Lifecycle(tasks), FakeClock()) as fleets,
    ):
        return fleets[QUEUE], set(desired_of(fleets))


async def test_an_ec2_fleet_is_made_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FLEET": "ec2_fleet", "OFFERINGS": OFFERINGS, "ZONES": ZONES, "REGION": "r"}.items():
        monkeypatch.setenv(f"LEVERET_SCALER_{name}", value)
    settings = read_settings(ScalerSettings)

    fleet, desired = await fleet_of(settings)

    assert isinstance(fleet, Ec2Fleet)
    assert desired == set()
    assert fleet._means.template == "leveret-images"
    menu = menu_of(settings.scaler, QUEUE)
    assert menu.offerings(Market.SPOT)[0] == Offering("g6.xlarge", "b", Market.SPOT)


async def test_a_queue_may_have_machines_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVERET_SCALER_OFFERINGS", OFFERINGS)
    monkeypatch.setenv("LEVERET_SCALER_ZONES", ZONES)
    monkeypatch.setenv("LEVERET_SCALER_QUEUES", '{"quick": {"offerings": {"c7i.large": {"spot": 0.04}}}}')
    section = read_settings(ScalerSettings).scaler

    assert {o.type for o in menu_of(section, "quick").offerings(Market.SPOT)} == {"c7i.large"}
    assert menu_of(section, "quick").offerings(Market.ON_DEMAND) == ()
    assert {o.type for o in menu_of(section, QUEUE).offerings(Market.SPOT)} == {"g6.xlarge"}
    assert section.of("quick").offerings == section.offerings


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"FLEET": "ec2_fleet", "ZONES": ZONES}, "LEVERET_SCALER_OFFERINGS"),
        ({"FLEET": "ec2_fleet", "OFFERINGS": OFFERINGS}, "LEVERET_SCALER_OFFERINGS and _ZONES"),
        ({"FLEET": "ec2"}, "LEVERET_SCALER_FLEET"),
        ({"OFFERINGS": '{"g6.xlarge": {"spot": 0}}'}, "LEVERET_SCALER_OFFERINGS_G6.XLARGE_SPOT"),
        ({"OFFERINGS": "{"}, "LEVERET_SCALER_OFFERINGS: must be JSON"),
        ({"NAME": "two words"}, "LEVERET_SCALER_NAME"),
        ({"OFFERINGS": '{"g6.xlarge": {}}'}, "a type of machine needs a price"),
        ({"KEDA": "true"}, "LEVERET_SCALER_KEDA needs LEVERET_SCALER_FLEET=kubernetes"),
        ({"QUEUES": '{"q": {"offerings": {}}}'}, "LEVERET_SCALER_QUEUES_Q_OFFERINGS"),
    ],
)
async def test_settings_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], why: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"LEVERET_SCALER_{name}", value)
    with pytest.raises(Misconfigured, match=why):
        read_settings(ScalerSettings)


@pytest.mark.parametrize(
    ("variables", "setting"),
    [
        ({"FLEET": "ec2_fleet", "OFFERINGS": OFFERINGS, "ZONES": ZONES, "TEMPLATE": "one"}, "TEMPLATE"),
        ({"FLEET": "kubernetes", "DEPLOYMENT": "one"}, "DEPLOYMENT"),
    ],
)
async def test_two_queues_do_not_share_their_machines(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], setting: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"LEVERET_SCALER_{name}", value)
    settings = read_settings(ScalerSettings)
    with pytest.raises(Misconfigured, match=f"LEVERET_SCALER_{setting}"):
        async with open_fleets(settings, ["images", "quick"], cast("Lifecycle", None), FakeClock()):
            raise AssertionError("it was opened")


async def test_a_kubernetes_fleet_is_made_from_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text(
        '{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],'
        ' "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:9"}}],'
        ' "users": [{"name": "u", "user": {"token": "t"}}]}'
    )
    monkeypatch.setenv("KUBECONFIG", str(config))

    fleet, desired = await fleet_of(ScalerSettings(scaler=ScalerSection(fleet="kubernetes")))

    assert isinstance(fleet, KubernetesFleet)
    assert desired == {QUEUE}
    assert fleet._terms.deployment == "leveret-worker-images"


@pytest.mark.parametrize(
    "section", [ScalerSection(fleet="dry_run"), ScalerSection(dry_run=True)], ids=["fleet", "flag"]
)
async def test_a_dry_run_of_processes_touches_no_process(section: ScalerSection) -> None:
    fleet, desired = await fleet_of(ScalerSettings(scaler=section))

    assert isinstance(fleet, DryRunFleet)
    assert await fleet.machines() == ()
    assert desired == set()


async def test_a_dry_run_does_not_say_that_it_leads() -> None:
    leader = Leader(AlwaysLeads(), acts=False)

    with structlog.testing.capture_logs() as lines:
        assert await leader.lead()
        await leader.confirm()

    assert [line["event"] for line in lines] == ["scaler.only_looking"]
    assert REGISTRY.get_sample_value("leveret_scaler_leader") == 0
