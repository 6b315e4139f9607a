"""A reader of inputs from the web, with names of its own making.

In place of the Internet stands 127.0.0.1, which it allows; the rest of 127.0.0.0/8, where sockets open just
as well, stands for the network inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from shared.adapters.web import Web
from shared.errors import InputUnavailable
from shared.settings import Web as WebSettings
from tests.authority import Authority
from tests.website import Website

NAME = "files.example"
OUTSIDE, INSIDE = "127.0.0.1", "127.0.0.2"
LIMIT = 4_000_000


@dataclass
class Names:
    """A resolver: each look-up gets the next answer, or is failed with it; the last one remains."""

    answers: list[list[str] | Exception] = field(default_factory=lambda: [[OUTSIDE]])
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Reader:
    """Fetches into a folder of its own."""

    authority: Authority
    folder: Path
    names: Names = field(default_factory=Names)

    def web(self, *allow: str, timeout_s: float = 20.0) -> Web:
        networks = tuple(ip_network(network) for network in allow or (f"{OUTSIDE}/32",))
        settings = WebSettings(allow=networks, timeout_s=timeout_s)
        return Web(settings, resolve=self.names, tls=self.authority.trusted())

    async def fetch(self, site: Website, *, timeout_s: float = 20.0, max_bytes: int = LIMIT) -> bytes:
        path = self.folder / "image"
        uri = f"https://{NAME}:{site.port}/a/b.png?signature=s3cret"
        size = await self.web(timeout_s=timeout_s).fetch(uri, path, max_bytes=max_bytes)
        assert size == path.stat().st_size
        return path.read_bytes()

    def check_nothing_left(self) -> None:
        assert list(self.folder.iterdir()) == []


def check_final(error: Exception) -> None:
    """Another attempt would end the same way; and nobody's signature is told."""
    assert type(error) is InputUnavailable
    assert "s3cret" not in str(error)
