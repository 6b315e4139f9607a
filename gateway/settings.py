"""The gateway's own section, `LEVERET_GATEWAY_…`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, AnyHttpUrl, Field, PlainSerializer

from gateway.links import TRACE_ID
from shared.settings import Port, ProcessSettings, Seconds, Section

PublicUrl = Annotated[AnyHttpUrl, PlainSerializer(str)]


def _template(value: str) -> str:
    """An address as it is once the braces are filled in; never one that a browser would run."""
    if value.count(TRACE_ID) != 1 or set("{}") & set(value.replace(TRACE_ID, "")):
        raise ValueError(f"write {TRACE_ID} where the trace's id belongs, once, and no other braces")
    url = AnyHttpUrl(value.replace(TRACE_ID, "0" * 32))
    if url.username or url.password:
        raise ValueError("no user and no password: everybody who may see a job is shown this address")
    return value


TraceUrl = Annotated[str, AfterValidator(_template)]


class Gateway(Section):
    """Where it listens, and what it lets in."""

    host: str = "127.0.0.1"
    port: Port = 8000
    admin_host: str = "127.0.0.1"
    admin_port: Port = 8001
    public_url: PublicUrl = AnyHttpUrl("http://127.0.0.1:8000")
    max_body_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    origins: tuple[str, ...] = ()
    trace_url: TraceUrl | None = Field(default=None, description="where a job's trace is shown")
    grafana_url: PublicUrl | None = Field(default=None, description="where deploy/grafana's boards are")
    aging_high_s: Seconds = Field(default=120.0, description="a wait that raises priority 8-9 to 10, once")
    aging_normal_s: Seconds = Field(default=600.0, description="the same for priority 4-7")
    aging_low_s: Seconds = Field(default=3600.0, description="the same for priority 0-3")

    @property
    def base_url(self) -> str:
        """The public address without a slash at its end, for `urls` in answers."""
        return str(self.public_url).rstrip("/")

    @property
    def grafana(self) -> str | None:
        """Grafana's address without a slash at its end."""
        return str(self.grafana_url).rstrip("/") if self.grafana_url else None


class GatewaySettings(ProcessSettings):
    """All that the gateway reads from its environment."""

    gateway: Gateway = Gateway()
