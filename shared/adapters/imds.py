"""EC2's instance metadata service, version 2 (IMDSv2): where an instance reads about itself.

As the EC2 User Guide has it ("How Instance Metadata Service Version 2 works", "Retrieve instance metadata"):

- A session begins with ``PUT /latest/api/token`` and the header ``X-aws-ec2-metadata-token-ttl-seconds``,
  1 s to 6 h; the token then goes with every GET as ``X-aws-ec2-metadata-token``, and is answered 401 once it
  has run out.
- What does not exist is answered 404.
- The answer to the PUT travels one network hop unless the instance's metadata options allow more: inside a
  container it takes a hop limit of 2, else the request just runs into its time limit.
- A request that was forwarded for somebody (``X-Forwarded-For``) gets no token, so no proxy is used here,
  whatever the environment says.

The only room beside `blobs` where aiohttp may enter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp

from shared.errors import Unavailable

TOKEN_PATH = "/latest/api/token"  # noqa: S105  an address
TOKEN_TTL_S = 21600
"""The longest there is; a token that runs out, or that a restored image carries along, is simply replaced."""
TIMEOUT_S = 2.0
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """An item of the metadata.

    Attributes:
        body: What it says.
        at: The service's own time of saying it, to the second: with it no two machines' clocks are compared.
            This machine's where the answer bears none.
    """

    body: bytes
    at: datetime


class Imds:
    """Reads items; a session is opened, and opened again, by itself."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._token: str | None = None

    async def read(self, path: str) -> Reading | None:
        """An item, or None where there is none.

        Raises:
            Unavailable: No answer in time, or none that an IMDSv2 gives.
        """
        status, reading = await self._get(path)
        if status == HTTPStatus.UNAUTHORIZED:
            self._token = None
            status, reading = await self._get(path)
        if status == HTTPStatus.NOT_FOUND:
            return None
        if status != HTTPStatus.OK:
            raise Unavailable(f"the metadata service answered {status} to {path}")
        return reading

    async def _get(self, path: str) -> tuple[int, Reading]:
        if self._token is None:
            self._token = await self._open()
        return await self._ask("GET", path, {"X-aws-ec2-metadata-token": self._token})

    async def _open(self) -> str:
        status, reading = await self._ask(
            "PUT", TOKEN_PATH, {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_TTL_S)}
        )
        token = reading.body.decode("ascii", errors="replace").strip()
        if status != HTTPStatus.OK or not token.isprintable() or not token:
            raise Unavailable(f"the metadata service answered {status} and no token")
        return token

    async def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, Reading]:
        try:
            async with self._session.request(
                method, self._url + path, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status, Reading(await _body(answer), _said_at(answer))
        except TimeoutError as error:
            raise Unavailable(f"the metadata service did not answer within {TIMEOUT_S:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unavailable(f"the metadata service: {type(error).__name__}") from error


@asynccontextmanager
async def open_imds(url: str) -> AsyncIterator[Imds]:
    """A client of the service at `url` (``http://169.254.169.254``). Asks nothing yet."""
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        connector=aiohttp.TCPConnector(force_close=True),  # one request in seconds: a kept one would be stale
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    ) as session:
        yield Imds(session, url)


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
    return bytes(body)


def _said_at(answer: aiohttp.ClientResponse) -> datetime:
    try:
        said = parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        return datetime.now(UTC)
    return said if said.tzinfo else said.replace(tzinfo=UTC)
