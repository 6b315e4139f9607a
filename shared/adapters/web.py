"""Inputs from the web, over https only. With the object store the one room that opens what a caller named.

What a job says must not become a way into the network that a worker stands in. So a fetch
1. reads the address with the gateway's own eyes and looks its name up once,
2. drops every answer that is not public (or allowed by the operator) and connects to one that is left, by its
   number: a name that means something else a moment later changes nothing,
3. verifies the certificate against the name,
4. follows no redirect, uses no proxy, sends no credentials, unpacks nothing,
5. stops at the size limit and at a deadline that grows with what has arrived.

httpcore2 rather than httpx2, because it does nothing of that behind anybody's back.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import httpcore2
import structlog

from shared.errors import BadInput, InputDelayed, InputUnavailable, StoreError
from shared.settings import Web as WebSettings
from shared.webaddress import Address, WebAddress, forbidden, read

log = structlog.get_logger()

PIECE_BYTES = 1024 * 1024
"""A hop into a thread costs a fifth of a millisecond, so the disk is written in pieces worth one."""
SLOWEST_BYTES_PER_S = 256 * 1024
"""What a server must send on average: the deadline is the timeout + what has arrived / this."""
RESOLVE_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 5.0
ADDRESSES_TRIED = 4
RESOLVING_AT_ONCE = 4

_OK = 200
_LATER = frozenset({408, 425, 429})
"""Beside all from 500 on: the server says that another time may do."""
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY})
_SENT = {"Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close", "User-Agent": "leveret"}

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""The addresses of a host name; raises socket.gaierror."""


@contextmanager
def open_web(settings: WebSettings) -> Iterator[Web]:
    """Keep threads for look-ups, which have no end of their own, so that stuck ones keep nobody else's."""
    threads = ThreadPoolExecutor(RESOLVING_AT_ONCE, thread_name_prefix="resolve")
    try:
        yield Web(settings, resolve=partial(_look_up, threads), tls=ssl.create_default_context())
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


class Web:
    """Files on servers that anybody may run.

    Args:
        settings: The networks allowed beside the public ones, and the patience.
        resolve: Looks names up.
        tls: Which certificates are believed.
    """

    def __init__(self, settings: WebSettings, *, resolve: Resolve, tls: ssl.SSLContext) -> None:
        self._settings = settings
        self._resolve = resolve
        self._tls = tls

    async def fetch(self, ref: str, path: Path, *, max_bytes: int) -> int:
        """Read what is at an https address into a file, which appears only when it is complete.

        Returns:
            Its size in bytes.

        Raises:
            InputUnavailable: It may not be read, or is not there.
            InputDelayed: Its server did not send all of it this time.
            BadInput: It is longer than `max_bytes`, packed, or without an end that can be told from a cut.
            StoreError: The disk did not take it.
        """
        place = _place(ref)
        draft = path.with_name(path.name + ".part")
        try:
            with _reading(place):
                async with asyncio.timeout(self._settings.timeout_s) as deadline:
                    async with self._answer(place) as answer:
                        _check(place, answer, max_bytes)
                        size = await _save(place, answer, draft, deadline, max_bytes=max_bytes)
                draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        return size

    @asynccontextmanager
    async def _answer(self, place: WebAddress) -> AsyncIterator[httpcore2.Response]:
        """One request on a connection of its own."""
        checked = _Checked(place, self._settings, self._resolve)
        url = httpcore2.URL(scheme="https", host=place.host, port=place.port, target=place.target)
        headers = [("Host", place.authority), *_SENT.items()]
        async with (
            aclosing(checked),
            httpcore2.AsyncConnectionPool(self._tls, network_backend=checked) as pool,
            pool.stream("GET", url, headers=headers) as answer,
        ):
            yield answer


