"""A worker's hold on a job: claim, renewal, and the one statement by which a job leaves `running`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from shared.adapters.batching import Batcher
from shared.adapters.store.pool import UNFIT, Database, to_json
from shared.adapters.store.records import CANCELED, RECEIPT, event_of
from shared.cleaning import clean_text
from shared.errors import EngineDied, Unavailable, Unstorable
from shared.events import BY_STATE, Event, EventType
from shared.jobs import MAX_MISSES, MAX_RELEASES, Claim, Ending, Evidence, State, check_transition
from shared.tariff import Tariff

LEASE_S = 20.0
DOUBT_S = 7.0
"""A message came again for a running job: its worker has this long to renew before the lease ends."""
MODEL_RETRY_S = 10.0

CLAIM = """
with free as (
    select id from jobs where id = any($1::uuid[]) and state = 'queued'
      and not exists (select from queue_pauses p where p.queue = jobs.queue and p.paused)
    order by id for update
), claimed as (
    update jobs set state = 'running', attempt = attempt + 1, fence = fence + 1, seq = seq + 1, worker = $2,
                    started_at = clock_timestamp(),
                    lease_until = clock_timestamp() + make_interval(secs => $3),
                    entered = $5, progress = 0, run_at = null, start_deadline = null,
                    publish_due = null, publish_tries = 0
    from free join specs s using (id)
    where jobs.id = free.id and s.model || '@' || s.model_version = any($4::text[])
    returning jobs.*
), event as (
    insert into events (job_id, seq, type, at, data)
    select id, seq, 'job.running', started_at, jsonb_build_object('attempt', attempt) from claimed
)
select c.id, c.queue, c.priority, c.attempt, c.max_attempts, c.fence, c.seq, c.queued_at, c.started_at,
       c.alone, s.tenant, s.model, s.model_version, s.timeout_s, s.inputs, s.params, s.metadata,
       s.destinations, s.retry_of, s.traceparent, s.created_at
from claimed c join specs s using (id)
"""

RECOVER = """
select j.id, j.queue, j.priority, j.attempt, j.max_attempts, j.fence, j.seq, j.queued_at, j.started_at,
       j.alone, s.tenant, s.model, s.model_version, s.timeout_s, s.inputs, s.params, s.metadata,
       s.destinations, s.retry_of, s.traceparent, s.created_at
from jobs j join specs s using (id)
where j.id = $1 and j.worker = $2 and j.state = 'running'
"""

STATE = """
select j.id, j.state, s.model || '@' || s.model_version as model,
       j.finished_at > clock_timestamp() - interval '10 min' as recent
from jobs j join specs s using (id) where j.id = any($1)
"""

DOUBT = """
update jobs set lease_until = least(lease_until, clock_timestamp() + make_interval(secs => $2))
where id = $1 and state = 'running'
"""

RENEW = """
with off as (select set_config('synchronous_commit', 'off', true)), mine as (
    select j.id, told.progress
    from unnest($2::uuid[], $3::integer[], $4::real[]) as told(id, fence, progress)
    join jobs j on j.id = told.id and j.fence = told.fence and j.state = 'running'
    order by j.id for update of j
)
update jobs j set lease_until = clock_timestamp() + make_interval(secs => $1), progress = mine.progress
from off, mine where j.id = mine.id
returning j.id, j.cancel_requested
"""

ENTER = """
with off as (select set_config('synchronous_commit', 'off', true)), inside as (
    select j.id from unnest($1::uuid[], $2::integer[]) as told(id, fence)
    join jobs j on j.id = told.id and j.fence = told.fence and j.state = 'running'
    order by j.id for update of j
)
update jobs j set entered = true from off, inside where j.id = inside.id
"""

# What is the same on every receipt of a worker, and the job's own figures.
_FIRST = """
$8::jsonb || jsonb_build_object('machine_s', h.share_s, 'gpu_s', h.share_s * $7::int,
                                'cost', trim_scale(h.cost)::text)
"""
_LATER = f"""
(select {RECEIPT} from (
    select count(*) as wasted_attempts, count(*) + 1 as attempts,
           case when count(*) = count(a.machine_s) then coalesce(sum(a.machine_s), 0) end as wasted_s,
           case when count(*) = count(a.machine_s) then coalesce(sum(a.machine_s), 0) + h.share_s end
               as machine_s,
           case when count(*) = count(a.gpu_s) then coalesce(sum(a.gpu_s), 0) + h.share_s * $7::int end
               as gpu_s,
           case when count(*) = count(a.cost) then coalesce(sum(a.cost), 0) end as wasted_cost,
           case when count(*) = count(a.cost) then coalesce(sum(a.cost), 0) + h.cost end as cost,
           j.worker, $8::jsonb ->> 'device' as device, $8::jsonb ->> 'currency' as currency
    from attempts a where a.job_id = j.id) r)
