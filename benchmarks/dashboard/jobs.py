"""Jobs that come, run and end at a steady rate, by the product's own statements, without the gateway.

Nothing but what the dashboard costs is to be seen in the gateway's CPU: so no request of these jobs goes
through it. Their rows, events and pushes are those of real ones.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self
from uuid import UUID

from pydantic import SecretStr
from uuid_utils.compat import uuid7

from shared.adapters.bus import open_bus
from shared.adapters.store.attempts import AttemptStore
from shared.adapters.store.claims import ClaimStore
from shared.adapters.store.pool import open_database
from shared.adapters.store.submits import SubmitStore
from shared.adapters.store.workers import WorkerIdentity, WorkerStore
from shared.jobs import Claim, Ending, Evidence, NewJob, State
from shared.settings import Postgres, Redis
from shared.tariff import Tariff

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

BEAT_S = 0.1
SHOWN = 50
QUEUE = "default"


class Jobs:
    """Makes jobs while it is open.

    Args:
        settings: The servers.
        tenant: Whose jobs.
        rate: Jobs a second.

    Attributes:
        done: Jobs that have ended.
    """

    def __init__(self, settings: Mapping[str, str], *, tenant: str, rate: int) -> None:
        self._settings = settings
        self._tenant = tenant
        self._batch = max(1, round(rate * BEAT_S))
        self._stack = AsyncExitStack()
        self._latest: deque[UUID] = deque(maxlen=SHOWN)
        self._task: asyncio.Task[None] | None = None
        self.done = 0

    @property
    def latest(self) -> list[UUID]:
        """The newest ones: what the first page of a list shows."""
        return list(self._latest)

    async def __aenter__(self) -> Self:
        postgres = Postgres(dsn=SecretStr(self._settings["LEVERET_POSTGRES_DSN"]), pool_size=4)
        redis = Redis(url=SecretStr(self._settings["LEVERET_REDIS_URL"]))
        database = await self._stack.enter_async_context(open_database(postgres, name="bench"))
        self._bus = await self._stack.enter_async_context(open_bus(redis))
        self._submits = SubmitStore(database)
        self._claims = ClaimStore(database, worker="bench-1", models=["noop@1"], slots=4)
        self._attempts = AttemptStore(database, worker="bench-1", tariff=Tariff(slots=4))
        me = WorkerIdentity(id="bench-1", queue=QUEUE, host="bench", device="cpu", slots=4)
        self._worker = WorkerStore(database, me)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._stack.aclose()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self._worker.beat("ready", busy=4)
            for _ in range(round(1 / BEAT_S)):
                await asyncio.gather(*(self._job() for _ in range(self._batch)))
                due += BEAT_S
                await asyncio.sleep(max(0.0, due - loop.time()))

    async def _job(self) -> None:
        job = NewJob(
            id=uuid7(),
            tenant=self._tenant,
            model="noop",
            model_version="1",
            queue=QUEUE,
            priority=5,
            max_attempts=3,
            timeout_s=60.0,
            inputs={"value": {"json": 1}},
            params={},
        )
        await self._submits.submit(job)
        self._latest.appendleft(job.id)
        claim = await self._claims.claim(job.id)
        if isinstance(claim, Claim):
            await self._end(claim)

    async def _end(self, claim: Claim) -> None:
        evidence = Evidence(timings={"queue_s": 0.01, "infer_s": 0.001})
        left = await self._attempts.finish(claim, Ending(state=State.SUCCEEDED, evidence=evidence))
        if left is not None:
            await self._bus.announce(self._tenant, left.event)
            self.done += 1
