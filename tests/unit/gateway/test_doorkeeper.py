"""The public port stays shut to the network while nobody has a key."""

from __future__ import annotations

import asyncio

import pytest

from gateway.doorkeeper import Doorkeeper, is_loopback
from shared.errors import Misconfigured, Unavailable

pytestmark = pytest.mark.anyio


class FirstKey:
    """No answer, then no key, then one."""

    def __init__(self) -> None:
        self.looks = 0

    async def any(self) -> bool:
        self.looks += 1
        if self.looks == 1:
            raise Unavailable("PostgreSQL is away")
        return self.looks > 2


async def test_beyond_this_machine_it_waits_for_the_first_key() -> None:
    keys = FirstKey()
    await Doorkeeper("0.0.0.0", keys).admitted(asyncio.Event(), look_s=0.001)
    assert keys.looks == 3


async def test_on_this_machine_it_asks_for_none() -> None:
    keys = FirstKey()
    await Doorkeeper("127.0.0.1", keys).admitted(asyncio.Event())
    assert keys.looks == 0


async def test_a_gateway_that_shall_end_waits_no_longer() -> None:
    draining = asyncio.Event()
    draining.set()
    await Doorkeeper("::", FirstKey()).admitted(draining)


async def test_it_says_how_to_make_a_key() -> None:
    keys = FirstKey()
    keys.looks = 1
    with pytest.raises(Misconfigured, match=r"python -m gateway\.keys create"):
        await Doorkeeper("10.0.0.1", keys).check()


@pytest.mark.parametrize(
    ("host", "near"),
    [
        *((host, True) for host in ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "gateway.internal", "")),
    ],
)
def test_only_loopback_is_this_machine(host: str, *, near: bool) -> None:
    assert is_loopback(host) is near