"""  # noqa: S608  a constant of ours


def _leave(receipt: str) -> str:
    return f"""
with told as materialized (
    select * from json_to_recordset($1::json) as t(
        id uuid, fence integer, attempt smallint, state text, type text, data jsonb,
        delay_s double precision, error jsonb, log text, timings jsonb, alone boolean)
), held as (
    select t.*, j.started_at as began, clock_timestamp() as left_at,
           case when j.cancel_requested and t.state <> 'succeeded' then 'canceled'
                when t.state = 'queued' and j.releases >= $2
                     and j.attempt >= j.max_attempts then 'failed'
                else t.state end as verdict
    from told t join jobs j on j.id = t.id and j.fence = t.fence and j.state = 'running'
    order by t.id for update of j
), shared as (
    select *, round(greatest(0, extract(epoch from left_at - began)) / $6::int, 6) as share_s from held
), charged as (
    select *, round(share_s * $5::numeric / 3600, 10) as cost from shared
), gone as (
    update jobs j set
        state = verdict,
        seq = seq + 1,
        lease_until = null,
        progress = case when verdict = 'succeeded' then 1 else progress end,
        attempt = j.attempt - case when verdict = 'queued' and releases < $2 then 1 else 0 end,
        releases = releases + case when verdict = 'queued' then 1 else 0 end,
        alone = j.alone or h.alone,
        run_at = case when verdict = 'waiting' then clock_timestamp() + make_interval(secs => h.delay_s) end,
        queued_at = case when verdict = 'queued' then clock_timestamp() else queued_at end,
        publish_due = case when verdict = 'queued' then clock_timestamp() end,
        publish_tries = 0,
        finished_at = case when verdict not in ('queued', 'waiting') then h.left_at end
    from charged h where j.id = h.id
    returning j.id, j.fence, j.seq, j.state, j.publish_due, j.worker, j.started_at,
              h.left_at, h.attempt, h.error, h.log, h.timings, h.share_s, h.cost,
              case when j.state = h.state then h.type else 'job.' || j.state end as type,
              case when j.state = h.state then h.data
                   else jsonb_build_object('outputs', '{{}}'::jsonb, 'timings', h.timings, 'error',
                            case j.state when 'canceled' then $3::jsonb else $4::jsonb end) end
              || case when j.state in ('queued', 'waiting') then '{{}}'::jsonb
                      else jsonb_build_object('receipt', {receipt}) end as data
), event as (
    insert into events (job_id, seq, type, at, data) select id, seq, type, left_at, data from gone
), ended as (
    insert into attempts (job_id, fence, attempt, worker, outcome, started_at, finished_at, error, log,
                          timings, device, machine_s, gpu_s, cost)
    select id, fence, attempt, coalesce(worker, ''),
           case when state = 'queued' then 'released' else state end,
           started_at, left_at, error, log, timings, $8::jsonb ->> 'device', share_s, share_s * $7::int,
           cost
    from gone
)
select id as job_id, fence, state, publish_due, seq, type, left_at as at, data,
       share_s::float8 as machine_s, cost
from gone
"""  # noqa: S608  a constant of ours


LEAVE = _leave(_FIRST)
LEAVE_AGAIN = _leave(_LATER)
"""For a batch in which a job ran before: its other attempts, all of them wasted, are on its receipt.
Apart, since to get ready for it costs every statement something."""

LEFT = """
select j.state, j.publish_due, e.job_id, e.seq, e.type, e.at, e.data, a.machine_s, a.cost
from jobs j join events e on e.job_id = j.id and e.seq = j.seq
join attempts a on a.job_id = j.id and a.fence = j.fence
where j.id = $1 and j.fence = $2 and j.state <> 'running'
"""

DEFER = """
with met as (
    update jobs set
        state = case when misses + 1 >= $2 then 'failed' else 'waiting' end,
        seq = seq + 1, misses = misses + 1, publish_due = null, publish_tries = 0,
        run_at = case when misses + 1 < $2 then clock_timestamp() + make_interval(secs => $3) end,
        finished_at = case when misses + 1 >= $2 then clock_timestamp() end
    where id = $1 and state = 'queued'
      and not exists (select from queue_pauses p where p.queue = jobs.queue and p.paused)
    returning *
), event as (
    insert into events (job_id, seq, type, at, data)
    select id, seq, case when state = 'failed' then 'job.failed' else 'job.retrying' end, clock_timestamp(),
           case when state = 'failed' then jsonb_build_object('outputs', '{}'::jsonb, 'error', $4::jsonb)
                else jsonb_build_object('error', $4::jsonb, 'run_at', run_at) end
    from met
    returning job_id, seq, type, at, data
)
select e.*, s.tenant from event e join specs s on s.id = e.job_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a claim was not given.

    Attributes:
        state: The row's, or None when there is no such row. `queued`: its model is not known here.
        model: The model that the row wants, as ``name@version``.
        recent: It ended within the last 10 minutes, so its announcement is worth repeating.
    """

    state: State | None
    model: str = ""
    recent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A job left `running` under this worker's fence.

    Attributes:
        state: What it is now: `canceled` in place of a retry or release when that had been asked for.
        event: To announce.
        publish_due: The relay's mark, when the job is queued again.
        machine_s: The attempt's share of the machine's time.
        cost: Of this; None: the machine has no price.
    """

    state: State
    event: Event
    publish_due: datetime | None
    machine_s: float = 0.0
    cost: Decimal | None = None


