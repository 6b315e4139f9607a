"""The launch that was written down last, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from shared.adapters.store.fleet import FleetStore
from shared.adapters.store.pool import Database, open_database
from shared.settings import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    async with open_database(Postgres(dsn=SecretStr(postgres_dsn)), name="test", size=1) as opened:
        await opened.write("delete from decisions")
        yield opened


async def decide(store: FleetStore, fleet: str, **actions: object) -> None:
    await store.record(fleet, want=1, have=0, reason="", snapshot={}, actions=actions)


async def test_the_last_launch_is_the_latest_one_with_a_token(database: Database) -> None:
    store = FleetStore(database)
    assert await store.last_launch("images") is None

    await decide(store, "images", launch=2, token="first")
    await decide(store, "images", launch=3, token="second")
    await decide(store, "images", launch=0, drain=["a"])
    await decide(store, "quick", launch=1, token="another")

    last = await store.last_launch("images")
    assert last is not None
    assert (last.token, last.count) == ("second", 3)
    assert 0 <= last.age_s < 60


async def test_a_launch_of_long_ago_is_forgotten(database: Database) -> None:
    store = FleetStore(database)
    await decide(store, "images", launch=2, token="old")
    await database.write("update decisions set at = at - interval '50 minutes'")
    last = await store.last_launch("images")
    assert last is not None
    assert 3000 <= last.age_s < 3100

    await database.write("update decisions set at = at - interval '11 minutes'")
    assert await store.last_launch("images") is None
