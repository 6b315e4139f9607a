"""Pushed events on real servers: early and late subscribers, cursors, lost pushes, restarts."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import redis.asyncio
from uuid_utils.compat import uuid7
from websockets.exceptions import ConnectionClosed

from shared.events import Event, EventType
from shared.jobs import Claim
from tests.gateway_process import (
    Backstage,
    GatewayProcess,
    api,
    gateway_process,
    next_event,
    open_socket,
    submit,
    until_metric,
)

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

TENANT = "watchers"
WHOLE = ["job.queued", "job.running", "job.succeeded"]


@pytest.fixture(scope="module")
async def key(behind: Backstage) -> str:
    return await behind.key(TENANT)


async def everything(socket: Any) -> tuple[list[dict[str, Any]], int, str]:
    """All events of a socket, and how it was closed."""
    events = []
    try:
        while True:
            events.append(await next_event(socket))
    except ConnectionClosed as closed:
        goodbye = closed.rcvd
    assert goodbye is not None
    return events, goodbye.code, goodbye.reason


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


@asynccontextmanager
async def sse(client: httpx2.AsyncClient, path: str, **headers: str) -> AsyncIterator[AsyncIterator[str]]:
    async with client.stream("GET", path, headers={"Accept": "text/event-stream", **headers}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield answer.aiter_lines()


async def read_sse(lines: AsyncIterator[str]) -> list[tuple[str | None, dict[str, Any]]]:
    """Pairs of the id and the envelope, to the end of the stream."""
    found, data, name = [], None, None
    async for line in lines:
        if line.startswith("data: "):
            data = json.loads(line.removeprefix("data: "))
        elif line.startswith("id: "):
            name = line.removeprefix("id: ")
        elif not line and data is not None:
            found.append((name, data))
            data, name = None, None
    return found


async def test_an_early_subscriber_gets_everything_as_it_happens(
    client: httpx2.AsyncClient, gateway: GatewayProcess, key: str, behind: Backstage
) -> None:
    job = await submit(client)
    async with open_socket(gateway.url, key, job["id"]) as socket:
        first = await next_event(socket)
        claim = await behind.claim(job["id"])
        second = await next_event(socket)
        await behind.progress(claim, 0.5)
        third = await next_event(socket)
        output = {"uri": "s3://bucket/a/b.json", "content_type": "application/json", "size": 2, "sha256": "0"}
        await behind.finish(claim, {"extra": output})
        rest, code, _ = await everything(socket)
    assert types([first, second, third, *rest]) == [
        "job.queued",
        "job.running",
        "job.progress",
        "job.succeeded",
    ]
    assert [event["seq"] for event in (first, second, third, *rest)] == [1, 2, 2, 3]
    assert code == 1000
    assert rest[0]["data"]["outputs"]["extra"]["url"].startswith("http")
    assert all(event["job_id"] == job["id"] for event in rest)


async def test_a_late_subscriber_gets_everything_too(
    client: httpx2.AsyncClient, gateway: GatewayProcess, key: str, behind: Backstage
) -> None:
    job = await submit(client)
    await behind.finish(await behind.claim(job["id"]))
    async with open_socket(gateway.url, key, job["id"]) as socket:
        events, code, _ = await everything(socket)
    assert (types(events), code) == (WHOLE, 1000)


@pytest.mark.parametrize("case", [(0, WHOLE), (1, WHOLE[1:]), (2, WHOLE[2:]), (3, []), (99, WHOLE)])
async def test_a_cursor_resumes_and_one_from_beyond_counts_as_none(
    client: httpx2.AsyncClient,
    gateway: GatewayProcess,
    key: str,
    behind: Backstage,
    case: tuple[int, list[str]],
) -> None:
    after, expected = case
    job = await submit(client)
    await behind.finish(await behind.claim(job["id"]))
    async with open_socket(gateway.url, key, job["id"], after) as socket:
        events, code, _ = await everything(socket)
    assert (types(events), code) == (expected, 1000)
    listed = await client.get(f"/v1/jobs/{job['id']}/events", params={"after": after})
    assert types(listed.json()["events"]) == expected


async def test_many_subscribers_each_get_all_of_it(
    client: httpx2.AsyncClient, gateway: GatewayProcess, key: str, behind: Backstage
) -> None:
    job = await submit(client)

    async def watch(after: int) -> list[str]:
        async with open_socket(gateway.url, key, job["id"], after) as socket:
            return types((await everything(socket))[0])

    watching = [asyncio.create_task(watch(number % 2)) for number in range(10)]
    claim = await behind.claim(job["id"])
    await behind.finish(claim)
    assert [WHOLE[number % 2 :] for number in range(10)] == await asyncio.gather(*watching)


async def test_a_lost_push_is_found_by_the_sweep(
    client: httpx2.AsyncClient, gateway: GatewayProcess, key: str, behind: Backstage
) -> None:
    job = await submit(client)
    async with open_socket(gateway.url, key, job["id"]) as socket:
        await next_event(socket)
        claim = await behind.claim(job["id"], announce=False)
        await behind.finish(claim, announce=False)
        async with asyncio.timeout(6):
            events, code, _ = await everything(socket)
    assert (types(events), code) == (WHOLE[1:], 1000)


async def test_a_gap_is_filled_before_what_came_after_it(
    client: httpx2.AsyncClient, gateway: GatewayProcess, key: str, behind: Backstage
) -> None:
    job = await submit(client)
    async with open_socket(gateway.url, key, job["id"]) as socket:
        await next_event(socket)
        claim = await behind.claim(job["id"], announce=False)
        await behind.finish(claim)
        events, code, _ = await everything(socket)
    assert ([event["seq"] for event in events], code) == ([2, 3], 1000)


async def test_a_killed_pubsub_connection_is_made_anew_and_resynced(
    client: httpx2.AsyncClient, gateway: GatewayProcess, key: str, behind: Backstage, redis_url: str
) -> None:
    # Given a subscriber that was served over a connection that is then killed
    job = await submit(client)
    async with open_socket(gateway.url, key, job["id"]) as socket:
        await next_event(socket)
        async with redis.asyncio.from_url(redis_url, protocol=2) as control:
            assert await control.client_kill_filter(_type="pubsub") >= 1
        # When the job goes on while nobody listens
        claim = await behind.claim(job["id"])
        assert (await next_event(socket))["type"] == "job.running"
        # Then what follows is heard again
        await behind.progress(claim, 0.25)
        await behind.finish(claim)
        events, code, _ = await everything(socket)
    assert types(events)[-1] == "job.succeeded"
    assert code == 1000
    assert "bus.listener_lost" in gateway.log.read_text()


async def test_progress_moves_no_cursor_and_carries_no_id(
    client: httpx2.AsyncClient, behind: Backstage
) -> None:
    job = await submit(client)
    async with sse(client, f"/v1/jobs/{job['id']}/events") as lines:
        claim = await behind.claim(job["id"])
        await behind.progress(claim, 0.5)
        await behind.finish(claim)
        events = await read_sse(lines)
    assert [name for name, _ in events if name] == ["1", "2", "3"]
    assert all(name is None for name, event in events if event["type"] == "job.progress")
    assert events[-1][1]["type"] == "job.succeeded"


async def test_an_event_source_resumes_and_stops_for_good(
    client: httpx2.AsyncClient, behind: Backstage
) -> None:
    job = await submit(client)
    path = f"/v1/jobs/{job['id']}/events"
    await behind.finish(await behind.claim(job["id"]))
    async with sse(client, path, **{"Last-Event-ID": "1"}) as lines:
        assert [name for name, _ in await read_sse(lines)] == ["2", "3"]
    async with sse(client, f"{path}?after=2", **{"Last-Event-ID": "garbage"}) as lines:
        assert [name for name, _ in await read_sse(lines)] == ["1", "2", "3"]
    ended = await client.get(path, headers={"Accept": "text/event-stream", "Last-Event-ID": "3"})
    assert ended.status_code == 204


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"key": None}, "unauthorized"),
        ({"key": "lev_nonsense"}, "unauthorized"),
        ({"job": "another"}, "not_found"),
        ({"job": "no-id"}, "not_found"),
        ({"after": "x"}, "invalid_request"),
        ({"after": -1}, "invalid_request"),
        ({"after": "0" * 5000 + "1"}, "invalid_request"),
        ({"headers": {"Origin": "https://evil.example"}}, "unauthorized"),
    ],
)
async def test_a_denied_socket_is_closed_with_the_reason(
    client: httpx2.AsyncClient, gateway: GatewayProcess, key: str, what: dict[str, Any], reason: str
) -> None:
    job = await submit(client)
    name = (
        {"another": str(uuid7())}.get(what.pop("job", ""), job["id"])
        if what.get("job") != "no-id"
        else "no-id"
    )
    what.pop("job", None)
    socket_key = what.pop("key", key)
    async with open_socket(gateway.url, socket_key, name, what.pop("after", 0), **what) as socket:
        events, code, told = await everything(socket)
    assert (events, code) == ([], 1008)
    assert told.startswith(reason)


async def test_a_stream_ends_with_the_session_that_opened_it(
    client: httpx2.AsyncClient, gateway: GatewayProcess, key: str
) -> None:
    job = await submit(client)
    async with api(gateway.url, None) as browser:
        browser.headers["Origin"] = gateway.url
        csrf = (await browser.post("/v1/session", json={"key": key})).json()["csrf"]
        cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())}
        async with open_socket(gateway.url, None, job["id"], headers=cookie) as socket:
            assert (await next_event(socket))["type"] == "job.queued"
            await browser.delete("/v1/session", headers={"X-CSRF-Token": csrf})
            _, code, told = await everything(socket)
    assert (code, told.split(":")[0]) == (1008, "unauthorized")


async def test_another_tenants_stream_is_no_stream(
    client: httpx2.AsyncClient, gateway: GatewayProcess, behind: Backstage
) -> None:
    job = await submit(client)
    async with open_socket(gateway.url, await behind.key("prying"), job["id"]) as socket:
        claim = await behind.claim(job["id"])
        await behind.finish(claim)
        events, code, _ = await everything(socket)
    assert (events, code) == ([], 1008)


async def test_known_origins_may_open_sockets(
    client: httpx2.AsyncClient, gateway: GatewayProcess, key: str
) -> None:
    job = await submit(client)
    for origin in (gateway.url, "https://dashboard.example"):
        async with open_socket(gateway.url, key, job["id"], headers={"Origin": origin}) as socket:
            assert (await next_event(socket))["type"] == "job.queued"


async def test_a_client_that_talks_is_not_listened_to_but_served(
    client: httpx2.AsyncClient, gateway: GatewayProcess, key: str, behind: Backstage
) -> None:
    job = await submit(client)
    async with open_socket(gateway.url, key, job["id"]) as socket:
        await socket.send("hello")
        await socket.send(b"\x00\xff")
        await behind.finish(await behind.claim(job["id"]))
        assert types((await everything(socket))[0]) == WHOLE
    async with open_socket(gateway.url, key, job["id"], after=3) as socket:
        events, code, _ = await everything(socket)
    assert (events, code) == ([], 1000)


async def test_a_message_above_the_limit_ends_the_socket(
    client: httpx2.AsyncClient, gateway: GatewayProcess, key: str
) -> None:
    job = await submit(client)
    async with open_socket(gateway.url, key, job["id"]) as socket:
        await next_event(socket)
        await socket.send("x" * 70000)
        _, code, _ = await everything(socket)
    assert code == 1009


async def test_a_reader_that_stops_is_let_go(
    client: httpx2.AsyncClient, gateway: GatewayProcess, key: str, behind: Backstage
) -> None:
    # Given a socket with a small window whose owner reads nothing
    job = await submit(client)
    address = urlsplit(gateway.url)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect((address.hostname, address.port))
    raw.sendall(
        f"GET /v1/jobs/{job['id']}/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await until_metric(gateway.admin_url, 'sockets_open{kind="websocket"} 1.0')
    # When more is pushed than the system keeps for it
    claim = await behind.claim(job["id"])
    for _ in range(150):
        await behind.bus.announce(TENANT, _large(claim))
    # Then the gateway lets it go, and others are served meanwhile
    assert (await client.get("/v1/models")).status_code == 200
    async with asyncio.timeout(12):
        await until_metric(gateway.admin_url, 'sockets_open{kind="websocket"} 0.0')
    raw.close()


def _large(claim: Claim) -> Event:
    data = {"progress": 0.5, "padding": "x" * 60000}
    return Event(seq=claim.seq, job_id=claim.id, type=EventType.PROGRESS, at=claim.started_at, data=data)


async def test_a_cancel_reaches_the_subscriber(
    client: httpx2.AsyncClient, gateway: GatewayProcess, key: str, behind: Backstage
) -> None:
    job = await submit(client)
    async with open_socket(gateway.url, key, job["id"]) as socket:
        await next_event(socket)
        answer = await client.post(f"/v1/jobs/{job['id']}/cancel")
        events, code, _ = await everything(socket)
    assert (types(events), code) == (["job.canceled"], 1000)
    assert (answer.status_code, answer.json()["state"]) == (200, "canceled")
    again = await client.post(f"/v1/jobs/{job['id']}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "job_ended")
    running = await submit(client)
    await behind.claim(running["id"])
    asked = await client.post(f"/v1/jobs/{running['id']}/cancel")
    assert (asked.json()["state"], asked.json()["cancel_requested"]) == ("running", True)


async def test_sigterm_ends_streams_and_finishes_requests(
    stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory, behind: Backstage, key: str
) -> None:
    with gateway_process(stack_env, tmp_path_factory.mktemp("draining")) as other:
        async with api(other.url, key) as client:
            job = await submit(client)
            waiting = asyncio.create_task(
                client.post("/v1/jobs", json={"model": "free"}, headers={"Prefer": "wait=60"})
            )
            async with (
                open_socket(other.url, key, job["id"]) as socket,
                sse(client, f"/v1/jobs/{job['id']}/events") as lines,
            ):
                await next_event(socket)
                await until_metric(other.admin_url, "leveret_gateway_watchers 3.0")
                stopping = asyncio.create_task(asyncio.to_thread(other.stop))
                events, code, _ = await everything(socket)
                frames = await read_sse(lines)
            answer = await waiting
            assert await stopping == 0
        assert (events, code) == ([], 1012)
        assert [name for name, _ in frames] == ["1"]
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    # And the job goes on elsewhere
    assert (await behind.claim(job["id"])).attempt == 1
