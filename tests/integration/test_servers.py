"""The private servers themselves: each serves a client, strangers are refused, nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import aio_pika
import asyncpg
import pytest
import redis.asyncio
from botocore.exceptions import ClientError

from deploy.local import processes
from deploy.local.ports import free_ports, is_free
from deploy.local.private import PrivateServers
from deploy.local.processes import Process
from deploy.local.seaweedfs import s3_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


async def test_each_server_serves_a_client(servers: dict[str, str]) -> None:
    connection = await asyncpg.connect(servers["LEVERET_POSTGRES_DSN"])
    assert connection.get_server_version().major >= 14
    await connection.close()
    async with await aio_pika.connect(servers["LEVERET_RABBITMQ_URL"]) as broker:
        channel = await broker.channel()
        await channel.declare_queue("probe", durable=True, arguments={"x-max-priority": 10})
    async with redis.asyncio.from_url(servers["LEVERET_REDIS_URL"]) as cache:
        assert await cache.ping()
    async with s3_client(servers) as s3:
        await s3.put_object(Bucket=servers["LEVERET_S3_BUCKET"], Key="a/b", Body=b"bytes")
        answer = await s3.get_object(Bucket=servers["LEVERET_S3_BUCKET"], Key="a/b")
        assert await answer["Body"].read() == b"bytes"


async def test_a_dead_server_comes_back_where_it_was_and_the_living_stay(folder: Path) -> None:
    # Given two servers of our own, one of which was killed
    own = {"LEVERET_RABBITMQ_URL": "amqp://theirs/", "LEVERET_S3_ENDPOINT": "http://theirs/"}
    private = PrivateServers(folder, own=own, tied=True)
    try:
        settings = await private.start()
        before = dict(private.state.processes)
        before["redis"].signal(signal.SIGKILL)
        assert not await private.healthy()
        # When another call mends them
        later = PrivateServers(folder, own=own, tied=True)
        assert await later.mend() == settings
        # Then the dead one serves on its port again, and the other one was left alone
        assert await later.healthy()
        assert later.state.processes["redis"] != before["redis"]
        assert later.state.processes["postgresql"] == before["postgresql"]
        await later.stop()
    finally:
        await private.stop()
        private.remove_data()


async def test_a_wrong_secret_is_refused(servers: dict[str, str]) -> None:
    secret = servers["LEVERET_S3_SECRET_KEY"]
    stranger = {name: value.replace(secret, "guessed") for name, value in servers.items()}
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(stranger["LEVERET_POSTGRES_DSN"])
    with pytest.raises(aio_pika.exceptions.ProbableAuthenticationError):
        await aio_pika.connect(stranger["LEVERET_RABBITMQ_URL"])
    with pytest.raises(redis.exceptions.AuthenticationError):
        async with redis.asyncio.from_url(stranger["LEVERET_REDIS_URL"]) as cache:
            await cache.ping()
    async with s3_client(stranger) as s3:
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            await s3.list_objects_v2(Bucket=servers["LEVERET_S3_BUCKET"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder no other account can enter: as root, data then go elsewhere."""
    tmp_path.chmod(0o700)
    return tmp_path / "stack"


@pytest.fixture
def only_redis() -> dict[str, str]:
    """Own addresses for all but Redis, so that the quickest server stands for all."""
    names = ("LEVERET_POSTGRES_DSN", "LEVERET_RABBITMQ_URL", "LEVERET_S3_ENDPOINT")
    return dict.fromkeys(names, "their own")


@pytest.fixture
async def first(folder: Path, only_redis: dict[str, str]) -> AsyncIterator[PrivateServers]:
    servers = PrivateServers(folder, own=only_redis, tied=True)
    yield servers
    await servers.stop()
    servers.remove_data()


@pytest.fixture
async def again(folder: Path, only_redis: dict[str, str]) -> AsyncIterator[PrivateServers]:
    servers = PrivateServers(folder, own=only_redis, tied=True)
    yield servers
    await servers.stop()
    servers.remove_data()


async def test_the_users_own_servers_are_used_as_they_are(
    first: PrivateServers, only_redis: dict[str, str]
) -> None:
    settings = await first.start()
    assert set(first.state.processes) == {"redis"}
    assert settings.items() >= only_redis.items()


async def test_servers_come_back_on_their_ports_after_a_kill(
    folder: Path, first: PrivateServers, again: PrivateServers
) -> None:
    # Given a stack whose servers were killed, its state file left behind
    settings = await first.start()
    await processes.stop(processes.family(folder), deadline_s=5, first=signal.SIGKILL)
    # When it starts again
    assert not await again.healthy()
    await again.stop()
    restarted = await again.start()
    # Then it has its addresses back, and stopping leaves nothing
    assert restarted == settings
    assert await again.healthy()
    await again.stop()
    assert processes.family(folder) == []
    again.remove_data()
    assert not any(map(os.path.exists, (again.place.data, folder)))


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        yield child
        child.kill()


async def test_a_recycled_pid_is_never_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    # Given a record of an earlier process that had this one's pid
    now = Process.of(sleeper.pid)
    assert now is not None
    for earlier in (
        Process(now.pid, now.started - 1, now.boot),
        Process(now.pid, now.started, "another boot"),
    ):
        # When it is stopped
        await processes.stop([earlier], deadline_s=0.2)
    # Then the present one lives on
    assert sleeper.poll() is None
    assert now.alive()


async def test_descendants_without_the_mark_belong_to_the_stack(tmp_path: Path) -> None:
    # Given a marked process whose child has an environment of its own
    script = "import subprocess; subprocess.run(['sleep', '60'], env={'PATH': '/usr/bin:/bin'})"
    parent = processes.spawn(
        [sys.executable, "-c", script],
        folder=tmp_path,
        log=tmp_path / "log",
        env={"PATH": os.defpath},
        user=None,
    )
    async with asyncio.timeout(10):
        while len(processes.family(tmp_path)) < 2:
            await asyncio.sleep(0.02)
    # When the stack is stopped
    await processes.stop(processes.family(tmp_path), deadline_s=5)
    # Then neither is left
    assert processes.family(tmp_path) == []
    parent.wait(timeout=5)


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(map(is_free, ports))
