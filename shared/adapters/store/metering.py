"""For how long each machine of a fleet has been paid, and at which price, as the scaler sees it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

from shared.adapters.store.pool import Database

# A machine's time begins with its launch, so the first slice may reach further back than its worker knew; one
# that ended is closed by how long it lived. A price that becomes known holds from the slice's start, another
# one from now on. Only who was seen alive is paid for: an end without a beginning opens nothing.
METER = """
with off as (select set_config('synchronous_commit', 'off', true)), told as (
    select t.*, clock_timestamp() as now
    from off, unnest($2::text[], $3::float8[], $4::boolean[], $5::numeric[], $6::text[])
         as t(id, age_s, alive, per_hour, offering)
), seen as (
    select t.*, m.slice, m.per_hour as was, first.since as began,
           case when t.alive then t.now else first.since + make_interval(secs => t.age_s) end as until,
           m.per_hour <> t.per_hour and t.alive as dearer
    from told t
    left join lateral (
        select slice, per_hour from machine_time where worker = t.id order by slice desc limit 1
    ) m on true
    left join machine_time first on first.worker = t.id and first.slice = 0
), grown as (
    update machine_time m set
        until = greatest(m.until, s.until),
        since = case when m.slice = 0 and s.alive
                     then least(m.since, s.now - make_interval(secs => s.age_s)) else m.since end,
        per_hour = coalesce(m.per_hour, s.per_hour),
        offering = coalesce(m.offering, s.offering)
    from seen s
    where m.worker = s.id and m.slice = s.slice
      and (s.alive or m.until < s.until or (m.per_hour is null and s.per_hour is not null))
)
insert into machine_time (worker, slice, queue, offering, since, until, per_hour)
select id, coalesce(slice + 1, 0), $1, offering,
       case when slice is null then now - make_interval(secs => age_s) else now end, now, per_hour
from seen where alive and (slice is null or dearer)
on conflict do nothing
"""


class Metered(Protocol):
    """A machine that is paid for, or was until a short while ago."""

    @property
    def id(self) -> str:
        """Its worker's as well."""

    @property
    def age_s(self) -> float:
        """Since its launch; of one that ended, how long it lived."""

    @property
    def alive(self) -> bool:
        """It is still there."""

    @property
    def per_hour(self) -> Decimal | None:
        """What it costs; None: nobody has told."""

    @property
    def offering(self) -> str | None:
        """What it is, in words."""


async def meter(database: Database, queue: str, machines: Sequence[Metered]) -> None:
    """Write down what was seen of one queue's machines.

    Raises:
        Unavailable: The database is away.
        OutcomeUnknown: The answer was lost; the next look repeats it.
    """
    told = sorted(machines, key=lambda machine: machine.id)
    await database.write(
        METER,
        queue,
        [machine.id for machine in told],
        [machine.age_s for machine in told],
        [machine.alive for machine in told],
        [machine.per_hour for machine in told],
        [machine.offering for machine in told],
    )
