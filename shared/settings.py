"""Settings come from `LEVERET_<SECTION>_<FIELD>` variables: the sections all processes share, and the reader.

A misspelt variable is refused at start; no secret is ever part of an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_origin

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from shared.errors import Misconfigured
from shared.tariff import CURRENCY

PREFIX = "LEVERET_"
SECTIONS = frozenset(
    {
        "postgres",
        "rabbitmq",
        "redis",
        "s3",
        "web",
        "catalog",
        "log",
        "cost",
        "tracing",
        "gateway",
        "worker",
        "scaler",
    }
)
CLIENT_VARIABLES = frozenset({"LEVERET_URL", "LEVERET_API_KEY"})
"""Read by the client alone, and often set in the same shell."""
TEST_PREFIX = "LEVERET_TEST_"

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PerHour = Annotated[Decimal, Field(ge=0, max_digits=16, decimal_places=8)]
"""Money; 0 is a price, unset is an unknown one."""
TRACES_PATH = "/v1/traces"


def _nameless(url: AnyHttpUrl) -> AnyHttpUrl:
    if url.username or url.password or url.query or url.fragment:
        raise ValueError("no user, password or query: OTEL_EXPORTER_OTLP_HEADERS takes credentials")
    return url


Collector = Annotated[AnyHttpUrl, AfterValidator(_nameless), PlainSerializer(str)]


class Section(BaseModel):
    """One group of variables."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Postgres(Section):
    """The truth: jobs, attempts, results, events."""

    dsn: SecretStr = SecretStr("postgresql://localhost/leveret")
    pool_size: int = Field(default=10, ge=1)
    timeout_s: Seconds = 10.0


class RabbitMQ(Section):
    """Dispatch."""

    url: SecretStr = SecretStr("amqp://guest:guest@localhost/")
    heartbeat_s: int = Field(default=10, ge=2, description="at 60 a dead link takes 183 s to notice")
    timeout_s: Seconds = 10.0


class Redis(Section):
    """Push and hot results."""

    url: SecretStr = SecretStr("redis://localhost:6379/0")
    timeout_s: Seconds = 2.0
    result_ttl_s: int = Field(default=604800, ge=60)


class S3(Section):
    """All bytes."""

    endpoint: str | None = None
    region: str = "us-east-1"
    bucket: str = "leveret"
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    public: bool = Field(default=True, description="whether clients can reach the endpoint themselves")
    timeout_s: Seconds = 30.0
    url_ttl_s: int = Field(default=3600, ge=60, le=604800)


class Web(Section):
    """Inputs named by https addresses."""

    allow: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="networks that jobs may read from though they are not public"
    )
    timeout_s: Seconds = Field(default=30.0, description="to answer; a long body gets more, by its size")


class CatalogSection(Section):
    """Where the model folders are."""

    path: str = Field(default="models", description="a folder, or s3://bucket/prefix")
    cache: Path | None = Field(default=None, description="for an s3:// catalog; unset: the user's own cache")
    refresh_s: float = Field(default=30.0, ge=0, description="between two looks for changes; 0: never")


class Log(Section):
    """What the process writes to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class Cost(Section):
    """Of everything that is told in money."""

    currency: str = Field(default=CURRENCY, pattern="^[A-Z]{3}$", description="of all prices, by ISO 4217")


class TracingSection(Section):
    """Where spans go."""

    endpoint: Collector | None = Field(default=None, description="OTLP over HTTP; unset: nothing is traced")
    ratio: float = Field(default=1.0, ge=0, le=1, description="of submits that bring no traceparent")
    queue: int = Field(default=4096, ge=1, description="spans that wait to be sent; more are dropped")
    timeout_s: Seconds = 10.0
    flush_s: Seconds = Field(default=3.0, description="what is left gets this long when the process ends")

    @property
    def url(self) -> str:
        """The full address, as OpenTelemetry makes it of a base address."""
        base = str(self.endpoint).rstrip("/")
        return base if base.endswith(TRACES_PATH) else base + TRACES_PATH


class ProcessSettings(BaseSettings):
    """The sections every process has; a process adds its own."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    postgres: Postgres = Postgres()
    rabbitmq: RabbitMQ = RabbitMQ()
    redis: Redis = Redis()
    s3: S3 = S3()
    web: Web = Web()
    catalog: CatalogSection = CatalogSection()
    log: Log = Log()
    cost: Cost = Cost()
    tracing: TracingSection = TracingSection()


S = TypeVar("S", bound=ProcessSettings)


def read_settings(kind: type[S]) -> S:
    """Read one process's settings from the environment.

    Raises:
        Misconfigured: A variable is unknown or its value does not fit; names it, shows no value.
    """
    unknown = sorted(_unknown(kind, os.environ))
    if unknown:
        raise Misconfigured(f"unknown setting {', '.join(unknown)}: misspelt? See docs/settings.md")
    try:
        return kind()
    except ValidationError as error:
        raise Misconfigured("; ".join(_problems(error))) from None
    except SettingsError:
        raise Misconfigured(f"{', '.join(_not_json(kind, os.environ))}: must be JSON") from None


def _unknown(kind: type[ProcessSettings], environment: Mapping[str, str]) -> Iterator[str]:
    for name in environment:
        if name.startswith(PREFIX) and not name.startswith(TEST_PREFIX) and name not in CLIENT_VARIABLES:
            section, _, field = name.removeprefix(PREFIX).lower().partition("_")
            if section not in SECTIONS or not _known_field(kind, section, field):
                yield name


def _known_field(kind: type[ProcessSettings], section: str, field: str) -> bool:
    """Another process's section is that process's to judge."""
    if section not in kind.model_fields:
        return True
    annotation = kind.model_fields[section].annotation
    return (
        isinstance(annotation, type) and issubclass(annotation, Section) and field in annotation.model_fields
    )


def _not_json(kind: type[ProcessSettings], environment: Mapping[str, str]) -> Iterator[str]:
    """The variables of lists and mappings that hold something else."""
    for name in filter(environment.__contains__, _structured(kind)):
        try:
            json.loads(environment[name])
        except ValueError:
            yield name


def _structured(kind: type[ProcessSettings]) -> Iterator[str]:
    for section, holder in kind.model_fields.items():
        for name, field in getattr(holder.annotation, "model_fields", {}).items():
            if get_origin(field.annotation) in {dict, list, tuple}:
                yield f"{PREFIX}{section}_{name}".upper()


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_input=False, include_url=False):
        name = PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
        yield f"{name}: {problem['msg']}"
