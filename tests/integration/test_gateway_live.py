"""The dashboard's socket and its overview on a running gateway, by the rows of a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.overview.ring import SIZE, STEP_S
from gateway.routes.overview import OverviewView
from shared.adapters.store.fleet import FleetStore
from shared.adapters.store.overview import OverviewStore
from shared.adapters.store.workers import WorkerIdentity, WorkerStore
from tests.gateway_process import Backstage, GatewayProcess, api, gateway_process, submit

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


@pytest.fixture(scope="module")
async def key(behind: Backstage) -> str:
    return await behind.key("watchers")


@pytest.fixture(scope="module")
async def operators(behind: Backstage) -> str:
    return await behind.keys.create("ops", "laptop", "operator")


@pytest.fixture(autouse=True)
async def _clean(behind: Backstage) -> None:
    for table in ("jobs", "attempts", "workers", "fleets", "decisions"):
        await behind.database.write(f"delete from {table}")  # noqa: S608  the names are above


@asynccontextmanager
async def page(gateway: GatewayProcess, **headers: str) -> AsyncIterator[ClientConnection]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with connect(gateway.url.replace("http", "ws", 1) + "/v1/live", additional_headers=names) as socket:
        yield socket


async def ask(socket: ClientConnection, **wish: Any) -> dict[str, Any]:
    """The first frame, which comes at once."""
    await socket.send(json.dumps(wish))
    return await frame(socket)


async def frame(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(15):
        told: dict[str, Any] = json.loads(await socket.recv())
        return told


async def until(socket: ClientConnection, topic: str, *, first: dict[str, Any] | None = None) -> Any:
    """What the next frame with this topic says; the frames come without a gap."""
    told = first or await frame(socket)
    while topic not in told:
        last, told = told, await frame(socket)
        assert told["seq"] == last["seq"] + 1
    return told[topic]


async def test_a_job_on_the_page_is_told_as_it_goes_on(
    gateway: GatewayProcess, client: httpx2.AsyncClient, behind: Backstage, key: str
) -> None:
    job = await submit(client, metadata={"order": "a secret"})
    async with page(gateway, X_API_Key=key) as socket:
        first = await ask(socket, subscribe=["jobs"], ids=[job["id"]])
        assert first["seq"] == 1
        [row] = await until(socket, "jobs", first=first)
        assert (row["id"], row["state"], row["seq"], row["queue_reason"]) == (
            job["id"],
            "queued",
            1,
            "no_worker",
        )
        claim = await behind.claim(job["id"], announce=False)
        [row] = await until(socket, "jobs")
        assert (row["state"], row["worker"], row["attempt"]) == ("running", "test-worker", 1)
        await behind.finish(claim, announce=False)
        [row] = await until(socket, "jobs")
        assert (row["state"], row["seq"]) == ("succeeded", 3)
        # And a job that comes meanwhile is counted, not shown
        await submit(client)
        while await until(socket, "new_jobs") != 1:
            pass
        assert "secret" not in json.dumps(row)


async def test_another_tenants_job_is_nobodys_row(
    gateway: GatewayProcess, client: httpx2.AsyncClient, behind: Backstage, operators: str
) -> None:
    job = await submit(client)
    other = await behind.key("others")
    async with page(gateway, X_API_Key=other) as socket:
        first = await ask(socket, subscribe=["jobs", "queues"], ids=[job["id"]], scope="all")
        assert first["refused"] == ["queues"]
        assert await until(socket, "new_jobs", first=first) == 0
        await submit(client)
        for _ in range(2):
            assert (await frame(socket)).keys() == {"seq", "at"}
    # An operator may look at all of them, when it says so
    async with page(gateway, X_API_Key=operators) as socket:
        first = await ask(socket, subscribe=["jobs"], ids=[job["id"]], scope="all")
        assert (await until(socket, "jobs", first=first))[0]["tenant"] == "watchers"


async def test_queues_workers_and_fleets_are_told_and_those_that_leave_are_gone(
    gateway: GatewayProcess, behind: Backstage, operators: str
) -> None:
    identity = WorkerIdentity(id="w1", queue="quick", host="here", device="cpu", slots=1)
    worker = WorkerStore(behind.database, identity)
    await worker.beat("ready", busy=0)
    async with page(gateway, X_API_Key=operators) as socket:
        first = await ask(socket, subscribe=["queues", "workers", "scaler", "overview"])
        assert [each["id"] for each in await until(socket, "workers", first=first)] == ["w1"]
        await worker.beat("gone", busy=0)
        assert (await until(socket, "gone"))["workers"] == ["w1"]
        # A hidden tab asks for nothing and hears nothing but that the gateway is there
        await socket.send(json.dumps({"subscribe": []}))
        seen = [await frame(socket) for _ in range(4)]
        assert all(each.keys() == {"seq", "at"} for each in seen[1:])


async def test_the_first_frames_hold_all_there_is(gateway: GatewayProcess, operators: str) -> None:
    async with page(gateway, X_API_Key=operators) as socket:
        told = await ask(socket, subscribe=["queues", "scaler", "overview"])
        while not told.keys() >= {"queues", "scaler", "overview"}:
            told |= await frame(socket)
    assert [each["queue"] for each in told["queues"]] == ["default", "quick"]
    assert [each["queue"] for each in told["scaler"]] == ["default", "quick"]
    OverviewView.model_validate(told["overview"])


async def test_a_browser_is_let_in_by_its_cookie_from_our_page_only(
    gateway: GatewayProcess, operators: str
) -> None:
    async with api(gateway.url, None) as browser:
        answer = await browser.post("/v1/session", json={"key": operators})
    cookie = answer.headers["set-cookie"].partition(";")[0]
    async with page(gateway, Cookie=cookie, Origin=gateway.url) as socket:
        assert (await ask(socket, subscribe=[]))["seq"] == 1
    for headers in ({"Cookie": cookie, "Origin": "https://evil.example"}, {"Origin": gateway.url}):
        async with page(gateway, **headers) as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await frame(socket)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008


@pytest.mark.parametrize(
    "said",
    ["", "{", "[]", '{"subscribe": ["secrets"]}', '{"subscribe": [], "ids": ["x"]}', '{"a": 1}', b"\x00"],
)
async def test_what_is_no_wish_closes_the_socket_with_the_reason(
    gateway: GatewayProcess, key: str, said: str | bytes
) -> None:
    async with page(gateway, X_API_Key=key) as socket:
        await socket.send(said)
        with pytest.raises(ConnectionClosed) as closed:
            await frame(socket)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason[:15]) == (1008, "invalid_request")


async def test_a_gateway_that_restarts_says_so(
    stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory, key: str
) -> None:
    with gateway_process(stack_env, tmp_path_factory.mktemp("restart")) as other:
        async with page(other, X_API_Key=key) as socket:
            await ask(socket, subscribe=["jobs"])
            stopping = asyncio.create_task(asyncio.to_thread(other.stop))
            with pytest.raises(ConnectionClosed) as closed:
                await until(socket, "the end")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            assert await stopping == 0


async def test_the_overview_tells_what_machines_cost_where_all_have_a_price(
    behind: Backstage,
) -> None:
    store = OverviewStore(behind.database)
    now = int((await store.lately(None)).now // STEP_S)
    await behind.database.write("delete from machine_time")
    await behind.database.write(
        "insert into machine_time (worker, slice, queue, since, until, per_hour) values "
        "('a', 0, 'q', clock_timestamp() - interval '5 min', clock_timestamp(), 0.5), "
        "('b', 0, 'q', clock_timestamp() - interval '1 min', clock_timestamp(), 0.25)"
    )
    costs = await store.costs(step_s=STEP_S, first=now - 120, last=now)
    assert (costs[now], costs[now - 30], now - 100 in costs) == (0.75, 0.5, False)
    await behind.database.write("update machine_time set per_hour = null where worker = 'b'")
    costs = await store.costs(step_s=STEP_S, first=now - 120, last=now)
    assert (costs[now], costs[now - 30]) == (None, 0.5)
    await behind.database.write("delete from machine_time")


async def counted(client: httpx2.AsyncClient) -> dict[str, Any]:
    """The overview, when it is newer than the job that waits: it is made once in a few seconds."""
    async with asyncio.timeout(15):
        while not (shown := (await client.get("/v1/overview")).json())["totals"]["waiting"]:
            await asyncio.sleep(0.2)
    return dict(shown)


async def test_the_overview_counts_what_came_ended_and_failed(
    gateway: GatewayProcess, client: httpx2.AsyncClient, behind: Backstage, operators: str
) -> None:
    # Given jobs that ended, one that waits, and a scaler that decided
    for _ in range(3):
        job = await submit(client, priority=9)
        await behind.finish(await behind.claim(job["id"], announce=False), announce=False)
    await submit(client, priority=9)
    store = FleetStore(behind.database)
    await store.record(
        "default", want=1, have=0, reason="1 waits", snapshot={}, actions={"launch": 1, "token": "t"}
    )
    async with api(gateway.url, operators) as operator:
        shown = await counted(operator)
    OverviewView.model_validate(shown)
    assert (shown["scope"], shown["totals"]) == ("all", {"waiting": 1, "running": 0, "scheduled": 0})
    assert [(each["queue"], each["priority"], each["waiting"]) for each in shown["backlog"]] == [
        ("default", 9, 1)
    ]
    assert (shown["health"]["code"], shown["health"]["subject"]) == ("no_worker", "default")
    assert shown["health"]["command"] == "leveret scaler explain default"
    assert [each["reason"] for each in shown["decisions"]] == ["1 waits"]
    assert "token" not in json.dumps(shown)
    assert shown["stats"]["failure_ratio"]["value"] == 0.0
    assert len(shown["stats"]["arrivals_per_s"]["points"]) == SIZE
    assert shown["stats"]["cost_per_h"]["value"] is None
    # And the tenant its own
    own = (await client.get("/v1/overview")).json()
    assert (own["scope"], own["totals"]["waiting"], own["decisions"]) == ("tenant", 1, [])
    async with api(gateway.url, await behind.key("strangers")) as stranger:
        foreign = (await stranger.get("/v1/overview")).json()
    assert (foreign["totals"]["waiting"], foreign["backlog"], foreign["health"]["code"]) == (0, [], "well")
