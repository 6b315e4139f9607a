"""Push through real workers: whichever gateway a subscriber is at, whatever breaks on the way to it."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis.asyncio
from websockets.exceptions import ConnectionClosed

from tests.e2e.processes import Gate, House, WorkerProcess
from tests.gateway_process import GatewayProcess, api, gateway_process, next_event, open_socket

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

WHOLE = ["job.queued", "job.running", "job.succeeded"]


@dataclass(frozen=True, slots=True)
class Scene:
    """A gateway, a worker for gated jobs, and the gate that holds them."""

    house: House
    gateway: GatewayProcess
    gate: Gate
    key: str


@pytest.fixture
def scene(house: House, gateway: GatewayProcess, steady: WorkerProcess, gate: Gate, key: str) -> Scene:
    assert steady.process.poll() is None
    return Scene(house, gateway, gate, key)


async def submit_gated(http: httpx2.AsyncClient, gate: Gate, **headers: str) -> httpx2.Response:
    job = {"model": "gated", "inputs": {"note": {"json": "kept"}}, "params": gate.params}
    return await http.post("/v1/jobs", json=job, headers=headers)


async def state_events(socket: Any) -> list[dict[str, Any]]:
    """What a socket brings until it is closed, without progress."""
    events = []
    try:
        while True:
            event = await next_event(socket)
            if event["type"] != "job.progress":
                events.append(event)
    except ConnectionClosed:
        return events


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


async def test_an_early_and_a_late_subscriber_see_the_same(http: httpx2.AsyncClient, scene: Scene) -> None:
    gateway, key, gate = scene.gateway, scene.key, scene.gate
    job = (await submit_gated(http, gate)).json()
    async with open_socket(gateway.url, key, job["id"]) as socket:
        early = asyncio.create_task(state_events(socket))
        await gate.until_runs(1)
        gate.open()
        first = await early
    async with open_socket(gateway.url, key, job["id"]) as socket:
        late = await state_events(socket)
    assert types(first) == WHOLE
    assert late == first


async def test_a_submit_that_waits_is_answered_by_the_push(http: httpx2.AsyncClient, scene: Scene) -> None:
    gate = scene.gate
    gate.open()
    answer = await submit_gated(http, gate, Prefer="wait=30")
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")


async def test_a_killed_pubsub_connection_in_mid_job_costs_no_event(
    http: httpx2.AsyncClient, scene: Scene
) -> None:
    house, gateway, key, gate = scene.house, scene.gateway, scene.key, scene.gate
    job = (await submit_gated(http, gate)).json()
    async with open_socket(gateway.url, key, job["id"]) as socket:
        watching = asyncio.create_task(state_events(socket))
        await gate.until_runs(1)
        async with redis.asyncio.from_url(house.env["LEVERET_REDIS_URL"], protocol=2) as control:
            assert await control.client_kill_filter(_type="pubsub") >= 1
        gate.open()
        async with asyncio.timeout(10):
            assert types(await watching) == WHOLE


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_subscriber_resumes_at_another_gateway(scene: Scene, how: signal.Signals) -> None:
    house, gateway, key, gate = scene.house, scene.gateway, scene.key, scene.gate
    folder = house.folder / f"leaving-{how.name}"
    folder.mkdir()
    # Given a subscriber at a gateway that leaves in mid-job
    with gateway_process(house.env, folder, LEVERET_CATALOG_PATH=str(house.catalog)) as leaving:
        async with api(leaving.url, key) as http:
            job = (await submit_gated(http, gate)).json()
        async with open_socket(leaving.url, key, job["id"]) as socket:
            before = [await next_event(socket) for _ in range(2)]
            await gate.until_runs(1)
            leaving.process.send_signal(how)
            before += await state_events(socket)
        await asyncio.to_thread(leaving.process.wait, 30)
    # When it comes back to the other one with its cursor
    async with open_socket(gateway.url, key, job["id"], before[-1]["seq"]) as socket:
        gate.open()
        after = await state_events(socket)
    # Then it has seen every event once, in order
    assert types(before + after) == WHOLE
    assert [event["seq"] for event in before + after] == [1, 2, 3]


async def test_many_jobs_are_pushed_to_many_subscribers(http: httpx2.AsyncClient, scene: Scene) -> None:
    gateway, key, gate = scene.gateway, scene.key, scene.gate
    gate.open()

    async def watch(after: int) -> list[int]:
        job = (await submit_gated(http, gate)).json()
        async with open_socket(gateway.url, key, job["id"], after) as socket:
            return [event["seq"] for event in await state_events(socket)]

    seen = await asyncio.gather(*(watch(number % 2) for number in range(20)))
    assert seen == [[1, 2, 3], [2, 3]] * 10


def test_no_key_was_written_down(house: House, key: str) -> None:
    logs: list[Path] = list(house.logs.values())
    assert logs
    assert not [log for log in logs if log.exists() and key in log.read_text(errors="replace")]
