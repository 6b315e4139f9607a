"""What `leveret doctor` looks at. Each check ends in findings, never in an exception."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from gateway.client.cli.findings import Finding, unseen, well, wrong
from gateway.client.cli.workers import ask_gateway, judge_queue, read_queues
from gateway.client.errors import ApiError, ConfigError, LeveretError
from gateway.client.settings import Target, find_target

if TYPE_CHECKING:
    import httpx2

    from gateway.client.aio import AsyncClient

PACKAGES = ("cyclopts", "httpx2", "rich", "websockets")
MAX_SKEW_S = 5.0
UNSEEN_SKEW_S = 2.0
CONNECT_S = 3.0
_UNUSED_JOB = str(UUID(int=0))
_SERVERS = (
    ("PostgreSQL", "LEVERET_POSTGRES_DSN", 5432),
    ("RabbitMQ", "LEVERET_RABBITMQ_URL", 5672),
    ("Redis", "LEVERET_REDIS_URL", 6379),
    ("S3", "LEVERET_S3_ENDPOINT", 443),
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known before the first check.

    Attributes:
        folder: Where `.leveret/env` is looked for.
        settings: The `LEVERET_` variables of the environment and of a local stack.
        url: The gateway's URL, if the command line gave one.
    """

    folder: Path
    settings: Mapping[str, str]
    url: str | None = None


