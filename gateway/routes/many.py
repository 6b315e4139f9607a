"""Many jobs on one socket, and the tickets by which a browser opens one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response, WebSocket
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from gateway.feed import StreamEnded
from gateway.intake import first_problem
from gateway.openapi import answer, documented
from gateway.ports import Holder
from gateway.refusals import InvalidRequest
from gateway.routes.answers import Json
from gateway.routes.sockets import send, serve, until_either
from gateway.schemas import Subscription
from gateway.services import Authenticated, Services, UsedServices
from gateway.tickets import TICKET_S
from shared.errors import NotFound, Unavailable
from shared.events import timestamp

router = APIRouter(tags=["events"])

MAX_JOBS = 1000
"""Followed at once on one socket."""
WAITING_FRAMES = 64
"""Frames that are ready and not taken; above that each job's own queue fills."""


class TicketView(BaseModel):
    """What opens a socket."""

    model_config = ConfigDict(extra="forbid")

    ticket: str = Field(description="`?ticket=` of a WebSocket's address")
    expires_at: AwareDatetime
    expires_in_s: int


_TICKET = {
    "ticket": "4mRkT2o0qv7C1nq0hY3e9oZJb1r8b2mYw6y5cJm0p1A",
    "expires_at": "2026-11-22T09:31:00.000Z",
    "expires_in_s": TICKET_S,
}


@router.post(
    "/v1/stream-tickets",
    status_code=201,
    summary="Get a ticket for a socket",
    responses=documented(
        {201: answer("Good for one socket", TicketView, _TICKET)},
        "unauthorized",
        "unavailable",
        "internal_error",
    ),
)
async def make_ticket(services: UsedServices, caller: Authenticated) -> Response:
    """For browsers, which cannot send a key with a WebSocket's handshake: good for a minute, once."""
    ticket = await services.tickets.issue(caller)
    expires_at = datetime.now(UTC) + timedelta(seconds=TICKET_S)
    said = {"ticket": ticket, "expires_at": timestamp(expires_at), "expires_in_s": TICKET_S}
    return Json(said, 201, {"Cache-Control": "no-store"})


@router.websocket("/v1/stream")
async def many(socket: WebSocket) -> None:
    """The events of the jobs that are asked for, or of all of the tenant's."""
    await serve(socket, partial(_follow, socket), kind="websocket")


async def _follow(socket: WebSocket, services: Services, caller: Holder) -> None:
    following = _Following(services, caller)
    try:
        await until_either(_tell(socket, following), _listen(socket, following), following.failed())
    finally:
        await following.stop()


async def _listen(socket: WebSocket, following: _Following) -> None:
    """Take what is asked for, one message after the other."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        try:
            said = Subscription.model_validate_json(message.get("text") or "")
        except ValidationError as error:
            raise InvalidRequest([first_problem(error)]) from None
        await following.take(said)


async def _tell(socket: WebSocket, following: _Following) -> None:
    while True:
        await send(socket, await following.frames.get())


class _Following:
    """The jobs of one socket, a task each, and the frames they make.

    Attributes:
        frames: Ready to be sent.
    """

    def __init__(self, services: Services, caller: Holder) -> None:
        self.frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue(WAITING_FRAMES)
        self._services = services
        self._tenant = caller.tenant
        self._jobs: dict[UUID, asyncio.Task[None]] = {}
        self._all: asyncio.Task[None] | None = None
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def take(self, said: Subscription) -> None:
        """Follow more, or fewer; a job asked for again begins anew behind its cursor."""
        for id_ in said.unsubscribe:
            self._leave(id_)
        if said.subscribe == "all":
            self._all = self._all or asyncio.create_task(self._guarded(self._follow_all()))
            return
        for wanted in said.subscribe:
            self._leave(wanted.id)
            if len(self._jobs) >= MAX_JOBS:
                raise InvalidRequest([("subscribe", f"at most {MAX_JOBS} jobs on one socket")])
            task = asyncio.create_task(self._guarded(self._follow(wanted.id, wanted.after)))
            self._jobs[wanted.id] = task

    async def failed(self) -> None:
        """Raise what ended one of the streams, and so ends the socket."""
        await asyncio.shield(self._failed)

    async def stop(self) -> None:
        """Follow nothing any more."""
        tasks = [*self._jobs.values(), *([self._all] if self._all else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failed.done():
            self._failed.exception()

    def _leave(self, job_id: UUID) -> None:
        if task := self._jobs.pop(job_id, None):
            task.cancel()

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except StreamEnded as ended:
            if not self._failed.done():
                self._failed.set_exception(ended)

    async def _follow(self, job_id: UUID, after: int) -> None:
        try:
            async with self._services.feed.watch(self._tenant, job_id, after) as stream:
                async for event in stream:
                    await self.frames.put(await self._services.lookup.shown_event(event))
            await self.frames.put({"ended": str(job_id)})
        except (NotFound, Unavailable) as error:
            await self.frames.put({"error": {"id": str(job_id), "code": error.code}})
        if self._jobs.get(job_id) is asyncio.current_task():
            del self._jobs[job_id]

    async def _follow_all(self) -> None:
        async with self._services.feed.tap(self._tenant) as tap:
            await self.frames.put({"subscribed": "all"})
            while True:
                event = await tap.next()
                shown = await self._services.lookup.shown_event(event) if event else {"resync": True}
                await self.frames.put(shown)
