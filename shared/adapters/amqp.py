"""Connections to RabbitMQ, and the translation of the drivers' errors.

Plain connections and not aio-pika's robust ones: a restored consumer would take a message for every slot,
busy or not, and a restored publisher hides how long it has been away. Who uses a connection decides when to
open the next one. Hot calls go to aio-pika's underlay channel, which costs two thirds of the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aio_pika
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from aiormq.exceptions import AMQPError, ChannelInvalidStateError
from yarl import URL

from shared.errors import Misconfigured, Unavailable
from shared.lifecycle import still_wanted, unwanted
from shared.settings import RabbitMQ

BROKEN = (AMQPError, ChannelInvalidStateError, OSError, RuntimeError, StopAsyncIteration, TimeoutError)
"""What a call on a connection that is gone, or going, may raise; StopAsyncIteration when the peer hangs up
before its greeting is read."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn the drivers' errors into Unavailable.

    The calls that wait on a connection whose heartbeats fail are rejected by aiormq with a CancelledError. In
    a task that nobody cancels it is an error like the others; else it would end that task, and in silence.
    """
    try:
        yield
        still_wanted()
    except (Misconfigured, Unavailable):
        raise
    except asyncio.CancelledError as rejected:
        if unwanted():
            raise
        raise Unavailable("RabbitMQ: the connection ended during the call") from rejected
    except Exception as error:
        if not _broken(error):
            raise
        raise Unavailable(f"RabbitMQ: {str(error) or type(error).__name__}") from error


def _broken(error: Exception) -> bool:
    """Calls in flight are rejected with the bare class where aiormq knows no reason for the end."""
    return isinstance(error, BROKEN) or type(error) is Exception


@contextmanager
def _quietly() -> Iterator[None]:
    try:
        yield
    except asyncio.CancelledError:
        still_wanted()
    except Exception as error:
        if not _broken(error):
            raise


async def connect(settings: RabbitMQ, *, name: str) -> AbstractConnection:
    """One connection, named `name` in the broker's lists.

    Raises:
        Unavailable: The broker cannot be reached, or refuses.
    """
    url = URL(settings.url.get_secret_value()).update_query(heartbeat=str(settings.heartbeat_s))
    with translated():
        async with asyncio.timeout(settings.timeout_s):
            return await aio_pika.connect(url, client_properties={"connection_name": f"leveret-{name}"})


async def close(connection: AbstractConnection) -> None:
    """Say goodbye; a connection that is gone already, or that does not answer, is simply left."""
    with _quietly():
        async with asyncio.timeout(2):
            await connection.close()


@asynccontextmanager
async def open_channel(connection: AbstractConnection) -> AsyncIterator[AbstractChannel]:
    """A channel for one purpose; what ends one purpose's channel must not end another's."""
    channel = connection.channel()
    with translated():
        await channel.initialize()
        try:
            yield await channel.get_underlay_channel()
        finally:
            await _close_channel(channel)


async def _close_channel(channel: aio_pika.abc.AbstractChannel) -> None:
    with _quietly():
        async with asyncio.timeout(2):
            await channel.close()
