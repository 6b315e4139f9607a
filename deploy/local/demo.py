"""The proof at the end of `up`: one real image goes through, its events arrive by push."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from deploy import dashboard
from deploy.local.applications import ROOT
from deploy.local.failure import StackError
from deploy.local.progress import shown
from deploy.local.together import together
from gateway.client import AsyncClient, LeveretError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.client import AsyncJob, Event

MODEL = "cutout"
POOLS = {MODEL: "images", "thumbnail": "quick"}
"""A model of each pool; both are named in the example models' own model.toml."""
PATIENCE_S = 120


async def push_one_image(folder: Path, access: Mapping[str, str]) -> None:
    """Submit the sample picture to both pools, print each event as it is pushed, say what to try next.

    Raises:
        StackError: A job did not succeed; the stack is left running, to look into.
    """
    picture = folder / "sample" / "astronaut.png"
    pools = " and ".join(f"{model} (queue {queue})" for model, queue in POOLS.items())
    print(f"\npushing {shown(picture)} through {pools}:")
    try:
        async with asyncio.timeout(PATIENCE_S), AsyncClient(*_target(access)) as client:
            await together(*(_push(client, model, picture) for model in POOLS))
    except TimeoutError:
        raise _failed(folder, f"no end within {PATIENCE_S} s") from None
    print(_farewell(access, picture, _saved(picture, MODEL)))


async def _push(client: AsyncClient, model: str, picture: Path) -> None:
    try:
        job = await client.submit(model, image=picture)
        await _watch(job, model)
        job.ensure_succeeded()
        await job.outputs[model].save(_saved(picture, model))
    except LeveretError as error:
        raise _failed(picture.parents[1], f"{model}: {error}") from None


def _saved(picture: Path, model: str) -> Path:
    return picture.with_name(f"{model}.png")


def _failed(folder: Path, why: str) -> StackError:
    return StackError(
        f"the sample job failed: {why}\n  the stack still runs; its logs are in {shown(folder / 'logs')}"
    )


def _target(access: Mapping[str, str]) -> tuple[str, str]:
    return access["LEVERET_URL"], access["LEVERET_API_KEY"]


async def _watch(job: AsyncJob, model: str) -> None:
    began = time.monotonic()
    async for event in job.events(after=0):
        print(f"{time.monotonic() - began:6.2f}s  {model:9}  {_told(event)}", flush=True)


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
  dashboard {f"{url}/" if dashboard.built() else "not built: `make dashboard`, and it is at " + url + "/"}
  API       {url}/v1
  docs      {url}/docs
  key       {key}
  logs      {shown(folder / "logs")}

try next:
  source {shown(folder / "env")}
  curl -H "Authorization: Bearer $LEVERET_API_KEY" -H "Prefer: wait=30" -F model={MODEL} -F image=@{image} \
$LEVERET_URL/v1/jobs
  {command} submit {MODEL} image=@{image} -o out/
  {command} submit thumbnail image=@{image} size=128 -o out/     # the pool on the CPU
  {command} doctor

stop it with `make down` (or deploy/down)."""
