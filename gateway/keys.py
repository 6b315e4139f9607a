"""`python -m gateway.keys`: make an API key. An entry point of its own, with its own small wiring.

    python -m gateway.keys create --tenant default --role operator --name local

prints the key once; the store keeps only its digest.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Sequence
from typing import cast

from gateway.addresses import names_bucket
from shared.adapters.store.keys import KeyStore, Role
from shared.adapters.store.pool import open_database
from shared.errors import LeveretError, Misconfigured
from shared.settings import ProcessSettings, read_settings

_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_PREFIX = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/\S*")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        key = asyncio.run(_create(asked))
    except LeveretError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{key}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gateway.keys", description="Make API keys.")
    create = parser.add_subparsers(required=True).add_parser("create", help="make a key and print it once")
    create.add_argument("--tenant", required=True, type=_tenant, help="made if it is new")
    create.add_argument("--name", required=True, help="to tell keys apart in a list")
    create.add_argument("--role", choices=["user", "operator"], default="user")
    create.add_argument(
        "--s3-prefix",
        action="append",
        type=_prefix,
        metavar="s3://BUCKET/PREFIX/",
        help="allow the tenant's jobs to name these (replaces what was allowed before; repeatable)",
    )
    return parser


def _tenant(text: str) -> str:
    if not _TENANT.fullmatch(text):
        raise argparse.ArgumentTypeError("a tenant is 1 to 63 of a-z, 0-9 and -, not starting with -")
    return text


def _prefix(text: str) -> str:
    if not _PREFIX.fullmatch(text):
        raise argparse.ArgumentTypeError("must be s3://bucket/prefix/")
    return text


def _check_foreign(prefixes: Sequence[str], bucket: str) -> None:
    """Every job that used one would be refused: better to hear of it now."""
    if own := next((prefix for prefix in prefixes if names_bucket(prefix, bucket)), None):
        raise Misconfigured(
            f"{own} lies in Leveret's own bucket, which no job may name: "
            "give a bucket of the tenant's own; uploads and outputs need no prefix"
        )


async def _create(asked: argparse.Namespace) -> str:
    settings = read_settings(ProcessSettings)
    _check_foreign(asked.s3_prefix or [], settings.s3.bucket)
    async with open_database(settings.postgres, name="keys", size=1) as database:
        keys = KeyStore(database)
        key = await keys.create(asked.tenant, asked.name, cast("Role", asked.role))
        if asked.s3_prefix:
            await keys.allow_prefixes(asked.tenant, asked.s3_prefix)
        return key


if __name__ == "__main__":
    sys.exit(main())
