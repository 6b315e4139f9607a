"""No secret reaches a log line, whatever is away or refuses: in real processes, all passwords one word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from deploy.local.ports import free_ports
from tests.e2e.processes import House, until
from tests.gateway_process import GatewayProcess, api, backstage, gateway_process, submit

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

WORD = "hunter2"


def elsewhere(url: str) -> str:
    """The same server's address with another port, where nobody listens, and the word as password."""
    (closed,) = free_ports(1)
    return urlunsplit(urlsplit(url)._replace(netloc=f"somebody:{WORD}@127.0.0.1:{closed}"))


def refused(url: str) -> str:
    """The server's address with a password that it refuses."""
    server = urlsplit(url)
    return urlunsplit(
        server._replace(netloc=f"{server.username or 'nobody'}:{WORD}@{server.hostname}:{server.port}")
    )


@pytest.fixture(params=["away", "refusing"])
def env(request: pytest.FixtureRequest, stack_env: dict[str, str]) -> dict[str, str]:
    """RabbitMQ and Redis are away, or refuse the password; S3 refuses its secret."""
    change = elsewhere if request.param == "away" else refused
    wrong = {name: change(stack_env[name]) for name in ("LEVERET_RABBITMQ_URL", "LEVERET_REDIS_URL")}
    return {**stack_env, **wrong, "LEVERET_S3_SECRET_KEY": WORD}


@pytest.fixture
def gateway(env: dict[str, str], tmp_path: Path) -> Iterator[GatewayProcess]:
    with gateway_process(env, tmp_path, until="livez", LEVERET_LOG_LEVEL="debug") as started:
        yield started


async def test_a_gateway_whose_servers_are_wrong_says_so_without_their_passwords(
    gateway: GatewayProcess, env: dict[str, str]
) -> None:
    async with backstage(env) as behind:
        key = await behind.key("secretive")
    async with api(gateway.url, key) as http:
        job = await submit(http, metadata={"password": WORD})
        asked = await http.get(f"/v1/jobs/{job['id']}")
        await http.post("/v1/jobs", headers={"Authorization": f"Bearer lev_{WORD}"}, json={"model": WORD})
    async with api(gateway.admin_url, None) as admin:
        told = (await admin.get("/readyz")).text
    log = gateway.log.read_text()
    assert "job.publish_unconfirmed" in log
    assert WORD not in log
    assert key not in log
    assert WORD not in told
    assert asked.json()["metadata"] == {"password": WORD}  # the job's own tenant may see it


async def test_a_worker_whose_servers_are_wrong_says_so_without_their_passwords(
    env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "catalog").mkdir()
    house = House({**env, "LEVERET_LOG_LEVEL": "debug"}, tmp_path / "catalog", tmp_path)
    with house.worker("free", ready=False) as worker:
        await until(lambda: worker.logged("consumer.disconnected"), why="it fails to consume")
        await until(lambda: worker.logged("bus.listener_lost"), why="it fails to listen")
    assert WORD not in worker.log.read_text()


async def test_a_process_that_cannot_start_says_why_without_the_password(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "catalog").mkdir()
    house = House(
        {**stack_env, "LEVERET_POSTGRES_DSN": elsewhere(stack_env["LEVERET_POSTGRES_DSN"])},
        tmp_path,
        tmp_path,
    )
    with house.worker("free", ready=False) as worker:
        assert await worker.exit_code() != 0
    said = worker.log.read_text()
    assert "process.failed" in said
    assert WORD not in said
