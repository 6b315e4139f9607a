"""Where the workers' metrics are, for Prometheus: its HTTP service discovery reads this of the admin port.

A worker that the scaler starts as a process has whatever port was free; it tells it with its heartbeat.
Nothing here asks the workers themselves.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.errors import LeveretError

HEARD_S = 600.0
"""For so long a silent worker stays a target: the alert that it is absent takes five minutes."""


class Target(Protocol):
    """A worker that tells its metrics."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def queue(self) -> str:
        """Whom it serves."""

    @property
    def host(self) -> str:
        """Its machine's name."""

    @property
    def admin(self) -> str:
        """Its admin port, as ``host:port``."""


class Roll(Protocol):
    """Knows the workers."""

    async def targets(self, heard_s: float) -> Sequence[Target]:
        """Those heard of within so many seconds; raises a LeveretError."""


def targets_route(roll: Roll, *, here: str = "") -> Route:
    """``GET /targets`` answers Prometheus' list of target groups, one for each worker.

    503 while PostgreSQL is away: Prometheus keeps what it knew, for unknown is not none.

    Args:
        roll: The workers' rows.
        here: This machine's name; asked of the system where it is not given.
    """
    machine = here or socket.gethostname()

    async def targets(_: Request) -> Response:
        try:
            found = await roll.targets(HEARD_S)
        except LeveretError as error:
            return JSONResponse({"detail": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)
        return JSONResponse(
            [_group(each) for each in found if each.host == machine or not _loopback(each.admin)]
        )

    return Route("/targets", targets)


def _group(target: Target) -> dict[str, Any]:
    """Its labels are gone after relabeling: a worker's id would make a series of its own for each start."""
    labels = {"__meta_leveret_worker": target.id, "__meta_leveret_queue": target.queue}
    return {"targets": [target.admin], "labels": labels}


def _loopback(address: str) -> bool:
    """Another machine's loopback would be Prometheus' own."""
    host = address.rpartition(":")[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
