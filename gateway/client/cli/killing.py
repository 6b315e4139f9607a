"""The story of a killed worker, told from what the gateway says of rows, leases and workers.

Per job: submit, find who runs it, `kill -9`, watch lease and crew until it has ended. At last, its history.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from gateway.client.cli.drawing import picture
from gateway.client.cli.ledger import Entry, Ledger
from gateway.client.cli.submit import told_apart, waiting
from gateway.client.cli.values import read_values
from gateway.client.cli.victim import find
from gateway.client.cli.watching import Crew

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.client.aio import AsyncClient
    from gateway.client.jobs import AsyncJob
    from gateway.client.records import Event

PATIENCE_S = 180.0
"""A lease, a boot and a run fit in this many times over."""
SPARE_TRIES = 3
"""Jobs that may be over before they can be killed."""
LOOK_S = 0.2
INTO_S = 0.1
"""So long a job may run before the kill, so that it is being computed; halved each time that was too long."""
EARLY_S = 2.0
"""A lease that ended so much sooner than it was given for was cut short."""


class Say(Protocol):
    """Tells one thing that happened."""

    def __call__(self, at_s: float, who: str, what: str, style: str = "default") -> None:
        """Tell it.

        Args:
            at_s: Seconds since this job was submitted.
            who: The part that did it.
            what: What it did.
            style: How it is shown.
        """


async def play(client: AsyncClient, model: str, values: Sequence[str], times: int, say: Say) -> Ledger:
    """Submit jobs until `times` of them lost their worker, then read what became of each.

    Raises:
        NotOursError: A worker may not be killed from here; nothing was.
    """
    schema = await client.model(model)
    inputs, params = told_apart(read_values(values, schema), schema)
    if not values and "image" in (schema.get("inputs") or {}):
        inputs["image"] = picture()
    queue = str(schema["queue"])
    for worker in await client.workers(queue):
        if not worker["silent"]:
            find(worker)  # before anything is accepted that could not be killed
    ledger = Ledger(times)
    while ledger.killed < times and len(ledger.entries) < times + SPARE_TRIES:
        into_s = INTO_S / 2 ** (len(ledger.entries) - ledger.killed)
        say(0.0, "demo", f"kill {ledger.killed + 1} of {times}", "cyan")
        ledger.entries.append(await _Scene(client, queue, say, into_s).run(model, inputs, params))
    # All of them once more, now that a late word of a dead worker would have come.
    for entry in ledger.entries:
        await _read(client, entry)
    return ledger


async def _read(client: AsyncClient, entry: Entry) -> None:
    path = f"/v1/jobs/{quote(entry.job_id, safe='')}"
    history, attempts = await client.get(f"{path}/events"), await client.get(f"{path}/logs")
    entry.read(history["events"], attempts["attempts"])


class _Scene:
    """One job, its worker, and what follows the kill."""

    def __init__(self, client: AsyncClient, queue: str, say: Say, into_s: float) -> None:
        self._client, self._queue, self._say, self._into_s = client, queue, say, into_s
        self._crew = Crew()
        self._began = self._struck = 0.0
        self._lease_end = 0.0
        self._cut_told = False

    def _tell(self, who: str, what: str, style: str = "default") -> None:
        self._say(time.monotonic() - self._began, who, what, style)

    async def run(self, model: str, inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Entry:
        self._crew.see(await self._client.workers(self._queue), "")
        self._began = time.monotonic()
        job = await self._client.submit(model, inputs=inputs, params=params)
        self._tell("gateway", f"accepted {job.id}: a row in PostgreSQL, and a hint in RabbitMQ", "cyan")
        entry = Entry(job.id)
        looking = asyncio.create_task(self._look(job.id))
        try:
            # Out of patience, it has no end, which is what the ledger will say.
            with waiting(job), suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._follow(job, entry)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        return entry

    async def _follow(self, job: AsyncJob, entry: Entry) -> None:
        while not job.done:
            async with aclosing(job.events()) as events:
                async for event in events:
                    await self._on(event, entry)
            await asyncio.sleep(LOOK_S)

    async def _on(self, event: Event, entry: Entry) -> None:
        if event.type == "job.running":
            await self._on_running(event, entry)
        elif event.type == "job.retrying":
            self._on_retrying(event)
        elif event.terminal:
            self._on_end(event)

    async def _on_running(self, event: Event, entry: Entry) -> None:
        holder, held = await self._holder(event.job_id)
        attempt = event.data.get("attempt")
        if entry.killed is not None:
            entry.again_s = time.monotonic() - self._struck
        if holder is None or held is None:
            self._tell("worker", f"attempt {attempt} began, and was over before it could be looked at")
            return
        lease = f"a lease of {held['lease_s']:.0f} s, to be renewed every 5 s"
        self._tell(
            "worker", f"{holder['id']} claims it: attempt {attempt}, fence {held['fence']}, {lease}", "blue"
        )
        if entry.killed is None:
            await asyncio.sleep(self._into_s)
            await self._strike(event.job_id, entry)

    async def _strike(self, job_id: str, entry: Entry) -> None:
        holder, held = await self._holder(job_id)
        if holder is None or held is None:
            self._tell("demo", "too late: it is over already", "yellow")
            return
        victim = find(holder)
        victim.kill()
        self._struck = time.monotonic()
        self._lease_end = self._struck + held["lease_s"]
        entry.killed, entry.fence = victim.pid, held["fence"]
        self._tell("kill -9", f"process {victim.pid}, {held['running_s']:.2f} s into the job", "red")
        self._tell("row", f"still `running`, for {held['lease_s']:.0f} s more: nobody said goodbye", "dim")

    async def _holder(self, job_id: str) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
        """Who runs the job, and what its row says of it."""
        for worker in await self._client.workers(self._queue):
            for held in worker["jobs"]:
                if held["id"] == job_id:
                    return worker, held
        return None, None

    async def _look(self, job_id: str) -> None:
        """Tell what changes about the crew and the lease; ended with the job."""
        while True:
            for who, what, style in self._crew.see(await self._client.workers(self._queue), job_id):
                if self._struck:
                    self._cut_told |= who == "broker"
                    self._tell(who, what, style)
            await asyncio.sleep(LOOK_S)

    def _on_retrying(self, event: Event) -> None:
        code = (event.data.get("error") or {}).get("code")
        if time.monotonic() < self._lease_end - EARLY_S and not self._cut_told:
            # Seen by its effect where the scaler had struck the dead worker off the list before.
            self._tell(
                "broker", "had given the message to the next worker, which cut the lease short", "magenta"
            )
        self._tell(
            "relay",
            f"the lease has ended, nobody renewed it ({code}): fence + 1, queued and sent again",
            "yellow",
        )

    def _on_end(self, event: Event) -> None:
        if event.state == "succeeded":
            made = ", ".join(
                f"{name} {each.get('size')} bytes" for name, each in event.data["outputs"].items()
            )
            self._tell("result", f"committed once, pushed: {made}", "green")
        else:
            error = event.data.get("error") or {}
            self._tell("ended", f"{event.state}: {error.get('code')} {error.get('message')}", "red")
