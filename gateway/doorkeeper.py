"""Keeps the public port shut to the network for as long as nobody has a key.

Beyond this machine a gateway without keys would only invite attempts. On loopback it may listen: who is there
can make a key as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from ipaddress import ip_address
from typing import Protocol

import structlog

from shared.errors import Misconfigured, Unavailable

log = structlog.get_logger()

LOOK_S = 1.0
TELL_EVERY = 30
HOW = "python -m gateway.keys create --tenant default --role operator --name first"
NO_KEY = f"there is no API key, so the gateway does not listen beyond this machine; make one: {HOW}"


class AnyKey(Protocol):
    """Knows whether there is a key that works."""

    async def any(self) -> bool:
        """Raises Unavailable."""


class Doorkeeper:
    """Asks for the first key.

    Args:
        host: Where the gateway is to listen.
        keys: The keys there are.
    """

    def __init__(self, host: str, keys: AnyKey) -> None:
        self._near = is_loopback(host)
        self._keys = keys

    async def check(self) -> None:
        """Raise Misconfigured while the port stays shut.

        Raises:
            Misconfigured: There is no key; says how to make one.
            Unavailable: The store cannot say.
        """
        if not self._near and not await self._keys.any():
            raise Misconfigured(NO_KEY)

    async def admitted(self, draining: asyncio.Event, *, look_s: float = LOOK_S) -> None:
        """Return when the port may be opened, or when this process is to end."""
        looks = 0
        while not draining.is_set():
            try:
                await self.check()
            except (Misconfigured, Unavailable) as error:
                if looks % TELL_EVERY == 0:
                    log.warning("gateway.shut", reason=str(error))
            else:
                return
            looks += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(look_s):
                    await draining.wait()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
