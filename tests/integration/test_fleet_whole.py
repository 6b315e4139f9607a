"""`python -m scaler` as a process with the cloud fleets, on real servers, moto and a small API server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.aws.launch_template import launch_template
from shared.adapters.ec2 import Ec2, open_ec2
from tests.fakes.kubernetes import fake_kubernetes
from tests.fakes.moto_ec2 import REGION, moto_ec2
from tests.integration.test_scaler_whole import WORKER, house, stop

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

ZONES = {f"{REGION}a": "", f"{REGION}b": ""}
OFFERINGS = {"g6.xlarge": {"on_demand": 1.0, "spot": 0.3}}
LAUNCHED = "select count(*) from decisions where actions ? 'token'"


async def template(ec2: Ec2) -> None:
    client: Any = ec2._client
    image = (await client.describe_images())["Images"][0]["ImageId"]
    await client.create_launch_template(**launch_template("naps", image="leveret", ami=image, profile="p"))


async def heard(scaler: asyncio.subprocess.Process, event: str) -> dict[str, Any]:
    """The first line it logs of this event."""
    assert scaler.stderr
    async with asyncio.timeout(30):
        while line := await scaler.stderr.readline():
            if line.startswith(b"{") and (told := dict(json.loads(line)))["event"] == event:
                return told
    raise AssertionError(f"it ended without {event}")


async def until(check: Any, *, within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not await check():
            await asyncio.sleep(0.1)


async def test_a_job_starts_one_instance_and_a_scaler_that_is_killed_starts_no_second(
    stack_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with moto_ec2() as url:
        cloud = {"fleet": "ec2_fleet", "region": REGION, "endpoint": url, "max": "2"}
        places = {"offerings": json.dumps(OFFERINGS), "zones": json.dumps(ZONES)}
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        async with (
            open_ec2(owner="leveret", subnets=ZONES, region=REGION, endpoint=url) as ec2,
            house(tmp_path, stack_env | keys, WORKER) as given,
        ):
            await template(ec2)
            first = await given.start(**cloud, **places)
            await given.submit()
            await given.until(LAUNCHED, (1,))

            async def launched() -> bool:
                return len(await ec2.instances()) == 1

            await until(launched)
            first.kill()
            await first.wait()
            second = await given.start(**cloud, **places)
            await heard(second, "scaler.leading")
            await asyncio.sleep(1)  # five more looks, of which nothing is to come
            assert await launched()
            code, lines = await stop(second)

    assert code == 0
    assert not [line for line in lines if line["level"] == "error"]


async def test_a_job_scales_the_deployment_and_the_number_is_told(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    with fake_kubernetes() as cluster:
        (tmp_path / "kubeconfig").write_text(cluster.kubeconfig)
        env = stack_env | {"KUBECONFIG": str(tmp_path / "kubeconfig")}
        async with house(tmp_path, env, WORKER) as given, httpx2.AsyncClient() as client:
            scaler = await given.start(
                fleet="kubernetes", namespace="default", deployment="leveret-worker-images"
            )
            port = (await heard(scaler, "admin.listening"))["port"]
            url = f"http://127.0.0.1:{port}/v1/desired"
            assert (await client.get(f"{url}/naps")).json() == {"queue": "naps", "desired": 0}
            await given.submit()

            async def told() -> bool:
                return bool((await client.get(f"{url}/naps")).json() == {"queue": "naps", "desired": 1})

            await until(told)
            assert cluster.replicas == 1
            assert (await client.get(f"{url}/other")).status_code == 404
            cluster.forbidden = {"GET"}
            assert (await client.get(f"{url}/naps")).status_code == 503
            code, _ = await stop(scaler)

    assert code == 0


@pytest.mark.parametrize("words", [(), ("--dry-run",)], ids=["fleet", "flag"])
async def test_a_dry_run_beside_the_one_that_acts_changes_nothing(
    stack_env: dict[str, str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    async with house(tmp_path, stack_env, WORKER) as given:
        dry = await given.start(*words, fleet="process" if words else "dry_run")
        await given.submit()
        assert (await heard(dry, "scaler.would_launch"))["count"] == 1
        code, _ = await stop(dry)

        assert code == 0
        assert await given.row("select count(*) from decisions") == [(0,)]
        assert await given.row("select state from jobs") == [("queued",)]
        assert given.alive() == []


async def test_a_paused_fleet_starts_nobody_until_it_is_resumed(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    async with house(tmp_path, stack_env, WORKER) as given:
        await given.row("delete from fleets")
        await given.row("insert into fleets (queue, paused, changed_by) values ('naps', true, 'default/ann')")
        scaler = await given.start()
        await given.submit()
        await given.until("select want, reason from decisions", (None, "hold: paused by default/ann"))

        await given.row("update fleets set paused = false")
        await given.until("select count(*) from jobs where state = 'succeeded'", (1,))
        await given.row("delete from fleets")
        code, _ = await stop(scaler)

    assert code == 0
