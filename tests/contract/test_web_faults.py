"""Inputs from the web, against servers that send what they should not: each is left, and no file stays."""

from __future__ import annotations

import asyncio
import gzip
import ssl

import pytest

from shared.errors import BadInput, InputDelayed, InputUnavailable, StoreError
from tests.webreader import LIMIT, Reader, check_final
from tests.website import CHUNKED, Answer, never, pours, says, sends, website, writes

pytestmark = pytest.mark.anyio

FILE = bytes(range(256)) * 10_000


@pytest.mark.parametrize("status", ["401 No", "403 No", "404 No", "410 Gone", "204 Empty", "206 Part"])
async def test_what_is_not_there_is_final(reader: Reader, tls: ssl.SSLContext, status: str) -> None:
    async with website(says(status, "Content-Length: 0"), tls) as site:
        with pytest.raises(InputUnavailable, match=status[:3]) as caught:
            await reader.fetch(site)
    check_final(caught.value)
    reader.check_nothing_left()


@pytest.mark.parametrize("status", ["408 Slow", "429 Many", "500 Broken", "502 Bad", "503 Busy"])
async def test_what_is_not_there_now_may_be_later(reader: Reader, tls: ssl.SSLContext, status: str) -> None:
    async with website(says(status, "Content-Length: 0"), tls) as site:
        with pytest.raises(InputDelayed, match=status[:3]) as caught:
            await reader.fetch(site)
    assert (caught.value.code, caught.value.retryable) == ("input_unavailable", True)


async def drip(writer: asyncio.StreamWriter) -> None:
    """A byte now and then, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def drip_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def promise(writer: asyncio.StreamWriter) -> None:
    """An answer that is always about to come."""
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("slow", [never, drip, drip_head, promise])
async def test_a_slow_server_is_left_at_the_deadline(
    reader: Reader, tls: ssl.SSLContext, slow: Answer
) -> None:
    async with website(slow, tls) as site:
        with pytest.raises(InputDelayed, match="took too long"):
            await reader.fetch(site, timeout_s=0.5)
    assert site.visits == 1
    reader.check_nothing_left()


async def test_a_server_that_never_greets_is_left_at_the_deadline(reader: Reader) -> None:
    async with website(never, None) as site:
        with pytest.raises(InputDelayed, match="took too long"):
            await reader.fetch(site, timeout_s=0.3)
    assert site.visits == 1


async def test_an_endless_body_is_left_at_the_limit(reader: Reader, tls: ssl.SSLContext) -> None:
    async with website(pours, tls) as site:
        with pytest.raises(BadInput, match="more than the 4000000 bytes"):
            await reader.fetch(site)
    reader.check_nothing_left()


async def test_a_length_above_the_limit_is_enough(reader: Reader, tls: ssl.SSLContext) -> None:
    """Not a byte of the body is waited for: none comes."""

    async def announce(writer: asyncio.StreamWriter) -> None:
        await says("200 OK", f"Content-Length: {LIMIT + 1}")(writer)
        await never(writer)

    async with website(announce, tls) as site:
        with pytest.raises(BadInput, match="more than the 4000000 bytes"):
            await reader.fetch(site)


@pytest.mark.parametrize("headers", [["gzip"], ["br"], ["gzip, identity"], ["gzip", "identity"]])
async def test_a_body_to_unpack_is_refused(reader: Reader, tls: ssl.SSLContext, headers: list[str]) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    packings = [f"Content-Encoding: {each}" for each in headers]
    async with website(says("200 OK", f"Content-Length: {len(bomb)}", *packings, body=bomb), tls) as site:
        with pytest.raises(BadInput, match="packed"):
            await reader.fetch(site)
    reader.check_nothing_left()


CUT = {
    "short of its length": says("200 OK", "Content-Length: 3000000", body=FILE[:2_000_000]),
    "within a chunk": says("200 OK", CHUNKED, body=b"10\r\nabc"),
    "before the last chunk": says("200 OK", CHUNKED, body=b"3\r\nabc\r\n"),
    "within the head": writes(b"HTTP/1.1 200 OK\r\nContent-Len"),
    "before the head": writes(b""),
}


@pytest.mark.parametrize("cut", CUT.values(), ids=CUT)
async def test_a_body_cut_short_is_no_file(reader: Reader, tls: ssl.SSLContext, cut: Answer) -> None:
    async with website(cut, tls) as site:
        with pytest.raises(InputDelayed):
            await reader.fetch(site)
    reader.check_nothing_left()


async def test_a_connection_that_breaks_is_no_file(reader: Reader, tls: ssl.SSLContext) -> None:
    async def broken(writer: asyncio.StreamWriter) -> None:
        await says("200 OK", "Content-Length: 3000000", body=FILE[:2_000_000])(writer)
        writer.transport.abort()

    async with website(broken, tls) as site:
        with pytest.raises(InputDelayed):
            await reader.fetch(site)
    reader.check_nothing_left()


async def test_a_body_whose_end_is_the_connections_is_refused(reader: Reader, tls: ssl.SSLContext) -> None:
    async with website(says("200 OK", body=b"all of it, or is it?"), tls) as site:
        with pytest.raises(BadInput, match="without a length"):
            await reader.fetch(site)
    reader.check_nothing_left()


GARBAGE = {
    "no HTTP": b"220 mail.example ESMTP\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabcd",
    "chunks that are none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_a_server_that_speaks_no_http_is_told_of(
    reader: Reader, tls: ssl.SSLContext, garbage: bytes
) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        await writes(garbage)(writer)
        await never(writer)

    async with website(answer, tls) as site:
        with pytest.raises(InputDelayed, match="broke off"):
            await reader.fetch(site)
    reader.check_nothing_left()


async def test_a_server_that_is_away_may_be_back_later(reader: Reader, tls: ssl.SSLContext) -> None:
    async with website(never, tls) as site:
        pass
    with pytest.raises(InputDelayed, match="cannot be reached"):
        await reader.fetch(site)


async def test_a_fetch_that_is_canceled_leaves_no_file(reader: Reader, tls: ssl.SSLContext) -> None:
    async with website(drip, tls) as site:
        fetch = asyncio.create_task(reader.fetch(site))
        while not list(reader.folder.iterdir()):
            await asyncio.sleep(0)
        fetch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetch
    reader.check_nothing_left()


async def test_a_disk_that_refuses_is_said(reader: Reader, tls: ssl.SSLContext) -> None:
    reader.folder /= "missing"
    async with website(sends(FILE), tls) as site:
        with pytest.raises(StoreError, match="No such file"):
            await reader.fetch(site)
