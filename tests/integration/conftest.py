"""A gateway of the module's own on real servers, a look behind it, and a client with the module's `key`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from tests.gateway_process import Backstage, GatewayProcess, api, backstage, gateway_process


@pytest.fixture(scope="module")
def gateway(stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway_process(stack_env, tmp_path_factory.mktemp("gateway")) as started:
        yield started


@pytest.fixture(scope="module")
async def behind(stack_env: dict[str, str], gateway: GatewayProcess) -> AsyncIterator[Backstage]:
    assert gateway.url
    async with backstage(stack_env) as opened:
        yield opened


@pytest.fixture
async def client(gateway: GatewayProcess, key: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with api(gateway.url, key) as opened:
        yield opened
