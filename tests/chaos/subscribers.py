"""Followers of single jobs: by WebSocket or SSE, loyal or restless, coming back with their cursor."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from tests.chaos.testimony import Subscription, Testimony

SILENCE_S = 20
"""SSE says something every ten seconds; who hears nothing for so long comes back."""
GRANTED, AWAY = 200, 503
"""Whoever follows an accepted job is let in, or told that a server is away."""
RESTART, TRY_LATER = 1012, 1013
"""How a socket may be closed before its job has ended."""


class Subscribers:
    """Everybody who follows a job.

    Args:
        urls: Of the gateways.
        key: An API key.
        testimony: Where what they get is written down.
        dice: Of theirs alone.
        restless: Share of those who leave at random moments.
    """

    def __init__(
        self, urls: Sequence[str], key: str, testimony: Testimony, dice: Random, *, restless: float = 0.5
    ) -> None:
        self._urls = list(urls)
        self._headers = {"Authorization": f"Bearer {key}"}
        self._testimony = testimony
        self._dice = dice
        self._restless = restless
        self._following: set[asyncio.Task[None]] = set()
        limits = httpx2.Limits(max_connections=500, max_keepalive_connections=0)
        timeout = httpx2.Timeout(10, read=SILENCE_S)
        self._http = httpx2.AsyncClient(
            timeout=timeout, limits=limits, headers=self._headers, trust_env=False
        )

    def follow(self, job_id: str) -> None:
        """Follow this job to its end."""
        subscription = Subscription(job_id)
        self._testimony.subscriptions.append(subscription)
        task = asyncio.create_task(self._follow(subscription))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def close(self) -> None:
        """Everybody leaves."""
        for task in list(self._following):
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        await self._http.aclose()

    async def _follow(self, subscription: Subscription) -> None:
        restless = self._dice.random() < self._restless
        listen = self._by_socket if self._dice.random() < 0.6 else self._by_sse
        while not subscription.ended:
            url = self._dice.choice(self._urls)
            patience_s = self._dice.expovariate(1 / 1.0) if restless else None
            try:
                async with asyncio.timeout(patience_s):
                    await listen(subscription, url)
            except (OSError, TimeoutError, WebSocketException, httpx2.HTTPError, EOFError) as error:
                self._note_refusal(error)
            finally:
                subscription.gateway = ""
            if not subscription.ended:
                await asyncio.sleep(self._dice.uniform(0.1, 0.6))

    async def _by_socket(self, subscription: Subscription, url: str) -> None:
        target = f"{url.replace('http', 'ws', 1)}/v1/jobs/{subscription.job_id}/stream"
        async with connect(
            f"{target}?after={subscription.cursor}", additional_headers=self._headers, proxy=None,
            open_timeout=10, close_timeout=1, ping_interval=10, ping_timeout=10,
        ) as socket:  # fmt: skip
            self._connected(subscription, url)
            async for message in socket:
                self._hear(subscription, json.loads(message))
            self._note_goodbye(subscription, socket)

    async def _by_sse(self, subscription: Subscription, url: str) -> None:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(subscription.cursor)}
        async with self._http.stream(
            "GET", f"{url}/v1/jobs/{subscription.job_id}/events", headers=headers
        ) as answer:
            if answer.status_code != GRANTED:
                self._note_status("event stream", answer.status_code)
                return
            self._connected(subscription, url)
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    self._hear(subscription, json.loads(line.removeprefix("data: ")))
                if subscription.ended:
                    return

    def _connected(self, subscription: Subscription, url: str) -> None:
        subscription.gateway = url
        subscription.connected += 1

    def _note_status(self, asked_for: str, status: int) -> None:
        if status != AWAY:
            self._testimony.unexpected[f"{asked_for}: {status}"] += 1

    def _note_refusal(self, error: Exception) -> None:
        """Connections that fail or break are what the run is about; an answer that refuses is not."""
        if isinstance(error, InvalidStatus):
            self._note_status("socket", error.response.status_code)
        elif isinstance(error, ConnectionClosed) and error.rcvd is not None:
            self._note_code(error.rcvd.code, error.rcvd.reason)

    def _note_goodbye(self, subscription: Subscription, socket: ClientConnection) -> None:
        """Closed as if all had been said."""
        if not subscription.ended and socket.close_code is not None:
            self._note_code(socket.close_code, socket.close_reason or "")

    def _note_code(self, code: int, reason: str) -> None:
        if code not in {RESTART, TRY_LATER}:
            self._testimony.unexpected[f"socket closed: {code} {reason}"] += 1

    def _hear(self, subscription: Subscription, event: dict[str, Any]) -> None:
        with suppress(KeyError):
            subscription.hear(int(event["seq"]), str(event["type"]))
