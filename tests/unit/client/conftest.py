from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from gateway.client import AsyncClient, RetryPolicy
from tests.fakes.gateway import KEY, FakeGateway, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

QUICK = RetryPolicy(budget_s=5, base_s=0.01, cap_s=0.02)


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with serving(FakeGateway()) as fake:
        fake.succeed()
        yield fake


@pytest.fixture
async def client(gateway: FakeGateway) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(gateway.url, KEY, timeout_s=5, retry=QUICK, reconnect=QUICK) as made:
        yield made


@pytest.fixture
def unused_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
