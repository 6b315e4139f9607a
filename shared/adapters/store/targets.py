"""Where the workers' metrics are read, by their own rows."""

from __future__ import annotations

from dataclasses import dataclass

from shared.adapters.store.pool import Database

TARGETS = """
select id, queue, split_part(host, ':', 1) as host, admin from workers
where state <> 'gone' and admin is not null and heartbeat_at > clock_timestamp() - make_interval(secs => $1)
order by id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRow:
    """A worker that tells its metrics.

    Attributes:
        host: Its machine's name.
        admin: Its admin port, as ``host:port``.
    """

    id: str
    queue: str
    host: str
    admin: str


class TargetStore:
    """Reads the workers' addresses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def targets(self, heard_s: float) -> list[TargetRow]:
        """Every worker that said no goodbye and was heard of within so many seconds.

        Raises:
            Unavailable: The database is away.
        """
        return [TargetRow(**dict(row)) for row in await self._database.read(TARGETS, heard_s)]