def check_machine(_: Surroundings) -> list[Finding]:
    """Python and the client's packages."""
    found = [f"{name} {_version(name)}" for name in PACKAGES]
    missing = [line for line in found if line.endswith("missing")]
    python = ".".join(map(str, sys.version_info[:3]))
    return [
        well("python", python)
        if sys.version_info >= (3, 11)
        else wrong("python", python, "use 3.11 or newer"),
        wrong("packages", ", ".join(found), "pip install 'leveret[client]'")
        if missing
        else well("packages", ", ".join(found)),
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


async def check_gateway(around: Surroundings) -> list[Finding]:
    """Settings, the gateway's own health, the key, the catalog, the socket, the workers, the clock."""
    try:
        target = find_target(around.url, folder=around.folder)
    except ConfigError as error:
        fix = "`make up`, then `source .leveret/env`, or export LEVERET_URL and LEVERET_API_KEY"
        return [wrong("settings", str(error), fix), *await _check_admin(around)]
    findings = [well("settings", f"{target.url} from {target.source}")]
    return findings + await _check_admin(around) + await _check_api(target, around)


async def _check_admin(around: Surroundings) -> list[Finding]:
    """`/livez` and `/readyz` on the admin port, where its address is known."""
    port = around.settings.get("LEVERET_GATEWAY_ADMIN_PORT")
    if not port:
        return [unseen("health", "the admin port is not known here (LEVERET_GATEWAY_ADMIN_PORT)")]
    host = around.settings.get("LEVERET_GATEWAY_ADMIN_HOST", "127.0.0.1")
    return [await _probe(path, f"http://{host}:{port}", path) for path in ("/livez", "/readyz")]


async def _probe(name: str, base: str, path: str) -> Finding:
    import httpx2  # noqa: PLC0415  not for --help

    try:
        response = await _get(base + path)
    except httpx2.HTTPError as error:
        return wrong(name, f"no answer from {base}: {error}", "`make up`, or start it again")
    found = f"{response.status_code} {_health_words(response)}".strip()
    if response.is_success:
        return well(name, found)
    return wrong(name, found, "see below which server is away; its log says why")


async def _get(url: str) -> httpx2.Response:
    import httpx2  # noqa: PLC0415  not for --help

    async with httpx2.AsyncClient(timeout=CONNECT_S, trust_env=False) as http:
        return await http.get(url)


async def _read(url: str) -> str:
    import httpx2  # noqa: PLC0415  not for --help

    try:
        return (await _get(url)).text
    except httpx2.HTTPError as error:
        raise ConnectionError(str(error)) from error


def _health_words(response: httpx2.Response) -> str:
    """What a health answer names: its failing dependencies, else its status."""
    try:
        body = response.json()
    except ValueError:
        return response.text[:200]
    failing = body.get("failing") or {}
    return ", ".join(f"{name}: {why}" for name, why in failing.items()) or str(body.get("status", ""))


async def _check_api(target: Target, around: Surroundings) -> list[Finding]:
    from gateway.client.aio import AsyncClient  # noqa: PLC0415  not for --help
    from gateway.client.retry import RetryPolicy  # noqa: PLC0415  idem

    # A doctor reports the first answer; patience would hide what is wrong.
    once = RetryPolicy(budget_s=0)
    async with AsyncClient(target.url, target.api_key, timeout_s=10, retry=once, reconnect=once) as client:
        try:
            listed, skew_s = await _read_catalog(client)
        except LeveretError as error:
            return [_refused(error)]
        findings = [well("gateway", f"{target.url} answers, the API key is accepted")]
        findings.append(judge_clock(skew_s))
        findings.append(_catalog_finding(listed))
        findings.append(await _check_socket(client))
        if _scaler_base(around) is None:
            findings += await ask_gateway(client, listed)
        return findings


def _refused(error: LeveretError) -> Finding:
    if isinstance(error, ApiError) and error.status in {401, 403}:
        fix = "set LEVERET_API_KEY to a key of this gateway; `make up` writes one to .leveret/env"
        return wrong("API key", str(error), fix)
    if isinstance(error, ApiError):
        return wrong("gateway", str(error), "the gateway's log has this request's id")
    return wrong("gateway", str(error), "`make up` for a local one, or correct LEVERET_URL")


async def _read_catalog(client: AsyncClient) -> tuple[list[Mapping[str, Any]], float | None]:
    """The models, and how far this clock is ahead of the gateway's."""
    from gateway.client.transport import read_json  # noqa: PLC0415  not for --help

    answer = await client.transport.request("GET", "/v1/models")
    body = read_json(answer)
    return list(body.get("models", body.get("items", ()))), _skew_s(answer.headers.get("date"))


def _skew_s(date: str | None) -> float | None:
    try:
        return time.time() - parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None


def judge_clock(skew_s: float | None) -> Finding:
    """What a difference to the gateway's clock means; its Date has whole seconds, so less is none."""
    if skew_s is None:
        return unseen("clock", "the gateway sends no Date")
    if abs(skew_s) <= UNSEEN_SKEW_S:
        return well("clock", "ok")
    found = f"{skew_s:+.1f} s against the gateway"
    if abs(skew_s) <= MAX_SKEW_S:
        return well("clock", found)
    return wrong(
        "clock", found, "set this machine's clock (timedatectl set-ntp true): signed links depend on it"
    )


def _catalog_finding(listed: list[Mapping[str, Any]]) -> Finding:
    if not listed:
        fix = "`leveret models new NAME` inside LEVERET_CATALOG_PATH, then restart the gateway"
        return wrong("catalog", "no model is served", fix)
    names = ", ".join(str(model["name"]) for model in listed)
    return well("catalog", f"{len(listed)} served: {names}")


async def _check_socket(client: AsyncClient) -> Finding:
    """A socket for a job that cannot be: 404 proves the whole way there and the key."""
    try:
        async with aclosing(client.follow(_UNUSED_JOB)) as events:
            await anext(events, None)
    except ApiError as error:
        # A 404 without the API's own code comes from something in between.
        if error.code == "not_found":
            return well("WebSocket", "the handshake reaches the gateway")
        return wrong("WebSocket", str(error), "let the proxy pass `Upgrade: websocket` and Authorization")
    except LeveretError as error:
        return wrong("WebSocket", str(error), "let the proxy pass `Upgrade: websocket` on /v1/")
    return well("WebSocket", "the handshake reaches the gateway")


async def check_scaler(around: Surroundings) -> list[Finding]:
    """The scaler, and who works on which queue, where its admin port is known."""
    base = _scaler_base(around)
    if base is None:
        return []
    health = await _probe("scaler", base, "/readyz")
    try:
        figures = read_queues(await _read(base + "/metrics"))
    except OSError as error:
        return [health, unseen("workers", f"the scaler's figures cannot be read: {error}")]
    return [health, *(judge_queue(queue, each) for queue, each in figures.items())]


def _scaler_base(around: Surroundings) -> str | None:
    port = around.settings.get("LEVERET_SCALER_ADMIN_PORT")
    return f"http://{around.settings.get('LEVERET_SCALER_ADMIN_HOST', '127.0.0.1')}:{port}" if port else None


async def check_servers(around: Surroundings) -> list[Finding]:
    """Whether each server behind the gateway takes connections, where its address is known here."""
    known = [(name, variable, port) for name, variable, port in _SERVERS if around.settings.get(variable)]
    tries = [_reach(name, variable, around.settings[variable], port) for name, variable, port in known]
    return await asyncio.gather(*tries)


async def _reach(name: str, variable: str, url: str, default_port: int) -> Finding:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or default_port
    except ValueError:
        # Never the value: it holds a password.
        return wrong(name, f"{variable} is no URL", f"correct {variable}")
    if host is None:
        return unseen(name, f"{variable} names no TCP address")
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        reason = error.strerror or "gave no answer in time"
        return wrong(
            name, f"{host}:{port} {reason}", f"`make up` for a local stack, else start what {variable} names"
        )
    writer.close()
    return well(name, f"{host}:{port} takes connections")
