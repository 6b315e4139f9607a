"""Where Prometheus finds the workers, by the rows that real heartbeats write."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from shared.adapters.store.workers import WorkerIdentity, WorkerState, WorkerStore
from tests.gateway_process import Backstage, GatewayProcess, api

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


async def beat(
    behind: Backstage, name: str, admin: str | None, *, host: str = "gpu-7:4711", state: WorkerState = "ready"
) -> None:
    me = WorkerIdentity(id=name, queue="images", host=host, device="cpu", slots=1, admin=admin)
    await WorkerStore(behind.database, me).beat(state, busy=0)


async def told(gateway: GatewayProcess) -> list[Any]:
    async with api(gateway.admin_url, None) as http:
        answer = await http.get("/targets")
    assert answer.status_code == 200
    return [target for group in answer.json() for target in group["targets"]]


async def test_living_workers_are_targets_wherever_they_listen(
    gateway: GatewayProcess, behind: Backstage
) -> None:
    here = f"{socket.gethostname()}:4711"
    await beat(behind, "a", "10.0.0.7:40001", state="starting")
    await beat(behind, "b", "127.0.0.1:40002", host=here)
    await beat(behind, "c", "127.0.0.1:40003")
    await beat(behind, "d", None)
    assert await told(gateway) == ["10.0.0.7:40001", "127.0.0.1:40002"]

    # A worker started anew under its old id may have another port; one that left is none any more
    await beat(behind, "a", "10.0.0.7:40009")
    await beat(behind, "b", "127.0.0.1:40002", host=here, state="gone")
    assert await told(gateway) == ["10.0.0.7:40009"]

    # And one that fell silent is told of until the alert has had its time
    aged = "update workers set heartbeat_at = heartbeat_at - make_interval(secs => $1)"
    await behind.database.write(aged, 400.0)
    assert await told(gateway) == ["10.0.0.7:40009"]
    await behind.database.write(aged, 400.0)
    assert await told(gateway) == []


async def test_the_public_port_tells_nobody(gateway: GatewayProcess) -> None:
    async with api(gateway.url, None) as http:
        assert (await http.get("/targets")).status_code == 404
