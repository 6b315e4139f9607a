"""How many workers each fleet wanted and had, and which limits held: written by the scaler, read by gateways.

A row is a span of time: it grows while every look finds the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.adapters.store.pool import Database

KEPT_DAYS = 8
MOST = 2000
"""Spans of one answer: the newest."""

# Losing the last of these in a crash costs a gap of one look.
SEE = """
with off as (select set_config('synchronous_commit', 'off', true)), last as (
    select l.id from off, fleet_looks l where l.queue = $1 order by l.id desc limit 1
), grown as (
    update fleet_looks l set until = statement_timestamp() from last
    where l.id = last.id and l.until > clock_timestamp() - make_interval(secs => $2::float8)
      and (l.gap_s, l.want, l.asked, l.bound, l.serving, l.starting, l.leaving,
           l.min, l.max, l.min_ordered, l.max_ordered)
          is not distinct from ($2::float8, $3::int, $4::int, $5::text, $6::int, $7::int, $8::int,
           $9::int, $10::int, $11::boolean, $12::boolean)
    returning l.id
), forgotten as (
    delete from fleet_looks where until < clock_timestamp() - make_interval(days => $13::int)
      and id in (select id from fleet_looks where queue = $1 order by id limit 8)
)
insert into fleet_looks
    (queue, gap_s, want, asked, bound, serving, starting, leaving, min, max, min_ordered, max_ordered)
select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 where not exists (select from grown)
"""

_COLUMNS = """
id, queue, at, until, gap_s, want, asked, bound, serving, starting, leaving,
min, max, min_ordered, max_ordered,
greatest(0, extract(epoch from clock_timestamp() - until))::float8 as age_s
"""

LATEST = f"""
select l.* from unnest($1::text[]) as named(queue) cross join lateral (
    select {_COLUMNS} from fleet_looks where queue = named.queue order by id desc limit 1
) l
"""  # noqa: S608  the columns are above

SPANS = f"""
select {_COLUMNS} from fleet_looks
where queue = $1 and until > clock_timestamp() - make_interval(secs => $2::float8)
order by id desc limit $3
"""  # noqa: S608  idem


class Seen(Protocol):
    """What one look found; None is what is not known."""

    @property
    def want(self) -> int | None:
        """Workers aimed at."""

    @property
    def asked(self) -> int | None:
        """Workers that the jobs ask for, before any limit."""

    @property
    def bound(self) -> str | None:
        """The limit that made `want` another number."""

    @property
    def serving(self) -> int | None:
        """Workers that take jobs."""

    @property
    def starting(self) -> int | None:
        """On their way."""

    @property
    def leaving(self) -> int | None:
        """On their way out."""

    @property
    def min(self) -> int:
        """At least, as it held."""

    @property
    def max(self) -> int:
        """At most, as it held."""

    @property
    def min_ordered(self) -> bool:
        """An operator's, not the settings'."""

    @property
    def max_ordered(self) -> bool:
        """Likewise."""

    @property
    def gap_s(self) -> float:
        """Longer than this between two looks, and nobody looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookRow:
    """One span; None is what is not known.

    Attributes:
        at: The first look that found this.
        until: The last one.
        age_s: Seconds since the last one.
    """

    id: int
    queue: str
    at: datetime
    until: datetime
    gap_s: float
    want: int | None
    asked: int | None
    bound: str | None
    serving: int | None
    starting: int | None
    leaving: int | None
    min: int
    max: int
    min_ordered: bool
    max_ordered: bool
    age_s: float


async def see(database: Database, queue: str, look: Seen) -> None:
    """Write a look down."""
    found = (look.want, look.asked, look.bound, look.serving, look.starting, look.leaving)
    limits = (look.min, look.max, look.min_ordered, look.max_ordered)
    await database.write(SEE, queue, look.gap_s, *found, *limits, KEPT_DAYS)


async def latest_looks(database: Database, queues: Sequence[str]) -> list[LookRow]:
    """The last span of each of these fleets."""
    return [LookRow(**dict(row)) for row in await database.read(LATEST, list(queues))]


async def spans(database: Database, queue: str, since_s: float) -> list[LookRow]:
    """A fleet's spans of the last `since_s` seconds, oldest first, the newest 2000 at most."""
    return [LookRow(**dict(row)) for row in reversed(await database.read(SPANS, queue, since_s, MOST))]
