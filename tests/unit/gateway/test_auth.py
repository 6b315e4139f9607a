from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest

from gateway.auth import CACHE_S, CACHE_SIZE, COOKIE, Authenticator
from gateway.origins import Origins
from gateway.refusals import CsrfRefused, Unauthorized

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Holder:
    tenant: str
    name: str = "test"
    role: str = "user"
    s3_prefixes: tuple[str, ...] = ()
    key_id: UUID = field(default=UUID(int=1))


@dataclass
class Keys:
    holders: dict[str, Holder] = field(default_factory=dict)
    asked: int = 0

    async def find(self, key: str) -> Holder | None:
        self.asked += 1
        return self.holders.get(key)


@dataclass(frozen=True)
class LoggedIn:
    holder: Holder
    expires_at: datetime = datetime(2026, 11, 22, 21, 30, tzinfo=UTC)


@dataclass
class Sessions:
    """Sessions by their secret, for keys that the test knows."""

    keys: Keys
    open: dict[str, LoggedIn] = field(default_factory=dict)
    asked: int = 0

    async def start(self, key: str, *, ttl_s: float) -> str | None:
        if key not in self.keys.holders:
            return None
        secret = f"{len(self.open):043d}"
        self.open[secret] = LoggedIn(self.keys.holders[key])
        return secret

    async def find(self, secret: str) -> LoggedIn | None:
        self.asked += 1
        return self.open.get(secret)

    async def end(self, secret: str) -> None:
        self.open.pop(secret, None)


