"""Applies `shared/migrations/*.sql` in order, once each.

A runner this small instead of Alembic: the files are plain SQL, nothing here is generated from models, and
Alembic would bring SQLAlchemy and a synchronous driver's habits along for it. Each file is one transaction
under one advisory lock, so any number of processes may start at once; a file that was changed after it was
applied is refused.

    python -m shared.adapters.store.migrate
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import asyncpg

from shared.errors import LeveretError, Misconfigured, Unavailable
from shared.settings import ProcessSettings, read_settings

LOCK = 0x1E7E3E7
TABLE = """
create table if not exists migrations (
    name text primary key, digest bytea not null, applied_at timestamptz not null default clock_timestamp())
"""


async def migrate(dsn: str) -> list[str]:
    """Bring the database up to date.

    Returns:
        The names of the files that were applied now, in order.

    Raises:
        Unavailable: The server cannot be reached.
        Misconfigured: A file changed after it was applied, or fails.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=10)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise Unavailable(f"PostgreSQL cannot be reached: {str(error) or type(error).__name__}") from error
    try:
        return [file.name for file in _files() if await _apply(connection, file)]
    finally:
        await connection.close(timeout=5)


def _files() -> list[Traversable]:
    folder = resources.files("shared") / "migrations"
    return sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name
    )


async def _apply(connection: Any, file: Traversable) -> bool:
    sql = file.read_text()
    digest = hashlib.sha256(sql.encode()).digest()
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", LOCK)
        await connection.execute(TABLE)
        known = await connection.fetchval("select digest from migrations where name = $1", file.name)
        if known is None:
            await _execute(connection, file.name, sql)
            await connection.execute(
                "insert into migrations (name, digest) values ($1, $2)", file.name, digest
            )
    if known not in {None, digest}:
        raise Misconfigured(f"migration {file.name} was changed after it was applied")
    return known is None


async def _execute(connection: Any, name: str, sql: str) -> None:
    try:
        await connection.execute(sql)
    except asyncpg.PostgresError as error:
        raise Misconfigured(f"migration {name} fails: {error}") from error


def main() -> int:
    """Migrate the database that the environment names."""
    try:
        applied = asyncio.run(migrate(read_settings(ProcessSettings).postgres.dsn.get_secret_value()))
    except LeveretError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"applied: {', '.join(applied) or 'nothing, the schema is up to date'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
