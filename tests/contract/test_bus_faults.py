"""Redis at its worst: connections killed, memory full, nobody there, silence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import redis.asyncio
from pydantic import SecretStr

from deploy.local.ports import free_ports
from shared.adapters import listener as listener_module
from shared.adapters.bus import Bus, job_key, open_bus
from shared.adapters.listener import channel
from shared.errors import Unavailable
from shared.settings import Redis
from tests.contract.test_bus import TENANT, event, listening

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


@pytest.fixture
async def bus(redis_url: str) -> AsyncIterator[Bus]:
    async with open_bus(Redis(url=SecretStr(redis_url))) as opened:
        yield opened


@pytest.fixture
async def control(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.from_url(redis_url, protocol=2) as client:
        yield client


async def test_a_killed_connection_is_told_and_made_anew(bus: Bus, control: redis.asyncio.Redis) -> None:
    listener = bus.listener()
    async with listening(listener) as heard:
        listener.follow(TENANT)
        await heard.next()
        for _ in range(3):
            await control.client_kill_filter(_type="pubsub")
            assert await heard.next() == ("lost",)
            assert await heard.next() == ("confirmed", TENANT)
        mine = event()
        await bus.announce(TENANT, mine)
        assert await heard.next() == ("received", TENANT, mine)


async def test_with_its_memory_full_redis_still_pushes(bus: Bus, control: redis.asyncio.Redis) -> None:
    listener = bus.listener()
    mine = event()
    async with listening(listener) as heard:
        listener.follow(TENANT)
        await heard.next()
        await control.config_set("maxmemory", 1)
        try:
            await bus.announce(TENANT, mine, b'{"seq":1}')
        finally:
            await control.config_set("maxmemory", 0)
        assert await heard.next() == ("received", TENANT, mine)
    assert await bus.result(TENANT, mine.job_id) is None


async def test_results_expire_and_rubbish_in_their_place_is_replaced(
    bus: Bus, control: redis.asyncio.Redis
) -> None:
    mine = event()
    key = job_key(TENANT, mine.job_id)
    await control.set(key, b"no json")
    await bus.announce(TENANT, mine, b'{"seq":1}')
    assert await bus.result(TENANT, mine.job_id) == b'{"seq":1}'
    assert 604700 < await control.ttl(key) <= 604800


async def test_rubbish_on_a_channel_stops_nothing(bus: Bus, control: redis.asyncio.Redis) -> None:
    listener = bus.listener()
    async with listening(listener) as heard:
        listener.follow(TENANT)
        await heard.next()
        await control.publish(channel(TENANT), b"\xff rubbish")
        await control.publish(channel(TENANT), b"{}")
        mine = event()
        await bus.announce(TENANT, mine)
        assert await heard.next() == ("received", TENANT, mine)


async def test_without_redis_each_call_says_so_in_time() -> None:
    (port,) = free_ports(1)
    settings = Redis(url=SecretStr(f"redis://127.0.0.1:{port}/0"), timeout_s=0.3)
    async with open_bus(settings) as bus:
        for call in (bus.ping(), bus.announce(TENANT, event()), bus.result(TENANT, event().job_id)):
            with pytest.raises(Unavailable):
                await call


async def test_a_silent_redis_is_given_up_within_the_limit() -> None:
    # Given a server that takes connections and never answers
    held = []
    server = await asyncio.start_server(lambda *streams: held.append(streams), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = Redis(url=SecretStr(f"redis://127.0.0.1:{port}/0"), timeout_s=0.3)
    async with open_bus(settings) as bus:
        with pytest.raises(Unavailable):
            await bus.ping()
        listener = bus.listener()
        async with listening(listener) as heard:
            listener.follow(TENANT)
            assert await heard.next() == ("lost",)
            assert await heard.next() == ("lost",)
    for _, writer in held:
        writer.close()
    server.close()


class Relay:
    """A TCP relay that can go dark without closing anything."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._pumps: set[asyncio.Task[None]] = set()
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        for source, target in ((reader, far_writer), (far_reader, writer)):
            self._pumps.add(asyncio.create_task(self._pump(source, target)))

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(4096):
                await self.flowing.wait()
                target.write(piece)
        finally:
            target.close()

    async def stop(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)


async def test_a_connection_that_falls_silent_is_noticed_by_the_ping(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "PING_EVERY_S", 0.1)
    monkeypatch.setattr(listener_module, "SILENCE_S", 0.3)
    # Given a listener behind a relay
    server = urlsplit(redis_url)
    relay = Relay(str(server.hostname), int(server.port or 0))
    front = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
    port = front.sockets[0].getsockname()[1]
    through = redis_url.replace(f":{server.port}/", f":{port}/")
    async with open_bus(Redis(url=SecretStr(through), timeout_s=0.5)) as bus:
        listener = bus.listener()
        async with listening(listener) as heard:
            listener.follow(TENANT)
            assert await heard.next() == ("confirmed", TENANT)
            # When it goes dark, then the listener notices; and it comes back with the light
            relay.flowing.clear()
            assert await heard.next() == ("lost",)
            relay.flowing.set()
            while (signal := await heard.next()) == ("lost",):
                pass
            assert signal == ("confirmed", TENANT)
    front.close()
    await relay.stop()


async def test_a_reconnect_of_the_driver_under_the_reader_ends_one_connection_and_no_process(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ping that cannot be written makes the driver connect anew while the reader still waits."""
    monkeypatch.setattr(listener_module, "PING_EVERY_S", 0.1)
    ping, failures = redis.asyncio.client.PubSub.ping, [RuntimeError("readuntil() called while another …")]

    async def fail_once(self: redis.asyncio.client.PubSub) -> object:
        if failures:
            raise failures.pop()
        return await ping(self)

    monkeypatch.setattr(redis.asyncio.client.PubSub, "ping", fail_once)
    listener = bus.listener()
    async with listening(listener) as heard:
        listener.follow(TENANT)
        assert await heard.next() == ("confirmed", TENANT)
        assert await heard.next() == ("lost",)
        assert await heard.next() == ("confirmed", TENANT)


async def test_a_lost_connection_keeps_no_loop_busy(redis_url: str, control: redis.asyncio.Redis) -> None:
    async with open_bus(Redis(url=SecretStr(redis_url))) as bus:
        listener = bus.listener()
        async with listening(listener) as heard:
            listener.follow(TENANT)
            await heard.next()
            await control.client_kill_filter(_type="pubsub")
            used = time.process_time()
            await heard.next()
            await heard.next()
            assert time.process_time() - used < 1
