"""The admin port of a process: /livez, /readyz and /metrics, without authentication, never public."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, disable_created_metrics, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from shared.aside import Aside
from shared.errors import LeveretError
from shared.lifecycle import Lifecycle
from shared.serving import EmbeddedServer

log = structlog.get_logger()

disable_created_metrics()  # type: ignore[no-untyped-call]  # twice as many series, which nobody asks for

Check = Callable[[], Awaitable[None]]
CHECK_TIMEOUT_S = 3.0
METRICS_S = 8.0
"""A scraper gives up after ten."""
EVERYWHERE = {"0.0.0.0", ""}
ELSEWHERE = ("192.0.2.1", 9)
"""An address of the block for documentation: nobody's."""


def admin_app(checks: Mapping[str, Check], routes: Sequence[BaseRoute] = ()) -> Starlette:
    """The application of the admin port.

    Args:
        checks: By dependency name, a call that raises a LeveretError (or takes too long) when it is away.
        routes: What the process answers there of its own.
    """
    asked: Aside[bytes] = Aside()  # some figures are asked of a driver

    async def livez(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        failing = await _failing(checks)
        status = "unavailable" if failing else "ok"
        return JSONResponse({"status": status, "failing": failing}, 503 if failing else 200)

    async def metrics(_: Request) -> Response:
        try:
            page = await asked.answer(generate_latest, within_s=METRICS_S)
        except TimeoutError:
            return Response("a driver that was asked for figures does not answer", 503)
        return Response(page, media_type=CONTENT_TYPE_LATEST)

    common = [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]
    return Starlette(routes=[*common, *routes])


async def _failing(checks: Mapping[str, Check]) -> dict[str, str]:
    names = list(checks)
    answers = await asyncio.gather(*(_problem(checks[name]) for name in names))
    return {name: answer for name, answer in zip(names, answers, strict=True) if answer}


async def _problem(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check()
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_S:g} s"
    except LeveretError as error:
        return str(error)
    return None


async def serve_admin(
    lifecycle: Lifecycle,
    host: str,
    port: int,
    checks: Mapping[str, Check],
    routes: Sequence[BaseRoute] = (),
) -> int:
    """Serve the admin port as a side task.

    Returns:
        The port, which the system chose where 0 was asked for.
    """
    listener = socket.create_server((host, port))
    chosen: int = listener.getsockname()[1]
    config = uvicorn.Config(
        admin_app(checks, routes),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    lifecycle.spawn("admin", partial(EmbeddedServer(config).serve_until_cancelled, listener))
    log.info("admin.listening", host=host, port=chosen)
    return chosen


def reachable(host: str, port: int) -> str:
    """Where others find a listener, as ``host:port``.

    One on all interfaces is found at the address from which this machine would call others: the kernel says
    so, and no packet is sent.
    """
    return f"{_own_address() if host in EVERYWHERE else host}:{port}"


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(ELSEWHERE)
        except OSError:  # no way out of this machine
            return socket.gethostname()
        address: str = asking.getsockname()[0]
        return address
