"""Where the gateway is and who is calling. Standard library only.

The SDK reads `LEVERET_URL` and `LEVERET_API_KEY`. The command also reads `.leveret/env`, which the local
stack writes, from the current folder or a parent.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.client.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

URL_VARIABLE = "LEVERET_URL"
KEY_VARIABLE = "LEVERET_API_KEY"
ENV_FILE = Path(".leveret") / "env"
STACK_FILE = Path(".leveret") / "stack.env"


@dataclass(frozen=True, slots=True)
class Target:
    """One gateway and the key to it.

    Attributes:
        url: `http(s)://host[:port][/prefix]`, without a trailing slash.
        api_key: Sent in a header, never in a URL; not part of the repr.
        source: Where the two came from, in words for `doctor`.
    """

    url: str
    api_key: str = field(repr=False)
    source: str = "arguments"

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(f"the gateway's URL must be http://host or https://host, not {self.url!r}")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError("the gateway's URL must hold no user, password, query or fragment")
        if not self.api_key.isascii() or not self.api_key.isprintable() or " " in self.api_key:
            raise ConfigError("the API key holds characters that no header can carry")
        object.__setattr__(self, "url", self.url.rstrip("/"))

    @property
    def ws_url(self) -> str:
        """The same address for WebSockets."""
        return "ws" + self.url.removeprefix("http")

    @property
    def nearby(self) -> bool:
        """Whether it is on this machine, where no proxy of the environment leads."""
        return urlsplit(self.url).hostname in {"localhost", "127.0.0.1", "::1"}

    @property
    def headers(self) -> dict[str, str]:
        """What authenticates a request to this gateway, and to nobody else."""
        return {"Authorization": f"Bearer {self.api_key}"}


def find_target(
    url: str | None = None,
    api_key: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Target:
    """The gateway to talk to, from the arguments, else the environment, else `.leveret/env` under `folder`.

    The file counts only when the environment names neither: a key must never go to an address from elsewhere.

    Args:
        url: Overrides `LEVERET_URL`.
        api_key: Overrides `LEVERET_API_KEY`.
        environ: The environment; the process's own when left out.
        folder: Where to start looking upwards for the file; None looks nowhere.

    Raises:
        ConfigError: The URL or the key is missing or malformed.
    """
    given = os.environ if environ is None else environ
    url, api_key = url or given.get(URL_VARIABLE), api_key or given.get(KEY_VARIABLE)
    source = "environment"
    if not url and not api_key and folder is not None and (found := find_file(ENV_FILE, folder)):
        values, source = read_env(found), str(found)
        url, api_key = values.get(URL_VARIABLE), values.get(KEY_VARIABLE)
    for name, value in ((URL_VARIABLE, url), (KEY_VARIABLE, api_key)):
        if not value:
            raise ConfigError(f"{name} is not set: start a local stack with `make up`, or export it")
    return Target(str(url), str(api_key), source)


def find_file(name: Path, folder: Path) -> Path | None:
    """The nearest `name` in `folder` or above that belongs to someone this user trusts."""
    for parent in (folder, *folder.parents):
        candidate = parent / name
        if candidate.is_file() and _trusted(candidate):
            return candidate
    return None


def read_env(path: Path) -> dict[str, str]:
    """The `NAME=value` lines of a file meant for `source`: `export` and quotes allowed, nothing expanded.

    Raises:
        ConfigError: The file cannot be read as such.
    """
    try:
        words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    return dict(word.split("=", 1) for word in words if "=" in word)


def _trusted(path: Path) -> bool:
    # A file planted in a shared parent such as /tmp would send this user's data to a stranger.
    if not hasattr(os, "geteuid"):
        return True
    own = os.geteuid()
    return path.stat().st_uid in {own, 0} or own == 0