@dataclass(frozen=True, slots=True)
class _Leaving:
    """A job about to leave `running`: which attempt, and what it says, as JSON."""

    id: UUID
    fence: int
    told: str


class AttemptStore:
    """One worker's view. Calls share statements; renewals want a database connection of their own.

    Args:
        database: Where the jobs are.
        worker: The worker's id.
        models: What this worker can run, as ``name@version``; read anew for every claim.
        slots: Jobs it holds at once. With one, a claim is inside an engine at once and needs no mark.
        tariff: What its attempts are charged by.
    """

    def __init__(
        self,
        database: Database,
        *,
        worker: str,
        models: Collection[str],
        slots: int = 1,
        tariff: Tariff | None = None,
    ) -> None:
        self._database = database
        self._worker = worker
        self._models = models
        self._slots = slots
        self._tariff = tariff or Tariff(slots=slots)
        self._claims: Batcher[UUID, Claim | Refusal] = Batcher(self._claim, divisible=UNFIT)
        self._entries: Batcher[Claim, None] = Batcher(self._enter, divisible=UNFIT)
        self._endings: Batcher[_Leaving, Left | None] = Batcher(self._leave_all, divisible=UNFIT)

    async def claim(self, job_id: UUID) -> Claim | Refusal:
        """Take a queued job: at most one of any number of claimers gets it."""
        return await self._claims.add(job_id)

    async def recover(self, job_id: UUID) -> Claim | None:
        """The claim whose answer was lost, if it was given: the row names this worker."""
        rows = await self._database.read(RECOVER, job_id, self._worker)
        return Claim(**rows[0]) if rows else None

    async def left(self, claim: Claim) -> Left | None:
        """What an earlier call did whose answer was lost; None when the job is someone else's by now."""
        rows = await self._database.read(LEFT, claim.id, claim.fence)
        return _left(rows[0]) if rows else None

    async def enter(self, claim: Claim) -> None:
        """The job is about to be inside an engine: should this worker die now, it is blamed."""
        if self._slots > 1:
            await self._entries.add(claim)

    async def doubt(self, job_id: UUID) -> None:
        """A running job's message came again: shorten its lease; a live worker's renewal restores it."""
        await self._database.write(DOUBT, job_id, DOUBT_S)

    async def renew(self, held: Mapping[UUID, tuple[int, float]]) -> dict[UUID, bool]:
        """Extend the leases of the jobs in hand.

        Args:
            held: By job its fence and its progress (0 … 1).

        Returns:
            By job that is still ours, whether its end was asked for. A job that is missing was lost.
        """
        fences = [fence for fence, _ in held.values()]
        progress = [value for _, value in held.values()]
        rows = await self._database.write(RENEW, LEASE_S, list(held), fences, progress)
        return {row["id"]: row["cancel_requested"] for row in rows}

    async def finish(self, claim: Claim, ending: Ending) -> Left | None:
        """Commit a terminal state; None when the fence has moved on and nothing changed."""
        data = {
            "outputs": ending.outputs,
            "error": ending.evidence.public_error,
            "timings": ending.evidence.timings,
        }
        return await self._leave(claim, ending.state, BY_STATE[ending.state], data, ending.evidence)

    async def retry(self, claim: Claim, evidence: Evidence, *, delay_s: float) -> Left | None:
        """Back to `waiting` for `delay_s` seconds; None when the fence has moved on."""
        data = {"error": evidence.public_error, "delay_s": round(delay_s, 3)}
        return await self._leave(claim, State.WAITING, EventType.RETRYING, data, evidence, delay_s=delay_s)

    async def release(self, claim: Claim, evidence: Evidence) -> Left | None:
        """Back to `queued` at once, the attempt given back; None when the fence has moved on."""
        return await self._leave(claim, State.QUEUED, EventType.RELEASED, {}, evidence)

    async def defer(self, job_id: UUID, error: Mapping[str, Any]) -> tuple[str, Event] | None:
        """This worker does not know the job's model: wait for one that does, or fail at the tenth miss.

        Returns:
            The tenant and the event to announce; None when the job was not queued any more.
        """
        rows = await self._database.write(DEFER, job_id, MAX_MISSES, MODEL_RETRY_S, error)
        return (rows[0]["tenant"], event_of(rows[0])) if rows else None

    async def _claim(self, ids: Sequence[UUID]) -> Sequence[Claim | Refusal | Exception]:
        """One statement for all. The claims given stand, whatever becomes of the question about others."""
        rows = await self._database.write(
            CLAIM, ids, self._worker, LEASE_S, list(self._models), self._slots == 1
        )
        claims = {row["id"]: Claim(**row) for row in rows}
        refused = [id_ for id_ in ids if id_ not in claims]
        try:
            refusals = await self._refusals(refused) if refused else {}
        except Unavailable as error:
            return [_once(claims, id_) or error for id_ in ids]
        return [_once(claims, id_) or refusals.get(id_, ALREADY) for id_ in ids]

    async def _refusals(self, ids: Sequence[UUID]) -> dict[UUID, Refusal]:
        found = {row["id"]: row for row in await self._database.read(STATE, ids)}
        return {id_: _refusal(found.get(id_)) for id_ in ids}

    async def _enter(self, claims: Sequence[Claim]) -> Sequence[None]:
        ids, fences = [claim.id for claim in claims], [claim.fence for claim in claims]
        await self._database.write(ENTER, ids, fences)
        return [None] * len(claims)

    async def _leave(
        self,
        claim: Claim,
        state: State,
        event_type: EventType,
        data: Mapping[str, Any],
        evidence: Evidence,
        *,
        delay_s: float = 0.0,
    ) -> Left | None:
        check_transition(State.RUNNING, state)
        told = {
            "id": claim.id,
            "fence": claim.fence,
            "attempt": claim.attempt,
            "state": state.value,
            "type": event_type.value,
            "data": data,
            "delay_s": delay_s,
            "error": evidence.error,
            "log": clean_text(evidence.log),
            "timings": evidence.timings,
            # Several may have been at work in the engine that died: the next attempt finds out which it was.
            # One that is given back was not, whatever died around it.
            "alone": state is not State.QUEUED and (evidence.error or {}).get("code") == EngineDied.code,
        }
        try:
            return await self._endings.add(_Leaving(claim.id, claim.fence, to_json(told)))
        except (*UNFIT, ValueError) as error:
            raise Unstorable(str(error)) from error

    async def _leave_all(self, leaving: Sequence[_Leaving]) -> Sequence[Left | None]:
        told = f"[{','.join(each.told for each in leaving)}]"
        leave = LEAVE_AGAIN if any(each.fence > 1 for each in leaving) else LEAVE
        due = self._tariff
        charge = (due.per_hour, due.slots, due.gpus, self._first_receipt())
        rows = await self._database.write(leave, told, MAX_RELEASES, CANCELED, RELEASED_TOO_OFTEN, *charge)
        gone = {(row["job_id"], row["fence"]): _left(row) for row in rows}
        return [gone.get((each.id, each.fence)) for each in leaving]

    def _first_receipt(self) -> dict[str, Any]:
        """What needs no figures of the attempt."""
        return {
            "attempts": 1,
            "currency": self._tariff.currency,
            "wasted_attempts": 0,
            "wasted_s": 0,
            "wasted_cost": "0",
            "worker": self._worker,
            "device": self._tariff.device,
        }


RELEASED_TOO_OFTEN = {
    "code": EngineDied.code,
    "message": f"given back by draining workers more than {MAX_RELEASES} times, its attempts spent",
    "retryable": True,
}
ALREADY = Refusal(state=State.RUNNING)
"""The same job twice in one batch: the first copy got it."""


def _once(claims: dict[UUID, Claim], job_id: UUID) -> Claim | None:
    return claims.pop(job_id) if job_id in claims else None


def _refusal(row: asyncpg.Record | None) -> Refusal:
    if row is None:
        return Refusal(state=None)
    return Refusal(state=State(row["state"]), model=row["model"], recent=bool(row["recent"]))


def _left(row: asyncpg.Record) -> Left:
    return Left(
        state=State(row["state"]),
        event=event_of(row),
        publish_due=row["publish_due"],
        machine_s=row["machine_s"],
        cost=row["cost"],
    )
