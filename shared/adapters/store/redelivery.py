"""Noticing what the broker lost, and bounding how long a low priority waits.

A false alarm costs one duplicate message, which is a no-op; so these statements may guess, and must not miss.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.adapters.store.pool import Database

# Rows are locked in id order by every statement that takes several: two of them never wait for each other.
OVERTAKEN = """
with served as (
    select queue, priority, max(published_at) as published_at from jobs
    where state = 'running' and published_at is not null group by queue, priority
), lost as (
    select j.id from jobs j left join served s using (queue, priority)
    where j.state = 'queued' and j.publish_due is null
      and not exists (select from queue_pauses p where p.queue = j.queue and p.paused)
      and (j.published_at < s.published_at - make_interval(secs => $1)
           or j.published_at < clock_timestamp() - make_interval(secs => $2))
    order by j.id for update of j
)
update jobs j set publish_due = clock_timestamp(), publish_tries = 0 from lost where j.id = lost.id
returning j.id
"""

SILENT = """
select queue, max(published_at) as published_before from jobs
where state = 'queued' and publish_due is null
  and not exists (select from queue_pauses p where p.queue = jobs.queue and p.paused)
  and published_at < clock_timestamp() - make_interval(secs => $1)
group by queue
"""

PUBLISH_AGAIN = """
with lost as (
    select id from jobs
    where state = 'queued' and queue = $1 and (publish_due is null and published_at <= $2 or $2 is null)
    order by id for update
)
update jobs j set publish_due = clock_timestamp(), publish_tries = 0 from lost where j.id = lost.id
returning j.id
"""

COUNT_CLAIMS = """
insert into promotions as p (queue, claims) select queue, sum(claims) from workers group by queue
on conflict (queue) do update set claims = least(p.claims, excluded.claims)
"""

PROMOTE = """
with budget as (
    select p.queue, (w.claims - p.claims) / $4 as places
    from (select queue, claims from promotions for update) p
    join (select queue, sum(claims)::bigint as claims from workers group by queue) w using (queue)
), candidates as (
    select j.id, j.queue, row_number() over (partition by j.queue order by j.queued_at, j.id) as place
    from jobs j
    where j.state = 'queued' and not j.promoted and j.priority < 10
      and greatest(j.queued_at, j.prioritised_at) < clock_timestamp() - make_interval(secs =>
          case when j.priority >= 8 then $1::float8 when j.priority >= 4 then $2::float8 else $3::float8 end)
), chosen as (
    select j.id from jobs j join candidates c using (id) join budget b on b.queue = c.queue
    where j.state = 'queued' and c.place <= b.places order by j.id for update of j
), promoted as (
    update jobs j
    set priority = 10, promoted = true, publish_due = clock_timestamp(), publish_tries = 0
    from chosen c where j.id = c.id
    returning j.queue
), made as (
    select queue, count(*) as count from promoted group by queue
), paid as (
    update promotions p set claims = p.claims + $4 * made.count from made where p.queue = made.queue
)
select queue, count from made
"""

CLAIMS_PER_PROMOTION = 5
"""A promoted job overtakes at most every fifth: the high class keeps four fifths of the workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """A queue with jobs that were published a while ago and are not claimed yet.

    Attributes:
        published_before: When the youngest of them was published.
    """

    queue: str
    published_before: datetime


class RedeliveryStore:
    """Each call marks rows as due; the relay's next tick publishes them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def overtaken(self, *, margin_s: float, forgotten_s: float) -> int:
        """Jobs whose message must be lost, or may be.

        Args:
            margin_s: One of the same queue and priority, published this much later, is running already.
            forgotten_s: Published this long ago, whatever else is known.

        Returns:
            How many rows are due now.
        """
        return len(await self._database.write(OVERTAKEN, margin_s, forgotten_s))

    async def silent(self, *, after_s: float) -> list[Silent]:
        """Queues with jobs whose message was confirmed more than `after_s` seconds ago."""
        return [Silent(**row) for row in await self._database.read(SILENT, after_s)]

    async def publish_again(self, silent: Silent) -> int:
        """The broker has no message for these jobs any more."""
        return len(await self._database.write(PUBLISH_AGAIN, silent.queue, silent.published_before))

    async def publish_all(self, queue: str) -> int:
        """The queue was gone: every message of it is lost."""
        return len(await self._database.write(PUBLISH_AGAIN, queue, None))

    async def promote(self, *, high_s: float, normal_s: float, low_s: float) -> dict[str, int]:
        """Raise jobs that waited beyond their class's bound to priority 10, once, oldest first.

        Returns:
            Promotions by queue: at most one per five claims of it, counted over all relays.
        """
        await self._database.write(COUNT_CLAIMS)
        rows = await self._database.write(PROMOTE, high_s, normal_s, low_s, CLAIMS_PER_PROMOTION)
        return {row["queue"]: row["count"] for row in rows}
