"""Logging in with a key on a running gateway: the cookie, what it may change, and when it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http.cookies import SimpleCookie

import httpx2
import pytest

from gateway.auth import COOKIE
from gateway.routes.session import SessionView
from shared.adapters.store.sessions import SessionStore
from tests.gateway_process import Backstage, GatewayProcess, api, gateway_process

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


@pytest.fixture
async def key(behind: Backstage) -> str:
    return await behind.keys.create("browsers", "laptop", "operator")


@pytest.fixture
async def page(gateway: GatewayProcess) -> AsyncIterator[httpx2.AsyncClient]:
    """A page of the gateway in a browser."""
    async with api(gateway.url, None) as browser:
        browser.headers["Origin"] = gateway.url
        yield browser


async def log_in(page: httpx2.AsyncClient, key: str) -> str:
    answer = await page.post("/v1/session", json={"key": key})
    assert answer.status_code == 201, answer.text
    SessionView.model_validate(answer.json())
    return str(answer.json()["csrf"])


async def test_a_session_reads_at_once_and_changes_with_its_token(page: httpx2.AsyncClient, key: str) -> None:
    csrf = await log_in(page, key)
    # Reading takes the cookie alone
    seen = await page.get("/v1/session")
    assert (seen.status_code, seen.json()["csrf"], seen.json()["role"]) == (200, csrf, "operator")
    # A change takes the token as well
    refused = await page.post("/v1/jobs", json={"model": "free"})
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf_refused")
    accepted = await page.post("/v1/jobs", json={"model": "free"}, headers={"X-CSRF-Token": csrf})
    assert accepted.status_code == 202
    # And an Origin of ours
    elsewhere = {"X-CSRF-Token": csrf, "Origin": "https://evil.example"}
    assert (await page.post("/v1/jobs", json={"model": "free"}, headers=elsewhere)).status_code == 403
    # Logged out, it is nobody's any more
    assert (await page.delete("/v1/session", headers={"X-CSRF-Token": csrf})).status_code == 204
    assert (await page.get("/v1/session")).status_code == 401


async def test_a_key_counts_whatever_cookie_comes_with_it(page: httpx2.AsyncClient, key: str) -> None:
    page.cookies.set(COOKIE, "A" * 43)
    assert (await page.get("/v1/session")).status_code == 401
    for method, status in (("GET", 200), ("DELETE", 204)):
        answer = await page.request(method, "/v1/session", headers={"X-API-Key": key})
        assert answer.status_code == status


async def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(
    page: httpx2.AsyncClient, key: str, stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    answer = await page.post("/v1/session", json={"key": key})
    cookie = SimpleCookie(answer.headers["set-cookie"])[COOKIE]
    assert (cookie["httponly"], cookie["samesite"].lower(), cookie["path"]) == (True, "strict", "/")
    assert not cookie["secure"]
    assert key not in str(answer.headers)
    folder = tmp_path_factory.mktemp("tls")
    with gateway_process(stack_env, folder, LEVERET_GATEWAY_PUBLIC_URL="https://leveret.example") as other:
        async with api(other.url, None) as browser:
            answer = await browser.post("/v1/session", json={"key": key})
    assert SimpleCookie(answer.headers["set-cookie"])[COOKIE]["secure"]


@pytest.mark.parametrize("wrong", ["lev_" + "x" * 43, "hunter2", " "])
async def test_a_wrong_key_opens_no_session(page: httpx2.AsyncClient, wrong: str) -> None:
    answer = await page.post("/v1/session", json={"key": wrong})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert "set-cookie" not in answer.headers
    assert wrong.strip() not in answer.text or not wrong.strip()


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b'{"key": 5}', b'{"key": "a", "more": 1}'])
async def test_a_login_that_is_none_is_told_so(page: httpx2.AsyncClient, body: bytes) -> None:
    answer = await page.post("/v1/session", content=body)
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_session_ends_with_its_key(behind: Backstage, key: str) -> None:
    sessions = SessionStore(behind.database)
    secret = await sessions.start(key, ttl_s=60)
    assert secret is not None
    found = await sessions.find(secret)
    assert found is not None
    assert (await behind.keys.revoke(found.holder.key_id)) is not None
    assert await sessions.find(secret) is None
    assert await sessions.start(key, ttl_s=60) is None
    assert await behind.keys.find(key) is None


async def test_a_session_lasts_no_longer_than_its_key_and_is_swept(behind: Backstage) -> None:
    sessions = SessionStore(behind.database)
    row, key = await behind.keys.issue("browsers", "guest", "user", expires_in_s=3600)
    secret = await sessions.start(key, ttl_s=86400)
    assert secret is not None
    found = await sessions.find(secret)
    assert found is not None
    assert found.expires_at == row.expires_at
    # When it is over it is found no more, and the next login removes it
    await behind.database.write("update sessions set expires_at = clock_timestamp() - interval '1 s'")
    assert await sessions.find(secret) is None
    await sessions.start(key, ttl_s=60)
    assert (await behind.database.read("select count(*) as n from sessions"))[0]["n"] == 1


async def test_a_keys_last_use_is_told_to_the_minute(behind: Backstage) -> None:
    row, key = await behind.keys.issue("browsers", "used", "user")
    assert row.last_used_at is None
    await behind.keys.find(key)
    marked = next(each for each in await behind.keys.listed() if each.id == row.id).last_used_at
    assert marked is not None
    await behind.keys.find(key)
    assert next(each for each in await behind.keys.listed() if each.id == row.id).last_used_at == marked


async def test_a_key_that_ended_works_no_more(behind: Backstage) -> None:
    _, key = await behind.keys.issue("browsers", "short", "user", expires_in_s=0)
    assert await behind.keys.find(key) is None
