"""Jobs of every kind, arriving all along, from several clients at both gateways. Half the truth of a run."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx2

from gateway.client import ApiError, AsyncClient, OutcomeUnknownError, RetryPolicy, UnreachableError
from tests.chaos.subscribers import Subscribers
from tests.chaos.testimony import Submission, Testimony

TIMEOUT_S = 20
REFUSALS = frozenset({"unavailable", "store_error", "misconfigured"})
MIX = {"noop": 910, "nap": 20, "fail": 30, "retry": 20, "deadly": 2, "blob": 18}


@dataclass(frozen=True, slots=True)
class Wish:
    """A job to submit."""

    body: dict[str, Any]
    blob: bytes | None = None


class Outcome(Exception):
    """How a try ended, where not with a job."""


class Refused(Outcome):
    """Certainly no job."""


class Unknown(Outcome):
    """Perhaps a job."""


class Load:
    """The clients.

    Args:
        urls: Of the gateways.
        key: An API key.
        testimony: Where everything is written down.
        subscribers: Follow some of the jobs.
        room: Returns when the system is not too far behind.
        dice: Of the load alone.
    """

    def __init__(
        self,
        urls: Sequence[str],
        key: str,
        testimony: Testimony,
        subscribers: Subscribers,
        *,
        room: Callable[[], Awaitable[None]],
        dice: Random,
    ) -> None:
        self._urls = list(urls)
        self._testimony = testimony
        self._subscribers = subscribers
        self._room = room
        self._dice = dice
        self._over = asyncio.Event()
        self._side: set[asyncio.Task[None]] = set()
        limits = httpx2.Limits(max_connections=200, max_keepalive_connections=100)
        self._http = httpx2.AsyncClient(
            timeout=TIMEOUT_S, limits=limits, headers={"Authorization": f"Bearer {key}"}, trust_env=False
        )
        patience = RetryPolicy(budget_s=2)
        self._sdk = {url: AsyncClient(url, key, timeout_s=TIMEOUT_S, retry=patience) for url in urls}

    async def run(self, clients: int, rate: float) -> None:
        """Submit `rate` jobs a second until `stop`; returns when every outcome is known."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(clients):
                tasks.create_task(self._client(clients / rate))

    def stop(self) -> None:
        """No new jobs; what is unknown is still asked for."""
        self._over.set()

    async def close(self) -> None:
        """Leave."""
        for task in list(self._side):
            task.cancel()
        await asyncio.gather(*self._side, return_exceptions=True)
        await self._http.aclose()
        for client in self._sdk.values():
            await client.close()

    async def _client(self, pause_s: float) -> None:
        await self._pause(self._dice.uniform(0, pause_s))
        while not self._over.is_set():
            began = time.monotonic()
            await self._room()
            if not self._over.is_set():
                await self._submit()
            rest = self._dice.expovariate(1 / pause_s) - (time.monotonic() - began)
            await self._pause(max(0.0, rest))

    async def _submit(self) -> None:
        kind = self._dice.choices(list(MIX), list(MIX.values()))[0]
        submission = Submission(f"{self._dice.getrandbits(96):024x}", kind)
        self._testimony.submissions.append(submission)
        wish = self._wish(kind)
        send = self._by_sdk if kind != "blob" and self._dice.random() < 0.15 else self._by_hand
        while not submission.ids and not submission.gave_up:
            await self._try(submission, wish, send)
        if submission.ids:
            self._accepted(next(iter(submission.ids)))

    async def _try(self, submission: Submission, wish: Wish, send: Callable[..., Awaitable[str]]) -> None:
        url = self._dice.choice(self._urls)
        self._testimony.requests[url] += 1
        try:
            submission.ids.add(await send(url, submission.key, wish))
            submission.accepted_at = time.time()
        except Refused:
            submission.refused += 1
            submission.gave_up = not submission.unknown and (self._over.is_set() or self._dice.random() < 0.3)
        except Unknown:
            submission.unknown += 1
        finally:
            self._testimony.requests[url] -= 1
        if not submission.ids and not submission.gave_up:
            await asyncio.sleep(self._dice.uniform(0.3, 1.0))
        elif self._dice.random() < 0.02:
            await self._once_more(submission, wish, send)

    async def _once_more(
        self, submission: Submission, wish: Wish, send: Callable[..., Awaitable[str]]
    ) -> None:
        """A client that asks again though it was answered must get the same job."""
        if submission.ids:
            try:
                submission.ids.add(await send(self._dice.choice(self._urls), submission.key, wish))
            except Outcome:
                return

    def _wish(self, kind: str) -> Wish:
        dice = self._dice
        seconds = round(dice.uniform(0.1, 1.0), 2) if kind == "nap" else 0
        params = {"kind": "noop" if kind == "blob" else kind, "seconds": seconds}
        body: dict[str, Any] = {"params": params, "priority": dice.randint(0, 10)}
        if dice.random() < 0.02:
            body["delay_s"] = round(dice.uniform(0.5, 4), 2)
        elif dice.random() < 0.02:
            body["start_timeout_s"] = round(dice.uniform(0.3, 3), 2)
        return Wish(body, dice.randbytes(dice.randint(1_000, 150_000)) if kind == "blob" else None)

    async def _by_hand(self, url: str, key: str, wish: Wish) -> str:
        headers = {"Idempotency-Key": key}
        note = {"note": {"json": key}}
        if wish.blob is None:
            request: dict[str, Any] = {"json": {"model": "task", "inputs": note, **wish.body}}
        else:
            options = json.dumps({"inputs": note, **wish.body})
            request = {"data": {"model": "task", "options": options}, "files": {"blob": wish.blob}}
        try:
            answer = await self._http.post(f"{url}/v1/jobs", headers=headers, **request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise Refused from error
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise Unknown from error
        return self._read(answer)

    def _read(self, answer: httpx2.Response) -> str:
        try:
            said = answer.json()
        except ValueError as error:
            raise Unknown from error
        if answer.status_code in {200, 202}:
            return str(said["id"])
        raise self._refusal(answer.status_code, str(said.get("code", "")))

    def _refusal(self, status: int, code: str) -> Outcome:
        if code in REFUSALS:
            return Refused()
        if code != "outcome_unknown":
            self._testimony.unexpected[f"{status} {code}"] += 1
        return Unknown()

    async def _by_sdk(self, url: str, key: str, wish: Wish) -> str:
        try:
            job = await self._sdk[url].submit(
                "task", inputs={"note": {"json": key}}, idempotency_key=key, **wish.body
            )
        except OutcomeUnknownError as error:
            raise Unknown from error
        except UnreachableError as error:
            raise Refused from error
        except ApiError as error:
            raise self._refusal(error.status, error.code) from error
        return str(job.id)

    def _accepted(self, job_id: str) -> None:
        if self._dice.random() < 0.2:
            self._subscribers.follow(job_id)
        if self._dice.random() < 0.02:
            task = asyncio.create_task(self._cancel(job_id, self._dice.uniform(0, 1.5)))
            self._side.add(task)
            task.add_done_callback(self._side.discard)

    async def _cancel(self, job_id: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        try:
            answer = await self._http.post(f"{self._dice.choice(self._urls)}/v1/jobs/{job_id}/cancel")
        except httpx2.TransportError:
            self._testimony.cancels["no answer"] += 1
            return
        self._testimony.cancels[str(answer.status_code)] += 1
        if answer.status_code not in {200, 409, 503}:
            self._testimony.unexpected[f"cancel {answer.status_code}"] += 1

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return
