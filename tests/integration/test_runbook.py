"""Every command of the alerts' pages, as it stands there, against a real stack that Prometheus scrapes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.recovery import PAGES, administered, blocks_of, run
from tests.stack import make_bucket
from tests.watched import Watched, watched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(180)]

APART = {"backup.md", "postgresql-failover.md", "upgrade.md", "production.md"}
"""They stop servers, or want machines of their own."""
BLOCKS = {
    f"{page.stem} {number}": block
    for page in sorted(PAGES.glob("*.md"))
    if page.name not in APART
    for number, block in enumerate(blocks_of(page), 1)
}
PATIENCE_S = 60


@pytest.fixture(scope="module")
async def environment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    """As the pages ask for it, of a stack that runs."""
    async with administered() as (_, settings):
        env = settings | {"LEVERET_S3_BUCKET": "runbook"}
        await make_bucket(env)
        status, printed = await run("python -m shared.adapters.store.migrate", env)
        assert status == 0, printed
        async with watched(env, tmp_path_factory.mktemp("watched")) as stack:
            await _until_all_is_known(stack)
            yield env | _of(stack)


async def _until_all_is_known(stack: Watched) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await stack.prometheus.query('leveret_worker_errors_total{model="broken"}'):
            await asyncio.sleep(0.2)


def _of(stack: Watched) -> dict[str, str]:
    return {
        "LEVERET_URL": stack.gateway.url,
        "LEVERET_API_KEY": stack.key,
        "GATEWAY_ADMIN": stack.gateway.admin_url,
        "PROMETHEUS": str(stack.prometheus.client.base_url).rstrip("/"),
        "LOGS": str(stack.logs),
        "CATALOG": str(stack.catalog),
        "QUEUE": "quick",
        "MODEL": "thumbnail",
    }


@pytest.mark.parametrize("block", BLOCKS)
async def test_a_command_of_the_runbook_works(environment: dict[str, str], block: str) -> None:
    status, printed = await run(BLOCKS[block], environment)
    assert status == 0, f"{BLOCKS[block]}\n{printed}"


async def test_readiness_says_ok_where_the_runbook_says_so(environment: dict[str, str]) -> None:
    _, printed = await run('curl -sS "$GATEWAY_ADMIN/readyz"', environment)
    assert '"status":"ok"' in printed
