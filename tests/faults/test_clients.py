"""Clients that stop reading, or leave at any moment and come back with their cursor."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from shared.events import Event, EventType
from tests.e2e.processes import Gate, WorkerProcess
from tests.faults.ground import Ground
from tests.faults.scene import MODEL, QUEUE, TENANT, WHOLE, Scene, Seen, read, scene
from tests.gateway_process import open_socket, until_metric

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

FREED_S = 10.0
"""Published: who stops reading is let go within this."""
DELAYED_S = 1.0
"""Published: who reads beside them has its events within this of their commit."""
STUCK = 5
FOLLOWERS = 6
JOBS = 8
AGAIN = ["job.queued", "job.running", "job.retrying", "job.queued", "job.running", "job.succeeded"]


@pytest.fixture(scope="module")
async def stage(
    ground: Ground, stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    async with scene(ground, stack_env, tmp_path_factory.mktemp("clients")) as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def hand(stage: Scene) -> Iterator[WorkerProcess]:
    with stage.house.worker(QUEUE) as started:
        yield started


REQUESTS = {
    "websocket": (
        "GET /v1/jobs/{job}/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    ),
    "sse": (
        "GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        "Accept: text/event-stream\r\n\r\n"
    ),
}


def deaf_socket(stage: Scene, job_id: str, kind: str) -> socket.socket:
    """Asks for a job's events and reads nothing, not even the answer."""
    address = urlsplit(stage.gateway.url)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect((address.hostname, address.port))
    raw.sendall(REQUESTS[kind].format(job=job_id, key=stage.key).encode())
    return raw


@pytest.mark.parametrize("kind", REQUESTS)
async def test_sockets_that_stop_reading_are_freed_and_delay_nobody(
    stage: Scene, gate: Gate, kind: str, measured: list[str]
) -> None:
    # Given a job with sockets that read nothing beside one that does
    job = await stage.client.submit(MODEL, note=1, gate=str(gate.path))
    await gate.until_runs(1)
    seen = Seen()
    async with open_socket(stage.gateway.url, stage.key, job.id) as reading:
        following = asyncio.create_task(read(reading, seen))
        await until_metric(stage.gateway.admin_url, 'sockets_open{kind="websocket"} 1.0')
        deaf = [deaf_socket(stage, job.id, kind) for _ in range(STUCK)]
        reads = 1 if kind == "websocket" else 0
        await until_metric(stage.gateway.admin_url, f'sockets_open{{kind="{kind}"}} {STUCK + reads}.0')
        # When more is pushed than systems and queues keep for them
        began = time.monotonic()
        for _ in range(150):
            await stage.behind.bus.announce(TENANT, _large(job.id))
        # Then they are let go, and the one that reads misses nothing
        async with asyncio.timeout(2 * FREED_S):
            await until_metric(stage.gateway.admin_url, f'sockets_open{{kind="{kind}"}} {reads}.0')
        took = time.monotonic() - began
        gate.open()
        await following
    for raw in deaf:
        raw.close()
    tally = await stage.counted([job.id], runs=1)
    measured.append(
        f"{STUCK} {kind} clients stopped reading: all freed after {took:.1f} s (<= {FREED_S:g}),"
        f" the one that reads delayed by {max(seen.lags[2:]):.2f} s (<= {DELAYED_S:g}), {tally}"
    )
    assert (seen.types, seen.code) == (WHOLE, 1000)
    assert max(seen.lags[2:]) <= DELAYED_S
    assert took <= FREED_S


def _large(job_id: str) -> Event:
    data = {"progress": 0.5, "padding": "x" * 60000}
    return Event(seq=2, job_id=UUID(job_id), type=EventType.PROGRESS, at=datetime.now(UTC), data=data)


async def test_followers_that_leave_at_any_moment_see_every_state_event_in_order(
    stage: Scene, tmp_path: Path, measured: list[str]
) -> None:
    dice = Random("followers")  # noqa: S311  which moment is no secret
    gates = [Gate(tmp_path / f"gate-{number}") for number in range(JOBS)]
    for gate in gates:
        gate.open()  # it counts the runs: the first one asks for another
    jobs = [
        await stage.client.submit(MODEL, note=1, how="again", seconds=0.1, gate=str(gate.path))
        for gate in gates
    ]
    followed = await asyncio.gather(
        *(_follow(stage, job.id, Random(dice.random())) for job in jobs for _ in range(FOLLOWERS))  # noqa: S311
    )
    seen = [each for each, _ in followed]
    assert [each.types for each in seen] == [AGAIN] * len(seen)
    assert [each.seqs for each in seen] == [[1, 2, 3, 4, 5, 6]] * len(seen)
    assert {each.code for each in seen} == {1000}
    left = sum(times for _, times in followed)
    assert left >= len(followed)
    tally = await stage.counted([job.id for job in jobs], runs=2 * JOBS)
    measured.append(
        f"{len(followed)} followers left {left} times and came back: 0 events missed, 0 repeated, {tally}"
    )


async def _follow(stage: Scene, job_id: str, dice: Random) -> tuple[Seen, int]:
    """Follow a job to its end, leaving at random moments without a word; how often it left."""
    seen, left = Seen(), 0
    while seen.code is None:
        cursor = seen.seqs[-1] if seen.events else 0
        async with open_socket(stage.gateway.url, stage.key, job_id, cursor) as opened:
            with suppress(TimeoutError):
                async with asyncio.timeout(dice.uniform(0.0, 0.6)):
                    await read(opened, seen)
            if seen.code is None:
                left += 1
                opened.transport.abort()
    return seen, left
