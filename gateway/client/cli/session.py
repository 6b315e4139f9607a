"""What every command takes, and the client it talks through."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from gateway.client.retry import RetryPolicy
from gateway.client.settings import find_target

if TYPE_CHECKING:
    from gateway.client.aio import AsyncClient

PATIENCE = RetryPolicy(budget_s=30)
"""Somebody sits and waits; a script that wants more repeats the command."""
_EVERYWHERE = Group("Options of every command", sort_key=1)


@Parameter(name="*", group=_EVERYWHERE)
@dataclass(frozen=True, slots=True)
class Common:
    """Options of every command.

    Attributes:
        json: Print JSON on stdout instead of text.
        url: The gateway, instead of LEVERET_URL.
        debug: Show a failure's traceback.
    """

    json: Annotated[bool, Parameter(negative="")] = False
    url: str | None = None
    debug: Annotated[bool, Parameter(negative="")] = False

    def client(self) -> AsyncClient:
        """A client of the gateway that this command line and this folder mean.

        Raises:
            ConfigError: The URL or the key is missing or malformed.
        """
        from gateway.client.aio import AsyncClient  # noqa: PLC0415  not for --help

        target = find_target(self.url, folder=Path.cwd())
        _tell_repeats()
        return AsyncClient(target.url, target.api_key, retry=PATIENCE)


NO_OPTIONS = Common()


def _tell_repeats() -> None:
    """Whoever waits at a terminal sees why."""
    logger = logging.getLogger("gateway.client")
    logger.handlers = [logging.StreamHandler()]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def print_json(document: Any) -> None:
    """One JSON document on stdout, on one line."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
