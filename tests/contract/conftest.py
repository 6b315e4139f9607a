"""Who signs, who serves and who reads in the tests of inputs from the web."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.authority import Authority, make_authority
from tests.webreader import INSIDE, NAME, OUTSIDE, Reader
from tests.website import Website, never, website


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> ssl.SSLContext:
    return authority.server(f"DNS:{NAME}", "DNS:localhost", f"IP:{OUTSIDE}")


@pytest.fixture
def reader(authority: Authority, tmp_path: Path) -> Reader:
    return Reader(authority, tmp_path)


@pytest.fixture
async def inside() -> AsyncIterator[Website]:
    """A server of the network inside, which nobody may visit."""
    async with website(never, None, host=INSIDE) as site:
        yield site
        assert site.visits == 0
