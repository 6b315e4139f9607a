"""Real work for the pictures, no more than they need: good jobs of each priority, and some that fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.client import AsyncClient, AsyncJob

ROUNDS = 6
PRIORITIES = (9, 5, 1)
BURST = 6
STREAM_S = 0.7
STREAM_MAX = 150
"""Jobs that are sent while the pictures are taken, at most: a backlog that moves."""


@dataclass(frozen=True, slots=True)
class Done:
    """What the pictures show.

    Attributes:
        cutout: A job with a picture in and pictures out.
        failed: One that failed.
    """

    cutout: str
    failed: str


async def work_through(client: AsyncClient, picture: Path) -> Done:
    """A few dozen jobs, each followed to its end."""
    broken = picture.read_bytes()[:20_000]
    sent: list[AsyncJob] = []
    for number in range(ROUNDS):
        size = 64 + number
        sent += [await client.submit("thumbnail", image=picture, size=size, priority=p) for p in PRIORITIES]
        sent.append(await client.submit("cutout", image=picture, priority=7))
        sent.append(await client.submit("faces", image=picture, priority=3))
    failing = [await client.submit("cutout", image=broken, priority=5) for _ in range(3)]
    for job in (*sent, *failing):
        await job.wait(check=False)
    return Done(cutout=sent[3].id, failed=failing[0].id)


async def burst(client: AsyncClient, picture: Path) -> None:
    """More than is done at once: a backlog for a moment."""
    for priority in PRIORITIES * BURST:
        await client.submit("cutout", image=picture, priority=priority)


@asynccontextmanager
async def stream(client: AsyncClient, picture: Path) -> AsyncIterator[None]:
    """Jobs keep coming until the end of the block; those that still wait then are taken back."""
    sent: list[AsyncJob] = []
    sending = asyncio.create_task(_send(client, picture, sent))
    try:
        yield
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        for job in sent[-20:]:
            await job.wait(check=False)


async def _send(client: AsyncClient, picture: Path, sent: list[AsyncJob]) -> None:
    for number in range(STREAM_MAX):
        model, priority = ("cutout", 5) if number % 2 else ("thumbnail", PRIORITIES[number % 3])
        sent.append(await client.submit(model, image=picture, priority=priority))
        await asyncio.sleep(STREAM_S)
