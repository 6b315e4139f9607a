"""The proof at the end of `up`: one real image goes through, its events arrive by push."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from deploy.local.applications import ROOT
from deploy.local.failure import StackError
from deploy.local.progress import shown
from gateway.client import AsyncClient, LeveretError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.client import AsyncJob, Event

MODEL = "cutout"
PATIENCE_S = 120


async def push_one_image(folder: Path, access: Mapping[str, str]) -> None:
    """Submit the sample picture, print each event as it is pushed, save the result, say what to try next.

    Raises:
        StackError: The job did not succeed; the stack is left running, to look into.
    """
    picture, saved = folder / "sample" / "astronaut.png", folder / "sample" / "cutout.png"
    print(f"\npushing {shown(picture)} through the model {MODEL}:")
    try:
        async with asyncio.timeout(PATIENCE_S), AsyncClient(*_target(access)) as client:
            job = await client.submit(MODEL, image=picture)
            await _watch(job)
            job.ensure_succeeded()
            await job.outputs[MODEL].save(saved)
    except (LeveretError, TimeoutError) as error:
        raise StackError(
            f"the sample job failed: {str(error) or f'no end within {PATIENCE_S} s'}\n"
            f"  the stack still runs; its logs are in {shown(folder / 'logs')}"
        ) from None
    print(_farewell(access, picture, saved))


def _target(access: Mapping[str, str]) -> tuple[str, str]:
    return access["LEVERET_URL"], access["LEVERET_API_KEY"]


async def _watch(job: AsyncJob) -> None:
    began = time.monotonic()
    async for event in job.events(after=0):
        print(f"{time.monotonic() - began:6.2f}s  {_told(event)}", flush=True)


def _told(event: Event) -> str:
    if event.progress is not None and not event.terminal:
        return f"{event.type} {event.progress:.0%}"
    sizes = {name: made.get("size") for name, made in (event.data.get("outputs") or {}).items()}
    return f"{event.type} " + ", ".join(f"{name} {size} bytes" for name, size in sizes.items())


def _farewell(access: Mapping[str, str], picture: Path, saved: Path) -> str:
    (url, key), image = _target(access), shown(picture)
    folder, command = saved.parents[1], shown(ROOT.resolve() / ".venv" / "bin" / "leveret")
    return f"""
  cut-out   {shown(saved)}
  API       {url}/v1
  docs      {url}/docs
  key       {key}
  logs      {shown(folder / "logs")}

try next:
  source {shown(folder / "env")}
  curl -H "Authorization: Bearer $LEVERET_API_KEY" -H "Prefer: wait=30" -F model={MODEL} -F image=@{image} \
$LEVERET_URL/v1/jobs
  {command} submit {MODEL} image=@{image} -o out/
  {command} doctor

stop it with `make down` (or deploy/down)."""
