"""The gateway's own section, `LEVERET_GATEWAY_…`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AnyHttpUrl, Field, PlainSerializer

from shared.settings import Port, ProcessSettings, Seconds, Section

PublicUrl = Annotated[AnyHttpUrl, PlainSerializer(str)]


class Gateway(Section):
    """Where it listens, and what it lets in."""

    host: str = "127.0.0.1"
    port: Port = 8000
    admin_host: str = "127.0.0.1"
    admin_port: Port = 8001
    public_url: PublicUrl = AnyHttpUrl("http://127.0.0.1:8000")
    max_body_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    origins: tuple[str, ...] = ()
    aging_high_s: Seconds = Field(default=120.0, description="a wait that raises priority 8-9 to 10, once")
    aging_normal_s: Seconds = Field(default=600.0, description="the same for priority 4-7")
    aging_low_s: Seconds = Field(default=3600.0, description="the same for priority 0-3")

    @property
    def base_url(self) -> str:
        """The public address without a slash at its end, for `urls` in answers."""
        return str(self.public_url).rstrip("/")


class GatewaySettings(ProcessSettings):
    """All that the gateway reads from its environment."""

    gateway: Gateway = Gateway()
