"""Inputs from the web, against real sockets: what arrives, and where no connection may go."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import ssl
from ipaddress import ip_network

import pytest

import shared.adapters.web
from shared.adapters.web import Web, open_web
from shared.errors import InputDelayed, InputUnavailable
from shared.settings import Web as WebSettings
from tests.authority import Authority, make_authority
from tests.fakes.addresses import FORBIDDEN
from tests.webreader import INSIDE, LIMIT, NAME, OUTSIDE, Names, Reader, check_final
from tests.website import CHUNKED, Website, never, says, sends, website

pytestmark = pytest.mark.anyio

FILE = os.urandom(3_000_001)


# What arrives


async def test_a_file_arrives_as_it_was_sent(reader: Reader, tls: ssl.SSLContext) -> None:
    async with website(sends(FILE), tls) as site:
        assert await reader.fetch(site) == FILE

    # And the server was told no more than it has to know
    (head,) = site.heads
    lines = head.decode().split("\r\n")
    assert lines[0] == "GET /a/b.png?signature=s3cret HTTP/1.1"
    assert {line.partition(":")[0] for line in lines[1:-2]} == {
        "Host", "Accept", "Accept-Encoding", "Connection", "User-Agent",
    }  # fmt: skip
    assert f"Host: {NAME}:{site.port}" in lines
    assert "Accept-Encoding: identity" in lines
    assert reader.names.asked == [NAME]


async def test_a_file_of_unknown_length_arrives(reader: Reader, tls: ssl.SSLContext) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (FILE[:10], FILE[10:]))
    async with website(says("200 OK", CHUNKED, body=chunks + b"0\r\n\r\n"), tls) as site:
        assert await reader.fetch(site) == FILE


async def test_an_empty_file_arrives(reader: Reader, tls: ssl.SSLContext) -> None:
    async with website(sends(b""), tls) as site:
        assert await reader.fetch(site) == b""


async def test_a_file_of_just_the_limit_arrives(reader: Reader, tls: ssl.SSLContext) -> None:
    async with website(sends(FILE), tls) as site:
        assert await reader.fetch(site, max_bytes=len(FILE)) == FILE


async def test_a_packed_file_stays_packed(reader: Reader, tls: ssl.SSLContext) -> None:
    packed = gzip.compress(b"\0" * 50_000_000)
    async with website(sends(packed), tls) as site:
        assert await reader.fetch(site, max_bytes=100_000) == packed


async def test_a_slow_but_steady_server_is_waited_for(reader: Reader, tls: ssl.SSLContext) -> None:
    """What has arrived buys time beyond the timeout: a megabyte, four seconds."""

    async def slowly(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(FILE) + FILE[:1_048_576])
        await writer.drain()
        await asyncio.sleep(1.0)
        writer.write(FILE[1_048_576:])
        await writer.drain()

    async with website(slowly, tls) as site:
        assert await reader.fetch(site, timeout_s=0.6) == FILE


async def test_an_ip_address_is_fine_where_it_is_allowed(reader: Reader, tls: ssl.SSLContext) -> None:
    async with website(sends(FILE), tls) as site:
        uri = f"https://{OUTSIDE}:{site.port}/"
        assert await reader.web().fetch(uri, reader.folder / "image", max_bytes=LIMIT) == len(FILE)
    assert reader.names.asked == []


async def test_the_systems_own_look_up_and_authorities(
    reader: Reader, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(reader.authority.certificate))
    allowed = WebSettings(allow=(ip_network("127.0.0.1/32"), ip_network("::1/128")))
    async with website(sends(FILE), tls) as site:
        uri, path = f"https://localhost:{site.port}/", reader.folder / "image"
        with open_web(allowed) as web:
            assert await web.fetch(uri, path, max_bytes=LIMIT) == len(FILE)
        visits = site.visits
        with open_web(WebSettings()) as web, pytest.raises(InputUnavailable) as caught:
            await web.fetch(uri, path, max_bytes=LIMIT)
    check_final(caught.value)
    assert site.visits == visits


async def test_a_proxy_of_the_environment_is_not_used(
    reader: Reader, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with website(never, None) as proxy, website(sends(FILE), tls) as site:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert await reader.fetch(site) == FILE
    assert proxy.visits == 0


# Where no connection may go


@pytest.mark.parametrize("address", FORBIDDEN)
async def test_a_name_inside_is_refused_like_one_that_is_not_there(reader: Reader, address: str) -> None:
    refusals = []
    for answer in ([address], [], socket.gaierror(socket.EAI_NONAME, "unknown")):
        reader.names.answers = [answer]
        web = Web(WebSettings(), resolve=reader.names, tls=reader.authority.trusted())
        with pytest.raises(InputUnavailable) as caught:
            await web.fetch(f"https://{NAME}/x?s3cret", reader.folder / "image", max_bytes=LIMIT)
        check_final(caught.value)
        refusals.append(str(caught.value))
    assert len(set(refusals)) == 1
    reader.check_nothing_left()


@pytest.mark.parametrize("address", [address for address in FORBIDDEN if "%" not in address])
async def test_an_address_inside_is_refused(reader: Reader, address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    web = Web(WebSettings(), resolve=reader.names, tls=reader.authority.trusted())
    with pytest.raises(InputUnavailable) as caught:
        await web.fetch(f"https://{host}/", reader.folder / "image", max_bytes=LIMIT)
    check_final(caught.value)


async def test_a_server_inside_is_never_visited(reader: Reader, inside: Website) -> None:
    reader.names.answers = [[INSIDE]]
    with pytest.raises(InputUnavailable) as caught:
        await reader.fetch(inside)
    check_final(caught.value)


async def test_a_name_that_changes_its_meaning_changes_nothing(reader: Reader, tls: ssl.SSLContext) -> None:
    reader.names.answers = [[OUTSIDE], [INSIDE]]
    async with website(sends(FILE), tls) as site, website(sends(b"inside"), tls, host=INSIDE, port=site.port):
        assert await reader.fetch(site) == FILE
    assert reader.names.asked == [NAME]


async def test_of_mixed_answers_only_the_public_ones_count(reader: Reader, tls: ssl.SSLContext) -> None:
    reader.names.answers = [[INSIDE, "::1", OUTSIDE, "10.0.0.1"]]
    async with website(sends(FILE), tls) as site, website(never, None, host=INSIDE, port=site.port) as other:
        assert await reader.fetch(site) == FILE
    assert other.visits == 0


async def test_an_address_that_does_not_answer_is_passed_over(reader: Reader, tls: ssl.SSLContext) -> None:
    reader.names.answers = [[INSIDE, OUTSIDE]]
    async with website(sends(FILE), tls) as site:
        uri, web = f"https://{NAME}:{site.port}/", reader.web("127.0.0.0/8")
        assert await web.fetch(uri, reader.folder / "image", max_bytes=LIMIT) == len(FILE)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
async def test_no_redirect_is_followed(
    reader: Reader, tls: ssl.SSLContext, inside: Website, status: str
) -> None:
    places = (f"https://{INSIDE}:{inside.port}/", "http://169.254.169.254/latest/meta-data/")
    for place in places:
        async with website(says(status, f"Location: {place}", "Content-Length: 0"), tls) as site:
            with pytest.raises(InputUnavailable, match="redirects") as caught:
                await reader.fetch(site)
        check_final(caught.value)
        assert site.visits == 1
    assert reader.names.asked == [NAME, NAME]


@pytest.mark.parametrize("ref", ["http://files.example/", "https://u:p@files.example/", "https://127.1/"])
async def test_what_is_no_address_opens_nothing(reader: Reader, ref: str) -> None:
    with pytest.raises(InputUnavailable) as caught:
        await reader.web().fetch(ref, reader.folder / "image", max_bytes=LIMIT)
    check_final(caught.value)
    assert reader.names.asked == []


# Names and certificates


@pytest.mark.parametrize("errno", [socket.EAI_AGAIN, socket.EAI_FAIL])
async def test_a_look_up_that_fails_may_do_later(reader: Reader, inside: Website, errno: int) -> None:
    reader.names.answers = [socket.gaierror(errno, "later")]
    with pytest.raises(InputDelayed):
        await reader.fetch(inside)


async def test_a_look_up_that_hangs_is_left(
    reader: Reader, inside: Website, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_: str) -> list[str]:
        return await asyncio.Future()

    monkeypatch.setattr(shared.adapters.web, "RESOLVE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(Names, "__call__", lambda _, host: hang(host))
    with pytest.raises(InputDelayed, match="not found in time"):
        await reader.fetch(inside)


@pytest.fixture
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("other"))


async def test_a_certificate_of_another_name_is_not_believed(reader: Reader) -> None:
    async with website(sends(FILE), reader.authority.server("DNS:other.example", f"IP:{OUTSIDE}")) as site:
        with pytest.raises(InputUnavailable, match="certificate") as caught:
            await reader.fetch(site)
    check_final(caught.value)
    assert site.heads == []
    reader.check_nothing_left()


async def test_a_certificate_of_nobody_is_not_believed(reader: Reader, other: Authority) -> None:
    async with website(sends(FILE), other.server(f"DNS:{NAME}")) as site:
        with pytest.raises(InputUnavailable, match="certificate") as caught:
            await reader.fetch(site)
    check_final(caught.value)
    assert site.heads == []
