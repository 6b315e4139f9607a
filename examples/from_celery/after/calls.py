"""After: the same asked of Leveret. `python -m examples.from_celery.after.calls URI`.

LEVERET_URL and LEVERET_API_KEY say of which. URI is the picture, `s3://bucket/key`. Prints the same JSON
document as `before/calls.py`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any
from uuid import uuid4

from gateway.client import AsyncClient, AsyncJob, JobCanceled, JobExpired, JobFailed

DELAY_S = 1.5


async def plain(client: AsyncClient, image: str) -> AsyncJob:
    """Submit, and be told: nothing polls. The mask goes where it went before."""
    place = {"mask": {"uri": f"{image}.leveret.png"}}
    job = await client.submit("matte", image=image, priority=7, outputs=place)
    return await job.wait()


async def delayed(client: AsyncClient, image: str) -> bool:
    """Not before so many seconds: a row waits, and no worker holds it."""
    began = time.monotonic()
    await (await client.submit("matte", image=image, delay_s=DELAY_S)).wait()
    return time.monotonic() - began >= DELAY_S


async def linked(client: AsyncClient, image: str) -> float:
    """One job after the other. There are no chains yet, so this coroutine is one, and ends with its process.

    With an `idempotency_key` for each link, a process that starts anew may ask for all of it again.
    """
    mask = f"{image}.{uuid4()}.png"
    await (await client.submit("matte", image=image, outputs={"mask": {"uri": mask}})).wait()
    job = await (await client.submit("coverage", mask=mask)).wait()
    return float(json.loads(await job.outputs["share"].bytes()))


async def gathered(client: AsyncClient, images: list[str]) -> float:
    """Several side by side, and a value when all are done; again, held together here."""
    shares = await asyncio.gather(*(linked(client, image) for image in images))
    return round(sum(shares) / len(shares), 6)


async def ordered(client: AsyncClient, image: str) -> list[str]:
    """The higher priority first, behind a busy worker."""
    busy = await _started(await client.submit("matte", image=image, hold_s=1.5))
    jobs = {
        name: await client.submit("matte", image=image, priority=at) for name, at in (("low", 1), ("high", 9))
    }
    await asyncio.gather(busy.wait(), *(job.wait() for job in jobs.values()))
    ended = {name: (await job.refresh()).raw["finished_at"] for name, job in jobs.items()}
    return sorted(ended, key=ended.__getitem__)


async def expired(client: AsyncClient, image: str) -> str:
    """Not worth it any more when it was not started in time."""
    busy = await _started(await client.submit("matte", image=image, hold_s=2.5))
    job = await client.submit("matte", image=image, start_timeout_s=1)
    try:
        await job.wait()
    except JobExpired:
        return "expired"
    finally:
        await busy.wait()
    return "ran"


async def canceled(client: AsyncClient, image: str) -> str:
    """Ended while it runs: the worker goes on, only the engine's process is replaced."""
    job = await _started(await client.submit("matte", image=image, hold_s=40))
    await job.cancel()
    try:
        await job.wait()
    except JobCanceled:
        return "canceled"
    return "ran"


async def timed_out(client: AsyncClient, image: str) -> str:
    """Killed at its time limit."""
    job = await client.submit("matte", image=image, hold_s=40, timeout_s=2)
    try:
        await job.wait()
    except JobFailed as failed:
        return str(failed.code)
    return "ran"


async def retried(client: AsyncClient, image: str) -> str:
    """Tried again by itself after an error that passes."""
    job = await (await client.submit("matte", image=image, flaky=True)).wait()
    return f"{(await job.refresh()).raw['attempt']} attempts"


async def _started(job: AsyncJob) -> AsyncJob:
    async for event in job.events():
        if event.type == "job.running":
            break
    return job


async def everything(image: str) -> dict[str, Any]:
    """All of it, on one picture."""
    async with AsyncClient() as client:
        job = await plain(client, image)
        mask = job.raw["outputs"]["mask"]
        return {
            "mask": mask["uri"].split("/", 3)[3],
            "plain": {name: mask["metadata"][name] for name in ("width", "height")},
            "delayed": await delayed(client, image),
            "linked": await linked(client, image),
            "gathered": await gathered(client, [image, image]),
            "ordered": await ordered(client, image),
            "expired": await expired(client, image),
            "retried": await retried(client, image),
            "timed_out": await timed_out(client, image),
            "canceled": await canceled(client, image),
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(everything(sys.argv[1]))))