class _Checked(httpcore2.AnyIOBackend):
    """Connects to checked addresses only. All that the driver opens passes here."""

    def __init__(self, place: WebAddress, settings: WebSettings, resolve: Resolve) -> None:
        self._place = place
        self._allowed = settings.allow
        self._resolve = resolve
        self._opened: httpcore2.AsyncNetworkStream | None = None

    async def aclose(self) -> None:
        """Close what is open: the driver forgets a connection that is given up within TLS's greeting."""
        if self._opened is not None:
            await self._opened.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the driver's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """As the driver asks, but to an address of ours."""
        patience_s = CONNECT_TIMEOUT_S if timeout is None else min(timeout, CONNECT_TIMEOUT_S)
        for address in await self._addresses(host):
            try:
                self._opened = await super().connect_tcp(
                    str(address), port, patience_s, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
            return self._opened
        raise InputDelayed(f"{self._place}: its server cannot be reached")

    async def _addresses(self, host: str) -> Sequence[Address]:
        """Where to connect.

        One sentence for what is not there and for what is forbidden: by the difference a caller could map the
        network inside.
        """
        found = [ip_address(number) for number in await self._numbers(host)]
        public = [address for address in found if not forbidden(address, self._allowed)]
        if not public:
            log.warning("web.refused", host=host, addresses=[str(address) for address in found])
            raise InputUnavailable(f"{self._place}: there is no public server of that name")
        return public[:ADDRESSES_TRIED]

    async def _numbers(self, host: str) -> Sequence[str]:
        if self._place.literal is not None:
            return [host]
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                return await self._resolve(host)
        except TimeoutError as error:
            raise InputDelayed(f"{self._place}: its name was not found in time") from error
        except socket.gaierror as error:
            if error.errno in _NO_SUCH_NAME:
                return []
            raise InputDelayed(f"{self._place}: its name could not be looked up") from error


async def _look_up(threads: ThreadPoolExecutor, host: str) -> Sequence[str]:
    ask = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(threads, ask)
    return [str(where[0]) for *_, where in found]


def _place(ref: str) -> WebAddress:
    try:
        return read(ref)
    except ValueError as error:
        raise InputUnavailable(f"an input's address {error}") from None


@contextmanager
def _reading(place: WebAddress) -> Iterator[None]:
    """Translate the server's, the network's and the disk's errors."""
    try:
        yield
    except TimeoutError as error:
        raise InputDelayed(f"{place}: its server took too long") from error
    except httpcore2.ConnectError as error:
        # The driver's pool drops the cause, and keeps it as the argument.
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in error.args):
            raise InputUnavailable(f"{place}: its server's certificate is not valid for it") from error
        raise InputDelayed(f"{place}: no secure connection came about") from error
    except (
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.TimeoutException,
        ssl.SSLError,
    ) as error:
        raise InputDelayed(f"{place}: its server broke off, or does not speak HTTP") from error
    except OSError as error:
        raise StoreError(f"{place} could not be written: {error.strerror or type(error).__name__}") from error


def _check(place: WebAddress, answer: httpcore2.Response, max_bytes: int) -> None:
    """Refuse by the head what the body need not be read for."""
    _check_status(place, answer.status)
    if any(packing != b"identity" for packing in _said(answer, b"content-encoding")):
        raise BadInput(f"{place} is sent packed (Content-Encoding), though the plain bytes were asked for")
    lengths = _said(answer, b"content-length")
    if not lengths and not _said(answer, b"transfer-encoding"):
        raise BadInput(f"{place} is sent without a length: its end could not be told from a cut")
    _check_size(place, max(map(int, lengths), default=0), max_bytes)


def _said(answer: httpcore2.Response, header: bytes) -> list[bytes]:
    return [value.strip().lower() for name, value in answer.headers if name.lower() == header]


def _check_status(place: WebAddress, status: int) -> None:
    if status == _OK:
        return
    if status in _LATER or status >= 500:  # noqa: PLR2004  the server's own errors
        raise InputDelayed(f"{place}: its server answered {status}")
    if 300 <= status < 400:  # noqa: PLR2004
        raise InputUnavailable(f"{place} redirects ({status}), which is not followed: give the final address")
    raise InputUnavailable(f"{place}: its server answered {status}")


def _check_size(place: WebAddress, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise BadInput(f"{place} has more than the {max_bytes} bytes that are allowed")


async def _save(
    place: WebAddress, answer: httpcore2.Response, draft: Path, deadline: asyncio.Timeout, *, max_bytes: int
) -> int:
    """Write the body as it comes; at most a piece and a packet of it are ever in memory."""
    size, held, due = 0, bytearray(), deadline.when() or 0.0
    with draft.open("wb") as target:
        async with aclosing(answer.aiter_stream()) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                _check_size(place, size, max_bytes)
                deadline.reschedule(due + size / SLOWEST_BYTES_PER_S)
                held += chunk
                if len(held) >= PIECE_BYTES:
                    await asyncio.to_thread(target.write, held)
                    held = bytearray()
        await asyncio.to_thread(target.write, held)
    return size
