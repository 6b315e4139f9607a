"""A worker's own row: each heartbeat writes it, and brings back its price and whether it is to drain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from shared.adapters.store.pool import Database
from shared.tariff import Tariff

WorkerState = Literal["starting", "ready", "draining", "gone"]

# The price that the scaler wrote down for this machine counts; the worker's own is for where nobody did. Who
# comes back under an old id after a while was not paid for in between.
BEAT = """
with off as (select set_config('synchronous_commit', 'off', true)), known as (
    select slice, per_hour, queue = $2 and until > clock_timestamp() - interval '90 s' as goes_on
    from machine_time where worker = $1 order by slice desc limit 1
), grown as (
    update machine_time t set until = clock_timestamp(), per_hour = coalesce(t.per_hour, $9::numeric)
    from known k where t.worker = $1 and t.slice = k.slice and k.goes_on
    returning t.per_hour
), opened as (
    insert into machine_time (worker, slice, queue, since, until, per_hour)
    select $1, coalesce((select slice from known), -1) + 1, $2, clock_timestamp(), clock_timestamp(),
           coalesce($9::numeric, (select per_hour from known))
    where not exists (select from grown)
    on conflict do nothing
    returning per_hour
)
insert into workers as w (id, queue, state, host, device, slots, busy, claims, idle_since, gpus, per_hour,
                          report, admin)
select $1, $2, $3, $4, $5, $6, $7::int, $8, case when $7::int = 0 then clock_timestamp() end, $10,
       coalesce((select per_hour from grown), (select per_hour from opened), $9::numeric), $11::jsonb, $12
from off
on conflict (id) do update set
    state = {said}, busy = excluded.busy, claims = excluded.claims,
    gpus = excluded.gpus, per_hour = excluded.per_hour, report = excluded.report,
    admin = excluded.admin,
    heartbeat_at = clock_timestamp(),
    since = case when w.state = {said} then w.since else clock_timestamp() end,
    idle_since = case when excluded.busy > 0 then null else coalesce(w.idle_since, clock_timestamp()) end
returning drain, per_hour
"""
# Whoever hears with this beat that it shall leave counts as leaving from here on: an order can be taken back
# until it was heard, and no longer.
SAID = "case when w.drain and excluded.state <> 'gone' then 'draining' else excluded.state end"
BEAT = BEAT.format(said=SAID)

# Whatever is told twice is there; whatever is older than any statistics look back goes.
LOADED = """
with off as (select set_config('synchronous_commit', 'off', true)), swept as (
    delete from model_loads where at < clock_timestamp() - interval '8 days'
)
insert into model_loads (id, model, version, worker, at, load_s, memory_mb)
select l.id, l.model, l.version, $1, clock_timestamp() - make_interval(secs => l.age_s), l.load_s, l.memory_mb
from off, jsonb_to_recordset($2::jsonb) as l(
    id uuid, model text, version text, age_s float8, load_s float8, memory_mb float8
)
on conflict (id) do nothing
"""

SWEEP = "delete from workers where heartbeat_at < clock_timestamp() - interval '1 day'"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerIdentity:
    """What does not change while a worker lives.

    Attributes:
        gpus: That it works on.
        per_hour: What its machine costs, where its own settings say so.
        admin: Where its metrics are read, as ``host:port``.
    """

    id: str
    queue: str
    host: str
    device: str
    slots: int
    gpus: int = 0
    per_hour: Decimal | None = None
    admin: str | None = None


class WorkerStore:
    """Heartbeats of one worker.

    Args:
        database: Where its row is.
        identity: Who it is.
        tariff: Gets to know its price.
    """

    def __init__(self, database: Database, identity: WorkerIdentity, tariff: Tariff | None = None) -> None:
        self._database = database
        self._identity = identity
        self._tariff = tariff or Tariff()

    async def beat(
        self, state: WorkerState, *, busy: int, claims: int = 0, report: Mapping[str, Any] | None = None
    ) -> bool:
        """Tell that this worker lives.

        Args:
            state: What it does.
            busy: Jobs in hand.
            claims: Jobs claimed since its start.
            report: Of its devices and models; None: it tells nothing of them.

        Returns:
            Whether it is asked to drain.
        """
        me = self._identity
        said = (state, me.host, me.device, me.slots, busy, claims, me.per_hour, me.gpus, report)
        [row] = await self._database.write(BEAT, me.id, me.queue, *said, me.admin)
        self._tariff.per_hour = row["per_hour"]
        return bool(row["drain"])

    async def loaded(self, loads: Sequence[Mapping[str, Any]]) -> None:
        """Write down which models its engines loaded.

        Args:
            loads: Of each `id`, `model`, `version`, `age_s` (so long ago), and as far as known `load_s` and
                `memory_mb`.
        """
        await self._database.write(LOADED, self._identity.id, list(loads))

    async def sweep(self) -> None:
        """Forget workers that have been silent for a day."""
        await self._database.write(SWEEP)
