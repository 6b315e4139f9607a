"""The EC2 adapter and fleet wired to moto over HTTP. Behaviour is tried on the fake cloud, not here."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from deploy.aws.launch_template import launch_template, user_data
from scaler.fleet.budget import MINUTE_S, Budget
from scaler.fleet.ec2 import Ec2Fleet, Means
from scaler.fleet.inventory import Inventory
from scaler.offerings import Menu, Quote, Rules
from shared.adapters import ec2 as adapter
from shared.adapters.ec2 import Ec2, open_ec2
from shared.errors import Misconfigured, Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.moto_ec2 import REGION, moto_ec2

pytestmark = pytest.mark.anyio

ZONES = {f"{REGION}a": "", f"{REGION}b": ""}
MENU = Menu({"g6.xlarge": Quote(on_demand=1.0, spot=0.3), "g5.xlarge": Quote(on_demand=1.2)}, tuple(ZONES))
IMAGE = "1234.dkr.ecr.eu-central-1.amazonaws.com/leveret-worker:1"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@asynccontextmanager
async def account(owner: str = "leveret") -> AsyncIterator[Ec2]:
    with moto_ec2() as url:
        async with open_ec2(owner=owner, subnets=ZONES, region=REGION, endpoint=url) as ec2:
            client: Any = ec2._client
            image = (await client.describe_images())["Images"][0]["ImageId"]
            template = launch_template("images", image=IMAGE, ami=image, profile="leveret-worker")
            await client.create_launch_template(**template)
            yield ec2


def fleet(ec2: Ec2) -> Ec2Fleet:
    clock = FakeClock()
    budget = Budget("changes", {MINUTE_S: 100}, clock)
    means = Means(menu=MENU, rules=Rules(), template="leveret-images", launches=budget, ends=budget)
    return Ec2Fleet("images", ec2, Inventory(ec2, ["images"], clock), means, clock)


async def test_machines_are_launched_listed_and_ended() -> None:
    async with account() as ec2:
        given = fleet(ec2)
        started = await given.launch(3, token="t")
        assert {m.id for m in await given.machines() if m.alive} == set(started)
        assert {(i.type, i.market) for i in await ec2.instances()} == {("g6.xlarge", "spot")}

        await given.terminate(started[:2])

        ended = [machine for machine in await given.machines() if not machine.alive]
        assert {machine.id for machine in ended} == set(started[:2])
        assert {machine.exit for machine in ended} == {"terminated: Client.UserInitiatedShutdown"}
        assert given.alarms() == []


async def test_only_what_carries_our_name_is_ours() -> None:
    async with account() as ec2:
        given = fleet(ec2)
        await given.launch(1, token="t")

        ec2._owner = "another"
        assert await ec2.instances() == []


async def test_a_long_list_comes_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "PAGE", 5)
    async with account() as ec2:
        await ec2.launch(
            token="t",
            count=13,
            market="on-demand",
            places=[("g5.xlarge", f"{REGION}b")],
            template="leveret-images",
            tags={"leveret:queue": "images"},
        )
        found = await ec2.instances()

    assert len({instance.id for instance in found}) == 13
    assert {(i.market, i.state) for i in found} == {("on-demand", "running")}  # moto ignores the zone here
    assert all(0 <= instance.age_s < 60 for instance in found)


async def test_an_unknown_id_does_not_keep_the_others_alive() -> None:
    async with account() as ec2:
        [name] = await fleet(ec2).launch(1, token="t")

        await ec2.terminate(["i-0123456789abcdef0", name])

        assert [instance.state for instance in await ec2.instances()] == ["terminated"]


async def test_a_template_that_is_not_there_is_refused() -> None:
    async with account() as ec2:
        given = fleet(ec2)
        await (ec2._client).delete_launch_template(LaunchTemplateName="leveret-images")

        with pytest.raises(Unavailable, match="LaunchTemplate"):
            await given.launch(1, token="t")


async def test_the_template_asks_for_imdsv2_two_hops_away_and_names_the_worker_after_the_instance() -> None:
    async with account() as ec2:
        found = await ec2._client.describe_launch_template_versions(LaunchTemplateName="leveret-images")
    data = found["LaunchTemplateVersions"][0]["LaunchTemplateData"]

    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
    script = base64.b64decode(data["UserData"]).decode()
    assert '--env LEVERET_WORKER_ID="$id"' in script
    assert f"IMAGE='{IMAGE}'" in script
    assert "@" not in script.replace("[@]", "")


def test_values_that_a_shell_might_run_are_refused() -> None:
    with pytest.raises(ValueError, match="queue"):
        user_data(image=IMAGE, queue="a'; reboot #", secret="s", device="cpu")


async def test_a_region_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(Misconfigured, match="LEVERET_SCALER_REGION"):
        async with open_ec2(owner="leveret", subnets={}, region=None, endpoint=None):
            pass
