"""Follows one job over a WebSocket and comes back by itself, from its cursor. Only websockets may enter.

A lost socket, a restarting gateway (1012) and a reader that was too slow (1013) all end in the same way:
connect again after a pause, with `?after=` the last state event seen, and drop what was seen before.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    ConnectionClosedOK,
    InvalidStatus,
    WebSocketException,
)

from gateway.client.errors import ApiError, UnreachableError
from gateway.client.records import Event
from gateway.client.retry import Patience, RetryPolicy, parse_retry_after
from gateway.client.transport import USER_AGENT, decode_problem, is_transient

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from gateway.client.settings import Target

log = logging.getLogger(__name__)

MAX_FRAME_BYTES = 1 << 20
HEALTHY_S = 30.0
"""A socket that lived this long was a good one, even if the job had nothing to say."""
_DONE, _DENIED = 1000, 1008
_STATUS_OF = {"unauthorized": 401, "not_found": 404, "invalid_request": 422}


async def follow(target: Target, job_id: str, after: int, retry: RetryPolicy) -> AsyncGenerator[Event, None]:
    """The job's events after the cursor, each once, up to the terminal one.

    Ends without a terminal event when the gateway has nothing (more) to say after `after`.

    Raises:
        ApiError: The gateway refused the socket: no such job, or not with this key.
        UnreachableError: No socket could be had for `retry.budget_s` seconds on end.
    """
    cursor, patience = after, Patience(retry)
    while True:
        opened_at = time.monotonic()
        try:
            async with aclosing(_listen(target, job_id, cursor)) as events:
                async for event in events:
                    patience.restore()
                    if event.is_news(cursor):
                        cursor = event.seq
                        yield event
                    if event.terminal:
                        return
        except (OSError, WebSocketException) as error:
            await asyncio.sleep(_pause_s(patience, _read_failure(target, error), opened_at))
        else:
            return


def _pause_s(patience: Patience, failure: ApiError | UnreachableError, opened_at: float) -> float:
    if time.monotonic() - opened_at > HEALTHY_S:
        patience.restore()
    pause_s = patience.spend(failure.retry_after_s)
    if pause_s is None or not is_transient(failure):
        raise failure
    log.info("%s; coming back in %.1f s", failure, pause_s)
    return pause_s


async def _listen(target: Target, job_id: str, cursor: int) -> AsyncGenerator[Event, None]:
    """What one socket brings; ends with it when the gateway says that it is done."""
    async with _connected(target, job_id, cursor) as socket:
        try:
            while True:
                yield Event.read(json.loads(await socket.recv()))
        except ConnectionClosedOK as closed:
            # 1001, going away, also counts as "OK" there; here only a finished stream does.
            if closed.rcvd is None or closed.rcvd.code != _DONE:
                raise


@asynccontextmanager
async def _connected(target: Target, job_id: str, cursor: int) -> AsyncIterator[ClientConnection]:
    async with connect(
        f"{target.ws_url}/v1/jobs/{quote(job_id, safe='')}/stream?after={cursor}",
        additional_headers=target.headers,
        user_agent_header=USER_AGENT,
        max_size=MAX_FRAME_BYTES,
        proxy=None if target.nearby else True,
        open_timeout=10,
        ping_interval=15,
        ping_timeout=15,
        close_timeout=2,
    ) as socket:
        yield socket


def _read_failure(target: Target, error: Exception) -> ApiError | UnreachableError:
    if isinstance(error, InvalidStatus):
        response = error.response
        wait_s = parse_retry_after(response.headers.get("Retry-After"))
        return ApiError(response.status_code, decode_problem(bytes(response.body or b"")), wait_s)
    if isinstance(error, ConnectionClosed) and error.rcvd and error.rcvd.code == _DENIED:
        return _denied(error.rcvd.reason)
    return _lost(target, _words(error), error)


def _words(error: Exception) -> str:
    if isinstance(error, ConnectionClosed):
        said = error.rcvd or error.sent
        return f"the stream ended ({said.code} {said.reason})" if said else "the stream broke"
    if isinstance(error, OSError) and error.errno:
        return f"could not open a stream: {os.strerror(error.errno)}"
    return f"could not open a stream: {str(error) or type(error).__name__}"


def _denied(reason: str) -> ApiError:
    """The refusal in a close frame, `code: sentence`: the socket was open before the gateway said no."""
    code, _, detail = reason.partition(": ")
    return ApiError(_STATUS_OF.get(code, 403), {"code": code or "denied", "detail": detail})


def _lost(target: Target, reason: str, cause: Exception | None = None) -> UnreachableError:
    unreachable = UnreachableError(f"no answer from {target.url}: {reason}")
    unreachable.__cause__ = cause
    return unreachable
