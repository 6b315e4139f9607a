"""The client for asyncio programs: the one that does the work; the blocking one is a face of it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote
from uuid import uuid4

from gateway.client.errors import ApiError, OutcomeUnknownError, UnreachableError
from gateway.client.inputs import encode, needs_schema, sort_values
from gateway.client.jobs import AsyncJob
from gateway.client.lookback import Lookback
from gateway.client.retry import RetryPolicy
from gateway.client.settings import find_target
from gateway.client.stream import follow
from gateway.client.transport import Transport, may_have_arrived, read_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from gateway.client.inputs import Body, Sorted
    from gateway.client.records import Event

RECONNECT = RetryPolicy(budget_s=300, base_s=0.25, cap_s=8)
"""How long a watcher waits for a gateway that went away: longer than a fail-over of its database takes."""


class AsyncClient(Lookback):
    """A gateway, its models and its jobs.

        async with AsyncClient() as client:
            job = await client.submit("cutout", image="face.jpg", priority=7)
            await job.wait()
            await job.outputs["cutout"].save("cutout.png")

    Args:
        url: The gateway; by default `LEVERET_URL`.
        api_key: The key; by default `LEVERET_API_KEY`.
        timeout_s: Seconds any single request may stay without a byte.
        retry: How long to repeat a request that failed for a passing reason.
        reconnect: How long to go on trying for a lost event stream.

    Raises:
        ConfigError: The URL or the key is missing or malformed.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
        reconnect: RetryPolicy = RECONNECT,
    ) -> None:
        self.target = find_target(url, api_key)
        self.reconnect = reconnect
        self.transport = Transport(self.target, timeout_s=timeout_s, retry=retry or RetryPolicy())
        self._schemas: dict[str, Mapping[str, Any]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connections back."""
        await self.transport.close()

    async def submit(
        self,
        model: str,
        /,
        *,
        inputs: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        priority: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        run_at: str | None = None,
        delay_s: float | None = None,
        timeout_s: float | None = None,
        start_timeout_s: float | None = None,
        max_attempts: int | None = None,
        outputs: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        **values: Any,
    ) -> AsyncJob:
        """Submit a job; returns as soon as the gateway promised to run it.

        Every try carries the same Idempotency-Key, so a lost answer makes no second job.

        Args:
            model: The algorithm, `name` or `name@version`.
            inputs: Inputs, said outright, for names that an option here also has, or to save the look-up.
            params: Parameters, said outright.
            priority: 0 to 10, 10 first.
            metadata: Anything of yours to keep with the job.
            run_at: Not before this moment (RFC 3339).
            delay_s: Not before so many seconds from now.
            timeout_s: Seconds one attempt may run.
            start_timeout_s: Seconds after which a job that has not started expires.
            max_attempts: How often it may be started.
            outputs: Where to put outputs, `{"cutout": {"uri": "s3://…"}}`.
            idempotency_key: Yours, where a repeat may come from another process; by default a new one.
            **values: The model's inputs and params by name. Paths, bytes, open files and `Upload` are
                uploaded; `s3://` and `https://` strings are references; for an image, audio or bytes input a
                string is the path of a file; anything else is a parameter or inline JSON.

        Raises:
            InputError: A value cannot be sent, for example because there is no such file.
            ApiError: The gateway refused; 422 names the fields in `errors`.
            OutcomeUnknownError: The answer stayed away; repeat with its `idempotency_key`.
            UnreachableError: Nothing was received by the gateway.
        """
        options = {
            "priority": priority,
            "metadata": metadata,
            "run_at": run_at,
            "delay_s": delay_s,
            "timeout_s": timeout_s,
            "start_timeout_s": start_timeout_s,
            "max_attempts": max_attempts,
            "outputs": outputs,
        }
        declared = await self._declared_inputs(model) if needs_schema(values, inputs) else {}
        told_apart = sort_values(model, declared, values, inputs=inputs, params=params)
        return await self._submit(model, told_apart, options, idempotency_key or str(uuid4()))

    async def _submit(self, model: str, values: Sorted, options: Mapping[str, Any], key: str) -> AsyncJob:
        with ExitStack() as files:
            body = await asyncio.to_thread(encode, model, values, options, files)
            return AsyncJob(self, await self._post_once(key, body))

    async def _post_once(self, key: str, body: Body) -> Any:
        headers = {**body.headers, "Idempotency-Key": key}
        try:
            answer = await self.transport.request("POST", "/v1/jobs", headers=headers, **body.arguments)
        except (ApiError, UnreachableError) as error:
            if not may_have_arrived(error):
                raise
            raise OutcomeUnknownError(f"{error}; the job may have been accepted", key) from error
        return read_json(answer)

    async def job(self, job_id: str) -> AsyncJob:
        """A job by its id.

        Raises:
            ApiError: 404 for anything that is not yours.
        """
        return AsyncJob(self, await self.read_job(job_id))

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """The catalog: every model with its inputs, outputs and params."""
        answer = await self.get("/v1/models")
        listed: Sequence[Mapping[str, Any]] = answer.get("models", answer.get("items", ()))
        return listed

    async def model(self, name: str) -> Mapping[str, Any]:
        """One model's inputs, outputs and params, `name` or `name@version`."""
        schema: Mapping[str, Any] = await self.get(f"/v1/models/{quote(name, safe='@')}")
        return schema

    async def retry(self, job_id: str, *, idempotency_key: str | None = None) -> AsyncJob:
        """Run a job that has ended again, as a new job with the same inputs.

        Args:
            job_id: The one that has ended.
            idempotency_key: Yours, where a repeat may come from another process; by default a new one.

        Raises:
            ApiError: 409 while it has not ended.
            OutcomeUnknownError: The answer stayed away; repeat with its `idempotency_key`.
        """
        path, key = f"/v1/jobs/{quote(job_id, safe='')}/retry", idempotency_key or str(uuid4())
        try:
            answer = await self.transport.request("POST", path, headers={"Idempotency-Key": key})
        except (ApiError, UnreachableError) as error:
            if not may_have_arrived(error):
                raise
            raise OutcomeUnknownError(f"{error}; the job may have been accepted", key) from error
        return AsyncJob(self, read_json(answer))

    async def queues(self) -> Sequence[Mapping[str, Any]]:
        """What waits and runs in each queue, and who works on it. As all below: for keys of operators."""
        found: Sequence[Mapping[str, Any]] = (await self.get("/v1/queues"))["queues"]
        return found

    async def workers(self, queue: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Who is there, and busy on which jobs."""
        params = {} if queue is None else {"queue": queue}
        found: Sequence[Mapping[str, Any]] = (await self.get("/v1/workers", **params))["workers"]
        return found

    async def drain(self, worker_id: str) -> Mapping[str, Any]:
        """Ask a worker to finish what it holds and leave; returns it.

        Raises:
            ApiError: 404 where there is none of that id any more.
        """
        worker: Mapping[str, Any] = await self.post(f"/v1/workers/{quote(worker_id, safe='')}/drain")
        return worker

    async def pause_queue(self, queue: str) -> Mapping[str, Any]:
        """Let nothing of a queue be started; returns it."""
        held: Mapping[str, Any] = await self.post(f"/v1/queues/{quote(queue, safe='')}/pause")
        return held

    async def resume_queue(self, queue: str) -> Mapping[str, Any]:
        """Let a queue go on, with what has waited; returns it."""
        held: Mapping[str, Any] = await self.post(f"/v1/queues/{quote(queue, safe='')}/resume")
        return held

    async def keys(self) -> Sequence[Mapping[str, Any]]:
        """Every API key, newest first: its first characters, never the key."""
        found: Sequence[Mapping[str, Any]] = (await self.get("/v1/admin/keys"))["keys"]
        return found

    async def create_key(self, name: str, /, **said: str | int) -> Mapping[str, Any]:
        """A new `key` and its `secret`, which is told this once.

        Repeated after a lost answer it may leave a key behind that nobody has: one that was never used.

        Args:
            name: To tell keys apart.
            **said: `tenant`, `role`, `expires_in_s`.
        """
        body = {"name": name, **said}
        issued: Mapping[str, Any] = read_json(
            await self.transport.request("POST", "/v1/admin/keys", json=body)
        )
        return issued

    async def revoke_key(self, key_id: str) -> Mapping[str, Any]:
        """End a key; returns it."""
        path = f"/v1/admin/keys/{quote(key_id, safe='')}"
        key: Mapping[str, Any] = read_json(await self.transport.request("DELETE", path))
        return key

    async def fleets(self) -> Sequence[Mapping[str, Any]]:
        """What is set of each queue's fleet, and the scaler's last decision on it."""
        found: Sequence[Mapping[str, Any]] = (await self.get("/v1/scaler"))["fleets"]
        return found

    async def decisions(self, queue: str, *, limit: int = 20, cursor: int | None = None) -> Mapping[str, Any]:
        """A page of the scaler's `decisions`, newest first, and its `next_cursor`."""
        params = {"limit": limit} if cursor is None else {"limit": limit, "cursor": cursor}
        page: Mapping[str, Any] = await self.get(f"{_fleet(queue)}/decisions", **params)
        return page

    async def set_fleet(self, queue: str, /, **limits: int | bool | None) -> Mapping[str, Any]:
        """Set `min`, `max` or `paused` of a fleet; what is left out stays.

        Args:
            queue: Whose fleet.
            **limits: None for `min` or `max` gives back to the scaler's settings.

        Raises:
            ApiError: 409 where the minimum would be above the maximum.
        """
        answer = await self.transport.request("PUT", _fleet(queue), json=limits)
        fleet: Mapping[str, Any] = read_json(answer)
        return fleet

    async def pause_fleet(self, queue: str) -> Mapping[str, Any]:
        """Let the scaler change nothing about a fleet; returns what is set."""
        fleet: Mapping[str, Any] = await self.post(f"{_fleet(queue)}/pause")
        return fleet

    async def resume_fleet(self, queue: str) -> Mapping[str, Any]:
        """Let the scaler act again; returns what is set."""
        fleet: Mapping[str, Any] = await self.post(f"{_fleet(queue)}/resume")
        return fleet

    async def cost(
        self,
        by: str = "queue",
        *,
        since: str | None = None,
        until: str | None = None,
        limit: int = 100,
    ) -> Mapping[str, Any]:
        """What was used and paid, by `tenant`, `model`, `queue`, `day` or `job`. A tenant sees its own use.

        Args:
            by: What a row stands for.
            since: RFC 3339; seven days before `until` by default.
            until: RFC 3339; now by default.
            limit: Rows at most.
        """
        asked = {"by": by, "since": since, "until": until, "limit": limit}
        params = {name: value for name, value in asked.items() if value is not None}
        found: Mapping[str, Any] = await self.get("/v1/cost", **params)
        return found

    async def get(self, path: str, **params: Any) -> Any:
        """Any other GET of the API, decoded."""
        return read_json(await self.transport.request("GET", path, params=params))

    async def post(self, path: str) -> Any:
        """Any other POST of the API without a body, decoded. It may be sent more than once."""
        return read_json(await self.transport.request("POST", path))

    async def read_job(self, job_id: str) -> Mapping[str, Any]:
        """A job's JSON as the gateway words it."""
        raw: Mapping[str, Any] = await self.get(f"/v1/jobs/{quote(job_id, safe='')}")
        return raw

    def follow(self, job_id: str, after: int = 0) -> AsyncGenerator[Event, None]:
        """A job's pushed events after a cursor; see `AsyncJob.events`."""
        return follow(self.target, job_id, after, self.reconnect)

    async def _declared_inputs(self, model: str) -> Mapping[str, Any]:
        # One look-up per model and client: a deployment that adds an input comes with a new client or a 422.
        if model not in self._schemas:
            self._schemas[model] = (await self.model(model)).get("inputs") or {}
        return self._schemas[model]


def _fleet(queue: str) -> str:
    return f"/v1/scaler/{quote(queue, safe='')}"
