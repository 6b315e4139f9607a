from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gateway.auth import CACHE_S, CACHE_SIZE, Authenticator
from gateway.refusals import Unauthorized

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Holder:
    tenant: str
    name: str = "test"
    role: str = "user"
    s3_prefixes: tuple[str, ...] = ()


@dataclass
class Keys:
    holders: dict[str, Holder] = field(default_factory=dict)
    asked: int = 0

    async def find(self, key: str) -> Holder | None:
        self.asked += 1
        return self.holders.get(key)


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
