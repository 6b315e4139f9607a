"""Leveret's side of the engine's figures: what `make bench` has, and uploads, queues of its own, receipts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import httpx2

from benchmarks.leveret import Leveret
from benchmarks.load import UnexpectedAnswerError, connected, request, run_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.load import Request
    from benchmarks.running import Running

CLIENTS = 64
STAGES = r"""
select stage, percentile_cont(0.5) within group (order by seconds::float) as p50
from attempts, jsonb_each_text(timings) as t(stage, seconds)
where job_id = any($1::uuid[]) and (stage like '%\_s' or stage = 'batch_size') group by stage
union all
select 'claim to commit', percentile_cont(0.5) within group (
    order by extract(epoch from finished_at - started_at)::float)
from attempts where job_id = any($1::uuid[])
"""


class MeasuredLeveret(Leveret):
    """The gateway and one worker at a time, on the queue that is asked for."""

    @property
    def worker(self) -> Running:
        """The worker's process."""
        assert self._worker is not None
        return self._worker

    @property
    def gateway_pid(self) -> int:
        """The gateway's process."""
        assert self._gateway is not None
        return self._gateway.pid

    async def upload(self, body: bytes) -> str:
        """Put bytes where `POST /v1/uploads` says; returns the id by which a job names them."""
        asked = request("POST", "/v1/uploads", body=b"{}", headers=self.credentials, wanted=201)
        async with connected(self.url) as connection:
            said = json.loads((await connection.exchange(asked)).body)
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.put(said["url"], content=body, headers=said["headers"])
        if not answer.is_success:
            raise UnexpectedAnswerError(f"{answer.status_code} to an upload: {answer.text[:300]}")
        return str(said["upload_id"])

    async def enqueue(self, wanted: Request, count: int) -> list[str]:
        """Submit the same job so many times; returns the jobs' ids."""
        bodies = await run_count(self.url, wanted, clients=CLIENTS, count=count)
        return [self.job_id(body) for body in bodies]

    async def stages(self, job_ids: Sequence[str]) -> dict[str, float]:
        """Median seconds of each stage, as the jobs' own receipts tell, and from the claim to the commit.

        `batch_size`, where receipts have it, is among them and is no time.
        """
        connection = await asyncpg.connect(self._variables["LEVERET_POSTGRES_DSN"], timeout=10)
        try:
            rows = await connection.fetch(STAGES, [UUID(each) for each in job_ids], timeout=30)
        finally:
            await connection.close(timeout=5)
        return {row["stage"]: row["p50"] for row in rows}
