"""Connections to PostgreSQL, and the translation of its errors into ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncpg
import msgspec

from shared.cleaning import clean
from shared.errors import LeveretError, Misconfigured, OutcomeUnknown, Unavailable
from shared.settings import Postgres

T = TypeVar("T")

CONNECTION_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""The driver calls it an internal error when the server has just ended a session that was idle."""
REFUSED = (
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TransactionRollbackError,
)
"""The server said no and rolled back: it starts, stops or is full, it is the standby of a fail-over, somebody
ended the statement, or it was the one chosen to end a deadlock."""
RELEASE_S = 1.0
"""For a statement that ran out of time to be called off; a silent server must not cost its patience twice."""
UNFIT = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""What one row's data does to the whole statement."""
WRONG_ADDRESS = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


class Database:
    """Runs single statements; each is its own transaction.

    Raises from every method:
        Unavailable: Nothing was changed: no connection, or the server refused.
    """

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def read(self, sql: str, *values: object) -> list[asyncpg.Record]:
        """The rows of a statement that changes nothing."""
        return await self._run(sql, values, lost=Unavailable)

    async def write(self, sql: str, *values: object) -> list[asyncpg.Record]:
        """The rows of a statement that changes something.

        Raises:
            OutcomeUnknown: The connection was lost before the answer came.
        """
        return await self._run(sql, values, lost=OutcomeUnknown)

    async def ping(self) -> None:
        """Return when the server answers."""
        await self.read("select 1")

    async def _run(
        self, sql: str, values: Sequence[object], *, lost: type[LeveretError]
    ) -> list[asyncpg.Record]:
        connection = await _translated(self._pool.acquire(timeout=self._timeout_s), lost=Unavailable)
        try:
            return await _translated(connection.fetch(sql, *values, timeout=self._timeout_s), lost=lost)
        except LeveretError as error:
            if isinstance(error.__cause__, asyncpg.InterfaceError) and not connection.is_closed():
                raise error.__cause__ from None  # a value or statement that does not fit: waiting won't help
            raise
        finally:
            await self._release(connection)

    async def _release(self, connection: Any) -> None:
        """One that breaks here is ended and replaced by the pool; the statement's outcome is told."""
        with suppress(*CONNECTION_LOST):
            await self._pool.release(connection, timeout=RELEASE_S)


async def _translated(call: Awaitable[T], *, lost: type[LeveretError]) -> T:
    try:
        return await call
    except REFUSED as error:
        raise Unavailable(f"PostgreSQL refused: {error}", refused=True) from error
    except CONNECTION_LOST as error:
        raise lost(f"PostgreSQL is away: {str(error) or type(error).__name__}") from error


@asynccontextmanager
async def open_database(settings: Postgres, *, name: str, size: int | None = None) -> AsyncIterator[Database]:
    """A pool of connections named `name` in pg_stat_activity.

    Args:
        settings: Address and limits.
        name: Of the process.
        size: Connections at most, where it differs from the settings'.

    Raises:
        Unavailable: The server cannot be reached.
        Misconfigured: It refuses the user, the password or the database's name.
    """
    pool = await _opened(settings, name, size or settings.pool_size)
    try:
        yield Database(pool, settings.timeout_s)
    finally:
        await _close(pool)


async def _opened(settings: Postgres, name: str, size: int) -> asyncpg.Pool[asyncpg.Record]:
    pool = asyncpg.create_pool(
        settings.dsn.get_secret_value(),
        min_size=1,
        max_size=size,
        timeout=settings.timeout_s,
        init=_prepare,
        reset=_keep,
        server_settings={"application_name": f"leveret-{name}"},
    )
    try:
        return await _translated(pool, lost=Unavailable)
    except WRONG_ADDRESS as error:
        raise Misconfigured(f"PostgreSQL refuses LEVERET_POSTGRES_DSN: {error}") from error


async def _close(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    try:
        async with asyncio.timeout(5):
            await pool.close()
    except CONNECTION_LOST:
        pool.terminate()


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=to_json,
        decoder=msgspec.json.decode,
    )


def to_json(value: Any) -> str:
    """The value as PostgreSQL's JSON takes it: with NUL and lone surrogates replaced, where there are any."""
    with contextlib.suppress(UnicodeError):
        text = msgspec.json.encode(value).decode()
        if "\\u0000" not in text:
            return text
    return msgspec.json.encode(clean(msgspec.to_builtins(value))).decode()


async def _keep(connection: Any) -> None:
    """No statement leaves session state behind, so the usual reset would be a round trip for nothing."""
