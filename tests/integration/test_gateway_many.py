"""Many jobs on one socket, a tenant's firehose, and tickets, on a running gateway."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.routes.many import TicketView
from tests.gateway_process import Backstage, GatewayProcess, api, submit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


@pytest.fixture(scope="module")
async def key(behind: Backstage) -> str:
    return await behind.key("followers")


@asynccontextmanager
async def stream(
    gateway: GatewayProcess, key: str | None = None, path: str = "/v1/stream"
) -> AsyncIterator[ClientConnection]:
    headers = {"X-API-Key": key} if key else {}
    async with connect(gateway.url.replace("http", "ws", 1) + path, additional_headers=headers) as socket:
        yield socket


async def frame(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(15):
        told: dict[str, Any] = json.loads(await socket.recv())
        return told


async def closed(socket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as ended:
        await frame(socket)
    assert ended.value.rcvd is not None
    return ended.value.rcvd.code, ended.value.rcvd.reason


async def test_many_jobs_are_followed_each_behind_its_cursor(
    gateway: GatewayProcess, client: httpx2.AsyncClient, behind: Backstage, key: str
) -> None:
    jobs = [(await submit(client))["id"] for _ in range(20)]
    claims = {id_: await behind.claim(id_) for id_ in jobs}
    # Given all but the first, which was seen as far as its start
    wanted = [{"id": jobs[0], "after": 2}, *({"id": id_} for id_ in jobs[1:])]
    async with stream(gateway, key) as socket:
        await socket.send(json.dumps({"subscribe": wanted}))
        seen: dict[str, list[int]] = {id_: [] for id_ in jobs}
        ended: set[str] = set()
        for id_ in jobs:
            await behind.finish(claims[id_])
        while len(ended) < len(jobs):
            told = await frame(socket)
            if "ended" in told:
                ended.add(told["ended"])
            else:
                assert told["job_id"] not in ended
                seen[told["job_id"]].append(told["seq"])
    # Then each is told in order and to its end, none twice
    assert seen.pop(jobs[0]) == [3]
    assert set(map(tuple, seen.values())) == {(1, 2, 3)}


async def test_a_job_that_is_not_the_tenants_is_told_missing_and_the_rest_goes_on(
    gateway: GatewayProcess, client: httpx2.AsyncClient, behind: Backstage
) -> None:
    foreign, stranger = (await submit(client))["id"], await behind.key("strangers")
    async with api(gateway.url, stranger) as other, stream(gateway, stranger) as socket:
        own = (await submit(other))["id"]
        await socket.send(json.dumps({"subscribe": [{"id": foreign}]}))
        assert await frame(socket) == {"error": {"id": foreign, "code": "not_found"}}
        await socket.send(json.dumps({"subscribe": [{"id": own}]}))
        assert (await frame(socket))["job_id"] == own


async def test_what_is_left_is_told_no_more(
    gateway: GatewayProcess, client: httpx2.AsyncClient, behind: Backstage, key: str
) -> None:
    left, kept = (await submit(client))["id"], (await submit(client))["id"]
    async with stream(gateway, key) as socket:
        await socket.send(json.dumps({"subscribe": [{"id": left}, {"id": kept}]}))
        assert {(await frame(socket))["job_id"] for _ in range(2)} == {left, kept}
        await socket.send(json.dumps({"unsubscribe": [left], "subscribe": []}))
        # asked for anew, the other begins at its beginning: what was said before has been heard
        await socket.send(json.dumps({"subscribe": [{"id": kept}]}))
        assert (await frame(socket))["seq"] == 1
        await behind.claim(left)
        await behind.claim(kept)
        assert (await frame(socket))["job_id"] == kept


async def test_the_firehose_tells_of_every_job_of_the_tenant_and_of_no_other(
    gateway: GatewayProcess, client: httpx2.AsyncClient, behind: Backstage, key: str
) -> None:
    async with api(gateway.url, await behind.key("neighbours")) as other, stream(gateway, key) as socket:
        await socket.send(json.dumps({"subscribe": "all"}))
        assert await frame(socket) == {"subscribed": "all"}
        foreign = await behind.claim((await submit(other))["id"])
        job = await submit(client)
        claim = await behind.claim(job["id"])
        await behind.finish(foreign)
        await behind.finish(claim)
        told = [await frame(socket) for _ in range(2)]
    assert [(each["job_id"], each["type"]) for each in told] == [
        (job["id"], "job.running"),
        (job["id"], "job.succeeded"),
    ]


async def test_a_ticket_opens_one_socket_once(
    gateway: GatewayProcess, client: httpx2.AsyncClient, key: str
) -> None:
    answer = await client.post("/v1/stream-tickets")
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    TicketView.model_validate(answer.json())
    ticket = answer.json()["ticket"]
    job = await submit(client)
    async with stream(gateway, path=f"/v1/stream?ticket={ticket}") as socket:
        await socket.send(json.dumps({"subscribe": [{"id": job["id"]}]}))
        assert (await frame(socket))["job_id"] == job["id"]
    for used in (ticket, "x" * 43, "short"):
        async with stream(gateway, path=f"/v1/stream?ticket={used}") as socket:
            assert (await closed(socket))[0] == 1008
    # One opens any of the sockets
    ticket = (await client.post("/v1/stream-tickets")).json()["ticket"]
    async with stream(gateway, path=f"/v1/jobs/{job['id']}/stream?ticket={ticket}") as socket:
        assert (await frame(socket))["seq"] == 1
    ticket = (await client.post("/v1/stream-tickets")).json()["ticket"]
    async with stream(gateway, path=f"/v1/live?ticket={ticket}") as socket:
        await socket.send(json.dumps({"subscribe": []}))
        assert (await frame(socket))["seq"] == 1


@pytest.mark.parametrize(
    "said", ["", "[]", '{"subscribe": "some"}', '{"subscribe": [{"id": "x"}]}', '{"a": 1}', b"\x00"]
)
async def test_what_cannot_be_asked_closes_the_socket_with_the_reason(
    gateway: GatewayProcess, key: str, said: str | bytes
) -> None:
    async with stream(gateway, key) as socket:
        await socket.send(said)
        code, reason = await closed(socket)
    assert (code, reason[:15]) == (1008, "invalid_request")


async def test_nobody_without_a_key_is_let_in(gateway: GatewayProcess) -> None:
    async with stream(gateway) as socket:
        assert (await closed(socket))[0] == 1008