class Browser:
    """Somebody who has logged in on a page of the gateway, and who moves the clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.keys = Keys({key(1): Holder("acme", role="operator")})
        self.sessions = Sessions(self.keys)
        origins = Origins("https://leveret.example/base", ["https://friend.example"])
        self.auth = Authenticator(self.keys, self.sessions, origins, clock=lambda: self.now)

    async def log_in(self) -> dict[str, str]:
        """The headers that a page of ours sends from now on, its change token with them."""
        session = await self.auth.log_in(key(1), {"origin": "https://leveret.example"})
        return {
            "cookie": f"theme=dark; {COOKIE}={session.secret}",
            "origin": "https://leveret.example",
            "x-csrf-token": session.csrf,
        }


def key(number: int) -> str:
    return f"lev_{number:043d}"


async def test_a_known_key_is_asked_for_once_in_a_while() -> None:
    now = 100.0
    keys = Keys({key(1): Holder("acme")})
    auth = Authenticator(keys, clock=lambda: now)
    for headers in (
        {"authorization": f"Bearer {key(1)}"},
        {"x-api-key": key(1)},
        {"authorization": f"bearer  {key(1)}"},
    ):
        assert (await auth.caller(headers)).tenant == "acme"
    assert keys.asked == 1
    # When the key is revoked, it works no longer than the cache lasts
    keys.holders.clear()
    now += CACHE_S + 0.1
    with pytest.raises(Unauthorized):
        await auth.caller({"x-api-key": key(1)})


async def test_an_unknown_key_is_not_remembered() -> None:
    keys = Keys()
    auth = Authenticator(keys)
    with pytest.raises(Unauthorized):
        await auth.caller({"x-api-key": key(1)})
    keys.holders[key(1)] = Holder("acme")
    assert (await auth.caller({"x-api-key": key(1)})).tenant == "acme"


async def test_the_memory_is_bounded_and_holds_no_key() -> None:
    keys = Keys({key(number): Holder("acme") for number in range(CACHE_SIZE + 10)})
    auth = Authenticator(keys)
    for number in range(CACHE_SIZE + 10):
        await auth.caller({"x-api-key": key(number)})
    assert len(auth._known) == CACHE_SIZE
    assert key(CACHE_SIZE) not in str(auth._known)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": "lev_short"},
        {"authorization": "Basic abc"},
        {"authorization": "Bearer"},
    ],
)
async def test_what_is_no_key_is_not_asked_for(headers: dict[str, str]) -> None:
    keys = Keys()
    with pytest.raises(Unauthorized):
        await Authenticator(keys).caller(headers)
    assert keys.asked == 0


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("lev_bad", "this API key is malformed: the whole of one is `lev_` and 43 characters"),
        ("secret", "this is no API key: one starts with `lev_`"),
        (key(1), "this API key is unknown or was revoked"),
    ],
)
async def test_it_says_what_is_wrong_with_a_key(sent: str, told: str) -> None:
    with pytest.raises(Unauthorized) as refused:
        await Authenticator(Keys()).caller({"x-api-key": sent})
    assert str(refused.value) == told


async def test_a_session_stands_for_its_key_and_is_asked_for_once_in_a_while() -> None:
    browser = Browser()
    headers = await browser.log_in()
    asked = browser.sessions.asked
    for _ in range(3):
        caller = await browser.auth.caller(headers, changes=True)
    assert (caller.tenant, caller.role) == ("acme", "operator")
    assert browser.sessions.asked == asked
    # When its key is revoked, it works no longer than the cache lasts
    browser.sessions.open.clear()
    browser.now += CACHE_S + 0.1
    with pytest.raises(Unauthorized):
        await browser.auth.caller(headers)


@pytest.mark.parametrize(
    "forged",
    [
        {"x-csrf-token": ""},
        {"x-csrf-token": "wrong"},
        {"x-csrf-token": "\u00e9"},
        {"origin": "https://evil.example"},
        {"origin": "https://friend.example"},
        {"origin": "null"},
        {"origin": ""},
    ],
)
async def test_another_sites_page_changes_nothing_by_a_session(forged: dict[str, str]) -> None:
    browser = Browser()
    headers = await browser.log_in()
    for bad in (headers | forged, {name: value for name, value in headers.items() if name not in forged}):
        with pytest.raises(CsrfRefused):
            await browser.auth.caller(bad, changes=True)
        with pytest.raises(CsrfRefused):
            await browser.auth.log_out(bad)
    assert (await browser.auth.caller(headers | forged)).tenant == "acme"


async def test_a_key_in_the_header_goes_before_the_cookie_and_needs_no_token() -> None:
    browser = Browser()
    browser.keys.holders[key(2)] = Holder("other")
    headers = await browser.log_in()
    caller = await browser.auth.caller({"cookie": headers["cookie"], "x-api-key": key(2)}, changes=True)
    assert caller.tenant == "other"


async def test_logging_out_ends_the_session_at_once() -> None:
    browser = Browser()
    headers = await browser.log_in()
    await browser.auth.log_out(headers)
    assert not browser.sessions.open
    with pytest.raises(Unauthorized):
        await browser.auth.caller(headers)


@pytest.mark.parametrize("cookie", ["", "short", "a" * 44, "a" * 42 + "!"])
async def test_what_is_no_session_is_not_asked_for(cookie: str) -> None:
    browser = Browser()
    with pytest.raises(Unauthorized):
        await browser.auth.caller({"cookie": f"{COOKIE}={cookie}"})
    assert browser.sessions.asked == 0


async def test_who_has_no_key_or_comes_from_elsewhere_cannot_log_in() -> None:
    browser = Browser()
    with pytest.raises(Unauthorized):
        await browser.auth.log_in(key(9), {})
    with pytest.raises(CsrfRefused):
        await browser.auth.log_in(key(1), {"origin": "https://evil.example"})
    assert not browser.sessions.open


@pytest.mark.parametrize(
    ("headers", "own", "admitted"),
    [
        ({}, False, True),
        ({"origin": "https://leveret.example"}, True, True),
        ({"origin": "http://leveret.example"}, False, False),
        ({"origin": "http://localhost:8000", "host": "localhost:8000"}, True, True),
        ({"origin": "http://localhost:8000", "host": "localhost:8001"}, False, False),
        ({"origin": "https://friend.example"}, False, True),
        ({"origin": ""}, False, False),
        ({"origin": "null", "host": ""}, False, False),
    ],
)
def test_an_origin_is_known_or_it_is_not(headers: dict[str, str], *, own: bool, admitted: bool) -> None:
    origins = Origins("https://leveret.example/base", ["https://friend.example"])
    assert (origins.own(headers), origins.admitted(headers)) == (own, admitted)
