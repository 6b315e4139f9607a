"""Requests to the gateway: authenticated, timed out, repeated where that is safe. Only httpx2 may enter.

The key travels with requests to the gateway's own origin alone; a redirect to a presigned URL is followed
without it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import httpx2

from gateway.client.errors import ApiError, UnreachableError
from gateway.client.retry import RETRYABLE_STATUSES, Patience, RetryPolicy, parse_retry_after

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.client.settings import Target

log = logging.getLogger(__name__)

USER_AGENT = "leveret-python"
MAX_REDIRECTS = 5
_ANSWERED_FOR_ANOTHER = frozenset({502, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Transport:
    """One pool of connections to one gateway."""

    def __init__(self, target: Target, *, timeout_s: float, retry: RetryPolicy) -> None:
        self.target = target
        self.retry = retry
        self.timeout_s = timeout_s
        timeout = httpx2.Timeout(timeout_s, connect=min(timeout_s, 10.0))
        self._http = httpx2.AsyncClient(
            timeout=timeout, headers={"User-Agent": USER_AGENT}, trust_env=not target.nearby
        )

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        **body: Any,  # httpx2's json, data, files, params
    ) -> httpx2.Response:
        """Send, and send again while that can help; every request here is safe to repeat.

        Args:
            method: The HTTP method.
            path: Below the gateway's URL, starting with `/v1`.
            headers: Besides the key's own.
            timeout_s: Seconds for each read, where an answer takes longer than usual.
            **body: As httpx2 takes it.

        Raises:
            ApiError: The gateway refused, or still could not serve when the patience ended.
            UnreachableError: Nothing answered within the patience.
        """
        options: dict[str, Any] = {"headers": {**self.target.headers, **(headers or {})}, **body}
        if timeout_s is not None:
            options["timeout"] = httpx2.Timeout(timeout_s, connect=10.0)
        patience, received = Patience(self.retry), False
        while True:
            outcome = await self._try(method, self.target.url + path, options)
            if isinstance(outcome, httpx2.Response):
                return outcome
            received = outcome.received = outcome.received or received
            pause_s = patience.spend(outcome.retry_after_s)
            if pause_s is None or not is_transient(outcome):
                raise outcome
            log.info("%s; trying again in %.1f s", outcome, pause_s)
            await asyncio.sleep(pause_s)

    async def _try(
        self, method: str, url: str, options: dict[str, Any]
    ) -> httpx2.Response | ApiError | UnreachableError:
        try:
            response = await self._http.request(method, url, **options)
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            return self._unreachable(error)
        return response if response.is_success else read_problem(response)

    def _unreachable(self, error: Exception) -> UnreachableError:
        reason = str(error) or type(error).__name__
        connected = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
        unreachable = UnreachableError(f"no answer from {self.target.url}: {reason}", received=connected)
        unreachable.__cause__ = error
        return unreachable

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[httpx2.Response]:
        """The body at `path`, unread, after following redirects; one try.

        Raises:
            ApiError: The gateway or the store it pointed to refused.
            UnreachableError: The connection failed, at the start or in between.
        """
        url, headers = self.target.url + path, self.target.headers
        try:
            for _ in range(MAX_REDIRECTS):
                async with self._http.stream("GET", url, headers=headers) as response:
                    if response.status_code not in _REDIRECTS:
                        yield await _checked(response)
                        return
                    url = urljoin(url, response.headers.get("location", ""))
                    # A presigned URL carries its own proof; the key must not follow it there.
                    headers = {}
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise self._unreachable(error) from error
        raise UnreachableError(f"more than {MAX_REDIRECTS} redirects from {path}")


def is_transient(error: ApiError | UnreachableError) -> bool:
    """Whether the same request can succeed a moment later."""
    return error.status is None or error.status in RETRYABLE_STATUSES


def may_have_arrived(error: ApiError | UnreachableError) -> bool:
    """Whether the request may have been carried out although it ended in this error."""
    if not is_transient(error):
        return False
    gateways_own_doubt = isinstance(error, ApiError) and error.code == "outcome_unknown"
    return error.received or gateways_own_doubt or error.status in _ANSWERED_FOR_ANOTHER


async def _checked(response: httpx2.Response) -> httpx2.Response:
    if not response.is_success:
        await response.aread()
        raise read_problem(response)
    return response


def read_problem(response: httpx2.Response) -> ApiError:
    """The error in a refused request's answer, whoever wrote it."""
    retry_after_s = parse_retry_after(response.headers.get("retry-after"))
    problem = decode_problem(response.content)
    if response.is_redirect:
        # Followed, a POST would arrive as a GET, and the key at an address that nobody chose.
        problem = {"detail": f"redirected to {response.headers.get('location')}: set LEVERET_URL to that"}
    return ApiError(response.status_code, problem, retry_after_s)


def read_json(response: httpx2.Response) -> Any:
    """The decoded body of an answer.

    Raises:
        ApiError: It is no JSON, so whoever answered is not the gateway.
    """
    try:
        return response.json()
    except ValueError as error:
        problem = {
            "code": "not_leveret",
            "detail": f"{response.url.host} answered with something but no JSON",
        }
        raise ApiError(response.status_code, problem) from error


def decode_problem(body: bytes) -> Mapping[str, Any]:
    """The problem document in `body`; empty where a proxy answered with something else."""
    try:
        decoded = json.loads(body)
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}
